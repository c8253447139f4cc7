"""What is kept on disk of each VM: one folder, with a record, a disk and a private key.

The record is written before the VM exists and outlives it until it is deleted: a VM whose QEMU is gone
is `dead`, not forgotten.
"""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

from pydantic import ValidationError

from pi_v_jupyter.api.models import VMInfo
from pi_v_jupyter.local import paths
from pi_v_jupyter.local.hardware import Wiring
from pi_v_jupyter.local.keys import KeyPair
from pi_v_jupyter.settings import write_private

log = logging.getLogger(__name__)


class VMRecord(VMInfo):
    """`VMInfo`, the process behind it (its id, its start in Unix seconds) and what its disk builds on."""

    image: str = ""
    base: str = ""

    pid: int | None = None
    started: float | None = None

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
    def process_name(self) -> str:
        """What QEMU is told its name is; by it a process is known to be this VM's."""
        return f"{paths.runtime_dir().name}:{self.vm_id}"

    def wiring(self, *, memory_file: Path | None = None) -> Wiring:
        """Files and sockets of the VM; with `memory_file` it is restored from there."""
        sockets = paths.runtime_dir() / self.vm_id[:13]
        return Wiring(
            disk=self.folder / "disk.qcow2",
            monitor=sockets.with_suffix(".qmp"),
            agent=sockets.with_suffix(".agent"),
            memory_file=memory_file,
            restored=memory_file is not None,
        )

    def save(self) -> None:
        """Write the record."""
        self.folder.mkdir(exist_ok=True, mode=0o700)
        write_private(self.folder / "vm.json", self.model_dump_json(indent=1))

    def save_key(self, key: KeyPair) -> None:
        """Write the key that logs in to the VM."""
        write_private(self.folder / "id_ed25519", key.private)

    def private_key(self) -> str:
        """The key that logs in to the VM, in OpenSSH's format."""
        return (self.folder / "id_ed25519").read_text()

    def remove(self) -> None:
        """Delete everything that is kept of the VM."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for socket in (self.wiring().monitor, self.wiring().agent):
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
    """Remove what a killed `create` left: folders without record and disk. Only for the daemon."""
    for folder in paths.vms_dir().iterdir():
        if not any((folder / name).exists() for name in ("vm.json", "disk.qcow2")):
            shutil.rmtree(folder, ignore_errors=True)
