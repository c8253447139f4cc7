"""Small JSON files: replaced whole; set aside, never overwritten, when they cannot be read."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local import disks
from pi_v_jupyter.local.problems import NoRoomError
from pi_v_jupyter.settings import write_private

log = logging.getLogger(__name__)

T = TypeVar("T")


def read(file: Path, kind: TypeAdapter[T], empty: T) -> T:
    """What `file` holds; `empty` when it is not there, or cannot be read and was set aside."""
    try:
        return kind.validate_json(file.read_bytes())
    except FileNotFoundError:
        return empty
    except (OSError, ValidationError) as error:
        aside = file.with_suffix(".unreadable")
        log.warning("%s cannot be read, and goes on as %s: %s", file, aside.name, type(error).__name__)
        with contextlib.suppress(OSError):
            file.replace(aside)
        return empty


def write(file: Path, text: str) -> None:
    """Write `file`, whole or not at all.

    Raises:
        NoRoomError: the disk is full.
        PlatformError: it cannot be written.
    """
    try:
        write_private(file, text)
    except OSError as error:
        if disks.is_full(error):
            raise NoRoomError(
                f"The disk is full: {file} cannot be written.", "Free some space, then try again."
            ) from None
        raise PlatformError(f"{file} cannot be written: {error.strerror}.") from None
