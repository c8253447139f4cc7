"""The Debian tree of the VM image, by mmdebstrap, as a tar archive; as root or not.

The archive, not a folder, leaves this module: it holds owners and modes right whoever built it.
Where packages come from is what this computer's own apt says, on a Debian; elsewhere Debian's mirrors.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from pi_v_jupyter.errors import ImageError
from pi_v_jupyter.local import tools

Progress = Callable[[str], None]

# Where the host is no Debian. Under fakechroot programs of the tree load libraries of the host, and their own
# C library must not be older: that of Ubuntu 24.04 is newer than the one of Debian 12.
FALLBACK_SUITE = "trixie"
PACKAGES = (
    "apt",
    "bash",
    "busybox-static",
    "ca-certificates",
    "curl",
    "e2fsprogs",
    "git",
    "iproute2",
    "kmod",
    "less",
    "nano",
    "openssh-server",
    "procps",
    "python3",
    "python3-ipykernel",
    "python3-matplotlib",
    "python3-munkres",  # else matplotlib brings scipy, and that a C++ compiler: 570 MB
    "python3-numpy",
    "python3-pandas",
    "python3-unicodedata2",  # else matplotlib brings the headers of Python
    "rsync",
    "systemd-sysv",
    "tmux",
)
# Documentation and translations are a third of a small system.
_LEFT_OUT = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)
# The kernel is unpacked, not installed: installing it would make an initramfs in the guest that
# nobody boots. `MMDEBSTRAP_APT_CONFIG` makes the host's apt work on the new tree's lists. It goes
# through a folder of its own, because unpacking it over the tree would replace the link /lib.
_UNPACK_KERNEL = """set -eu
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
root="$1"
mkdir "$root/var/tmp/kernel"
cd "$root/var/tmp/kernel"
kernel=$(apt-cache depends --important linux-image-cloud-{arch} |
    sed -n 's/^ *Depends: \\(linux-image-[^ ]*\\).*/\\1/p')
apt-get download "$kernel"
dpkg-deb --extract linux-image-*.deb .
mv boot/* "$root/boot/"
mv $(find . -type d -path '*lib/modules') "$root/usr/lib/"
cd /
rm -r "$root/var/tmp/kernel"
chroot "$root" depmod "${{kernel#linux-image-}}"
"""
# matplotlib looks through all fonts when it is first imported, which takes some seconds under emulation.
_LIST_FONTS = """set -eu
chroot "$1" env -u XDG_CACHE_HOME -u XDG_CONFIG_HOME -u MPLCONFIGDIR HOME=/root \\
    python3 -c "import matplotlib.font_manager"
"""
_LISTED = "$(SITE)\t$(RELEASE)\t$(COMPONENT)\t$(ORIGIN)"
# Under fakechroot programs find libraries where the tree's ld.so.conf says, not where they themselves say:
# systemd's own would be looked for on this computer.
_SYSTEMD_CONF = "etc/ld.so.conf.d/systemd-under-fakechroot.conf"
_FIND_SYSTEMD = f"""set -eu
mkdir -p "$1/usr/lib/{{machine}}-linux-gnu/systemd" "$1/etc/ld.so.conf.d"
echo "/usr/lib/{{machine}}-linux-gnu/systemd" >"$1/{_SYSTEMD_CONF}"
"""


def debian_architecture() -> str:
    """Debian's name of this computer's architecture.

    Raises:
        ImageError: VMs are not supported on it.
    """
    machine = platform.machine().lower()
    names = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
    if machine not in names:
        raise ImageError(f"There is no VM image for {machine} computers.", "x86-64 and ARM64 are supported.")
    return names[machine]


def suite() -> str:
    """The Debian release VMs run: the host's, or else a stable one."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return FALLBACK_SUITE
    return (
        release.get("VERSION_CODENAME", FALLBACK_SUITE) if release.get("ID") == "debian" else FALLBACK_SUITE
    )


def mode() -> str:
    """How mmdebstrap is to get along without, or with, root's rights: `root`, `unshare` or `fakechroot`."""
    if os.geteuid() == 0:
        return "root"
    # Some systems forbid user namespaces, others only mounting in them: what counts is whether it works.
    probe = ["unshare", "--map-auto", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc", "true"]
    try:
        works = subprocess.run(probe, capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        works = False
    return "unshare" if works else "fakechroot"


def sources(release: str) -> list[str]:
    """`deb` lines for `release` from this computer's apt; none means mmdebstrap's own, Debian's mirrors."""
    listing = ""
    apt_get = tools.find("apt-get")
    if apt_get:
        listing = subprocess.run(
            [apt_get, "indextargets", "--format", _LISTED, "Created-By: Packages"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        ).stdout
    lines = []
    for line in listing.splitlines():
        site, suite, component, origin = line.split("\t")
        ours = suite in (release, f"{release}-updates", f"{release}-security") and component == "main"
        if ours and origin == "Debian":  # others name theirs alike, and sign with keys of their own
            lines.append(f"deb {site} {suite} main")
    return lines


def build(archive: Path, progress: Progress, more: Sequence[str] = ()) -> None:
    """Write the tree to the tar file `archive`. `more`: packages it has beyond those of any VM.

    Raises:
        MissingToolError: a program is absent.
        ImageError: mmdebstrap failed; its last words are in the message, all of them in `archive`.log.
    """
    how = mode()
    mmdebstrap, *_ = tools.need(
        "mmdebstrap", "apt-get", "dpkg-deb", *(["fakechroot", "fakeroot"] if how == "fakechroot" else [])
    )
    around: tuple[str, ...] = ()
    if how == "fakechroot":
        around = (
            f"--setup-hook={_FIND_SYSTEMD.format(machine=os.uname().machine)}",
            f'--customize-hook=rm "$1/{_SYSTEMD_CONF}"',
        )
    release = suite()
    progress(f"Debian {release} for {debian_architecture()}, mmdebstrap in {how} mode")
    command = [
        mmdebstrap,
        f"--mode={how}",
        "--variant=essential",
        "--format=tar",
        f"--include={','.join([*PACKAGES, *more])}",
        *(f"--dpkgopt={option}" for option in _LEFT_OUT),
        f"--customize-hook={_UNPACK_KERNEL.format(arch=debian_architecture())}",
        f"--customize-hook={_LIST_FONTS}",
        *around,
        release,
        str(archive),
        *sources(release),
    ]
    log = archive.with_suffix(".log")
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    with log.open("w") as log_file, subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", env=environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None  # noqa: S101 - for the type checker
        for line in process.stdout:
            log_file.write(line)
            if line.startswith("I: "):
                progress("mmdebstrap: " + line[3:].strip())
    if process.returncode != 0:
        raise ImageError(*_what_went_wrong(log))


def _what_went_wrong(log: Path) -> tuple[str, str]:
    lines = [line.strip() for line in log.read_text().splitlines() if line.strip()]
    if any("No space left on device" in line for line in lines):
        return (
            f"The disk is full: there is no room to build the image in {log.parent}.",
            "Free 3 GB and try again.",
        )
    errors = [line for line in lines if line.startswith("E: ")] or lines[-1:] or ["it said nothing"]
    return f"mmdebstrap failed: {errors[0]}", f"All it said is in {log}"
