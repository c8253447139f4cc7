"""The settings in effect, each with where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from pi_v_jupyter.errors import NoKeyError, SettingsError
from pi_v_jupyter.keys import CLOUD_URL, KEYS, Key, known
from pi_v_jupyter.settings import EmbeddedPlatform, Settings

SECRET = "(set)"  # noqa: S105  what is shown in place of one
DEFAULT = "default"
EMBEDDED = "the embedded platform"


@dataclass(frozen=True)
class Setting:
    """One setting as it may be seen: `value` is "(set)" for a secret, empty when there is none.

    `problem` says why what was set cannot be used; `value` is empty then.
    """

    key: str
    value: str
    origin: str
    problem: str = ""


class Configuration(list[Setting]):
    """Every setting, in the order of the table of keys."""


def configuration(settings: Settings) -> Configuration:
    """All settings in effect; what cannot be used is told, and raises nothing."""
    return Configuration(_setting(settings, key) for key in KEYS.values())


def setting(settings: Settings, name: str) -> Setting:
    """One of them.

    Raises:
        UsageError: there is none of that name.
    """
    return _setting(settings, known(name))


def change(settings: Settings, name: str, value: str) -> None:
    """Have a setting be `value` for this session, from the next request on.

    Raises:
        UsageError: there is no such setting.
        SettingsError: it cannot be that; nothing was changed.
    """
    key = known(name)
    if not value:
        raise SettingsError(f"{name} cannot be empty.", f"`%vers config --unset {name}` forgets what it is.")
    key.parse(value)
    settings.session[name] = value


def forget(settings: Settings, name: str) -> None:
    """Take back what was set for this session.

    Raises:
        UsageError: there is no such setting.
    """
    settings.session.pop(known(name).name, None)


def _setting(settings: Settings, key: Key) -> Setting:
    if key.name == "api_key":
        return _api_key(settings)
    text, origin = settings.found(key.name)
    if key.secret and text is not None:
        return _secret(key, text, origin)
    problem = ""
    try:
        platform = settings.embedded
    except SettingsError as error:
        platform = None
        problem = error.message if text is not None and key.name == "platform" else ""
    told = _told_by(platform, key.name) if platform else None
    if told is not None:
        return Setting(key.name, told, EMBEDDED)
    if text is None:
        return Setting(key.name, _default(settings, key.name), DEFAULT)
    try:
        key.parse(text)
    except SettingsError as error:
        return Setting(key.name, "", origin, error.message)
    return Setting(key.name, text, origin, problem)


def _api_key(settings: Settings) -> Setting:
    try:
        return Setting("api_key", SECRET, settings.endpoint().key_origin)
    except NoKeyError:
        return Setting("api_key", "", DEFAULT)
    except SettingsError as error:
        return Setting("api_key", "", settings.found("api_key")[1], error.message)


def _secret(key: Key, text: str, origin: str) -> Setting:
    try:
        key.parse(text)
    except SettingsError as error:
        return Setting(key.name, "", origin, error.message)
    return Setting(key.name, SECRET, origin)


def _told_by(platform: EmbeddedPlatform, name: str) -> str | None:
    told = {
        "base_url": platform.base_url,
        "vm_domain": f"vm.{platform.domain}",
        "vm_port": str(platform.vm_port),
        "ca_file": platform.ca_file,
    }
    return told.get(name)


def _default(settings: Settings, name: str) -> str:
    if name == "vm_domain":
        host = urlsplit(settings.found("base_url")[0] or CLOUD_URL).hostname or ""
        return "vm." + host.removeprefix("api.")
    return {"base_url": CLOUD_URL, "vm_port": "443", "ssh_timeout": "120"}.get(name, "")
