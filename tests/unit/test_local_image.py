"""The image is built whole or not at all; without building one."""

from __future__ import annotations

import errno
import io
import shutil
import subprocess
import tarfile
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from pi_v_jupyter import bundled
from pi_v_jupyter.errors import ImageError
from pi_v_jupyter.local import accelerator, additions, image, paths, rootfs, tools
from pi_v_jupyter.settings import cache_dir

CERTIFICATES = [f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n" for body in ("AA", "BB")]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, and no need for any program."""
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(tools, "need", lambda *names: [f"/bin/{name}" for name in names])


@pytest.fixture
def tree(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands for mmdebstrap and mke2fs; the list is of the progress told."""

    def build(archive: Path, progress: Any, more: Any) -> None:
        with tarfile.open(archive, "w") as tar:
            for name, data in {
                "./boot/vmlinuz-6.1": b"kernel",
                "./usr/bin/busybox": b"busybox",
                "./usr/lib/modules/6.1/modules.dep": b"",
                "./etc/ssl/certs/ca-certificates.crt": CERTIFICATES[0].encode(),
                "./etc/shadow": b"not taken out",
            }.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))

    monkeypatch.setattr(rootfs, "build", build)
    monkeypatch.setattr(image, "_write_disk", lambda folder, *_: (folder / "root.qcow2").write_bytes(b"disk"))
    return []


def test_an_image_is_built_once_and_found_again(tree: list[str]) -> None:
    assert image.current() is None
    built = image.ensure(tree.append)
    assert built.kernel.read_bytes() == b"kernel"
    assert built.folder.name == built.digest
    assert sorted(file.name for file in built.folder.iterdir()) == [
        "image.json",
        "initrd.img",
        "root.qcow2",
        "vmlinuz",
    ]
    told = len(tree)
    assert image.ensure(tree.append) == built == image.current()
    assert len(tree) == told


def test_a_build_that_is_killed_is_not_used_and_the_next_one_clears_it_away(
    tree: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(folder: Path, *_: object) -> None:
        (folder / "locked").mkdir(mode=0o500)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(image, "_write_disk", killed)
        with pytest.raises(KeyboardInterrupt):
            image.ensure(tree.append)
    assert image.current() is None
    image.ensure(tree.append)
    assert "removing what an unfinished build left" in tree
    assert not list(paths.images_dir().glob("*.partial"))


def test_an_image_of_another_release_is_not_used(tree: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    image.ensure(tree.append)
    monkeypatch.setattr(image, "recipe", lambda name: "another")
    assert image.current() is None


def test_the_golden_image_lives_beside_the_default_one(tree: list[str]) -> None:
    plain = image.ensure(tree.append)
    golden = image.ensure(tree.append, image.GOLDEN)
    assert plain.digest != golden.digest, "though their packages were the same"
    assert (image.current(), image.current(image.GOLDEN)) == (plain, golden)
    assert image.ensure(tree.append) == plain and image.ensure(tree.append, image.GOLDEN) == golden


def test_another_golden_recipe_asks_for_another_golden_image_and_no_other(
    tree: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = shutil.copytree(bundled.golden(), tmp_path / "golden")
    monkeypatch.setattr(bundled, "golden", lambda: recipe)
    plain = image.ensure(tree.append)
    golden = image.ensure(tree.append, image.GOLDEN)
    (recipe / "extensions").mkdir(exist_ok=True)
    (recipe / "extensions" / "more.ts").write_text("export default () => {};")
    assert image.current() == plain and image.current(image.GOLDEN) is None
    assert image.ensure(tree.append, image.GOLDEN).digest != golden.digest


def test_the_golden_image_has_the_packages_of_its_recipe_and_its_last_word(
    tree: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Any] = []
    build = rootfs.build
    monkeypatch.setattr(rootfs, "build", lambda *given: (built.append(given[2]), build(*given)))
    monkeypatch.setattr(
        image,
        "_write_disk",
        lambda folder, _, finish: (built.append(finish), (folder / "root.qcow2").write_bytes(b"disk")),
    )
    image.ensure(tree.append)
    image.ensure(tree.append, image.GOLDEN)
    assert built[:2] == [(), ()]
    assert {"ripgrep", "build-essential"} <= set(built[2])
    assert built[3] == ("bash", str(bundled.golden() / "bootstrap.sh"))


def test_what_finishes_a_disk_tells_of_its_work_and_of_its_failure(tmp_path: Path) -> None:
    for name in ("root.tar", "ours.tar"):
        with tarfile.open(tmp_path / name, "w") as tar:
            folder = tarfile.TarInfo("etc")
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
    told: list[str] = []
    fails = ("bash", "-c", 'echo "working on $2"; echo "no such version" >&2; exit 1', "recipe")
    with pytest.raises(ImageError, match="no such version"):
        image._write_disk(tmp_path, told.append, fails)
    assert told == ["working on tree"]


def test_an_image_with_a_file_missing_is_not_used(tree: list[str]) -> None:
    image.ensure(tree.append).disk.unlink()
    assert image.current() is None


def test_a_full_disk_is_told_before_the_work(tree: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")(10**12, 10**12, 10**9)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(ImageError, match=r"The disk is full: the image needs 3 GB and .* has 0\.9 GB"):
        image.ensure(tree.append)


def test_a_disk_that_fills_during_the_work_is_told(tree: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(image, "_write_disk", full)
    with pytest.raises(ImageError, match="The disk is full"):
        image.ensure(tree.append)


def test_mmdebstrap_failing_is_told_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "mmdebstrap"
    fake.write_text("#!/bin/sh\necho 'I: working'\necho 'E: cannot reach the mirror'\nexit 25\n")
    fake.chmod(0o755)
    monkeypatch.setattr(tools, "need", lambda *names: [str(fake), *names[1:]])
    told: list[str] = []
    with pytest.raises(ImageError, match="mmdebstrap failed: E: cannot reach the mirror"):
        rootfs.build(tmp_path / "root.tar", told.append)
    assert "mmdebstrap: working" in told


def test_packages_come_from_where_this_computers_apt_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    listing = (
        "http://mirror/debian bookworm main Debian",
        "http://mirror/debian bookworm contrib Debian",
        "http://mirror/security bookworm-security main Debian",
        "http://company/debian bookworm main Company",
        "http://elsewhere/tool stable main Tool",
        "http://elsewhere/flat ./ $(COMPONENT) $(ORIGIN)",
    )
    text = "".join(line.replace(" ", "\t") + "\n" for line in listing)
    done = subprocess.CompletedProcess([], 0, stdout=text)
    monkeypatch.setattr("subprocess.run", lambda *args, **kwargs: done)
    assert rootfs.sources("bookworm") == [
        "deb http://mirror/debian bookworm main",
        "deb http://mirror/security bookworm-security main",
    ]
    assert rootfs.sources("trixie") == []


def test_certificates_this_computer_trusts_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("# a company's\n" + "".join(CERTIFICATES))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    additions.write(tmp_path / "ours.tar", CERTIFICATES[0])
    with tarfile.open(tmp_path / "ours.tar") as tar:
        data = tar.extractfile("etc/ssl/certs/ca-certificates.crt")
        assert data is not None
        assert data.read().decode() == "".join(CERTIFICATES)
        assert {member.uid for member in tar} == {0}


def test_the_accelerator_is_tried_once(tree: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    built = image.ensure(tree.append)
    tried = []

    def works(name: str, *rest: Any) -> bool:
        tried.append(name)
        return name == "hvf"

    monkeypatch.setattr(accelerator, "qemu_version", lambda: "7.2")
    monkeypatch.setattr(accelerator, "_candidates", lambda: ["kvm", "hvf"])
    monkeypatch.setattr(accelerator, "_works", works)
    assert [accelerator.choose(built, tree.append) for _ in range(2)] == ["hvf", "hvf"]
    assert tried == ["kvm", "hvf"]
    (cache_dir() / "accelerator.json").write_text("damaged")
    monkeypatch.setattr(accelerator, "_works", lambda *rest: False)
    assert accelerator.choose(built, tree.append) == "tcg"


@pytest.mark.parametrize(
    ("user", "mode", "trusted", "beyond"),
    [
        (0, "root", True, []),
        (1000, "unshare", True, ["fakeroot"]),
        (1000, "fakechroot", True, ["fakeroot", "fakechroot"]),
        (1000, "unshare", False, ["fakeroot", "gpg", tools.DEBIAN_KEYS]),
    ],
)
def test_what_builds_an_image_is_known_before_it_is_begun(
    user: int, mode: str, trusted: bool, beyond: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setattr(rootfs, "mode", lambda: mode)
    monkeypatch.setattr(rootfs, "sources", lambda _: ["deb http://mirror trixie main"] if trusted else [])
    assert image.builders() == ["mmdebstrap", "mke2fs", "qemu-img", "tar", *beyond]
