"""What a word in a line of `%vers swarm` or `%%task` may name, for Tab to offer it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from pi_v_jupyter.magics.completion import paths
from pi_v_jupyter.magics.parameters import Listed, Named

if TYPE_CHECKING:
    from datetime import timedelta

    from pi_v_jupyter.magics.completion.tab import Tab

WORKSPACE = "workspace"  # of the user's home over there


class AgentName(Named):
    """An agent, by its label."""

    def offers(self, tab: Tab, given: dict[str, Any], word: str) -> Iterable[CompletionItem[str]]:
        """All of the account."""
        vers = tab.extension.vers
        for label in tab.ask(("agents", vers.settings.base_url), vers.swarm.labels) or []:
            yield CompletionItem(label, type="agent")


class AgentNames(Listed, AgentName):
    """Several agents, with commas; `*` is all of them."""


class AgentList(AgentNames):
    """Several agents in one word, for another one follows."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse half a list."""
        return _whole(self, value, param, ctx)


class NewLabels(click.ParamType[str]):
    """What agents to come are to be called, with commas."""

    name = "A,B,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse half a list."""
        return _whole(self, value, param, ctx)


def _whole(
    kind: click.ParamType[str], value: Any, param: click.Parameter | None, ctx: click.Context | None
) -> str:
    listed = str(value)
    if listed.strip().endswith(","):
        kind.fail(f"{listed!r} ends with a comma: labels are listed without spaces, a,b,c.", param, ctx)
    return listed


class AgentPath(Named):
    """A path on an agent's VM; a relative one begins in its workspace."""

    def offers(self, tab: Tab, given: dict[str, Any], word: str) -> Iterable[CompletionItem[str]]:
        """What is in its folder on the first that is named."""
        return paths.on_machine(tab, tab.machine(given.get("labels") or given["label"]), word, cwd=WORKSPACE)


class Lifetime(click.ParamType["timedelta"]):
    """A span of time, such as 90m or 4h."""

    name = "SPAN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Refuse what is none."""
        from pi_v_jupyter.swarm.membership import lifetime

        return lifetime(str(value))


class LocalPath(Named):
    """A path of this computer."""

    def offers(self, tab: Tab, given: dict[str, Any], word: str) -> Iterable[CompletionItem[str]]:
        """What is in its folder."""
        return paths.here(tab, word)
