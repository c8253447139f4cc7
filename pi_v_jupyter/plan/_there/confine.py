"""Runs one command so that it can look and not touch, whatever it is: `python3 -c TEXT FILE`.

FILE holds, as JSON:

    argv, env, folders  what to run, with which environment alone, in the first of these that is there
    namespaces          is it confined by namespaces, or left its own powers, but for sockets
    readonly            are file systems read-only for it, or, in a copy of a machine, as they are
    mark                what stands before the report, the last thing on stderr: JSON, of the "folder" that
                        the command ended in, or of what "cannot" be done here

Three processes: the outer one waits, and passes on how the command ended; the inner one is the first of a
PID namespace, so that nothing outlives it; the third becomes the command. What is taken from that cannot be
had again by anything it starts: capabilities, but for that of reading; sockets, but for netlink, by which
the kernel tells of networks; keys that the kernel keeps; other processes, which are seen and cannot be
reached. What this cannot take away it does not run.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import signal
import stat
import struct
import sys
from contextlib import suppress
from typing import Any, NoReturn

LIBC = ctypes.CDLL(None, use_errno=True)
# From Linux's headers: sched, mount, prctl, capability, seccomp, landlock, and the numbers of calls.
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x8000000, 0x10000000, 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 22, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
SECCOMP_MODE_FILTER, CAP_DAC_READ_SEARCH, CAP_VERSION_3 = 2, 2, 0x20080522
MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE = 442, -100, 0x8000
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT, LANDLOCK_VERSION, BENEATH = 444, 445, 446, 1, 1
WRITE_FILE, MOVE, TRUNCATE = 1 << 1, 1 << 13, 1 << 14
WRITES = WRITE_FILE | sum(1 << right for right in range(4, 13))  # to remove and make all kinds of things, too
OF_FILES = WRITE_FILE | TRUNCATE
AF_NETLINK = 16
LOAD, EQUAL, LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
KILL, DENY, ALLOW = 0x80000000, 0x50000 | errno.EPERM, 0x7FFF0000
X32 = 0x40000000  # the least number of a second set of calls that x86_64 has
# Of each machine: the number by which a filter knows it, that of socket, and those of calls that are denied:
# socketpair, io_uring_setup, and add_key, request_key and keyctl, for keys outlive who has added them.
MACHINES = {
    "x86_64": (0xC000003E, 41, (53, 425, 248, 249, 250)),
    "aarch64": (0xC00000B7, 198, (199, 425, 217, 218, 219)),
}
DEVICES = ("null", "zero", "full", "random", "urandom")
SCRATCH = ("/tmp", "/var/tmp", "/run")  # seen; what is written there is in memory, and gone with it
ROOM = "size=64m"
REPORT = 9  # the descriptor that the command has for it
FAILED = 125  # as `env` and `timeout` have it


class CannotError(Exception):
    """It cannot be done here."""


def called(what: str, result: int) -> int:
    """The result of a call of libc, unless it failed."""
    if result < 0:
        raise CannotError(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def syscall(number: int, *words: int | bytes | None) -> int:
    """A call that libc has no function for."""
    given = [ctypes.c_long(word) if isinstance(word, int) else word for word in words]
    return int(LIBC.syscall(ctypes.c_long(number), *given))


def prctl(what: str, option: int, first: int, second: int = 0) -> None:
    """One setting of this process."""
    words = (ctypes.c_ulong(each) for each in (first, second, 0, 0))
    called(what, LIBC.prctl(option, *words))


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """As mount(2)."""
    words = (os.fsencode(each) for each in (source, target, kind))
    called(f"mounting {target}", LIBC.mount(*words, ctypes.c_ulong(flags), os.fsencode(data)))


def set_attributes(path: str, wanted: int = 0, *, clear: int = 0, how: int = 0) -> None:
    """As mount_setattr(2): of one mount, or of all below it."""
    told = struct.pack("QQQQ", wanted, clear, 0, 0)
    called(
        f"setting how {path} is mounted",
        syscall(MOUNT_SETATTR, AT_FDCWD, os.fsencode(path), how, told, len(told)),
    )


def separate() -> None:
    """Have namespaces; who is not root has them as a user who is one in there alone."""
    user, group = os.geteuid(), os.getegid()
    alone = CLONE_NEWUSER if user else 0
    called("a namespace", LIBC.unshare(CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWNS | alone))
    if alone:
        maps = {"setgroups": "deny", "uid_map": f"{user} {user} 1", "gid_map": f"{group} {group} 1"}
        for name, text in maps.items():
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    mount("none", "/", "", MS_REC | MS_PRIVATE)


def make_readonly() -> None:
    """Have no file system that can be written to, and no devices but those that lead nowhere."""
    devices = {f"/dev/{name}": os.open(f"/dev/{name}", os.O_PATH) for name in DEVICES}
    set_attributes("/", MS_RDONLY | MS_NOSUID | MS_NODEV, how=AT_RECURSIVE)
    for folder in SCRATCH:
        if os.path.isdir(folder) and not os.path.islink(folder):
            overlay(folder)
    mount("none", "/dev", "tmpfs", MS_NOSUID, "mode=755,size=64k")
    for path, place in devices.items():
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
        mount(f"/proc/self/fd/{place}", path, "", MS_BIND)
        set_attributes(path, clear=MS_RDONLY | MS_NODEV)
        os.close(place)
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink(f"/proc/self/fd{target}", f"/dev/{name}")
    mount("none", "/dev", "", MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID)


def overlay(folder: str) -> None:
    """Have what is written in `folder` kept in memory. Its pipes and sockets are copies that lead nowhere."""
    there = os.stat(folder)
    lower = os.open(folder, os.O_PATH)
    flags = MS_NOSUID | MS_NODEV
    mount("none", folder, "tmpfs", flags, f"mode=755,{ROOM}")
    upper, work = (os.path.join(folder, name) for name in ("upper", "work"))
    for part in (upper, work):
        os.mkdir(part)
    os.chmod(upper, stat.S_IMODE(there.st_mode))
    with suppress(OSError):  # in a namespace of one's own nothing belongs to others
        os.chown(upper, there.st_uid, there.st_gid)
    opened = {"lowerdir": lower, "upperdir": os.open(upper, os.O_PATH), "workdir": os.open(work, os.O_PATH)}
    try:
        data = ",".join(f"{name}=/proc/self/fd/{place}" for name, place in opened.items())
        mount("none", folder, "overlay", flags, data)
    except CannotError:  # a kernel that has none: an empty folder
        mount("none", folder, "tmpfs", flags, f"mode=1777,{ROOM}")
    for place in opened.values():
        os.close(place)


def close_paths(scratch: tuple[str, ...]) -> None:
    """Where the kernel has Landlock, have nothing written to but what is in memory below `scratch`.

    To a pipe with a name one could write through any mount; without namespaces, to files too.
    """
    version = syscall(LANDLOCK_CREATE, None, 0, LANDLOCK_VERSION)
    handled = WRITES | (MOVE if version >= 2 else 0) | (TRUNCATE if version >= 3 else 0)
    rules = syscall(LANDLOCK_CREATE, struct.pack("Q", handled), 8, 0) if version > 0 else -1
    if rules < 0:
        return
    for path in (*scratch, *(f"/dev/{name}" for name in DEVICES)):
        if os.path.exists(path):
            place = os.open(path, os.O_PATH)
            allowed = struct.pack("=Qi", handled if path in scratch else handled & OF_FILES, place)
            called(f"a rule for {path}", syscall(LANDLOCK_ADD, rules, BENEATH, allowed, 0))
            os.close(place)
    prctl("no new privileges", PR_SET_NO_NEW_PRIVS, 1)
    called("Landlock", syscall(LANDLOCK_RESTRICT, rules, 0))
    os.close(rules)


def drop_powers() -> None:
    """Have no capability but that of reading, and none to come."""
    prctl("no new privileges", PR_SET_NO_NEW_PRIVS, 1)
    if os.geteuid() != 0:  # who is not root loses them by becoming another program
        return
    with open("/proc/sys/kernel/cap_last_cap") as file:
        last = int(file.read())
    for capability in range(last + 1):
        if capability != CAP_DAC_READ_SEARCH:
            prctl(f"dropping capability {capability}", PR_CAPBSET_DROP, capability)
    kept = 1 << CAP_DAC_READ_SEARCH
    header, sets = struct.pack("Ii", CAP_VERSION_3, 0), struct.pack("6I", kept, kept, 0, 0, 0, 0)
    called("dropping capabilities", LIBC.capset(header, sets))


def deny_calls() -> None:
    """Have no socket that leads to anything but the kernel, and no keys: a filter, had by children too."""
    number, socket, denied = MACHINES[platform.machine()]
    steps = [  # each skips as many of the next as it says, where it is true and where it is not
        (LOAD, 0, 0, 4),  # the machine
        (EQUAL, 1, 0, number),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, 0),  # the call
        (LEAST, len(denied) + 4, 0, X32),
        *((EQUAL, len(denied) + 3 - place, 0, call) for place, call in enumerate(denied)),
        (EQUAL, 0, 2, socket),
        (LOAD, 0, 0, 16),  # its first argument: the family
        (EQUAL, 0, 1, AF_NETLINK),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, DENY),
    ]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    told = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(program)))
    prctl("a filter of calls", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(told))


def become(task: dict[str, Any], report: int) -> NoReturn:
    """Be the command."""
    for folder in task["folders"]:
        with suppress(OSError):
            os.chdir(folder)
            break
    else:
        raise CannotError(f"no such folder: {task['folders'][-1]}")
    for number in (signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(report, REPORT)
    os.execvpe(task["argv"][0], task["argv"], task["env"])  # noqa: S606  there is no shell but the one asked for


def confined(task: dict[str, Any], report: int) -> NoReturn:
    """Become the command, with nothing left that it could touch anything with."""
    if task["readonly"]:
        close_paths(SCRATCH if task["namespaces"] else ())
    drop_powers()
    deny_calls()
    become(task, report)


def inner(task: dict[str, Any], report: int) -> NoReturn:
    """The first process in there: it ends with the command, and all else in there with it."""
    prctl("ending with its parent", PR_SET_PDEATHSIG, signal.SIGKILL)
    if task["readonly"]:
        make_readonly()
    child = forked(confined, task, report)
    while True:
        pid, status = os.wait()
        if pid == child:
            end_as(status)


def forked(work: Any, task: dict[str, Any], report: int) -> int:
    """A child that does `work`, which does not return; what it cannot do is reported."""
    child = os.fork()
    if child == 0:
        try:
            work(task, report)
        except (CannotError, OSError, KeyError) as error:
            os.write(report, f"!{error}".encode("utf-8", "replace"))
        finally:
            os._exit(FAILED)
    return child


def end_as(status: int) -> NoReturn:
    """End as a child did; a signal as a shell tells it, for the first process of a namespace is immune."""
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def end_others() -> None:
    """Kill what the command has left, which came to this process when it ended."""
    with suppress(ChildProcessError):
        while True:
            with open(f"/proc/self/task/{os.getpid()}/children") as file:
                for pid in map(int, file.read().split()):
                    os.kill(pid, signal.SIGKILL)
            os.wait()


def run(task: dict[str, Any]) -> tuple[int, str]:
    """Run it: the status it ended with, and what was reported."""
    reader, writer = os.pipe()
    try:
        if task["namespaces"]:
            separate()
        else:
            prctl("having its orphans", PR_SET_CHILD_SUBREAPER, 1)
    except (CannotError, OSError) as error:
        return FAILED << 8, f"!{error}"
    _, status = os.waitpid(forked(inner if task["namespaces"] else confined, task, writer), 0)
    end_others()
    os.close(writer)
    return status, os.read(reader, 1 << 16).decode("utf-8", "surrogateescape")


def main() -> NoReturn:
    """The outer process."""
    with open(sys.argv[1]) as file:
        task = json.load(file)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command has it too, and its end is waited for
    status, found = run(task)
    kind = "cannot" if found.startswith("!") else "folder"
    told = json.dumps({kind: found.lstrip("!").rstrip("\n")})
    os.write(2, f"{task['mark']}{told}".encode())
    end_as(status)


if __name__ == "__main__":
    main()
