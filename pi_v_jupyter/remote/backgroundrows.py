"""What a background process writes, for programs: whole lines, and cursors to go on from."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.loops import at_home, cross
from pi_v_jupyter.remote.backgroundlog import BackgroundLog
from pi_v_jupyter.remote.journals import RowReader, Rows, Wanted


class BackgroundRows(BackgroundLog):
    """The lines of one run of a command, and of those before it."""

    @at_home
    async def cursor(self) -> int:
        """Behind all it has written so far: `rows` from there are those to come."""
        return await self._tail(0, "both")

    async def rows(self, cursor: int | None = None, stream: Wanted = "both") -> AsyncGenerator[Rows, None]:
        """The lines it writes, for a program: whole ones of up to 64 MiB, some at once, until it has ended.

        They end at "\\n" and nowhere else. Each comes with a cursor, and whoever gives that back, at any time
        and with the same `stream`, gets the lines behind it: none is lost, and none comes again. They begin
        with this run of the command, or behind `cursor`; 0: with all that is kept of earlier ones, too.

        At most 50 MB are kept: `missed` of a batch tells how many bytes were let go before they were read.
        The first line behind those may be only the end of one. Once the first of its processes has
        `exited`, batches may have no rows; what it wrote has come when they are `behind` `status.end`.

        Raises:
            UsageError: there is no such cursor.
        """
        if cursor is not None and cursor < 0:
            raise UsageError(f"{cursor} is no cursor.", "0 is where all begins; each row has one.")
        async with aclosing(cross(self._rows(cursor, stream), self.home)) as batches:
            async for batch in batches:
                yield batch

    async def _rows(self, cursor: int | None, stream: Wanted) -> AsyncGenerator[Rows, None]:
        after = self.status.begin if cursor is None else cursor
        start = after
        if cursor:
            found = await self._table.ask("opening", id=self.id, cursor=cursor, stream=stream)
            with self._understood():
                start = int(found["cursor"])
        reader = RowReader(start, after, stream)
        async with aclosing(self._follow(start)) as pieces:
            async for at, data in pieces:
                with self._understood():
                    rows = reader.rows(at, data)
                if rows or rows.missed or self.exited:
                    yield rows
