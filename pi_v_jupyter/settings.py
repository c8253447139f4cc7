"""Where a key, a URL or a time-out comes from, and where state lives on disk.

First hit wins: an argument, `%vers config` (this session), traitlets (`c.Vers.*`), the environment,
files under `~/.vers`, and last an embedded platform that is up. The key is looked up afresh at each
request, so that a key written while a notebook is open is used from then on.

Nothing heavy is imported here: `%load_ext` goes through this module.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs

from pi_v_jupyter import keys
from pi_v_jupyter.errors import NoKeyError, SettingsError
from pi_v_jupyter.keys import CLOUD_URL, KEYS

APP = "pi_v_jupyter"
API_PATH = "/api/v1"
SESSION = "`%vers config`"  # where a setting of this session was made

_NEW_PLATFORM = "`pi-v-jupyter down`, then `pi-v-jupyter up`, make it anew."


def state_dir() -> Path:
    """Folder of what must survive a kernel; private to the user."""
    path = Path(platformdirs.user_state_path(APP, appauthor=False))
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def cache_dir() -> Path:
    """Folder of what can be made again, such as the VM image."""
    path = Path(platformdirs.user_cache_path(APP, appauthor=False))
    path.mkdir(parents=True, exist_ok=True)
    return path


def write_private(path: Path, data: bytes | str) -> None:
    """Write `data` to `path` with mode 0600, whole or not at all."""
    raw = data.encode() if isinstance(data, str) else data
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@dataclass(frozen=True)
class EmbeddedPlatform:
    """What a running embedded platform tells its clients, in a file only its owner can read.

    `vm_port` is the one loopback port behind which `<vm-id>.vm.<domain>` is found by its TLS name;
    `ca_file` holds the certificate (PEM) that signs those names; `key_file` the bearer key.
    """

    base_url: str
    domain: str
    vm_port: int
    ca_file: str
    key_file: str
    pid: int
    accelerator: str

    @staticmethod
    def path() -> Path:
        """Where the description of this user's platform is kept."""
        return state_dir() / "platform" / "platform.json"

    @staticmethod
    def lock_file() -> Path:
        """What its daemon holds a lock on for as long as it lives, however it ends."""
        return EmbeddedPlatform.path().with_name("daemon.lock")

    @classmethod
    def lives(cls) -> bool:
        """Whether this user's daemon lives, be it still starting.

        The number of a process would not tell: another may have it by now, and whoever listens at the port
        of a daemon that is no more would be sent the key.
        """
        try:
            with cls.lock_file().open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: who asks too is not taken for it
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    @classmethod
    def load(cls) -> EmbeddedPlatform | None:
        """The platform that is up, or None. A description its daemon left behind is None too."""
        told = _read_object(cls.path(), _NEW_PLATFORM)
        if told is None:
            return None
        kinds = {"str": str, "int": int}
        if any(type(told.get(part.name)) is not kinds[str(part.type)] for part in fields(cls)):
            raise SettingsError(f"{cls.path()} does not describe a platform.", _NEW_PLATFORM)
        platform = cls(**{part.name: told[part.name] for part in fields(cls)})  # type: ignore[arg-type]
        return platform if cls.lives() else None

    def save(self) -> None:
        """Tell this user's clients."""
        write_private(self.path(), json.dumps(asdict(self), indent=1))


@dataclass(frozen=True)
class Endpoint:
    """One platform and the key to it, read together: no key ever goes to another platform than its own.

    `key_origin` says in words where the key came from.
    """

    base_url: str
    api_key: str = field(repr=False)
    key_origin: str
    embedded: bool


@dataclass
class Settings:
    """The settings of one session; `session` and `traits` hold what the user set there.

    Keys of both: `api_key`, `base_url`, `vm_domain`, `vm_port`, `ca_file`, `ssh_timeout`, `platform`
    (`"embedded"` prefers the embedded platform over a configured account; `%vers up` sets it),
    `registry_url`, `registry_token`.
    """

    session: dict[str, str] = field(default_factory=dict, repr=False)
    traits: Mapping[str, str] = field(default_factory=dict, repr=False)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    def get(self, name: str) -> str | None:
        """The value set for `name`, from the session, the traits or the environment."""
        return self.found(name)[0]

    def found(self, name: str) -> tuple[str | None, str]:
        """The value set for `name`, as it was set, and in words where that was."""
        for source, origin in ((self.session, SESSION), (self.traits, f"`c.Vers.{name}`")):
            if source.get(name):
                return source[name], origin
        variable = KEYS[name].variable
        value = self.environ.get(variable) if variable else None
        return (value, f"the environment's {variable}") if value else (None, "")

    @property
    def embedded(self) -> EmbeddedPlatform | None:
        """The embedded platform, when it is the one to talk to.

        Raises:
            SettingsError: it was chosen, and is no longer up.
        """
        wanted = self.get("platform") == "embedded"
        if not wanted and (self.get("base_url") or self._account_key()):
            return None
        platform = EmbeddedPlatform.load()
        if wanted and platform is None:  # falling back to an account would spend its owner's money
            raise SettingsError("The embedded platform is no longer up.", "`%vers up` starts it again.")
        return platform

    @property
    def base_url(self) -> str:
        """Base of the API, without a slash at its end, with `/api/v1`."""
        platform = self.embedded
        return _with_api_path(platform.base_url) if platform else self._account_url()

    def api_key(self) -> str:
        """The bearer key, read now.

        Raises:
            NoKeyError: there is none.
            SettingsError: there is one that cannot be read or cannot be a key.
        """
        return self.endpoint().api_key

    def endpoint(self) -> Endpoint:
        """Where the next request goes, and the key it carries, read now.

        Raises:
            NoKeyError: there is no key.
            SettingsError: a setting or a file that cannot be used.
        """
        platform = self.embedded
        if platform:
            origin, remedy = "the embedded platform's key file", _NEW_PLATFORM
            url = _with_api_path(platform.base_url)
            key = (_read_text(Path(platform.key_file), remedy) or "").strip()
        else:
            remedy = "Copy the key anew."
            url = self._account_url()
            key, origin = next(self._account_keys(), ("", ""))
            if not key:
                raise self._no_key()
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise SettingsError(
                f"The key from {origin} is no key: it is empty, or has blanks or special characters.", remedy
            )
        return Endpoint(url, key, origin, embedded=platform is not None)

    @property
    def key_files(self) -> tuple[Path, Path]:
        """The user's own files that may have an account's key: `keys.json` and `config.json`."""
        folder = Path(self.environ.get("HOME") or Path.home()) / ".vers"
        return folder / "keys.json", folder / "config.json"

    def _account_url(self) -> str:
        return _with_api_path(keys.base_url(self.get("base_url") or CLOUD_URL))

    def _account_key(self) -> str | None:
        return next(self._account_keys(), (None, ""))[0]

    def _account_keys(self) -> Iterator[tuple[str, str]]:
        """Each key that is set and where, the one to use first; a file is read only when asked for."""
        keys_json, config_json = self.key_files
        yield from _key_in(self.session, "api_key", SESSION)
        yield from _key_in(self.traits, "api_key", "`c.Vers.api_key`")
        yield from _key_in(self.environ, "VERS_API_KEY", "the environment's VERS_API_KEY")
        named = (_read_object(keys_json) or {}).get("keys")
        if isinstance(named, dict):
            yield from _key_in(named, "VERS_API_KEY", "~/.vers/keys.json")
        config = _read_object(config_json) or {}
        for name in ("versApiKey", "api_key"):
            yield from _key_in(config, name, "~/.vers/config.json")

    def _no_key(self) -> NoKeyError:
        if self.get("base_url"):
            return NoKeyError(
                f"No Vers API key is set for {self._account_url()}.",
                "Set VERS_API_KEY; or clear the base URL to use the embedded platform (`%vers up`).",
            )
        if EmbeddedPlatform.path().exists():  # `down` removes it
            return NoKeyError(
                "The embedded platform has died.",
                "`%vers up` starts it again, and takes over those of its VMs that still run.",
            )
        return NoKeyError(
            "No Vers API key is set and no embedded platform is up.",
            "`%vers up` starts virtual machines on this computer; or set VERS_API_KEY.",
        )

    def registry(self) -> Endpoint | None:
        """The registry service of a swarm, and its key; None where not both are set.

        Raises:
            SettingsError: one of them cannot be used.
        """
        url, (token, origin) = self.get("registry_url"), self.found("registry_token")
        if not url or token is None:
            return None
        return Endpoint(keys.registry_url(url).rstrip("/"), keys.api_key(token), origin, embedded=False)

    def vm_address(self, vm_id: str) -> tuple[str, int]:
        """Host name and TLS port of one VM; `api.X` serves its VMs at `<vm-id>.vm.X:443`."""
        platform = self.embedded
        if platform:
            return f"{vm_id}.vm.{platform.domain}", platform.vm_port
        host = urlsplit(self.base_url).hostname or ""
        domain = self.get("vm_domain") or "vm." + host.removeprefix("api.")
        return f"{vm_id}.{domain}", keys.port(self.get("vm_port") or "443")

    @property
    def ca_file(self) -> str | None:
        """PEM file of the authority behind VM certificates; None means the system's."""
        platform = self.embedded
        return platform.ca_file if platform else self.get("ca_file")

    @property
    def ssh_timeout(self) -> float:
        """Seconds a command may take when a cell says nothing else; 0 means for ever."""
        return keys.seconds(self.get("ssh_timeout") or "120")


def _with_api_path(url: str) -> str:
    url = url.rstrip("/")
    return url if url.endswith(API_PATH) else url + API_PATH


def _key_in(source: Mapping[str, object], name: str, origin: str) -> Iterator[tuple[str, str]]:
    key = source.get(name)
    if isinstance(key, str) and key.strip():
        yield key.strip(), origin


def _read_text(path: Path, remedy: str = "Mend or remove it.") -> str | None:
    """The text of `path`, or None when there is no such file."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = error.strerror
    except UnicodeDecodeError:
        reason = "it is not text"
    # Raised out here: a decoder's error holds what it read, and would ride along as the context.
    raise SettingsError(f"{path} cannot be read: {reason}.", remedy)


def _read_object(path: Path, remedy: str = "Mend or remove it.") -> dict[str, object] | None:
    """The JSON object in `path`, or None when there is no such file."""
    text = _read_text(path, remedy)
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise SettingsError(f"{path} cannot be read: it is not a JSON object.", remedy)
    return value
