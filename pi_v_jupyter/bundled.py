"""Folders that ship with the package beside its modules, in an installed package and in a checkout."""

from __future__ import annotations

from pathlib import Path

from pi_v_jupyter.errors import PlatformError

PACKAGE = Path(__file__).parent


def golden() -> Path:
    """The recipe of the machine that agents start from.

    Raises:
        PlatformError: it is not installed.
    """
    for folder in (PACKAGE / "_golden", PACKAGE.parent / "golden"):
        if (folder / "bootstrap.sh").exists():
            return folder
    raise PlatformError("The recipe of the golden image is not installed.", "Install pi-v-jupyter again.")


def resident() -> Path:
    """The program that minds background processes, as agents' machines have a copy of it."""
    return PACKAGE / "remote" / "_resident"
