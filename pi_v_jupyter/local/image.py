"""The images VMs start from: a kernel, an initramfs and a disk each.

There is the default one and, for those who asked for it, the golden one, with all that agents need. An image
is a folder named by its digest that never changes once it is there; `current.json` and `golden.json` name
those in use. So a new image can be built while VMs run on the old one. It is built in a folder whose
name ends in `.partial` and renamed at the very end: a build that was killed leaves only what the
next one removes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import filelock

from pi_v_jupyter import bundled
from pi_v_jupyter.errors import ImageError
from pi_v_jupyter.local import additions, initramfs, paths, rootfs, tools
from pi_v_jupyter.local.rootfs import Progress
from pi_v_jupyter.settings import write_private

DEFAULT, GOLDEN = "default", "golden"
NAMES = (DEFAULT, GOLDEN)
DISK_MIB = 4096
ROOM_NEEDED = 3 * 1024**3  # bytes, while it is built
_LOCK_TIMEOUT = 1800.0
_ASSEMBLE = """set -eu
mkdir tree
tar --extract --file root.tar --directory tree --preserve-permissions --same-owner --exclude='./dev/*'
tar --extract --file ours.tar --directory tree --preserve-permissions --same-owner --keep-directory-symlink
rm -f tree/etc/ssh/ssh_host_* tree/etc/systemd/system/multi-user.target.wants/ssh.service
rm -f tree/etc/systemd/system/sshd.service
[ $# = 0 ] || "$@" --root tree
"$MKE2FS" -q -t ext4 -m 0 -L root -d tree root.raw "$SIZE" >&2
"$QEMU_IMG" convert -c -O qcow2 -o compression_type=zstd root.raw root.qcow2 >&2
rm root.raw
"""
_POINTERS = {DEFAULT: "current.json", GOLDEN: "golden.json"}


@dataclass(frozen=True)
class Image:
    """A finished image. `recipe` tells by which release of this package it was made."""

    folder: Path
    digest: str
    recipe: str
    suite: str
    kernel_version: str
    built_at: str
    name: str = DEFAULT

    @property
    def kernel(self) -> Path:
        """The compressed Linux kernel."""
        return self.folder / "vmlinuz"

    @property
    def initramfs(self) -> Path:
        """Its first file system."""
        return self.folder / "initrd.img"

    @property
    def disk(self) -> Path:
        """The root file system, compressed; shared by all VMs and never written."""
        return self.folder / "root.qcow2"


def recipe(name: str = DEFAULT) -> str:
    """Digest of all that goes into an image from this package's side, and of what puts it together."""
    digest = hashlib.sha256(f"{DISK_MIB} {_ASSEMBLE}".encode())
    makers = (Path(__file__).with_name(name) for name in ("additions.py", "initramfs.py", "rootfs.py"))
    for file in (*makers, *sorted(additions.GUEST.iterdir())):
        if file.is_file():
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    if name == GOLDEN:
        for folder in (bundled.golden(), bundled.resident()):
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                if "__pycache__" not in file.parts:
                    digest.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def current(name: str = DEFAULT) -> Image | None:
    """The image of that name in use, or None when there is none that this release can use."""
    try:
        folder = paths.images_dir() / json.loads((paths.images_dir() / _POINTERS[name]).read_text())["digest"]
        about = json.loads((folder / "image.json").read_text())
        image = Image(folder=folder, **about)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    complete = all(file.is_file() for file in (image.kernel, image.initramfs, image.disk))
    return image if complete and image.recipe == recipe(name) else None


def builders(name: str = DEFAULT) -> list[str]:
    """The programs and files that build an image, for this user of this computer."""
    fetch = ["bash", "curl"] if name == GOLDEN else []
    pretended = [] if os.geteuid() == 0 else ["fakeroot"]
    if rootfs.mode() == "fakechroot":
        pretended.append("fakechroot")
    keys = [] if rootfs.sources(rootfs.suite()) else ["gpg", tools.DEBIAN_KEYS]
    return ["mmdebstrap", "mke2fs", "qemu-img", "tar", *fetch, *pretended, *keys]


def ensure(progress: Progress, name: str = DEFAULT, *, force: bool = False) -> Image:
    """The image of that name in use, built first when there is none or when `force` asks for a new one.

    Raises:
        MissingToolError, ImageError: it cannot be built.
    """
    if not force and (image := current(name)):
        return image
    with _one_at_a_time(progress):
        if not force and (image := current(name)):
            return image
        return _build(progress, name)


@contextmanager
def _one_at_a_time(progress: Progress) -> Iterator[None]:
    lock = filelock.FileLock(paths.images_dir() / "build.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        progress("another build of the image is under way: waiting for it")
        try:
            lock.acquire(timeout=_LOCK_TIMEOUT)
        except filelock.Timeout:
            raise ImageError(
                "Another build of the image does not come to an end.", "End it and try again."
            ) from None
    try:
        yield
    finally:
        lock.release()


def _build(progress: Progress, name: str) -> Image:
    tools.need(*builders(name))
    folder = paths.images_dir() / "new.partial"
    if folder.exists():
        progress("removing what an unfinished build left")
        _remove_tree(folder)
    room = shutil.disk_usage(paths.images_dir()).free
    if room < ROOM_NEEDED:
        raise ImageError(
            f"The disk is full: the image needs 3 GB and {paths.images_dir()} has {room / 1024**3:.1f} GB.",
            "Free some, or set XDG_CACHE_HOME to a folder on another disk.",
        )
    folder.mkdir()
    try:
        image = _build_in(folder, progress, name)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ImageError(
                f"The disk is full: the image does not fit in {folder.parent}.", "Free 3 GB."
            ) from None
        raise ImageError(f"The image cannot be built: {error.strerror}: {error.filename}.") from error
    progress(f"image {image.digest} is ready")
    return image


def _build_in(folder: Path, progress: Progress, name: str) -> Image:
    archive = folder / "root.tar"
    finish: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    if name == GOLDEN:
        finish = ("bash", str(bundled.golden() / "bootstrap.sh"))
        more = tuple((bundled.golden() / "packages").read_text().split())
    rootfs.build(archive, progress, more)
    progress("taking out the kernel")
    parts = folder / "parts"
    _take_out(
        archive,
        parts,
        ("boot/vmlinuz-", "usr/lib/modules/", "usr/bin/busybox", "etc/ssl/certs/ca-certificates.crt"),
    )
    (kernel,) = (parts / "boot").glob("vmlinuz-*")
    version = kernel.name.removeprefix("vmlinuz-")
    (folder / "initrd.img").write_bytes(
        initramfs.build(parts, version, (additions.GUEST / "init").read_bytes())
    )
    kernel.rename(folder / "vmlinuz")
    additions.write(folder / "ours.tar", (parts / "etc/ssl/certs/ca-certificates.crt").read_text())
    progress("writing the disk")
    _write_disk(folder, progress, finish)
    # Of what the disk was made from: file systems made twice of the same are never the same.
    made_from = [folder / file for file in ("vmlinuz", "initrd.img", "root.tar", "ours.tar")]
    digest = _digest(made_from, recipe(name))

    for file in ("root.tar", "root.log", "ours.tar"):
        (folder / file).unlink(missing_ok=True)
    _remove_tree(parts)
    about = {
        "digest": digest,
        "recipe": recipe(name),
        "suite": rootfs.suite(),
        "kernel_version": version,
        "built_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "name": name,
    }
    (folder / "image.json").write_text(json.dumps(about, indent=1))
    return _install(Image(folder=folder, **about))


def _install(image: Image) -> Image:
    final = image.folder.with_name(image.digest)
    if final.exists():
        _remove_tree(image.folder)
    else:
        image.folder.rename(final)
    write_private(paths.images_dir() / _POINTERS[image.name], json.dumps({"digest": image.digest}))
    return Image(**{**asdict(image), "folder": final})


def _take_out(archive: Path, folder: Path, prefixes: tuple[str, ...]) -> None:
    """Copy the files of `archive` whose names begin so into `folder`, for reading: owners do not matter."""
    with tarfile.open(archive) as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            data = tar.extractfile(member) if member.isreg() and name.startswith(prefixes) else None
            if data is not None:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(data.read())


def _write_disk(folder: Path, progress: Progress, finish: Sequence[str] = ()) -> None:
    """Write the disk. `finish`: a command that has the last word on its tree, and says what it does."""
    command = ["sh", "-c", _ASSEMBLE, "assemble", *finish]
    if os.geteuid() != 0:  # owners and set-user-id bits as the archive has them, for mke2fs to see
        command = [*tools.need("fakeroot"), "--", *command]
    mke2fs, qemu_img = tools.need("mke2fs", "qemu-img")
    environment = {
        **os.environ,
        "MKE2FS": mke2fs,
        "QEMU_IMG": qemu_img,
        "SIZE": f"{DISK_MIB}M",
        "LC_ALL": "C",
    }
    with (folder / "disk.log").open("w+") as log:
        with subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout is not None  # noqa: S101 - for the type checker
            for line in filter(None, map(str.strip, process.stdout)):
                progress(line)
        log.seek(0)
        errors = log.read().strip()
    if process.returncode != 0:
        if "No space left" in errors:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
        raise ImageError(f"The disk of the image cannot be written: {errors[-300:]}")
    (folder / "disk.log").unlink()
    _remove_tree(folder / "tree")


def _digest(files: Sequence[Path], made_by: str) -> str:
    digest = hashlib.sha256(made_by.encode())
    for file in files:
        with file.open("rb") as data:
            digest.update(hashlib.file_digest(data, "sha256").digest())
    return digest.hexdigest()[:16]


def _remove_tree(folder: Path) -> None:
    """Remove `folder`, even where its modes forbid it: guests have folders their owner may not write to."""
    for root, folders, _ in os.walk(folder):
        for name in folders:
            path = Path(root) / name
            if not path.is_symlink():
                path.chmod(0o700)
    shutil.rmtree(folder)
