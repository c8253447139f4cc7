"""Files inside a VM, through its agent; what the API's `files` is made of."""

from __future__ import annotations

from typing import NoReturn

from pydantic import BaseModel

from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local.answers import ANSWER_TIMEOUT, checked, decoded, hand_over, refuse
from pi_v_jupyter.local.guestlink import GuestError, GuestLink
from pi_v_jupyter.local.problems import NotPossibleError, UnknownError

LARGEST_FILE = 32 * 1024**2


async def read_file(guest: GuestLink, path: str) -> bytes:
    """The content of a file.

    Raises:
        UnknownError: there is none.
        NotPossibleError: it is a folder, or larger than LARGEST_FILE.
    """
    content = bytearray()
    version = None
    while True:
        try:
            answer = await guest.ask(
                "read_file", timeout=ANSWER_TIMEOUT, path=path, offset=len(content), version=version
            )
        except GuestError as error:
            _refuse_file(error, path)
        part = checked(_Part, answer)
        if not part.data and not part.eof:
            raise PlatformError("The VM's agent gave an answer that makes no sense.")  # it would for ever
        content += decoded(part.data)
        if max(part.size, len(content)) > LARGEST_FILE:
            raise NotPossibleError(
                f"{path} is larger than the {LARGEST_FILE // 1024**2} MB that fit in one answer.",
                "Copy it over SSH, which has no limit.",
            )
        version = part.version
        if part.eof:
            return bytes(content)


async def write_file(
    guest: GuestLink, path: str, content: bytes, *, mode: int = 0o644, create_dirs: bool = False
) -> None:
    """Replace the file `path`, whole or not at all.

    Raises:
        UnknownError: its folder is not there.
        NotPossibleError: it is a folder, or there cannot be such a file.
        NoRoomError: the VM's disk is full.
    """
    if len(content) > LARGEST_FILE:
        raise NotPossibleError(
            f"{len(content)} bytes are more than the {LARGEST_FILE // 1024**2} MB a request can write.",
            "Copy the file over SSH, which has no limit.",
        )
    try:
        given = await hand_over(guest, content, "data")
        await guest.ask(
            "write_file", timeout=ANSWER_TIMEOUT, path=path, mode=mode, create_dirs=create_dirs, **given
        )
    except GuestError as error:
        _refuse_file(error, path)


class _Part(BaseModel):
    data: str
    size: int
    version: str
    eof: bool


def _refuse_file(error: GuestError, path: str) -> NoReturn:
    if error.code == "ENOENT":
        raise UnknownError(f"There is no {path} on the VM, or not its folder.") from None
    refuse(error)
