"""Files of a machine, as bytes: read, written, edited, listed, watched. No shell, no round trip a block.

The work is done over there by the resident program (`_resident.files`, `_resident.writing`); on this computer
by the same code. Paths that are not absolute begin in the user's home, `~` is that home; a path is text in
which bytes that are no UTF-8 are surrogates, as `os.fsdecode` makes them.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

from pi_v_jupyter.errors import RemoteFileError, UsageError
from pi_v_jupyter.loops import at_home, cross
from pi_v_jupyter.remote.channel import Process, Request, checked
from pi_v_jupyter.remote.diff import Region, unified
from pi_v_jupyter.remote.refusals import failure, understood

MOST = 50 * 1024  # bytes of one excerpt
FED = 1 << 20  # bytes of a file between two words about how far it is
AnyPath = str | os.PathLike[str]
Edits = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Excerpt:
    """Whole lines of a text file. `next`: the line to go on from, None at the end of the file.

    `size`: bytes of the whole file. `cut`: None, or the length in bytes of the one line, too long for an
    excerpt, of which this is the beginning.
    """

    path: str
    text: str = field(repr=False)
    first: int
    lines: int
    next: int | None
    size: int
    cut: int | None = None


@dataclass(frozen=True)
class Entry:
    """Something in a folder. `kind`: file, directory, symlink, fifo, socket, device; `mtime`: ns of POSIX."""

    path: str
    kind: str
    size: int
    mode: int
    mtime: int
    uid: int
    gid: int
    target: str | None = None

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Written:
    """What was written: `size` bytes, to `path`; `created`: nothing was there before."""

    path: str
    size: int
    created: bool


@dataclass(frozen=True)
class Edited:
    """What an edit did: a unified `diff`."""

    path: str
    diff: str = field(repr=False)


@dataclass(frozen=True)
class Change:
    """Something that was watched: `kind` is created, changed or removed."""

    kind: str
    path: str


class Files(ABC):
    """What can be done with the files of a machine. All methods may be awaited on any loop.

    Raises, all of them:
        RemoteFileError: it cannot be done there: no such file, no permission, a full disk, …
        ConnectError: the machine cannot be reached.
    """

    home: asyncio.AbstractEventLoop

    @property
    @abstractmethod
    def label(self) -> str:
        """What to call the machine in a sentence."""

    @abstractmethod
    async def launch(self, request: Request) -> Process:
        """Start a command, or work on files; for those who read its output themselves."""

    @at_home
    async def read(
        self, path: AnyPath, offset: int = 1, limit: int | None = None, *, beside: str | None = None
    ) -> Excerpt:
        """Lines of a text file from line `offset` (the first is 1), at most `limit`, at most 50 KB.

        Bytes that are no UTF-8 are shown as `\\xff`; a binary file is refused. `beside`: here and below, the
        shell session in whose folder a relative path begins.
        """
        if offset < 1 or (limit is not None and limit < 1):
            raise UsageError("The first line of a file is 1, and at least one is read.", "Give such numbers.")
        data, found = await self._done("read", path, beside, offset=offset, limit=limit, most=MOST)
        text = data.decode("utf-8", "backslashreplace")
        with understood(self.label):
            return checked(Excerpt, {**found, "path": os.fspath(path), "text": text})

    @at_home
    async def read_bytes(
        self,
        path: AnyPath,
        *,
        beside: str | None = None,
        on_progress: Callable[[int], object] = lambda done: None,
    ) -> bytes:
        """All of a file. `on_progress` is told the bytes so far, on the machine's loop."""
        return (await self._done("fetch", path, beside, on_output=on_progress))[0]

    @at_home
    async def write(
        self,
        path: AnyPath,
        data: str | bytes,
        *,
        append: bool = False,
        mode: int | None = None,
        beside: str | None = None,
        on_progress: Callable[[int, int], object] = lambda done, total: None,
    ) -> Written:
        """Make `data` the content of a file, or add it; folders that are not there are made.

        The file is replaced in one moment: nobody ever sees half of it. Its owner and mode stay, unless
        `mode` says another; a link stays a link, and what it names is written. `on_progress` is told the
        bytes that are on their way and all there are, on the machine's loop.
        """
        content = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        _, found = await self._done(
            "write", path, beside, content, on_input=on_progress, append=append, mode=mode
        )
        with understood(self.label):
            return checked(Written, found)

    @at_home
    async def edit(
        self, path: AnyPath, old: str | Edits, new: str | None = None, *, beside: str | None = None
    ) -> Edited:
        """Replace `old` by `new`; or each of several, `[(old, new), …]`, all or none.

        Each old text must occur exactly once; all are looked for in the file as it is. In a file whose lines
        end with CRLF, texts whose lines do not are taken as if they did.

        Raises:
            EditError: a text does not occur, or more than once; two edits overlap; the file was changed by
                somebody else meanwhile. Nothing was changed.
        """
        edits = [(old, new or "")] if isinstance(old, str) else list(old)
        if not edits or not all(before for before, _ in edits):
            raise UsageError("There is nothing to replace.", "Give the old text, and the new.")
        return await self.edit_first_that_occurs(path, [[pair] for pair in edits], beside=beside)

    @at_home
    async def edit_first_that_occurs(
        self, path: AnyPath, edits: Sequence[Edits], *, beside: str | None = None
    ) -> Edited:
        """As `edit`, with several forms of each edit: the first whose old text occurs counts."""
        forms = [[*forms, *filter(None, map(_with_crlf, forms))] for forms in edits]
        data, _ = await self._done("edit", path, beside, edits=forms)
        with understood(self.label):
            return Edited(os.fspath(path), unified(os.fspath(path), map(Region.load, data.splitlines())))

    @at_home
    async def stat(self, path: AnyPath, *, follow: bool = True, beside: str | None = None) -> Entry:
        """What `path` is; with `follow`, what a link there leads to."""
        (entry,) = self._entries((await self._done("stat", path, beside, follow=follow))[0])
        return entry

    @at_home
    async def exists(self, path: AnyPath, *, beside: str | None = None) -> bool:
        """Is there anything at `path`?"""
        try:
            await self.stat(path, follow=False, beside=beside)
        except RemoteFileError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return False
            raise
        return True

    @at_home
    async def listdir(self, path: AnyPath = "", *, beside: str | None = None) -> list[Entry]:
        """What is in a folder, by name."""
        return self._entries((await self._done("list", path, beside))[0])

    @at_home
    async def glob(self, pattern: AnyPath, *, beside: str | None = None) -> list[Entry]:
        """What a pattern with `*`, `?`, `[…]` and `**` finds."""
        return self._entries((await self._done("glob", pattern, beside))[0])

    @at_home
    async def remove(self, path: AnyPath, *, recursive: bool = False) -> None:
        """Remove a file, a link or an empty folder; with `recursive` a folder and all that is in it."""
        await self._done("remove", path, recursive=recursive)

    @at_home
    async def move(self, path: AnyPath, to: AnyPath) -> str:
        """As `mv`: into a folder that is there, else to that name, replacing a file there. Its path now."""
        _, found = await self._done("move", path, to=os.fspath(to))
        with understood(self.label):
            return str(found["path"])

    @at_home
    async def mkdir(self, path: AnyPath, *, parents: bool = True) -> None:
        """Make a folder; with `parents` those above it too, and one that is there is no error."""
        await self._done("mkdir", path, parents=parents)

    async def watch(self, path: AnyPath) -> AsyncGenerator[Change, None]:
        """What appears, changes and goes at or below `path`, seen within about half a second."""
        async with aclosing(cross(self._watch(path), self.home)) as changes:
            async for change in changes:
                yield change

    async def _watch(self, path: AnyPath) -> AsyncGenerator[Change, None]:
        process = await self.launch(work("watch", path))
        try:
            async for line in _lines(process):
                with understood(self.label):
                    change = checked(Change, json.loads(line))
                yield change
            raise failure(await process.wait(), path, self.label)
        finally:
            await process.close()

    def _entries(self, lines: bytes) -> list[Entry]:
        with understood(self.label):
            return [checked(Entry, json.loads(line)) for line in lines.splitlines()]

    async def _done(
        self,
        what: str,
        path: AnyPath,
        beside: str | None = None,
        data: bytes | None = None,
        *,
        on_input: Callable[[int, int], object] = lambda done, total: None,
        on_output: Callable[[int], object] = lambda done: None,
        **arguments: Any,
    ) -> tuple[bytes, Any]:
        """Have it done: its output, and what it found."""
        process = await self.launch(work(what, path, beside=beside, stdin=data is not None, **arguments))
        feeder = asyncio.create_task(_feed(process, data, on_input)) if data is not None else None
        kept = bytearray()
        try:
            async for _, piece in process.chunks():
                kept += piece
                on_output(len(kept))
            how = await process.wait()
        finally:
            if feeder is not None:
                feeder.cancel()
                with suppress(asyncio.CancelledError):
                    await feeder
            await process.close()
        if how.code != 0:
            raise failure(how, path, self.label)
        return bytes(kept), how.value


ON_BACKGROUND = ("listed", "status", "tail", "opening", "read", "listening", "end_strays", "remove")
PATHLESS = ("send", "programs", *(f"background.{what}" for what in ON_BACKGROUND))


def work(
    what: str, path: AnyPath = "", *, beside: str | None = None, stdin: bool = False, **rest: Any
) -> Request:
    """What the resident program is to do with files."""
    arguments = {"path": os.fspath(path), **rest} if what not in PATHLESS else rest
    return Request(work={"do": what, "beside": beside, "with": arguments}, stdin=stdin)


async def _feed(process: Process, data: bytes, on_input: Callable[[int, int], object]) -> None:
    for start in range(0, len(data), FED):
        await process.write(data[start : start + FED])
        on_input(min(start + FED, len(data)), len(data))
    await process.write_eof()


async def _lines(process: Process) -> AsyncIterator[bytes]:
    rest = b""
    async for _, piece in process.chunks():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line


def _with_crlf(edit: tuple[str, str]) -> tuple[str, str] | None:
    """The edit for a file of the other kind of line ends; None where it has none, or names them itself."""
    old, new = edit
    if "\n" not in old + new or "\r" in old + new:
        return None
    return old.replace("\n", "\r\n"), new.replace("\n", "\r\n")
