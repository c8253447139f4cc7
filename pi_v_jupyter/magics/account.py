"""`%vers whoami`, `env` and `config`: the account, its VMs' variables, settings. Thin: parse, wait, show."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING

import click
from IPython.core.error import StdinNotImplementedError

from pi_v_jupyter import configuration
from pi_v_jupyter.api.models import WhoAmI
from pi_v_jupyter.configuration import Configuration, Setting
from pi_v_jupyter.environment import Environment, check_name
from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.magics import parameters
from pi_v_jupyter.magics.options import HELP
from pi_v_jupyter.views import account as views

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension

FORMS = "`%vers env set K=V`, or `set K`, which asks; `--from VAR` and `--from-env NAME` take it from there."


@click.command(context_settings=HELP)
@click.pass_obj
def whoami(extension: Extension) -> WhoAmI:
    """Tell whose key is in use."""
    return extension.wait(extension.vers.whoami())


@click.group(context_settings=HELP, invoke_without_command=True)
@click.option("--show", is_flag=True, help="Show values too. They stay in the notebook.")
@click.pass_context
def env(context: click.Context, show: bool) -> Environment | None:
    """The environment variables that new VMs find in /etc/environment: list their names."""
    if context.invoked_subcommand is not None:
        if show:
            raise UsageError("--show is for the list.", "`%vers env --show`.")
        return None
    extension: Extension = context.obj
    found = extension.wait(extension.vers.env())
    if not show:
        return found
    click.echo(views.environment_text(found, values=True))
    return extension.quietly(found)


@env.command("set")
@click.argument("pairs", nargs=-1, required=True, metavar="K[=V]…")
@click.option(
    "--from", "variable", type=parameters.Variable(), metavar="VAR", help="The value of this Python variable."
)
@click.option("--from-env", metavar="NAME", help="That of NAME in this kernel's own environment.")
@click.pass_obj
def set_(extension: Extension, pairs: tuple[str, ...], variable: str | None, from_env: str | None) -> None:
    """Set variables for VMs to come; those that are there keep what they have.

    K without =V asks for the value, which is not shown: so a secret is not in the notebook.
    """
    names = [pair.partition("=")[0] for pair in pairs]
    for name in names:
        check_name(name)
    if variable is not None or from_env is not None:
        if len(pairs) > 1 or "=" in pairs[0] or None not in (variable, from_env):
            raise UsageError("One name takes one value from one place.", FORMS)
        value = _variable(extension, variable) if variable is not None else _environment(from_env or "")
        given = {names[0]: value}
    else:
        given = {}
        for name, pair in zip(names, pairs, strict=True):
            given[name] = pair.partition("=")[2] if "=" in pair else _asked(name)
    extension.wait(extension.vers.set_env(given), f"setting {', '.join(given)}")
    click.echo(f"New VMs have {', '.join(given)} in their environment.")


@env.command()
@click.argument("names", nargs=-1, required=True, metavar="K…")
@click.pass_obj
def rm(extension: Extension, names: tuple[str, ...]) -> None:
    """Take variables away from VMs to come; those that are there keep them."""
    extension.wait(extension.vers.unset_env(*names))
    click.echo(f"New VMs do not have {', '.join(names)}.")


def _variable(extension: Extension, name: str) -> str:
    value = extension.shell.user_ns.get(name)
    if value is None:
        raise UsageError(f"There is no variable {name} here.", "`%who` lists those there are.")
    if not isinstance(value, str):
        raise UsageError(f"The variable {name} holds no text.", f"`{name} = str({name})` makes it one.")
    return value


def _environment(name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise UsageError(
            f"{name} is not set in this kernel's environment.", "It is that of the server that started it."
        ) from None


def _asked(name: str) -> str:
    try:
        return getpass.getpass(f"{name}: ")
    except (StdinNotImplementedError, EOFError):
        raise UsageError(f"Nobody can be asked for the value of {name} here.", FORMS) from None


@click.command(context_settings=HELP)
@click.argument("key", required=False, type=parameters.Setting())
@click.argument("value", required=False)
@click.option(
    "--unset", type=parameters.Setting(), metavar="KEY", help="Forget what was set for this session."
)
@click.pass_obj
def config(
    extension: Extension, key: str | None, value: str | None, unset: str | None
) -> Configuration | Setting | None:
    """List every setting and where it comes from; show KEY; or set KEY to VALUE for this session."""
    settings = extension.vers.settings
    if unset is not None:
        if key is not None:
            raise UsageError("--unset takes one KEY, and no VALUE.", "`%vers config --unset KEY`.")
        configuration.forget(settings, unset)
        return None
    if key is None:
        return configuration.configuration(settings)
    if value is None:
        return configuration.setting(settings, key)
    configuration.change(settings, key, value)
    return None


COMMANDS = (whoami, env, config)
