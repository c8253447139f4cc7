"""The arguments that make a QEMU machine: what it is built of, on each kind of computer.

Everything structured is passed as JSON, so that no path is ever parsed as an option. The machine of a
restored VM must be built exactly as the saved one was: only paths, ports and the sharing of memory
may differ, and those are `Wiring`.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pi_v_jupyter.local.additions import NAME_SERVER
from pi_v_jupyter.local.image import Image

AGENT_PORT = "org.pi-v.agent"
# The guest's two networks: one that SSH comes in by and that leads nowhere, one that leads out.
INSIDE = "10.0.2.0/24"
OUTSIDE = "10.0.3.0/24"
HOST_SEEN = "10.0.3.2"  # this computer, as a guest calls it
SENDS, TAKES = "sieve-sends", "sieve-takes"
DISK_NODE = "disk"
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

    `layers` make up its disk, the lowest first; it writes to the last alone. `memory` backs its memory;
    `writes_memory` is true only for the machine that new ones are copies of, all others see their own
    writes alone (copy on write). A `restored` one is given the state of its devices before it runs.
    """

    layers: tuple[Path, ...]
    memory: Path
    monitor: Path
    agent: Path
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
        *(word for node in _disk(wiring.layers) for word in ("-blockdev", json.dumps(node))),
        *("-chardev", f"socket,id=agent,fd={agent},server=on,wait=off"),
        *(
            "-chardev",
            f"socket,id=monitor,fd={monitor},server=on,wait=off",
            "-mon",
            "chardev=monitor,mode=control",
        ),
        *devices(),
        *(("-incoming", "defer", "-S") if wiring.restored else ()),
    ]


def core(size: Size, accelerator: str) -> list[str]:
    """Processor and board."""
    x86 = _architecture() == "x86_64"
    board = "pc,usb=off,vmport=off" if x86 else "virt,gic-version=max"
    speed = f",tb-size={_TRANSLATION_MIB},thread=multi" if accelerator == "tcg" else ""
    return [
        *("-nodefaults", "-no-user-config", "-display", "none"),
        # The state of devices is saved without the frame that a migration between hosts would have.
        *("-machine", f"{board},memory-backend=ram,suppress-vmdesc=on"),
        *("-global", "migration.send-configuration=off"),
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
        *("-netdev", f"user,id=inside,net={INSIDE},restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:0-:22"),
        *("-device", _card("inside", "52:54:00:12:34:56")),
        *("-netdev", f"user,id=outside,net={OUTSIDE},host={HOST_SEEN},dns={NAME_SERVER},ipv6=off"),
        *("-device", _card("outside", "52:54:00:12:34:57")),
        # Where there is no way through `sieve`, what the guest sends ends here.
        *("-chardev", "null,id=nowhere"),
        *("-object", json.dumps(_filter("shut", outdev="nowhere"))),
        *("-device", '{"driver":"virtio-rng-pci"}'),
        *("-device", '{"driver":"virtio-serial-pci"}'),
        *("-device", json.dumps({"driver": "virtserialport", "chardev": "agent", "name": AGENT_PORT})),
    ]


def sieve() -> list[dict[str, Any]]:
    """The way that frames of the guest take to the outside: out at `SENDS`, and in again at `TAKES`.

    QEMU leads them past its filters from the tail of the list to its head: the way out is before the dead
    end of `devices`, the way in behind it.
    """
    return [
        _filter(TAKES, indev=TAKES, position="head"),
        _filter(SENDS, outdev=SENDS, position="tail"),
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


def _card(network: str, address: str) -> str:
    return json.dumps({"driver": "virtio-net-pci", "netdev": network, "mac": address, "romfile": ""})


def _filter(name: str, **fields: str) -> dict[str, str]:
    # "rx" is as the network sees it: what it gets from the guest.
    return {"qom-type": "filter-redirector", "id": name, "netdev": "outside", "queue": "rx", **fields}


def _memory(size: Size, wiring: Wiring) -> dict[str, object]:
    return {
        "qom-type": "memory-backend-file",
        "id": "ram",
        "size": size.memory_mib * 1024**2,
        "mem-path": str(wiring.memory),
        "share": wiring.writes_memory,
    }


def layer(path: Path, name: str, *, below: str | None, read_only: bool) -> dict[str, object]:
    """One layer of a disk as a node of QEMU's block graph, over the node `below`.

    What lies below is said here, whatever the file itself says: files may have moved since. The host
    syncs no write of a guest to its disk; what has to last is synced when it is saved.
    """
    file = {"driver": "file", "filename": str(path), "discard": "unmap", "cache": {"no-flush": True}}
    node: dict[str, object] = {
        "driver": "raw" if path.suffix == ".raw" else "qcow2",
        "node-name": name,
        "read-only": read_only,
        "discard": "unmap",
        "cache": {"no-flush": True},
        "file": {**file, "read-only": read_only},
    }
    return node if path.suffix == ".raw" else {**node, "backing": below}


def memory_map(size: Size) -> list[tuple[int, int]]:
    """Where the processor sees the memory: address and length of each part, in bytes."""
    total = size.memory_mib * 1024**2
    if _architecture() == "aarch64":
        return [(1024**3, total)]
    below = total if total < 0xE000_0000 else 0xC000_0000  # the rest makes room for devices under 4 GB
    return [(0, below)] if below == total else [(0, below), (4 * 1024**3, total - below)]


def _disk(layers: tuple[Path, ...]) -> Iterator[dict[str, object]]:
    below = None
    for number, path in enumerate(layers, 1):
        name = DISK_NODE if number == len(layers) else f"{DISK_NODE}-{number}"
        yield layer(path, name, below=below, read_only=number < len(layers))
        below = name


def _architecture() -> str:
    machine = platform.machine().lower()
    return "aarch64" if machine in ("aarch64", "arm64") else "x86_64"
