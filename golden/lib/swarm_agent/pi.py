"""The pi of this machine: the background process `pi`, reached over its minder's socket."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import time

from _resident import background, files, frames, journal

from . import WORKSPACE, Refused, session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

ID = "pi"
STARTING = 90.0  # seconds for its first answer, on an emulated machine
ANSWER = 30.0  # seconds for any other
GRACE = 5.0  # seconds between SIGTERM and SIGKILL
BLOCK = 256 << 10
COMPLAINT = 64 << 10  # bytes at the end of its log in which its complaint is


class Pi:
    """The background process, over its minder's socket: the one place that knows how to reach it."""

    def __init__(self) -> None:
        self.call = files.Call(WORKSPACE, lambda: False, lambda: True, lambda: os.dup(1))
        self.folder = background.folder(ID)

    def about(self) -> dict[str, Any]:
        """What is known of the process; empty: it was never started."""
        try:
            return background.known(ID, None)
        except background.NONE:
            return {}

    def running(self) -> dict[str, Any]:
        about = self.about()
        if about.get("state") != "running":
            raise Refused(f"No pi runs on this machine ({self.how(about)}). Start it with: swarm-agent start")
        return about

    def how(self, about: dict[str, Any]) -> str:
        if not about:
            return "it was never started"
        if about["state"] == "lost":
            return "it was lost"
        ended = about.get("signal") or f"exit code {about.get('code')}"
        return f"it ended: {ended}; {self.complaint()}".rstrip("; ")

    def complaint(self) -> str:
        """The end of what it wrote to stderr."""
        _, data = journal.read(self.folder, max(0, journal.end(self.folder) - COMPLAINT), COMPLAINT)
        found = [
            row[1:].decode("utf-8", "replace").strip() for row in data.split(b"\n") if row[:1] in (b"e", b"E")
        ]
        return " ".join(found)[-500:]

    @contextlib.contextmanager
    def linked(self, about: dict[str, Any], patience: float) -> Iterator[socket.socket]:
        """Connected to its minder."""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(patience)
            folder = os.open(os.path.dirname(about["socket"]), os.O_PATH)
            try:  # by a short way: the whole path may be longer than one of a socket can be
                link.connect(f"/proc/self/fd/{folder}/socket")
            except OSError:
                raise Refused(f"pi ended just now ({self.how(self.about())}).") from None
            finally:
                os.close(folder)
            yield link

    def ask(self, command: dict[str, Any], patience: float) -> dict[str, Any]:
        """pi's response to one RPC command, in at most `patience` seconds."""
        name = secrets.token_hex(8)
        line = json.dumps(dict(command, id=name)).encode() + b"\n"
        deadline = time.monotonic() + patience
        about = self.running()
        start = journal.end(self.folder)  # the answer comes behind it
        with self.linked(about, patience) as link:
            write = {"do": "write", "size": len(line), "writer": name, "number": 0, "wait": patience}
            orders = [{"do": "follow", "from": start}, write]
            link.sendall(b"".join(json.dumps(order).encode() + b"\n" for order in orders) + line)
            lines = Lines()
            for kind, body in self.heard(link, deadline):
                if kind == frames.ANSWER and json.loads(body)["how"] != "taken":
                    how = json.loads(body)["how"]
                    raise Refused(
                        f"The pi of this machine takes no commands ({how}). Stop it, and start it again."
                    )
                if kind == frames.LOG:
                    for said in lines.feed(body[frames.CURSOR.size :]):
                        found = response(said, name)
                        if found is not None:
                            return found
        raise Refused(f"pi gave no answer to {command.get('type')!r} within {patience:g} s.")

    def heard(self, link: socket.socket, deadline: float) -> Iterator[tuple[int, bytes]]:
        """Frames of its minder, until the deadline."""
        data = b""
        while (left := deadline - time.monotonic()) > 0:
            link.settimeout(left)
            with contextlib.suppress(socket.timeout):
                more = link.recv(BLOCK)
                if not more:
                    raise Refused(f"pi ended before it answered ({self.how(self.about())}).")
                data += more
            while len(data) >= frames.HEAD.size:
                size, kind = frames.HEAD.unpack_from(data)
                end = frames.HEAD.size + size
                if len(data) < end:
                    break
                body, data = data[frames.HEAD.size : end], data[end:]
                yield kind, body

    def start(self, model: str | None) -> None:
        """Have it run, and wait until it answers; one that ended goes on with its session."""
        if self.about().get("state") != "running":
            argv = ["pi", "--mode", "rpc", *(["--model", model] if model else [])]
            argv += ["--continue"] if session.newest() else []
            os.makedirs(WORKSPACE, exist_ok=True)
            try:
                background.start(self.call, "", ID, secrets.token_hex(8), {}, argv=argv, reads=True)
            except files.Refusal as refusal:  # somebody else starts it, or some of an earlier one is left
                raise Refused(
                    f"pi cannot be started here: {refusal}. Try again, or first: swarm-agent stop"
                ) from None
        elif model:
            provider, _, name = model.partition("/")
            done = self.ask({"type": "set_model", "provider": provider, "modelId": name}, STARTING)
            if not done["success"]:
                raise Refused(f"pi runs, but not with that model: {done.get('error')}.")
        self.ask({"type": "get_state"}, STARTING)

    def stop(self) -> None:
        """End it, and all that it has started."""
        about = self.about()
        if about.get("state") == "lost":
            background.end_strays(self.call, ID, signal.SIGTERM, GRACE)
        if about.get("state") != "running":
            return
        with self.linked(about, GRACE + ANSWER) as link:
            order = {"do": "stop", "signal": signal.SIGTERM, "grace": GRACE, "order": secrets.token_hex(8)}
            link.sendall(json.dumps(order).encode() + b"\n")
            while link.recv(1 << 18):  # until all of it has ended
                pass


def response(line: bytes, name: str) -> dict[str, Any] | None:
    """The response of that id, if the line is it."""
    if name.encode() not in line:  # most lines are long, and none of ours
        return None
    try:
        said = json.loads(line)
    except ValueError:
        return None
    ours = isinstance(said, dict) and said.get("type") == "response" and said.get("id") == name
    return said if ours else None


class Lines:
    """What is written to stdout, line by line, from rows of the journal."""

    def __init__(self) -> None:
        self.row = self.open = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        *whole, self.row = (self.row + data).split(b"\n")
        for row in whole:
            if row[:1] == b"O":  # a piece of a line that goes on
                self.open += row[1:]
            elif row[:1] == b"o":
                line, self.open = self.open + row[1:], b""
                yield line
