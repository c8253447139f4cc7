"""The account's environment variables, which new VMs are born with. Their values may be secrets."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import TypeAdapter, ValidationError

from pi_v_jupyter.api.client import VersClient
from pi_v_jupyter.api.models import VariableName, VariableValue
from pi_v_jupyter.errors import NotFoundError, UsageError

_NAME: TypeAdapter[str] = TypeAdapter(VariableName)
_VALUE: TypeAdapter[str] = TypeAdapter(VariableValue)


class Environment(dict[str, str]):
    """Name and value of each variable. Its repr shows the names alone."""

    def __repr__(self) -> str:
        return f"<Environment: {', '.join(sorted(self)) or 'empty'}>"


async def variables(client: VersClient) -> Environment:
    """All of the account's."""
    return Environment(sorted((await client.env_vars()).items()))


async def set_variables(client: VersClient, given: Mapping[str, str]) -> None:
    """Add to them; new VMs have them from their start.

    Raises:
        UsageError: a name or a value that cannot be one; nothing was changed.
    """
    for name, value in given.items():
        check_name(name)
        if not _valid(_VALUE, value):
            raise UsageError(
                f"The value of {name} is no text of at most 8192 characters.", "Keep it in a file."
            )
        if any(sign in value for sign in "\n\r\0"):
            raise UsageError(
                f"The value of {name} has a line break or NUL, which no line of /etc/environment holds.",
                "Encode it, for example as base64.",
            )
    if given:
        await client.set_env_vars(given)


async def unset_variables(client: VersClient, *names: str) -> None:
    """Take some away.

    Raises:
        UsageError: what can be no name.
        NotFoundError: there is none of that name.
    """
    for name in names:
        check_name(name)
    for name in dict.fromkeys(names):
        try:
            await client.delete_env_var(name)
        except NotFoundError as error:
            raise NotFoundError(
                f"There is no environment variable {name}.", "`%vers env` lists them.", status=error.status
            ) from None


def check_name(name: str) -> None:
    """Refuse what can be no name, before it leads to another path of the API.

    Raises:
        UsageError: it cannot; `name` is not repeated, for it may be a secret in the wrong place.
    """
    if not _valid(_NAME, name):
        raise UsageError(
            "That cannot name an environment variable.",
            "A name is letters, digits and '_', at most 256, and begins with no digit: K=V.",
        )


def _valid(kind: TypeAdapter[str], value: object) -> bool:
    try:
        kind.validate_python(value)
    except ValidationError:
        return False
    return True
