"""Keys that agents are given: from this computer's environment into files of mode 0600 on their VMs.

They are written over the connection to the VM, so they are in no argv, no log and no notebook; pi and its
extensions read them when they need them, so that one which ran before its machine was committed has them too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cache

from pi_v_jupyter import bundled, names
from pi_v_jupyter.errors import SettingsError, UsageError

FOLDER = ".swarm/secrets"  # of the user's home over there
SCRIPTED = "scripted"  # answers by a script on the agent's own VM; needs no key


class Secrets(dict[str, str]):
    """Variables and their values; the repr shows the names alone."""

    def __repr__(self) -> str:
        return f"<Secrets: {', '.join(sorted(self)) or 'none'}>"


def of_provider(
    provider: str, key_env: str | None = None, environment: Mapping[str, str] = os.environ
) -> Secrets:
    """The key of a provider such as "anthropic", from the variable `key_env` or the one it is usually in.

    Raises:
        UsageError: its keys are in no variable that is known here.
        SettingsError: that variable is not set.
    """
    if provider == SCRIPTED:
        return Secrets()
    variables = _variables()
    variable = variables.get(provider)
    if variable is None:
        raise UsageError(
            f"There is no provider {provider!r} for agents.{names.nearest(provider, [SCRIPTED, *variables])}",
            f"There are: {', '.join([SCRIPTED, *sorted(variables)])}.",
        )
    value = environment.get(key_env or variable, "").strip()
    if not value:
        raise SettingsError(
            f"{key_env or variable} is not set: the agents would have no key of {provider}.",
            "Set it where Jupyter is started, or name another variable with --key-env; "
            "`--model scripted/rehearsal` needs no key.",
        )
    return Secrets({variable: value})


@cache
def _variables() -> dict[str, str]:
    """Providers, and the variable of each whose file pi reads its key from, as the golden image has it."""
    providers = json.loads((bundled.golden() / "models.json").read_text())["providers"]
    keys = {provider: told["apiKey"].rpartition("/") for provider, told in providers.items()}
    return {provider: name for provider, (before, _, name) in keys.items() if before}
