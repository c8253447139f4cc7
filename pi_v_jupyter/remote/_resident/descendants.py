"""Processes by what they came from: found, measured, signalled."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
LISTENS = "0A"


def stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third on: state, parent, …; the name before may hold anything."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].decode().split()


def began(pid: int) -> str:
    """What no other process of that number shares with it, not even after the machine has booted again."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return f"{file.read().strip()} {stat(pid)[19]}"


def running() -> Iterator[tuple[int, list[str]]]:
    """Each process, and its fields of `stat`; zombies left out."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = stat(int(name))
            except OSError:  # it ended meanwhile
                continue
            if fields[0] not in "ZX":
                yield int(name), fields


def session(number: int) -> list[int]:
    """All that runs in a session."""
    return [pid for pid, fields in running() if int(fields[3]) == number]


def signal_groups(pids: list[int], number: int) -> None:
    """By groups, for all of a group is signalled in one moment: none that forks escapes."""
    groups = set()
    for pid in pids:
        try:
            groups.add(os.getpgid(pid))
        except ProcessLookupError:
            continue
    for group in groups:
        try:
            os.killpg(group, number)
        except (ProcessLookupError, PermissionError):
            continue


def family() -> dict[int, list[int]]:
    """Children by their parents."""
    found: dict[int, list[int]] = {}
    for pid, fields in running():
        found.setdefault(int(fields[1]), []).append(pid)
    return found


def below(pid: int, children: dict[int, list[int]]) -> list[int]:
    """All that came from `pid`."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        these = children.get(waiting.pop(), [])
        found += these
        waiting += these
    return found


def load(minder: int, pids: list[int]) -> dict[str, float]:
    """Seconds of processor time, and bytes of memory, of these, and of those that ended before them."""
    ticks = pages = 0
    for pid in (minder, *pids):
        try:
            fields = stat(pid)
        except OSError:
            continue
        ticks += sum(int(field) for field in fields[13 if pid == minder else 11 : 15])
        pages += 0 if pid == minder else int(fields[21])
    return {"cpu": ticks / TICKS, "memory": pages * PAGE}


def listening(port: int) -> list[str]:
    """The sockets that listen to a TCP port, as links in /proc/PID/fd name them."""
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as file:
                rows = [line.split() for line in file][1:]
        except OSError:  # no IPv6
            continue
        found += [
            f"socket:[{row[9]}]"
            for row in rows
            if row[3] == LISTENS and int(row[1].rpartition(":")[2], 16) == port
        ]
    return found


def holds(pid: int, links: list[str]) -> bool:
    """Has it one of these open?"""
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    for name in names:
        try:
            if os.readlink(f"/proc/{pid}/fd/{name}") in links:
                return True
        except OSError:
            continue
    return False
