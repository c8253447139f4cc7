"""How machines are put together, restored alike and spoken to; without QEMU."""

from __future__ import annotations

import errno
import gzip
import json
import lzma
import os
import stat
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from pi_v_jupyter.api.models import VMState
from pi_v_jupyter.errors import ImageError, MissingToolError, PlatformError
from pi_v_jupyter.local import base, hardware, initramfs, launcher, paths, record, tools, upkeep
from pi_v_jupyter.local.base import DEFAULT_SIZE
from pi_v_jupyter.local.daemon import Options
from pi_v_jupyter.local.hardware import Wiring
from pi_v_jupyter.local.image import Image
from pi_v_jupyter.local.keys import KeyPair
from pi_v_jupyter.local.record import VMRecord

IMAGE = Image(Path("/images/a, b"), "d", "r", "bookworm", "6.1", "2026-01-01T00:00:00+00:00")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """State and cache of the test's own."""
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def built(wiring: Wiring, accelerator: str = "tcg") -> list[str]:
    return hardware.arguments(IMAGE, DEFAULT_SIZE, accelerator, wiring, name="n", sockets=(7, 8))


def test_a_restored_machine_is_built_like_the_saved_one_but_writes_no_shared_memory() -> None:
    saved = Wiring((Path("/d"),), Path("/mem"), Path("/m"), Path("/a"), writes_memory=True)
    restored = replace(saved, writes_memory=False, restored=True)
    differing = [pair for pair in zip(built(saved), built(restored), strict=False) if pair[0] != pair[1]]
    ((before, after),) = differing
    assert json.loads(before) | {"share": False} == json.loads(after)
    assert built(restored)[len(built(saved)) :] == ["-incoming", "defer", "-S"]


def nodes(wiring: Wiring) -> list[dict[str, Any]]:
    """The layers of the disk, as QEMU is told of them."""
    words = built(wiring)
    return [json.loads(word) for before, word in pairwise(words) if before == "-blockdev"]


def test_a_disk_is_its_layers_one_over_the_other_and_only_the_last_is_written() -> None:
    layers = (Path("/image/root.raw"), Path("/base.qcow2"), Path("/own.qcow2"))
    raw, base_layer, own = nodes(Wiring(layers, Path("/mem"), Path("/m"), Path("/a")))
    assert [raw["driver"], base_layer["driver"], own["driver"]] == ["raw", "qcow2", "qcow2"]
    assert [own["backing"], base_layer["backing"]] == [base_layer["node-name"], raw["node-name"]]
    assert [node["read-only"] for node in (raw, base_layer, own)] == [True, True, False]
    assert own["node-name"] == hardware.DISK_NODE


@pytest.mark.parametrize(
    ("processor", "mib", "parts"),
    [
        ("x86_64", 512, [(0, 512)]),
        ("x86_64", 3583, [(0, 3583)]),
        ("x86_64", 3584, [(0, 3072), (4096, 512)]),
        ("x86_64", 8192, [(0, 3072), (4096, 5120)]),
        ("aarch64", 8192, [(1024, 8192)]),
    ],
)
def test_the_whole_memory_is_where_the_processor_sees_it(
    monkeypatch: pytest.MonkeyPatch, processor: str, mib: int, parts: list[tuple[int, int]]
) -> None:
    monkeypatch.setattr("platform.machine", lambda: processor)
    told = hardware.memory_map(replace(DEFAULT_SIZE, memory_mib=mib))
    assert [(start >> 20, length >> 20) for start, length in told] == parts


def test_any_path_reaches_qemu_unharmed() -> None:
    odd = Path('/home/a, "b"=c/disk')
    wiring = Wiring((odd,), odd.with_name("m, e"), Path("/m"), Path("/a"))
    (disk,) = nodes(wiring)
    assert disk["file"]["filename"] == str(odd)
    memory = json.loads(built(wiring)[built(wiring).index("-object") + 1])
    assert memory["mem-path"] == str(wiring.memory)


def test_all_a_saved_machine_depends_on_changes_its_fingerprint() -> None:
    larger = replace(DEFAULT_SIZE, memory_mib=1024)
    prints = {
        hardware.fingerprint(DEFAULT_SIZE, "tcg"),
        hardware.fingerprint(DEFAULT_SIZE, "kvm"),
        hardware.fingerprint(larger, "tcg"),
    }
    assert len(prints) == 3


def entries(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Name → mode and content of a `newc` archive."""
    data, found, at = gzip.decompress(archive), {}, 0
    while True:
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        assert data[at : at + 6] == b"070701"
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        start = at + (110 + name_size + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        found[name] = (mode, data[start : start + size])
        at = start + (size + 3) // 4 * 4


def test_the_initramfs_loads_each_module_after_what_it_needs(tmp_path: Path) -> None:
    modules = tmp_path / "usr/lib/modules/6.1"
    (modules / "kernel").mkdir(parents=True)
    (modules / "modules.dep").write_text(
        "kernel/virtio_blk.ko: kernel/virtio.ko\n"
        "kernel/virtio_pci.ko.xz: kernel/virtio_ring.ko kernel/virtio.ko\n"
        "kernel/virtio_ring.ko:\n"
        "kernel/virtio.ko: kernel/virtio_ring.ko\n"
        "kernel/unrelated.ko:\n"
    )
    for name in ("virtio_blk", "virtio_ring", "virtio", "unrelated"):
        (modules / f"kernel/{name}.ko").write_bytes(name.encode())
    (modules / "kernel/virtio_pci.ko.xz").write_bytes(lzma.compress(b"virtio_pci"))
    (tmp_path / "usr/bin").mkdir()
    (tmp_path / "usr/bin/busybox").write_bytes(b"busybox")

    found = entries(initramfs.build(tmp_path, "6.1", b"#!init"))

    loaded = [content.decode() for name, (_, content) in sorted(found.items()) if name.startswith("modules/")]
    assert sorted(loaded) == ["virtio", "virtio_blk", "virtio_pci", "virtio_ring"]
    assert loaded.index("virtio_ring") < loaded.index("virtio") < loaded.index("virtio_blk")
    assert found["init"] == (stat.S_IFREG | 0o755, b"#!init")


def test_absent_programs_are_all_named_with_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "find", lambda name: None)
    monkeypatch.setattr("platform.system", lambda: "Linux")
    with pytest.raises(MissingToolError) as error:
        tools.need("mke2fs", "qemu-img")
    assert error.value.message == "mke2fs, qemu-img are not installed."
    assert error.value.hint == "sudo apt-get install --no-install-recommends e2fsprogs qemu-utils"


def test_on_macos_qemu_comes_from_homebrew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "find", lambda name: None)
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    with pytest.raises(MissingToolError, match="brew install qemu"):
        tools.need("qemu-img", "qemu-system-aarch64")


def test_keys_are_in_openssh_format_and_out_of_sight() -> None:
    pair = KeyPair.generate()
    private = load_ssh_private_key(pair.private.encode(), password=None)
    assert private.public_key() == load_ssh_public_key(pair.public.encode())
    assert pair.private not in repr(pair)


def vm(**fields: Any) -> VMRecord:
    made_of = {"image": "i", "machine": "m", "layers": ("ground/i/root.raw",), "memory": "ground/b/memory"}
    return VMRecord(
        vm_id="0123456789ab", state=VMState.RUNNING, created_at=datetime.now(UTC), **(made_of | fields)
    )


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("build", "build"),
        ("Web Server #2", "web-server--2"),
        ("-x-", "x"),
        ("", "vm-01234567"),
        ("\N{SNOWMAN}", "vm-01234567"),
        ("a" * 80, "a" * 63),
        ("$(reboot)\n", "reboot"),
    ],
)
def test_any_label_makes_a_host_name(label: str, name: str) -> None:
    assert vm(labels={"name": label}).name == name


def kept_folders() -> set[str]:
    return {folder.name for folder in paths.vms_dir().iterdir()}


def test_a_record_is_read_back_until_it_is_removed() -> None:
    kept = vm(labels={"name": "a"}, pid=5, started=1.5, mem_size_mib=512)
    kept.save()
    assert record.load_all() == [kept]
    kept.remove()
    assert record.load_all() == []


def test_reading_the_records_deletes_nothing_while_a_vm_is_being_created() -> None:
    (paths.vms_dir() / "in-the-making").mkdir()  # its record is not written yet
    assert launcher.vms_kept() == 0
    assert launcher.status()["up"] is False
    assert launcher.down(purge=False, options=Options(0, 0, "localhost"), resident=None) is False
    assert kept_folders() == {"in-the-making"}


def test_the_daemon_removes_only_folders_without_record() -> None:
    for name in ("nothing", "key", "garbled"):
        (paths.vms_dir() / name).mkdir()
    (paths.vms_dir() / "key/id_ed25519").touch()  # written before the record: its VM never was
    (paths.vms_dir() / "garbled/vm.json").write_text("{")
    record.remove_unfinished()
    assert kept_folders() == {"garbled"}
    assert record.load_all() == []
    assert record.unreadable() == {"garbled"}
    assert (paths.vms_dir() / "garbled/vm.json").read_text() == "{"


@pytest.mark.parametrize("in_the_way", ["file", "dangling link"])
def test_what_is_in_the_way_of_the_runtime_folder_is_told(in_the_way: str) -> None:
    path = paths.runtime_dir()
    path.rmdir()
    if in_the_way == "file":
        path.touch()
    else:
        path.symlink_to("nowhere")
    with pytest.raises(PlatformError, match="not a private folder"):
        paths.runtime_dir()


def test_the_daemon_is_given_no_secrets_and_none_of_our_settings() -> None:
    ours = {"VERS_BASE_URL": "u"}
    names = ("AWS_SECRET", "x_token", "A_KEY", "APIKEY", "PGPASSWORD", "PASSWD", "GITHUB_PAT")
    secret = ours | dict.fromkeys(names, "s")
    plain = {"PATH": "/bin", "KEYS": "1"}
    assert launcher._without_secrets(secret | plain) == plain


async def test_a_first_machine_is_not_begun_on_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=100 * 1024**2))
    new = base.Base(paths.machines_dir() / "key")
    with pytest.raises(ImageError, match=f"disk is full: .* 812 MB and {paths.machines_dir()} has 100 MB"):
        await base._make(new, IMAGE, "tcg", None, print)
    assert list(paths.machines_dir().iterdir()) == []


async def test_a_first_machine_that_cannot_be_made_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.EDQUOT, "quota")

    monkeypatch.setattr("pi_v_jupyter.local.disks.overlay", full)
    with pytest.raises(ImageError, match="disk is full"):
        await base._make(base.Base(paths.machines_dir() / "key"), IMAGE, "tcg", None, print)
    assert list(paths.machines_dir().iterdir()) == []


def test_a_foreign_runtime_folder_is_not_used() -> None:
    paths.runtime_dir().chmod(0o755)
    with pytest.raises(PlatformError, match="not a private folder"):
        paths.runtime_dir()


def test_socket_paths_fit_in_a_socket_address() -> None:
    assert len(os.fsencode(vm().wiring(restored=False).monitor.name)) < 30


def test_unused_images_are_removed_and_used_ones_kept() -> None:
    for name in ("used", "old", "new.partial"):
        (paths.images_dir() / name).mkdir()
    with upkeep.in_use(paths.images_dir() / "used"):
        assert upkeep.remove_unused() == [paths.images_dir() / "old"]
    assert sorted(folder.name for folder in paths.images_dir().iterdir()) == ["new.partial", "used"]
