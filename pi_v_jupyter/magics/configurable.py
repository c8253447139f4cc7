"""`c.Vers.ssh_timeout = 5` in a file of settings, `--Vers.ssh_timeout=5`, `%config Vers.ssh_timeout = 5`.

`%load_ext` imports this: nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from traitlets import TraitError, TraitType
from traitlets.config.configurable import Configurable

from pi_v_jupyter.errors import SettingsError
from pi_v_jupyter.keys import KEYS, Key, Value


class WrongSettingError(SettingsError, TraitError):
    """A trait was given what it cannot be; it stays what it was."""


class Secret(str):
    """A text that is not shown where values are."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "(set)"


class Typed(str):
    """A text of a command line."""

    __slots__ = ()


class Setting(TraitType[Any, Any]):
    """A trait that is checked as every other source of that setting is. None: not set here."""

    def __init__(self, key: Key) -> None:
        super().__init__(None, allow_none=True, help=key.about)
        self.tag(config=True)
        self._key = key

    def validate(self, obj: Any, value: Any) -> Value | None:
        """The value, of the setting's own type."""
        if value is None:
            return None
        if self._key.secret and isinstance(value, Typed):
            raise WrongSettingError(
                f"A command line, which others can read, is no place for {self._key.name}.",
                f"{self._key.variable} in the environment is one.",
            )
        try:
            parsed = self._key.parse(str(value))
        except SettingsError as error:
            raise WrongSettingError(f"c.Vers.{self._key.name}: {error.message}", self._key.about) from None
        return Secret(parsed) if self._key.secret else parsed

    def from_string(self, s: str) -> str:
        """As it was typed on a command line; an error of this method would be ignored."""
        return Typed(s)


class Vers(Configurable):
    """Where the machines of `%vers` are, and how patient it is with them."""

    api_key = Setting(KEYS["api_key"])
    base_url = Setting(KEYS["base_url"])
    vm_domain = Setting(KEYS["vm_domain"])
    vm_port = Setting(KEYS["vm_port"])
    ca_file = Setting(KEYS["ca_file"])
    ssh_timeout = Setting(KEYS["ssh_timeout"])
    platform = Setting(KEYS["platform"])
    registry_url = Setting(KEYS["registry_url"])
    registry_token = Setting(KEYS["registry_token"])


class Traits(Mapping[str, str]):
    """What is set in a `Vers` now, as `Settings` reads it."""

    def __init__(self, configurable: Vers) -> None:
        self._configurable = configurable

    def __getitem__(self, name: str) -> str:
        value = getattr(self._configurable, name) if name in KEYS else None
        if value is None:
            raise KeyError(name)
        return str(value).removesuffix(".0") if isinstance(value, float) else str(value)

    def __iter__(self) -> Iterator[str]:
        return (name for name in KEYS if getattr(self._configurable, name) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)
