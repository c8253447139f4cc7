"""Background processes of this user on this machine: started, listed, forgotten; what they wrote.

Each has a folder of its id: about.json, the files of its journal and, while it runs, a socket and the lock
that its minder holds.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shlex
import shutil
import time
from signal import SIGKILL

from . import descendants, journal, minder, processes
from .abouts import damaged, told
from .files import Call, Refusal
from .frames import CURSOR, LOG, frame
from .sockets import connected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ID = re.compile("[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
PATIENCE = 30.0  # seconds after SIGKILL
PROMPT = 1.0  # seconds in which a minder answers who comes
SHOWN = 2000  # characters of a command that are remembered
MARKS = {"stdout": b"o", "stderr": b"e" + journal.AGAIN, "both": b"oe" + journal.AGAIN}
NONE = (FileNotFoundError, NotADirectoryError, Refusal, ValueError, TypeError, KeyError, RecursionError)


def home() -> str:
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return os.path.join(os.path.expanduser(data), "pi-v", "background")


def folder(process_id: str) -> str:
    if not ID.fullmatch(process_id):
        raise Refusal("id", "No background process can have that name")
    return os.path.join(home(), process_id)


def locked(path: str) -> int:
    """Make a folder and hold its lock; one that runs holds it already."""
    name = os.path.join(path, "lock")
    while True:
        os.makedirs(path, 0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # it is being removed
            lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(lock), os.stat(name)):
                    return os.dup(lock)
            except BlockingIOError:
                raise Refusal("runs", "It runs") from None
            finally:
                os.close(lock)


def unminded(path: str) -> int:
    """The lock, if nothing of it runs. What a killed minder has left behind runs too."""
    lock = locked(path)
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError):  # there was none before
        about = told(path)
        if about["state"] == "running" and about["pid"] and strays(about):
            os.close(lock)
            raise Refusal("runs", "Some of it runs")
    return lock


def possible(words: list[str], cwd: str, environment: dict[str, str]) -> None:
    """FileNotFoundError, or another OSError: there is no such folder, or no such program."""
    os.listdir(cwd)
    program = words[0]
    given = os.path.join(cwd, program) if "/" in program else program
    if shutil.which(given, path=environment.get("PATH")) is None and not os.path.exists(given):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)


def check(call: Call, path: str, env: dict[str, str], argv: list[str] | None = None) -> None:
    """Could it start, but for one of its name that runs?"""
    possible(argv or ["bash"], os.path.normpath(call.path(path)), {**call.environment(), **env})


def start(
    call: Call,
    path: str,
    id: str,
    run: str,
    env: dict[str, str],
    code: str | None = None,
    command: str | None = None,
    argv: list[str] | None = None,
    reads: bool = False,
) -> dict[str, Any]:
    """Run `command`, by bash, or `argv`, in the folder `path`; `reads`: it is written to."""
    cwd = os.path.normpath(call.path(path))
    environment = {**call.environment(), **env}
    words = ["bash", "-c", command or ""] if argv is None else argv
    possible(words, cwd, environment)
    shown = (command if argv is None else shlex.join(argv) if code is None else code) or ""
    about = {"id": id, "run": run, "command": shown[:SHOWN], "cwd": cwd}
    place = folder(id)
    lock = unminded(place)
    try:
        reader, writer = os.pipe()
        try:
            child = os.fork()
            if child == 0:
                minder.mind(writer, lock, place, about, words, code, reads, cwd, environment)
        finally:
            os.close(writer)
    finally:
        os.close(lock)
    with os.fdopen(reader, "rb") as file, contextlib.suppress(ChildProcessError):
        said = file.read()
        os.waitpid(child, 0)  # which the loop may have seen first
    if not said:
        raise OSError(errno.EIO, "It ended as it started")
    trouble = json.loads(said)
    if trouble:
        with contextlib.suppress(Refusal):  # somebody else starts one of that name
            forget(place, unless="about.json")
        raise OSError(trouble["errno"], os.strerror(trouble["errno"]), trouble["what"] or words[0])
    return known(id, None)


def known(process_id: str, children: dict[int, list[int]] | None) -> dict[str, Any]:
    """What can be told of one, with its load if `children` are given; FileNotFoundError: there is none."""
    place = folder(process_id)
    try:
        about = told(place)
    except ValueError:
        about = damaged(place)
    while about["state"] == "running" and not minded(about):
        before, about = about, told(place)  # it may have ended just now, or another run have begun
        if about["state"] == "running" and about["run"] == before["run"]:
            about.update(state="lost", end=journal.end(place), left=len(strays(about)) if about["pid"] else 0)
    if about["state"] == "running" and children is not None:
        pids = descendants.below(about["minder"], children)
        about.update(descendants.load(about["minder"], pids))
    about["uptime"] = max(0.0, (about.get("ended") or time.time()) - about["started"])
    about["socket"] = os.path.join(place, "socket")
    about["last_line"] = journal.last_line(place)
    return about


def minded(about: dict[str, Any]) -> bool:
    """Is its minder there? Another process may have its number by now."""
    try:
        return (
            descendants.stat(about["minder"])[0] not in "ZX"
            and descendants.began(about["minder"]) == about["minder_began"]
        )
    except OSError:
        return False


def strays(about: dict[str, Any]) -> list[int]:
    """What a process whose minder was killed has left running in its session.

    No other session has that number while one process of it lives, unless the machine has booted again.
    """
    leader, first = about["pid"], about["pid_began"]
    if descendants.began(os.getpid()).split()[0] != first.split()[0]:
        return []
    found = descendants.session(leader)
    try:
        return [] if leader in found and descendants.began(leader) != first else found
    except OSError:  # it ended just now
        return found


def end_strays(call: Call, id: str, signal: int, grace: float) -> str:
    """Signal what is left of one that was lost, and kill what is left after `grace` seconds: what it took."""
    about = told(folder(id))
    deadline, number = time.monotonic() + grace, signal
    descendants.signal_groups(strays(about), number)
    while left := strays(about):
        call.check()
        if time.monotonic() > deadline + PATIENCE:
            raise OSError(errno.ETIMEDOUT, "SIGKILL did not end all of it", id)
        if time.monotonic() > deadline:
            number = SIGKILL
            descendants.signal_groups(left, number)
        time.sleep(minder.LOOK)
    return processes.signal_name(number)


def names() -> list[str]:
    try:
        return sorted(os.listdir(home()))
    except FileNotFoundError:
        return []


def status(call: Call, id: str, load: bool) -> dict[str, Any]:
    """One of them; or, where there is none, the `others`."""
    try:
        return known(id, descendants.family() if load else None)
    except NONE:
        return {"others": names()}


def listed(call: Call) -> list[dict[str, Any]]:
    """All of them."""
    found = []
    children = descendants.family()
    for name in names():
        with contextlib.suppress(*NONE):  # of ours, none yet, or damaged: no reason to hide the others
            found.append(known(name, children))
    return found


def tail(call: Call, id: str, lines: int, stream: str) -> dict[str, int]:
    """Where the last lines begin, of all that was written up to now."""
    place = folder(id)
    with contextlib.suppress(OSError), connected(os.path.join(place, "socket"), PROMPT) as link:
        link.recv(1)  # its minder takes what there is before it greets
    return {"cursor": journal.tail(place, lines, MARKS[stream], call.check)}


def opening(call: Call, id: str, cursor: int, stream: str) -> dict[str, int]:
    """Where the lines begin that have no end yet at a cursor."""
    marks = [mark for name, mark in journal.MARKS.items() if stream in (name, "both")]
    return {"cursor": min(journal.opening(folder(id), cursor, mark, call.check) for mark in marks)}


def read(call: Call, id: str, cursor: int, end: int | None) -> None:
    """What was written from `cursor` to `end`."""
    place = folder(id)
    end = journal.end(place) if end is None else end
    while cursor < end:
        call.check()
        at, data = journal.read(place, cursor)
        if not data or at >= end:
            return
        data = data[: end - at]
        call.write(frame(LOG, CURSOR.pack(at), data))
        cursor = at + len(data)


def listening(call: Call, id: str, port: int) -> bool:
    """Does any of its processes listen to a TCP port?"""
    links = descendants.listening(port)
    if not links:
        return False
    about = known(id, children := descendants.family())
    return any(descendants.holds(pid, links) for pid in descendants.below(about["minder"], children))


def remove(call: Call, id: str) -> None:
    """Forget it, and what it wrote."""
    place = folder(id)
    os.stat(place)
    forget(place)


def forget(place: str, unless: str | None = None) -> None:
    """Remove a folder, but one that has the file `unless`; Refusal: it runs."""
    lock = unminded(place)
    try:
        if unless is None or not os.path.exists(os.path.join(place, unless)):
            shutil.rmtree(place)
    finally:
        os.close(lock)


OPERATIONS = {
    each.__name__: each
    for each in (start, check, status, listed, tail, opening, read, listening, end_strays, remove)
}
