"""What is kept on disk of each VM: one folder, with a record and a private key; its disk is in `store`.

The record is written before the VM exists and outlives it until it is deleted: a VM whose QEMU is gone
is `dead`, not forgotten.
"""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

from pydantic import ValidationError

from pi_v_jupyter.api.models import VMInfo, VMState
from pi_v_jupyter.local import kept, paths, store
from pi_v_jupyter.local.hardware import Size, Wiring
from pi_v_jupyter.local.keys import KeyPair

log = logging.getLogger(__name__)


class VMRecord(VMInfo):
    """`VMInfo`, what the machine is made of, and the process behind it (its id, its start in Unix seconds).

    Files are named as in `store`: the `layers` of its disk, the lowest first, and the `memory` under the
    pages it wrote. `machine` is a digest of how it is built. `last_commit` is the latest in its history.
    `saved` is the snapshot that it is while no process runs it, `saved_state` what it was before.
    """

    image: str
    machine: str
    layers: tuple[str, ...]
    memory: str
    last_commit: str | None = None
    saved: str | None = None
    saved_state: VMState | None = None

    pid: int | None = None
    started: float | None = None

    @property
    def size(self) -> Size:
        """How large it is."""
        return Size(self.vcpu_count or 1, self.mem_size_mib or 0, self.fs_size_mib or 0)

    @property
    def needs(self) -> set[str]:
        """Names of all files without which it is nothing."""
        saved = {f"snapshots/{self.saved}"} if self.saved else set()
        return {f"ground/{self.image}", self.memory, *self.layers, *saved}

    @property
    def folder(self) -> Path:
        """The VM's own folder."""
        return paths.vms_dir() / self.vm_id

    @property
    def name(self) -> str:
        """Host name of the VM: its label `name`, as far as that can be one."""
        wanted = self.labels.get("name", "").lower()
        name = "".join(c if c.isascii() and c.isalnum() else "-" for c in wanted).strip("-")[:63].strip("-")
        return name or f"vm-{self.vm_id[:8]}"

    @property
    def called(self) -> str:
        """What a person calls it: its label `name`, or the start of its id."""
        return self.labels.get("name") or self.vm_id[:8]

    @property
    def process_name(self) -> str:
        """What QEMU is told its name is; by it a process is known to be this VM's."""
        return f"{paths.runtime_dir().name}:{self.vm_id}"

    def wiring(self, *, restored: bool) -> Wiring:
        """Files and sockets of the VM."""
        sockets = paths.runtime_dir() / self.vm_id[:13]
        return Wiring(
            layers=tuple(map(store.locate, self.layers)),
            memory=store.locate(self.memory),
            monitor=sockets.with_suffix(".qmp"),
            agent=sockets.with_suffix(".agent"),
            restored=restored,
        )

    def save(self) -> None:
        """Write the record.

        Raises:
            NoRoomError, PlatformError: it cannot be written.
        """
        kept.write(self.folder / "vm.json", self.model_dump_json(indent=1))

    def save_key(self, key: KeyPair) -> None:
        """Write the key that logs in to the VM.

        Raises:
            NoRoomError, PlatformError: it cannot be written.
        """
        kept.write(self.folder / "id_ed25519", key.private)

    def private_key(self) -> str:
        """The key that logs in to the VM, in OpenSSH's format."""
        return (self.folder / "id_ed25519").read_text()

    def remove(self) -> None:
        """Delete everything that is kept of the VM."""
        shutil.rmtree(self.folder, ignore_errors=True)
        wiring = self.wiring(restored=False)
        for socket in (wiring.monitor, wiring.agent):
            socket.unlink(missing_ok=True)


def load_all() -> list[VMRecord]:
    """The records on disk, oldest first. Whoever asks changes nothing: a VM may be in the making."""
    records = []
    for folder in paths.vms_dir().iterdir():
        try:
            records.append(VMRecord.model_validate(json.loads((folder / "vm.json").read_text())))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError, ValidationError) as error:
            log.warning("%s/vm.json cannot be read, and is left as it is: %s", folder, type(error).__name__)
    return sorted(records, key=lambda record: record.created_at)


def unreadable() -> set[str]:
    """Ids of the VMs whose records are there, but not to be read."""
    kept = {file.parent.name for file in paths.vms_dir().glob("*/vm.json")}
    return kept - {vm.vm_id for vm in load_all()}


def remove_unfinished() -> None:
    """Remove what a killed `create` left: folders without record. Only for the daemon."""
    for folder in paths.vms_dir().iterdir():
        if not (folder / "vm.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
