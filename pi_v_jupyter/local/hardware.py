"""The arguments that make a QEMU machine: what it is built of, on each kind of computer.

Everything structured is passed as JSON, so that no path is ever parsed as an option. The machine of a
restored VM must be built exactly as the saved one was: only paths, ports and the sharing of memory
may differ, and those are `Wiring`.
"""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from pathlib import Path

from pi_v_jupyter.local.image import Image

AGENT_PORT = "org.pi-v.agent"
# Translated code kept per VM under software emulation, in MiB. QEMU's own choice is an eighth of the
# host's memory; an idle VM needs little.
_TRANSLATION_MIB = 64


@dataclass(frozen=True)
class Size:
    """How large a VM is; memory and disk in MiB."""

    vcpus: int
    memory_mib: int
    disk_mib: int


@dataclass(frozen=True)
class Wiring:
    """What is one machine's own: its files, its sockets.

    `memory_file` backs its memory; `writes_memory` is true only for the machine being saved, all
    others see their own writes alone (copy on write). None: ordinary memory.
    """

    disk: Path
    monitor: Path
    agent: Path
    memory_file: Path | None = None
    writes_memory: bool = False
    restored: bool = False


def program() -> str:
    """Name of the QEMU program for this computer's own kind of processor."""
    return f"qemu-system-{_architecture()}"


def arguments(
    image: Image, size: Size, accelerator: str, wiring: Wiring, *, name: str, sockets: tuple[int, int]
) -> list[str]:
    """The whole argument list after the program's name.

    `sockets`: file descriptors, which QEMU inherits, that listen at `wiring.monitor` and `wiring.agent`.
    """
    monitor, agent = sockets
    return [
        *("-name", name),
        *core(size, accelerator),
        *("-object", json.dumps(_memory(size, wiring))),
        *("-kernel", str(image.kernel), "-initrd", str(image.initramfs), "-append", kernel_line(accelerator)),
        *("-blockdev", json.dumps(_disk(wiring.disk))),
        *("-chardev", f"socket,id=agent,fd={agent},server=on,wait=off"),
        *(
            "-chardev",
            f"socket,id=monitor,fd={monitor},server=on,wait=off",
            "-mon",
            "chardev=monitor,mode=control",
        ),
        *devices(),
        *(("-incoming", "defer") if wiring.restored else ()),
    ]


def core(size: Size, accelerator: str) -> list[str]:
    """Processor and board."""
    x86 = _architecture() == "x86_64"
    board = "pc,usb=off,vmport=off" if x86 else "virt,gic-version=max"
    speed = f",tb-size={_TRANSLATION_MIB},thread=multi" if accelerator == "tcg" else ""
    return [
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-machine", f"{board},memory-backend=ram"),
        *("-accel", accelerator + speed),
        *("-cpu", "max" if accelerator == "tcg" else "host"),
        *("-smp", str(size.vcpus), "-m", f"{size.memory_mib}M"),
    ]


def devices() -> list[str]:
    """Everything plugged in. The SSH server's port on the host is chosen by the host (port 0).

    When the host's disk is full the guest is told of a failed write: QEMU's own way is to stop the VM.
    """
    return [
        # What the guest says on its console stays in memory, bounded, and is asked for when it fails.
        *("-chardev", "ringbuf,id=console,size=65536", "-serial", "chardev:console"),
        *("-device", '{"driver":"virtio-blk-pci","drive":"disk","werror":"report"}'),
        *("-netdev", "user,id=net,ipv6=off,hostfwd=tcp:127.0.0.1:0-:22"),
        *("-device", '{"driver":"virtio-net-pci","netdev":"net","romfile":""}'),
        *("-device", '{"driver":"virtio-rng-pci"}'),
        *("-device", '{"driver":"virtio-serial-pci"}'),
        *("-device", json.dumps({"driver": "virtserialport", "chardev": "agent", "name": AGENT_PORT})),
    ]


def kernel_line(accelerator: str) -> str:
    """The kernel's command line."""
    console = "ttyS0" if _architecture() == "x86_64" else "ttyAMA0"
    # Against attacks between processes on one processor; under emulation they cost and protect nothing.
    emulated = "mitigations=off init_on_alloc=0 " if accelerator == "tcg" else ""
    return f"console={console} quiet loglevel=4 {emulated}net.ifnames=0 audit=0 panic=5"


def fingerprint(size: Size, accelerator: str) -> str:
    """All of the machine that a saved one depends on, in one string."""
    processor = "" if accelerator == "tcg" else f"{platform.node()} {platform.processor()}"
    return "\n".join([*core(size, accelerator), *devices(), kernel_line(accelerator), processor])


def _memory(size: Size, wiring: Wiring) -> dict[str, object]:
    common: dict[str, object] = {"id": "ram", "size": size.memory_mib * 1024**2}
    if wiring.memory_file is None:
        return {"qom-type": "memory-backend-ram", **common}
    return {
        "qom-type": "memory-backend-file",
        "mem-path": str(wiring.memory_file),
        "share": wiring.writes_memory,
        **common,
    }


def _disk(path: Path) -> dict[str, object]:
    return {
        "driver": "qcow2",
        "node-name": "disk",
        "discard": "unmap",
        "file": {"driver": "file", "filename": str(path), "discard": "unmap"},
    }


def _architecture() -> str:
    machine = platform.machine().lower()
    return "aarch64" if machine in ("aarch64", "arm64") else "x86_64"
