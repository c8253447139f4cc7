"""The account's environment variables: what new VMs find in `/etc/environment`. They may be secrets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter

from pi_v_jupyter.api.models import VariableName, VariableValue
from pi_v_jupyter.local import kept, paths
from pi_v_jupyter.local.problems import NotPossibleError, UnknownError

_VARIABLES = TypeAdapter(dict[VariableName, VariableValue])
_MOST = 256


class EnvVars:
    """All variables. VMs that run keep what they were started with."""

    def __init__(self) -> None:
        self._variables = kept.read(_file(), _VARIABLES, {})

    def all(self) -> dict[str, str]:
        """Name and value of each."""
        return dict(self._variables)

    def set(self, variables: Mapping[str, str], *, replace: bool) -> None:
        """Add to the variables, or with `replace` take their place.

        Raises:
            NotPossibleError: a value is no line of a file, or there are too many.
            NoRoomError: the disk is full.
        """
        for name, value in variables.items():
            if any(sign in value for sign in "\n\r\0"):
                raise NotPossibleError(
                    f"The value of {name} cannot hold a line break or NUL.",
                    "Each variable is one line of /etc/environment; encode it, for example as base64.",
                )
        together = dict(variables) if replace else {**self._variables, **variables}
        if len(together) > _MOST:
            raise NotPossibleError(
                f"{len(together)} environment variables cannot be.", f"There can be {_MOST} at most."
            )
        self._write(together)

    def remove(self, name: str) -> None:
        """Take one variable away.

        Raises:
            UnknownError: there is none of that name.
        """
        if name not in self._variables:
            raise UnknownError(f"There is no environment variable {name}.")
        self._write({other: value for other, value in self._variables.items() if other != name})

    def _write(self, variables: dict[str, str]) -> None:
        kept.write(_file(), _VARIABLES.dump_json(variables, indent=1).decode())
        self._variables = variables


def _file() -> Path:
    return paths.platform_dir() / "env_vars.json"
