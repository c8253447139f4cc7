"""A configuration with which plain `ssh`, and all that builds on it, reaches VMs by the way cells do.

Each VM has a folder under `<state>/ssh`, named after its platform and its id: its login key, its host key
and, once that was written, its entry. Our configuration is all these entries; `~/.ssh/config` includes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import filelock

from pi_v_jupyter import names
from pi_v_jupyter.errors import SettingsError
from pi_v_jupyter.settings import state_dir, write_private

LOCK_TIMEOUT = 10.0  # seconds; a write takes milliseconds
HEAD = "# Written by pi_v_jupyter: `%vers ssh-config --write` writes it anew.\n"
SPECIAL = '"\\*?[]$%'  # characters that mean something else than themselves, in one version of ssh or another


@dataclass(frozen=True)
class Address:
    """Where a VM is, and what it is called."""

    platform: str
    vm_id: str
    name: str
    host: str
    port: int
    ca_file: str | None

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return _platform(self.platform) / self.vm_id

    def entry(self) -> str:
        """Its part of a configuration.

        Raises:
            SettingsError: one of its files is at a path that cannot be written there.
        """
        # Others may name a VM too: what they choose must be no pattern, nor hide a host such as github.com.
        called = [self.name] if names.is_name(self.name) and "." not in self.name else []
        proxy = [sys.executable, "-P", "-m", "pi_v_jupyter", "ssh-proxy", self.host, str(self.port)]
        if self.ca_file is not None:
            proxy += ["--ca", str(Path(self.ca_file).absolute())]
        # -P: `ssh` runs in any folder, and Python would import what lies there.
        command = shlex.join(proxy).replace("%", "%%")
        if "\n" in command:
            raise _unwritable(command)
        return "\n    ".join(
            (
                f"Host {' '.join([*called, self.vm_id])}",
                f"HostName {self.host}",
                f"Port {self.port}",
                f"HostKeyAlias {self.vm_id}",
                "User root",
                f"ProxyCommand {command}",
                f"IdentityFile {_quoted(self.folder / 'key')}",
                "IdentitiesOnly yes",
                f"UserKnownHostsFile {_quoted(self.folder / 'known_hosts')}",
                "StrictHostKeyChecking yes",
            )
        )


@dataclass(frozen=True)
class Login:
    """What it takes to log in to a VM. `host_key`: all of it, such as "ssh-ed25519 AAAA…"."""

    address: Address
    private_key: str = field(repr=False)
    host_key: str

    def save(self) -> None:
        """Keep both keys where the VM's entry says they are."""
        folder = self.address.folder
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        write_private(folder / "key", self.private_key.rstrip("\n") + "\n")
        write_private(folder / "known_hosts", f"{self.address.vm_id} {self.host_key}\n")


@dataclass(frozen=True)
class SSHConfig:
    """A configuration. `str()` is its text; `done`: what was written, a sentence each."""

    text: str
    done: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text


def make(logins: Iterable[Login]) -> SSHConfig:
    """The configuration of these VMs; their keys are saved for it."""
    with _one_at_a_time():
        return SSHConfig(_saved(logins))


def write(logins: Iterable[Login], there: Iterable[Address], platform: str) -> SSHConfig:
    """The same, in our file, included by the user's. `there`: all VMs of that platform, as they are now.

    Those written earlier stay, as long as they are there.
    """
    logins = list(logins)
    addresses = {address.vm_id: address for address in there}
    with _one_at_a_time():
        text = _saved(logins)
        for login in logins:
            write_private(login.address.folder / "entry", login.address.entry() + "\n")
        gone = 0
        for folder in _folders(_platform(platform)):
            address = addresses.get(folder.name)
            if address is None:
                shutil.rmtree(folder)
                gone += 1
            elif (folder / "entry").exists():  # its name, or its port, may be another than it was
                write_private(folder / "entry", address.entry() + "\n")
        count = _write_file(platform)
        done = [f"{_file()} has {count} VM{'' if count == 1 else 's'}."]
        if gone:
            was = "VM is gone, and so is its key" if gone == 1 else "VMs are gone, and so are their keys"
            done.append(f"{gone} {was}.")
        done.append(_include())
    return SSHConfig(text, tuple(done))


def forget(platform: str, vm_id: str) -> None:
    """The VM is no more: neither are its key and its entry."""
    folder = _platform(platform) / vm_id
    if folder.exists():
        with _one_at_a_time():
            listed = (folder / "entry").exists()
            shutil.rmtree(folder)
            if listed:
                _write_file(platform)


def _saved(logins: Iterable[Login]) -> str:
    entries = []
    for login in logins:
        entries.append(login.address.entry())
        login.save()
    return "\n\n".join(entries)


def _write_file(first: str) -> int:
    """Our file, of all entries, those of one platform first: where names are the same, they count."""
    platforms = dict.fromkeys([_platform(first), *_folders(_home())])
    found = [entry.read_text() for one in platforms for entry in sorted(one.glob("*/entry"))]
    write_private(_file(), "\n".join([HEAD, *found]))
    return len(found)


def _include() -> str:
    """Have the user's configuration include ours; what was done, as a sentence."""
    path = Path.home() / ".ssh" / "config"
    # What `?` stands for is any character: each version of ssh leaves another set of them alone here.
    line = 'Include "{}"'.format("".join("?" if char in SPECIAL else char for char in str(_file())))
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        target = path.resolve()  # people keep it in a repository, with a link to it
        before, mode = b"", 0o600
        if target.exists():
            before, mode = target.read_bytes(), stat.S_IMODE(target.stat().st_mode)
        if line.encode() in (had.strip() for had in before.splitlines()):
            return f"{path} includes it already."
        _replace(target, line.encode() + b"\n" + (b"\n" + before if before else b""), mode)
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be changed: {error.strerror}.", f"Put this line at its top yourself: {line}"
        ) from None
    return f"{path} includes it now, by a line at its top."


def _replace(path: Path, data: bytes, mode: int) -> None:
    """The file, whole or as it was."""
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, mode)
            file.write(data)
            file.flush()
            os.fsync(fd)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _home() -> Path:
    return state_dir() / "ssh"


def _file() -> Path:
    return _home() / "config"


def _platform(base_url: str) -> Path:
    return _home() / hashlib.sha256(base_url.encode()).hexdigest()[:16]


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []


def _quoted(path: Path) -> str:
    text = str(path)
    if any(char in text for char in '"\\\n') or "${" in text:
        raise _unwritable(text)
    return '"' + text.replace("%", "%%") + '"'


def _unwritable(text: str) -> SettingsError:
    return SettingsError(
        f"{text!r} cannot be written in a configuration of OpenSSH.",
        "Folders without quotes, backslashes and line breaks in their names can: XDG_STATE_HOME names one.",
    )


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Kernels share these files."""
    _home().mkdir(mode=0o700, exist_ok=True)
    try:
        with filelock.FileLock(_home() / ".lock", timeout=LOCK_TIMEOUT):
            yield
    except filelock.Timeout:
        raise SettingsError(f"{_home()} is locked by another program.", "Try again.") from None
    except OSError as error:
        raise SettingsError(
            f"{error.filename or _home()} cannot be written: {error.strerror}.", "Mend it, and try again."
        ) from None
