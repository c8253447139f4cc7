"""The two ends of a copy, as operations; see `pack` and `unpack`. What is between them is the client's."""

from __future__ import annotations

import os

from . import parts
from .files import Refusal
from .pack import pack
from .records import CopyError
from .unpack import unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .files import Call


def send(call: Call, paths: list[str], resume: dict[str, Any] | None, folders: bool) -> Any:
    for path in paths:
        if not folders and os.path.isdir(call.path(path)):
            raise Refusal("folder", f"{path} is a folder")
    try:
        return pack([call.path(path) for path in paths], call.out(), resume=resume, stopped=call.stopped)
    except CopyError as error:
        raise Refusal("copy", str(error)) from None


def receive(call: Call, path: str, asked: list[str], owners: bool, same_machine: bool) -> Any:
    how = {"asked": asked, "owners": owners, "same_machine": same_machine}
    try:
        return unpack(call.source, call.path(path), whole=call.whole, stopped=call.stopped, **how)  # type: ignore[arg-type]
    except CopyError as error:
        raise Refusal("copy", str(error)) from None


def partial(call: Call, path: str, source: str) -> Any:
    """What is left of an earlier copy that was cut."""
    return parts.partial(call.path(path), source, stopped=call.stopped)
