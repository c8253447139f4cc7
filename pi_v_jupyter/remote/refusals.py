"""What to raise for work on files that a machine did not do, in words for whoever asked for it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pi_v_jupyter.errors import ConnectionLostError, EditError, RemoteFileError
from pi_v_jupyter.remote.channel import Exit

FILE_HINTS = {
    "ENOENT": "`%vm ls` shows what is there.",
    "ENOTDIR": "A part of that path is a file: `%vm ls -l` shows which.",
    "EISDIR": "Name a file in it: `%vm ls` shows what is there.",
    "EEXIST": "Choose another name, or remove what is there.",
    "ENOTEMPTY": "With `recursive=True`, all that is in it goes too.",
    "EACCES": "`%vm ls -l` shows who may; `%vm id` who you are there.",
    "EPERM": "`%vm ls -l` shows who may, `%vm lsattr` whether it is locked.",
    "EROFS": "It is mounted to be read only: `%vm findmnt` shows how.",
    "ENOSPC": "`%vm df -h` shows what is full.",
    "EDQUOT": "Remove something of yours there first.",
    "ELOOP": "Its links lead in a circle: `%vm ls -l` shows where to.",
    "ENAMETOOLONG": "A name has 255 bytes at the most.",
    "EBUSY": "`%vm findmnt` shows whether something is mounted there.",
}
EDIT_HINTS = {
    "missing": "It must be there exactly so, spaces included: `%vers read` shows the file.",
    "repeated": "Take in more of what stands around it, so that it can only be one place.",
    "overlap": "Make them one edit.",
    "changed": "Look at it again, and edit what is there now.",
    "large": "A command such as `sed -i` does it.",
}


def shown(path: str) -> str:
    """A path as it may be printed."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in path) or "''"


@contextmanager
def understood(label: str | Callable[[], str]) -> Iterator[None]:
    """Whatever a VM says that makes no sense is one clear error. `label`: the VM's, or what looks it up."""
    try:
        yield
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ConnectionLostError(
            f"{label() if callable(label) else label} answered what the resident program never would.",
            "Look at what runs there.",
        ) from None


def failure(how: Exit, path: str | os.PathLike[str], label: str) -> Exception:
    """What to raise for work that was not done."""
    name = os.fspath(path)
    if how.error is None:
        return ConnectionLostError(f"The work on {shown(name)} on {label} was stopped.")
    value = how.value if isinstance(how.value, dict) else {}
    number = getattr(errno, how.error, None)
    if number is not None:
        told = f"{how.message[:1].upper()}{how.message[1:].rstrip('.')}"
        return RemoteFileError(
            f"{told}: {shown(how.what or name)} on {label}.",
            FILE_HINTS.get(how.error, ""),
            number=number,
            path=how.what or name,
        )
    if how.error in EDIT_HINTS:
        with understood(label):
            return _edit_failure(how, value, name, label)
    message, hint = f"{how.message}: {shown(name)} on {label}.", ""
    if how.error == "binary":
        hint = "`%vm od -c` looks at it; `%vers cp` copies it; `vm.read_bytes` has it."
    elif how.error == "end":
        number_of = value.get("lines")
        message = f"{shown(name)} on {label} has only {number_of} line{'s' * (number_of != 1)}."
        hint = f"Read from a line up to {number_of}." if number_of else ""
    return RemoteFileError(message, hint, path=name)


def _edit_failure(how: Exit, value: dict[str, Any], name: str, label: str) -> EditError:
    edit = value.get("edit")
    which = f" (edit {edit})" if edit else ""
    if how.error == "repeated":
        lines = ", ".join(map(str, value["lines"]))
        which = f", in lines {lines}{' and more' * (len(value['lines']) > 4)}{which}"
    elif how.error == "overlap":
        which = f" (edits {value['edits'][0]} and {value['edits'][1]})"
    return EditError(
        f"{how.message}{which}: {shown(name)} on {label}. Nothing was changed.",
        EDIT_HINTS[how.error or ""],
        edit=edit,
    )
