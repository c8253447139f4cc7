"""The inside of a VM: commands, their output, files.

A command is the VM's: it goes on when whoever asked for it leaves, and its output can be read again.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, StringConstraints

from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local import guestfiles, inside
from pi_v_jupyter.local.fleet import Fleet
from pi_v_jupyter.local.guestlink import GuestLink
from pi_v_jupyter.local.inside import Command, Exit, Output, Stream
from pi_v_jupyter.local.problems import ConflictError, NotPossibleError
from pi_v_jupyter.local.routes.once import HEADER, LONGEST_KEY, Once
from pi_v_jupyter.local.routes.refusals import refusals
from pi_v_jupyter.local.routes.standing import settled

NDJSON = "application/x-ndjson"
_LONGEST_ID = 200
_MOST_ENTRIES = 1000
_LARGEST_NUMBER = 2**53  # that every JSON parser reads alike
_STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A JSON object per line: `chunk`s, then one `exit` or `error`.",
        "content": {NDJSON: {"schema": {"type": "string"}}},
    }
}

ExecId = Annotated[str, StringConstraints(pattern=r"^[!-~]+$", max_length=_LONGEST_ID)]
Position = Annotated[int, Field(ge=0, le=_LARGEST_NUMBER)]
IdempotencyKey = Annotated[str | None, Header(alias=HEADER, max_length=LONGEST_KEY, include_in_schema=False)]


class ExecRequest(BaseModel):
    """Body of `POST /vm/{id}/exec` and of `exec/stream`; 0 seconds are no limit."""

    command: Annotated[list[str], Field(min_length=1)]
    env: dict[str, str] | None = None
    exec_id: ExecId | None = None
    stdin: str | None = None
    timeout_secs: Annotated[int, Field(ge=0, le=2**31)] | None = None
    working_dir: str | None = None

    def to_run(self, key: str | None) -> Command:
        """What it asks for. The same idempotency key makes the same `exec_id`."""
        stdin = None if self.stdin is None else self.stdin.encode(errors="surrogatepass")
        if stdin is not None and len(stdin) > inside.LARGEST_INPUT:
            raise NotPossibleError(
                f"{len(stdin)} bytes are more than the {inside.LARGEST_INPUT >> 20} MB that fit in `stdin`.",
                "Write them to a file on the VM first.",
            )
        made = uuid.uuid5(uuid.NAMESPACE_URL, key) if key else uuid.uuid4()
        return Command(
            argv=self.command,
            exec_id=self.exec_id or str(made),
            env=self.env or {},
            stdin=stdin,
            timeout=self.timeout_secs or 0,
            cwd=self.working_dir,
        )


class ExecResponse(BaseModel):
    """How a command ended, and what it wrote. Bytes that are no UTF-8 are replaced."""

    exit_code: int
    stdout: str
    stderr: str
    exec_id: str


class AttachRequest(BaseModel):
    """Body of `exec/stream/attach`: from all that is kept, from after `cursor`, or from now on."""

    exec_id: ExecId
    cursor: Position | None = None
    from_latest: bool | None = None


class LogEntry(BaseModel):
    """Some output of a command."""

    data_b64: str
    stream: Stream
    timestamp: datetime
    exec_id: str


class LogPage(BaseModel):
    """Output of all commands from an offset on."""

    entries: list[LogEntry]
    eof: bool
    next_offset: int


class FileContent(BaseModel):
    """A file."""

    content_b64: str


class WriteRequest(BaseModel):
    """Body of `PUT /vm/{id}/files`."""

    path: str
    content_b64: str = ""
    create_dirs: bool | None = None
    mode: Annotated[int, Field(ge=0, le=0o7777, description="For example 420, which is 0644.")] | None = None


class Written(BaseModel):
    """The file is there."""

    success: bool = True


def router(fleet: Fleet) -> APIRouter:
    """The paths under a VM that its agent answers."""
    routes = APIRouter()
    whole = APIRouter(route_class=Once)

    @contextlib.asynccontextmanager
    async def reaching(vm_id: str) -> AsyncIterator[GuestLink]:
        await settled(fleet, vm_id)
        guest = fleet.guest(vm_id)
        try:
            yield guest
        except PlatformError:
            fleet.guest(vm_id)  # a VM that was deleted or paused meanwhile is why, and no failure of ours
            raise

    async def begin(guest: GuestLink, request: ExecRequest, key: str | None) -> Command:
        command = request.to_run(key)
        try:
            await inside.start(guest, command)
        except ConflictError:
            # The first try of this call has started it.
            if not key or request.exec_id:
                raise
            await inside.latest(guest, command.exec_id)
        return command

    @whole.post("/vm/{vm_id}/exec", responses=refusals(404, 409, 507))
    async def execute(vm_id: str, request: ExecRequest, key: IdempotencyKey = None) -> ExecResponse:
        async with reaching(vm_id) as guest:
            command = await begin(guest, request, key and f"exec {key}")  # `exec/stream` is another call
            result = await inside.result(guest, command)
        return ExecResponse(
            exit_code=result.code,
            stdout=result.stdout.decode(errors="replace"),
            stderr=result.stderr.decode(errors="replace"),
            exec_id=command.exec_id,
        )

    @routes.post(
        "/vm/{vm_id}/exec/stream",
        response_class=StreamingResponse,
        responses={**refusals(404, 409, 507), **_STREAMED},
    )
    async def stream(vm_id: str, request: ExecRequest, key: IdempotencyKey = None) -> StreamingResponse:
        async with reaching(vm_id) as guest:
            command = await begin(guest, request, key)
        return _streamed(guest, command.exec_id, cursor=0)

    @routes.post(
        "/vm/{vm_id}/exec/stream/attach",
        response_class=StreamingResponse,
        responses={**refusals(404, 409), **_STREAMED},
    )
    async def attach(vm_id: str, request: AttachRequest) -> StreamingResponse:
        async with reaching(vm_id) as guest:
            latest = await inside.latest(guest, request.exec_id)
        return _streamed(
            guest, request.exec_id, cursor=latest if request.from_latest else request.cursor or 0
        )

    @routes.get("/vm/{vm_id}/logs", responses=refusals(404, 409))
    async def logs(
        vm_id: str,
        offset: Annotated[int, Query(ge=0, le=_LARGEST_NUMBER)] = 0,
        max_entries: Annotated[int, Query(ge=1, le=_MOST_ENTRIES)] = _MOST_ENTRIES,
        stream: Stream | None = None,
    ) -> LogPage:
        async with reaching(vm_id) as guest:
            page = await inside.logs(guest, offset=offset, most=max_entries, stream=stream)
        entries = [
            LogEntry(
                data_b64=base64.b64encode(entry.data).decode(),
                stream=entry.stream,
                timestamp=datetime.fromtimestamp(entry.time, UTC),
                exec_id=entry.exec_id,
            )
            for entry in page.entries
        ]
        return LogPage(entries=entries, eof=page.eof, next_offset=page.next_offset)

    @routes.get("/vm/{vm_id}/files", responses=refusals(404, 409))
    async def read_file(vm_id: str, path: str) -> FileContent:
        async with reaching(vm_id) as guest:
            content = await guestfiles.read_file(guest, path)
        return FileContent(content_b64=base64.b64encode(content).decode())

    @whole.put("/vm/{vm_id}/files", responses=refusals(404, 409, 507))
    async def write_file(vm_id: str, request: WriteRequest) -> Written:
        try:
            content = base64.b64decode(request.content_b64, validate=True)
        except (binascii.Error, ValueError):
            raise NotPossibleError("`content_b64` is no base64.") from None
        mode = 0o644 if request.mode is None else request.mode
        async with reaching(vm_id) as guest:
            await guestfiles.write_file(
                guest, request.path, content, mode=mode, create_dirs=bool(request.create_dirs)
            )
        return Written()

    routes.include_router(whole)
    return routes


def _streamed(guest: GuestLink, exec_id: str, *, cursor: int) -> StreamingResponse:
    async def lines() -> AsyncIterator[bytes]:
        try:
            async for event in inside.follow(guest, exec_id, cursor=cursor):
                yield _line(_told(event, exec_id))
        except PlatformError as error:
            yield _line({"type": "error", "code": "vm", "message": str(error), "exec_id": exec_id})

    return StreamingResponse(lines(), media_type=NDJSON)


def _told(event: Output | Exit, exec_id: str) -> dict[str, Any]:
    if isinstance(event, Output):
        data = base64.b64encode(event.data).decode()
        return {
            "type": "chunk",
            "stream": event.stream,
            "data_b64": data,
            "cursor": event.cursor,
            "exec_id": exec_id,
        }
    if event.timed_out:
        message = "Its time was up (timeout_secs): the command was ended."
        return {"type": "error", "code": "timeout", "message": message, "exec_id": exec_id}
    return {"type": "exit", "exit_code": event.code, "exec_id": exec_id}


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode() + b"\n"
