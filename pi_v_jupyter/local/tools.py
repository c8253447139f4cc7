"""Programs and files of the host the platform needs, and how to get them.

Their absence is found before any work is done, and all that are absent are named at once.
"""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

from pi_v_jupyter.errors import MissingToolError

# By which mmdebstrap tells Debian's packages, on a system that does not trust them itself.
DEBIAN_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
_DEBIAN_PACKAGES = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-system-aarch64": "qemu-system-arm",
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "dpkg-deb": "dpkg",
    "apt-get": "apt",
    "tar": "tar",
    "fakeroot": "fakeroot",
    "fakechroot": "fakechroot",
    "curl": "curl",
    DEBIAN_KEYS: "debian-archive-keyring",
}
# mke2fs is an administrator's program: Debian leaves its folder out of an ordinary user's PATH.
_SYSTEM_FOLDERS = "/usr/sbin:/sbin"


def find(name: str) -> str | None:
    """Path of the program `name`, or of the file where `name` is an absolute path; None if it is absent."""
    if Path(name).is_absolute():
        return name if Path(name).exists() else None
    return shutil.which(name) or shutil.which(name, path=_SYSTEM_FOLDERS)


def package(name: str) -> str:
    """The Debian package that has the program or file `name`."""
    return _DEBIAN_PACKAGES.get(name, name)


def need(*names: str) -> list[str]:
    """Paths of the programs and files `names`.

    Raises:
        MissingToolError: naming all that are absent, with the command that installs them.
    """
    found = {name: find(name) for name in names}
    absent = [name for name, path in found.items() if path is None]
    if absent:
        verb = "is" if len(absent) == 1 else "are"
        raise MissingToolError(f"{', '.join(absent)} {verb} not installed.", _how_to_install(absent))
    return [path for path in found.values() if path is not None]


def _how_to_install(names: list[str]) -> str:
    if platform.system() == "Darwin":
        if all(name.startswith("qemu") for name in names):
            return "brew install qemu"
        return "The image is built on Debian or Ubuntu; copy it from there, or use a Linux machine."
    packages = sorted(set(map(package, names)))
    return "sudo apt-get install --no-install-recommends " + " ".join(packages)
