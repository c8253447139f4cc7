"""The account and the settings, as lines and tables: HTML for a notebook, text everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pi_v_jupyter.api.models import WhoAmI
from pi_v_jupyter.configuration import Configuration, Setting
from pi_v_jupyter.environment import Environment
from pi_v_jupyter.remote.refusals import shown
from pi_v_jupyter.views.tables import html_table, text_table

SETTINGS = ("setting", "value", "from", "problem")
NO_VARIABLES = "No environment variables.", "%vers env set K=V", "sets one."
_NAMES = ("user_name", "username", "name", "display_name", "email", "id", "user_id", "org_id")


def _person(told: Mapping[str, Any]) -> tuple[str, ...]:
    """What it is called, its address, its id, as far as the platform says."""
    called = next((shown(str(told[name])) for name in _NAMES if told.get(name)), "unknown")
    more = (shown(str(told[name])) if told.get(name) else "" for name in ("email", "id"))
    return called, *("" if one == called else one for one in more)


def whoami_text(who: WhoAmI) -> str:
    """User and organisation in a line each."""
    lines = []
    for title, told in (("user", who.user), ("organisation", who.org)):
        lines.append(f"{title}  {'  '.join(filter(None, _person(told)))}")
    return "\n".join(lines)


def whoami_html(who: WhoAmI) -> str:
    """The same as a table."""
    rows = [(title, *_person(told)) for title, told in (("user", who.user), ("organisation", who.org))]
    return html_table(("", "name", "email", "id"), rows)


def environment_text(environment: Environment, *, values: bool = False) -> str:
    """Names, a line each; with `values` as K=V."""
    if not environment:
        return "{}  `{}` {}".format(*NO_VARIABLES)
    return "\n".join(
        f"{shown(name)}={shown(value) if value else ''}" if values else shown(name)
        for name, value in environment.items()
    )


def environment_html(environment: Environment) -> str:
    """Names in a table."""
    if not environment:
        return "<p>{} <code>{}</code> {}</p>".format(*NO_VARIABLES)
    return html_table(("environment variable",), [(shown(name),) for name in environment])


def _row(setting: Setting) -> tuple[str, str, str, str]:
    return setting.key, setting.value or "—", setting.origin, setting.problem


def _table(settings: Configuration) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Heads and rows; problems have a column where there are any."""
    width = 4 if any(setting.problem for setting in settings) else 3
    return SETTINGS[:width], [_row(setting)[:width] for setting in settings]


def configuration_text(settings: Configuration) -> str:
    """Settings as text."""
    return text_table(*_table(settings))


def configuration_html(settings: Configuration) -> str:
    """Settings as a table."""
    return html_table(*_table(settings))


def setting_text(setting: Setting) -> str:
    """One setting in a line, such as "ssh_timeout = 5  (`%vers config`)"."""
    text = f"{setting.key} = {setting.value or '—'}  ({setting.origin})"
    return f"{text}  {setting.problem}" if setting.problem else text
