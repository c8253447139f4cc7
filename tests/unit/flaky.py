"""A platform in memory that can be told to be out of reach."""

from __future__ import annotations

import asyncio

import httpx
from test_fleet_branching import Platform


class Flaky(Platform):
    """It can be away, or silent, or slow to tell of commits."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.needed = ""  # the id of a commit that cannot be deleted
        self.silent: asyncio.Event | None = None
        self.slow: asyncio.Event | None = None

    async def answer(self, request: httpx.Request) -> httpx.Response:
        if self.silent is not None:
            await self.silent.wait()
        if self.slow is not None and request.url.path.endswith("/commits"):
            await self.slow.wait()
        if self.away:
            raise httpx.ConnectError("no way", request=request)
        if (
            self.needed
            and request.method == "DELETE"
            and request.url.path.endswith(f"/commits/{self.needed}")
        ):
            return httpx.Response(
                409, json={"error": f"Commit {self.needed} is needed by VM x.", "success": False}
            )
        return self(request)
