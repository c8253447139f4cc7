"""Runs commands one by one and tells what has changed by them: a program of its own, for a VM or for here.

It reads a `Task` as JSON and writes what it found, as JSON too. Each command has a process group, which is
killed afterwards, and nothing to read but what it opens. Standard library only: it is copied to where it
runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x10000000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
EVERY = 20  # commands, after which their own folder is looked at
COUNTED = ("Ip", "Icmp", "Tcp", "Udp", "UdpLite")
SENT = ("OutRequests", "OutNoRoutes", "OutSegs", "OutDatagrams", "OutMsgs")


def shut_in() -> str:
    """Leaves the network, and has a /tmp of its own, as far as the system lets it; says how far that was."""
    libc = ctypes.CDLL(None, use_errno=True)
    root = os.geteuid() == 0
    if libc.unshare((0 if root else CLONE_NEWUSER) | CLONE_NEWNS | CLONE_NEWNET) != 0:
        return "nothing"
    libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    if not root or libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None) != 0:
        return "network"
    return "network and /tmp"


def sent() -> dict[str, int]:
    """What has been sent, or was to be: packets of devices and of protocols, by name."""
    found: dict[str, int] = {}
    for line in Path("/proc/self/net/dev").read_text().splitlines()[2:]:
        name, _, numbers = line.partition(":")
        found[name.strip()] = int(numbers.split()[8])
    lines = Path("/proc/self/net/snmp").read_text().splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        protocol = names.partition(":")[0]
        if protocol in COUNTED:
            pairs = zip(names.split()[1:], values.split()[1:], strict=True)
            found |= {f"{protocol} {key}": int(value) for key, value in pairs if key in SENT}
    six = Path("/proc/self/net/snmp6")
    for line in six.read_text().splitlines() if six.exists() else []:
        key, value = line.split()
        # A device that comes up says so by itself, in ICMP.
        if key.startswith(("Ip6Out", "Udp6Out")) and key.endswith(SENT):
            found[key] = int(value)
    return found


def snapshot(roots: list[str], hashed: list[str], left_out: list[str]) -> dict[str, list[object]]:
    """Each path below `roots` with its type, mode, owners, size and time; with its content below `hashed`."""
    found: dict[str, list[object]] = {}
    rest = list(roots)
    while rest:
        path = rest.pop()
        if path in left_out:
            continue
        with contextlib.suppress(OSError):
            about = os.lstat(path)
            told: list[object] = [about.st_mode, about.st_uid, about.st_gid, about.st_mtime_ns]
            if not stat.S_ISDIR(about.st_mode):
                told.append(about.st_size)
            if stat.S_ISLNK(about.st_mode):
                told.append(str(Path(path).readlink()))
            if stat.S_ISREG(about.st_mode) and path.startswith(tuple(hashed)):
                told.append(hashlib.sha256(Path(path).read_bytes()).hexdigest())
            found[path] = told
            if stat.S_ISDIR(about.st_mode):
                rest += [entry.path for entry in os.scandir(path)]
    return found


def changed(before: dict[str, list[object]], after: dict[str, list[object]]) -> list[str]:
    """The paths that are not as they were."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def run(words: list[str], folder: str, environment: dict[str, str], seconds: float) -> int | None:
    """How it ended: its exit code, or nothing if its time was up."""
    process = subprocess.Popen(
        words,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main() -> None:
    task = json.load(sys.stdin)
    kept_from = shut_in()
    folder = task["folder"]
    whole = (task["roots"], task["hashed"], task["left_out"])
    packets, before, here = sent(), snapshot(*whole), snapshot([folder], [folder], [])
    codes: dict[str, int] = {}
    culprits: list[list[str]] = []
    commands = task["commands"]
    for start in range(0, len(commands), EVERY):
        some = commands[start : start + EVERY]
        for command in some:
            code = run([*task["shell"], command], folder, task["environment"], task["seconds"])
            codes[str(code)] = codes.get(str(code), 0) + 1
        now, packets_now = snapshot([folder], [folder], []), sent()
        if now != here or packets_now != packets:
            culprits.append([*changed(here, now), *some])
            here = now
    found = {
        "kept_from": kept_from,
        "changed": changed(before, snapshot(*whole)),
        "sent": {
            name: count - packets.get(name, 0) for name, count in sent().items() if count != packets.get(name)
        },
        "codes": codes,
        "culprits": culprits,
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
