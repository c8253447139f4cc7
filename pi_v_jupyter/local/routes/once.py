"""Writes that are done once, however often they are sent, and read strictly."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.exceptions import HTTPException

from pi_v_jupyter.local.replay import Replay

HEADER = "X-Idempotency-Key"
LONGEST_KEY = 256


class Once(APIRoute):
    """A route whose writes are repeated for nobody who sends the same `X-Idempotency-Key` again.

    The application has the answers in `state.replay`. An answer must be whole: no streams.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with its requests' keys minded."""
        handle = super().get_route_handler()

        async def once(received: Request) -> Response:
            request = _StrictRequest(received.scope, received.receive)
            if request.method == "GET":
                return await handle(request)
            key = request.headers.get(HEADER, "")
            if len(key) > LONGEST_KEY:
                raise HTTPException(400, f"{HEADER} has {LONGEST_KEY} characters at most.")
            replay: Replay[Response] = request.app.state.replay
            whole = _digest(
                request.method.encode(),
                request.url.path.encode(),
                request.url.query.encode(),
                await request.body(),
            )
            return await replay.once(_mark(request, key), whole, partial(handle, request))

        return once


class _StrictRequest(Request):
    async def json(self) -> Any:
        """The body. Python's own parser lets pass what is no JSON: NaN, halves of surrogate pairs."""
        try:
            return from_json(await self.body(), allow_inf_nan=False)
        except ValueError as error:
            raise HTTPException(400, f"The body is no JSON: {error}.") from None


def _mark(request: Request, key: str) -> bytes | None:
    """What stands for `key`: another caller's is another one."""
    return _digest(request.headers.get("Authorization", "").encode(), key.encode()) if key else None


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()
