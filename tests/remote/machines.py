"""A machine without a platform: a connection, and the files and commands behind it."""

from __future__ import annotations

import asyncio
from typing import Any

from pi_v_jupyter.machine import Machine


class Reached(Machine):
    """What is at the other end of a connection."""

    def __init__(self, connection: Any) -> None:
        self.home = asyncio.get_running_loop()
        self.connection = connection

    @property
    def label(self) -> str:
        return "build"

    def _connection(self) -> Any:
        return self.connection

    async def connect(self) -> None:
        """Have the connection open."""
        await self.connection.open()
