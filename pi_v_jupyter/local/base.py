"""The booted machine that new VMs are restored from, so that they need not boot.

A machine of each image, as large as VMs of it are by default, is booted once, its memory in a file, and
stopped: that file, the state of its devices and its disk are a `Base`. Each VM restored from it maps the
memory file copy-on-write, so idle VMs share it. A base depends on the image, on QEMU and on every argument
of the machine; its folder's name is a digest of all that, and it is renamed into place when it is whole.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import secrets
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import filelock

from pi_v_jupyter.errors import ImageError, PlatformError
from pi_v_jupyter.local import accelerator, disks, hardware, memory, paths
from pi_v_jupyter.local.guestlink import GuestLink
from pi_v_jupyter.local.hardware import Size, Wiring
from pi_v_jupyter.local.image import DEFAULT, DISK_MIB, GOLDEN, Image
from pi_v_jupyter.local.keys import KeyPair
from pi_v_jupyter.local.machine import Machine
from pi_v_jupyter.local.rootfs import Progress

# By the name of the image. An agent has Node and a compiler to feed.
SIZES = {
    DEFAULT: Size(vcpus=1, memory_mib=512, disk_mib=DISK_MIB),
    GOLDEN: Size(vcpus=1, memory_mib=1024, disk_mib=DISK_MIB),
}
DEFAULT_SIZE = SIZES[DEFAULT]
BOOT_TIMEOUT = 300.0  # seconds, under emulation on a slow computer
CONFIGURE_TIMEOUT = 60.0
_TIME_TIMEOUT = 15.0
_SETTLE_TIMEOUT = 120.0
_LOCK_TIMEOUT = 900.0
_ROOM_BEYOND_MEMORY_MIB = 300  # for its disk and the state of its devices


@dataclass(frozen=True)
class Resident:
    """What runs in every VM from the start: a program, Python source, and the socket it serves.

    And another that keeps a Python kernel for cells, likewise.
    """

    program: bytes
    socket_path: str
    keeper: bytes
    keeper_path: str


@dataclass(frozen=True)
class Base:
    """A machine saved while it ran."""

    folder: Path

    @property
    def memory(self) -> Path:
        """Its memory; mapped by its clones, never written again."""
        return self.folder / "memory"

    @property
    def devices(self) -> Path:
        """The state of everything else in it."""
        return self.folder / "devices"

    @property
    def disk(self) -> Path:
        """Its disk, an overlay of the image's; the disks of its clones are overlays of it."""
        return self.folder / "disk.qcow2"


async def ensure(image: Image, accel: str, resident: Resident | None, progress: Progress) -> Base:
    """The base for this image, computer and resident program; booted and saved first if need be.

    Raises:
        ImageError: the image does not boot.
    """
    base = where(image, accel, resident)
    if base.folder.exists():
        return base
    lock = filelock.FileLock(paths.machines_dir() / "save.lock")
    try:
        await asyncio.to_thread(lock.acquire, timeout=_LOCK_TIMEOUT)
    except filelock.Timeout:
        raise ImageError(
            "Another start of the platform does not come to an end.", "End it and try again."
        ) from None
    try:
        if not base.folder.exists():
            await _make(base, image, accel, resident, progress)
    finally:
        lock.release()
    return base


def where(image: Image, accel: str, resident: Resident | None) -> Base:
    """The base for these, be it there or not."""
    digest = hashlib.sha256()
    parts = [image.digest, machine_digest(SIZES[image.name], accel)]
    if resident is not None:
        parts += [resident.socket_path, hashlib.sha256(resident.program).hexdigest()]
        parts += [resident.keeper_path, hashlib.sha256(resident.keeper).hexdigest()]
    digest.update("\0".join(parts).encode())
    return Base(paths.machines_dir() / digest.hexdigest()[:16])


def machine_digest(size: Size, accel: str) -> str:
    """Of all that must be the same for one machine to take up the state of another."""
    parts = (accelerator.qemu_version(), hardware.fingerprint(size, accel))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


async def _make(base: Base, image: Image, accel: str, resident: Resident | None, progress: Progress) -> None:
    progress("booting a first machine (new ones are copies of it)")
    folder = base.folder.with_name("new.partial")
    if folder.exists():
        shutil.rmtree(folder)
    size = SIZES[image.name]
    _check_room(folder.parent, size)
    folder.mkdir(mode=0o700)
    try:
        await _make_in(folder, image, accel, resident, progress)
        folder.rename(base.folder)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if disks.is_full(error):
            raise _no_room(folder.parent, size) from None
        raise
    progress("saved it")


def _check_room(folder: Path, size: Size) -> None:
    if shutil.disk_usage(folder).free < (size.memory_mib + _ROOM_BEYOND_MEMORY_MIB) * 1024**2:
        raise _no_room(folder, size)


def _no_room(folder: Path, size: Size) -> ImageError:
    needed = size.memory_mib + _ROOM_BEYOND_MEMORY_MIB
    free = shutil.disk_usage(folder).free // 1024**2
    return ImageError(
        f"The disk is full: a first machine needs {needed} MB and {folder} has {free} MB.",
        "Free some, or set XDG_CACHE_HOME to a folder on another disk.",
    )


async def _make_in(
    folder: Path, image: Image, accel: str, resident: Resident | None, progress: Progress
) -> None:
    unfinished = Base(folder)
    size = SIZES[image.name]
    disks.overlay(unfinished.disk, image.disk, size.disk_mib)
    memory.blank(unfinished.memory, size.memory_mib * 1024**2)
    with tempfile.TemporaryDirectory(dir=paths.runtime_dir()) as sockets:
        wiring = Wiring(
            layers=(image.disk, unfinished.disk),
            memory=unfinished.memory,
            monitor=Path(sockets) / "qmp",
            agent=Path(sockets) / "agent",
            writes_memory=True,
        )
        name = f"{paths.runtime_dir().name}:base"
        machine = await Machine.start(image, size, accel, wiring, name=name)
        try:
            await _boot(machine, progress)
            await _warm(machine, resident)
            await machine.pause()
            await machine.save_devices(unfinished.devices)
        finally:
            await machine.end()
    for file in (unfinished.memory, unfinished.devices, unfinished.disk):
        await asyncio.to_thread(memory.write_out, file)


async def _boot(machine: Machine, progress: Progress) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        await machine.guest.ask("ping", timeout=BOOT_TIMEOUT)
    except PlatformError as error:
        words = []
        with contextlib.suppress(PlatformError):  # QEMU may be gone, and is not what went wrong first
            words = (await machine.console()).strip().splitlines()[-3:]
        raise ImageError(f"The image does not boot: {error.message}", " / ".join(words)) from None
    progress(f"it is up after {loop.time() - started:.1f} s; letting it settle")
    answer = await machine.guest.ask("settle", timeout=_SETTLE_TIMEOUT + 10, seconds=_SETTLE_TIMEOUT)
    progress(f"it is {str(answer.get('state'))[:40]} after {loop.time() - started:.1f} s")


async def _warm(machine: Machine, resident: Resident | None) -> None:
    """Have in memory what every clone needs first: our programs, a kernel, a login's worth of files."""
    guest = machine.guest
    if resident is not None:
        program = base64.b64encode(resident.program).decode()
        await guest.ask(
            "start_resident", timeout=90, program=program, socket_path=resident.socket_path, seconds=60
        )
        keeper = base64.b64encode(resident.keeper).decode()
        await guest.ask(
            "start_kernel", timeout=190, program=keeper, socket_path=resident.keeper_path, seconds=180
        )
    login = KeyPair.generate()
    await personalize(guest, name="vm", login=login, host=KeyPair.generate())
    await guest.ask("rehearse_login", timeout=60, private_key=login.private)
    await guest.ask("forget", timeout=60)


async def personalize(
    guest: GuestLink, *, name: str, login: KeyPair, host: KeyPair | None, env: dict[str, str] | None = None
) -> None:
    """Make the machine itself: own name, keys, clock and randomness; `env` is added to its environment.

    Its SSH server listens after this. Without `host` it keeps the key it proves itself by.
    """
    await guest.ask(
        "configure",
        timeout=CONFIGURE_TIMEOUT,
        name=name,
        machine_id=secrets.token_hex(16),
        authorized_key=login.public,
        host_key=host.private if host else None,
        host_public_key=host.public if host else None,
        env=env or {},
        **_moment(),
    )


async def set_right(guest: GuestLink) -> None:
    """Give a machine that stood still the time, and randomness of its own."""
    await guest.ask("time", timeout=_TIME_TIMEOUT, **_moment())


def _moment() -> dict[str, object]:
    return {"now": time.time(), "seed": base64.b64encode(secrets.token_bytes(64)).decode()}
