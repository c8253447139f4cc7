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
    return _found("golden", "bootstrap.sh", "The recipe of the golden image is not installed.")


def skills() -> Path:
    """The skill documents, a folder each.

    Raises:
        PlatformError: they are not installed.
    """
    return _found("skills", "*/SKILL.md", "The skill documents are not installed.")


def resident() -> Path:
    """The program that minds background processes, as agents' machines have a copy of it."""
    return PACKAGE / "remote" / "_resident"


def _found(name: str, sign: str, otherwise: str) -> Path:
    """The folder of that name that has what `sign` matches: of the package, or of the checkout around it."""
    for folder in (PACKAGE / f"_{name}", PACKAGE.parent / name):
        if any(folder.glob(sign)):
            return folder
    raise PlatformError(otherwise, "Install pi-v-jupyter again.")
