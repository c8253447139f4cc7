"""Which of QEMU's accelerators works here, found by trying.

That /dev/kvm is there says little: inside other virtual machines it may start no kernel. So the real
kernel is started for a moment under each, and the first that gets to its first program is taken. The
answer is kept for as long as the computer is not restarted and QEMU and the kernel stay the same.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import subprocess
from pathlib import Path

import psutil

from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local import hardware, tools
from pi_v_jupyter.local.hardware import Size
from pi_v_jupyter.local.image import Image
from pi_v_jupyter.local.rootfs import Progress
from pi_v_jupyter.settings import cache_dir, write_private

_PROBE_TIMEOUT = 10.0
_PROBE_SIZE = Size(vcpus=1, memory_mib=256, disk_mib=0)
_SIGN_OF_LIFE = b"pi-v: kernel runs"  # guest/init prints it when asked with `pi_v.probe`


def qemu_version() -> str:
    """The first line of `qemu --version`.

    Raises:
        MissingToolError: QEMU is not installed.
    """
    (program,) = tools.need(hardware.program())
    return _version_of(program, Path(program).stat().st_mtime_ns)


@functools.cache
def _version_of(program: str, _changed_ns: int) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=30)
    if done.returncode != 0:
        raise PlatformError(f"{program} does not run: {done.stderr.strip()[-200:]}")
    return done.stdout.splitlines()[0]


def choose(image: Image, progress: Progress) -> str:
    """`kvm`, `hvf` or `tcg`."""
    memory = cache_dir() / "accelerator.json"
    situation = [
        platform.node(),
        int(psutil.boot_time()),
        qemu_version(),
        image.digest,
        os.access("/dev/kvm", os.W_OK),
    ]
    try:
        remembered = json.loads(memory.read_text())
        if remembered["situation"] == situation:
            return str(remembered["accelerator"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass
    chosen = next((name for name in _candidates() if _works(name, image, progress)), "tcg")
    write_private(memory, json.dumps({"situation": situation, "accelerator": chosen}))
    return chosen


def _candidates() -> list[str]:
    if platform.system() == "Darwin":
        return ["hvf"]
    return ["kvm"] if Path("/dev/kvm").exists() and os.access("/dev/kvm", os.R_OK | os.W_OK) else []


def _works(accelerator: str, image: Image, progress: Progress) -> bool:
    progress(f"trying {accelerator.upper()}")
    (program,) = tools.need(hardware.program())
    command = [
        program,
        *hardware.core(_PROBE_SIZE, accelerator),
        *("-object", json.dumps({"qom-type": "memory-backend-ram", "id": "ram", "size": 256 * 1024**2})),
        *("-kernel", str(image.kernel), "-initrd", str(image.initramfs)),
        *("-append", hardware.kernel_line(accelerator) + " pi_v.probe"),
        *("-serial", "stdio", "-no-reboot"),
    ]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=_PROBE_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        works = False
    else:
        works = _SIGN_OF_LIFE in done.stdout
    progress(f"{accelerator.upper()} {'works' if works else 'does not work here'}")
    return works
