"""How machines are put together, restored alike and spoken to; without QEMU."""

from __future__ import annotations

import asyncio
import errno
import gzip
import json
import lzma
import os
import stat
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from pi_v_jupyter.api.models import VMState
from pi_v_jupyter.errors import ImageError, MissingToolError, PlatformError
from pi_v_jupyter.local import base, hardware, initramfs, launcher, paths, record, tools, upkeep
from pi_v_jupyter.local.base import DEFAULT_SIZE
from pi_v_jupyter.local.guest import agent
from pi_v_jupyter.local.guestlink import GuestLink
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
    saved = Wiring(Path("/d"), Path("/m"), Path("/a"), memory_file=Path("/mem"), writes_memory=True)
    restored = replace(saved, writes_memory=False, restored=True)
    differing = [pair for pair in zip(built(saved), built(restored), strict=False) if pair[0] != pair[1]]
    ((before, after),) = differing
    assert json.loads(before) | {"share": False} == json.loads(after)
    assert built(restored)[len(built(saved)) :] == ["-incoming", "defer"]


def test_any_path_reaches_qemu_unharmed() -> None:
    odd = Path('/home/a, "b"=c/disk')
    arguments = built(Wiring(odd, Path("/m"), Path("/a")))
    disk = json.loads(arguments[arguments.index("-blockdev") + 1])
    assert disk["file"]["filename"] == str(odd)


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
    return VMRecord(vm_id="0123456789ab", state=VMState.RUNNING, created_at=datetime.now(UTC), **fields)


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
    assert launcher.down(purge=False) is False
    assert kept_folders() == {"in-the-making"}


def test_the_daemon_removes_only_folders_that_hold_neither_record_nor_disk() -> None:
    for name in ("nothing", "disk", "garbled"):
        (paths.vms_dir() / name).mkdir()
    (paths.vms_dir() / "disk/disk.qcow2").touch()
    (paths.vms_dir() / "garbled/vm.json").write_text("{")
    record.remove_unfinished()
    assert kept_folders() == {"disk", "garbled"}
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
    secret = {"VERS_BASE_URL": "u", "AWS_SECRET": "s", "x_token": "t", "A_KEY": "k", "PG_PASSWORD": "p"}
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
    assert len(os.fsencode(vm().wiring().monitor.name)) < 30


def test_unused_images_are_removed_and_used_or_needed_ones_kept() -> None:
    for name in ("used", "needed", "old", "new.partial"):
        (paths.images_dir() / name).mkdir()
    with upkeep.in_use(paths.images_dir() / "used"):
        upkeep.remove_unused({"needed"})
    assert sorted(folder.name for folder in paths.images_dir().iterdir()) == ["needed", "new.partial", "used"]


@pytest.fixture
async def linked(tmp_path: Path) -> AsyncIterator[Callable[[Callable[[bytes], bytes]], Any]]:
    """A link to an agent that answers each line by a function."""
    servers = []

    async def make(answer: Callable[[bytes], bytes]) -> GuestLink:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                writer.write(answer(line))
            writer.close()

        servers.append(await asyncio.start_unix_server(serve, tmp_path / "agent"))
        return await GuestLink.connect(tmp_path / "agent")

    yield make
    for server in servers:
        server.close()


async def test_the_agents_answer_is_told_by_its_number(linked: Any) -> None:
    def answer(line: bytes) -> bytes:
        number = json.loads(line)["id"]
        late = {"id": number - 1, "ok": True, "state": "late"}
        return (
            b"\n".join(json.dumps(each).encode() for each in (late, {"id": number, "state": "now"})) + b"\n"
        )

    link = await linked(answer)
    assert (await link.ask("settle", timeout=5))["state"] == "now"
    link.close()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b'{"id": 1, "error": "no such thing"}\n', "no such thing"),
        (b"garbage\n", "cannot be read"),
        (b"x" * 2_000_000 + b"\n", "cannot be read"),
        (b"[" * 100_000 + b"\n", "cannot be read"),
        (b'{"id": 1' + b"0" * 5000 + b"}\n", "cannot be read"),
        (b'{"id": 1, "error": [1]}\n', "did not say why"),
        (b'{"id": 1, "error": "\\ud800"}\n', r"ping': \?\."),
        (b"", "within 0.2 s"),
    ],
)
async def test_an_agent_that_misbehaves_is_an_error(linked: Any, answer: bytes, words: str) -> None:
    link = await linked(lambda line: answer)
    with pytest.raises(PlatformError, match=words):
        await link.ask("ping", timeout=0.2 if not answer else 20)
    link.close()


def test_the_agent_answers_what_it_cannot_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "HOST_KEY", tmp_path / "absent")  # so that it starts no SSH server here
    guest = agent.Agent()
    assert json.loads(guest.answer(b'{"id": 1, "op": "ping"}')) == {"id": 1, "ok": True}
    for line in (b'{"id": 2, "op": "nothing"}', b'{"id": 2, "op": "ping", "extra": 1}', b"not json", b"[]"):
        assert "error" in json.loads(guest.answer(line))
