"""Files and trees from one machine to another, as one stream: read there, passed on here, never stored.

What can be copied, and how, is `_resident.pack` and `_resident.unpack`, which run on the two machines.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pi_v_jupyter.errors import ConnectionLostError, RemoteFileError
from pi_v_jupyter.remote._resident import bulk, records
from pi_v_jupyter.remote.channel import Exit, Process, checked
from pi_v_jupyter.remote.files import Files, work
from pi_v_jupyter.remote.refusals import shown, understood

STOPPING = 0.8  # seconds it may take when the user has stopped the copy
GOODBYE = 10.0  # seconds a receiver may take to clean up after a copy that failed
NAMED = 3  # files that could not be read, told by name

OnProgress = Callable[[int, int | None], object]


@dataclass(frozen=True)
class Copied:
    """What was copied, to `target` on the machine `on`. `bytes` of content; `resumed`: of an earlier copy.

    `skipped`: sockets and devices, which are no files. `seconds` it took.
    """

    target: str
    on: str
    files: int
    folders: int
    links: int
    bytes: int
    skipped: int
    resumed: int
    seconds: float


async def copy(
    source: Files,
    paths: Sequence[str],
    target: Files,
    to: str,
    *,
    owners: bool = False,
    folders: bool = True,
    beside: str | None = None,
    on_progress: OnProgress = lambda done, total: None,
) -> Copied:
    """Copy as `scp -r` would: into `to` if that is a folder, else to that name. On both machines' loop.

    A file takes its place in one moment, a new folder too; a copy that is stopped leaves nothing under
    those names, and of one large file what the next copy goes on from. `owners`: user and group are kept;
    without `folders` those are refused.
    `on_progress` is told the bytes so far and, where known, all there will be.

    Raises:
        RemoteFileError: it cannot be copied, or parts of it cannot be read: then all else was copied.
        ConnectError: a machine cannot be reached.
    """
    began = time.monotonic()
    part = await _left_over(target, to, paths[0], beside) if len(paths) == 1 else None
    sender = await source.launch(work("send", beside=beside, paths=list(paths), resume=part, folders=folders))
    try:
        receiver = await target.launch(
            work(
                "receive",
                to,
                beside=beside,
                stdin=True,
                asked=list(paths),
                owners=owners,
                same_machine=source is target,
            )
        )
        try:
            sent, came = await _pump(source, sender, target, receiver, on_progress)
        finally:
            await receiver.close()
    finally:
        await sender.close()
    with understood(source.label):
        failed = [f"{shown(name)}: {why}" for name, why in sent["failed"]]
        unnamed = int(sent["failures"]) - NAMED
        left = {"skipped": sent["skipped"], "resumed": sent["start"]}
    if failed:
        more = f", and {unnamed} more" if unnamed > 0 else ""
        raise RemoteFileError(
            f"Not all could be read on {source.label}: {'; '.join(failed[:NAMED])}{more}.",
            "All else was copied.",
        )
    with understood(target.label):
        counts = {name: came[name] for name in ("target", "files", "folders", "links", "bytes")}
        return checked(Copied, {**counts, **left, "on": target.label, "seconds": time.monotonic() - began})


async def _left_over(target: Files, to: str, source: str, beside: str | None) -> Any:
    process = await target.launch(work("partial", to, beside=beside, source=source))
    try:
        return (await process.wait()).value
    finally:
        await process.close()


async def _pump(
    source: Files, sender: Process, target: Files, receiver: Process, on_progress: OnProgress
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Pass the stream on; what the sender and the receiver say of it."""
    meter = bulk.Meter()
    ending = asyncio.create_task(receiver.wait())
    try:
        async for _, data in sender.chunks():
            try:
                meter.feed(data)
            except records.CopyError as error:
                raise RemoteFileError(f"{error} (from {source.label})") from None
            await receiver.write(data)
            if ending.done():
                break
            on_progress(meter.moved, (meter.head or {}).get("bytes"))
        else:
            sent = await sender.wait()
            if sent.code == 0:
                await receiver.write_eof()
                return sent.value, _value(await ending, target)
            receiver.kill(2)  # SIGINT: it cleans up, and what it keeps can be gone on from
            await asyncio.wait({ending}, timeout=GOODBYE)
            return _value(sent, source), {}
        came = _value(await ending, target)
        raise ConnectionLostError(f"The copy to {target.label} ended early: {came}.")
    except asyncio.CancelledError:
        receiver.kill(2)  # what it keeps is to be there for the next copy, which may come at once
        await asyncio.wait({ending}, timeout=STOPPING)
        raise
    finally:
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)


def _value(how: Exit, machine: Files) -> Any:
    if how.code == 0:
        return how.value
    if how.error is None:
        raise ConnectionLostError(f"The copy was stopped on {machine.label}.")
    hint = "`-r` copies it and all in it." if how.error == "folder" else ""
    raise RemoteFileError(
        f"{how.message.rstrip('.')} (on {machine.label}).", hint, path=os.fsdecode(how.what)
    )
