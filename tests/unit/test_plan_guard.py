"""Plan mode has an answer to each thing that can be asked of this package."""

from __future__ import annotations

from typing import Any

import click
import pytest

from pi_v_jupyter.dashboard.intents import INTENTS
from pi_v_jupyter.errors import PlanModeError
from pi_v_jupyter.magics import background, cells, examples, plan, tasks
from pi_v_jupyter.magics.vers import vers
from pi_v_jupyter.plan import guard

# Cells and lines of `%%vm` are no commands with answers of their own: their kinds and options are.
CELLS = {"%%vm python", "%%vm --bg"}
TERMINAL = {"terminal"}
MAGICS: list[tuple[str, click.Command]] = [
    ("%vers", vers),
    *background.COMMANDS.items(),
    *tasks.COMMANDS.items(),
    *plan.COMMANDS.items(),
    *((f"%%vm {kind}", command) for kind, command in cells.FILE_KINDS.items()),
]
COMMANDS = [name for path, command in MAGICS for name, _ in examples.commands(path, command)]


def refusal(name: str, given: dict[str, Any]) -> PlanModeError | None:
    """What a command is told in plan mode, where it is refused."""
    try:
        guard.check(name, given)
    except PlanModeError as error:
        return error
    return None


@pytest.mark.parametrize("name", [*COMMANDS, *INTENTS, *CELLS, *TERMINAL])
def test_each_command_and_each_intent_of_a_dashboard_looks_or_is_refused(name: str) -> None:
    assert name in guard.TABLE, "`plan/guard.py` has to say whether it looks only"


def test_nothing_is_in_the_table_that_is_not_there() -> None:
    assert set(guard.TABLE) == {*COMMANDS, *INTENTS, *CELLS, *TERMINAL}


def test_what_nobody_has_thought_of_is_refused() -> None:
    error = refusal("%vers explode", {})
    assert error is not None and "plan mode does not know it" in error.message


@pytest.mark.parametrize(
    ("name", "looks", "acts"),
    [
        ("%vers config", {"key": "ssh_timeout"}, {"key": "ssh_timeout", "value": "5"}),
        ("%vers config", {}, {"unset": "ssh_timeout"}),
        ("%vers tag", {}, {"name": "ready"}),
        ("%vers commits", {"as_json": True}, {"doomed": ("5c1f",)}),
        ("%vers swarm log", {"label": "api"}, {"label": "api", "html": "api.html"}),
        ("%vers swarm diff", {"label": "api"}, {"label": "api", "repository": "."}),
        ("%vers swarm answer", {"label": "api"}, {"label": "api", "reply": "yes"}),
        ("%%task", {"labels": ("api",), "plan": True}, {"labels": ("api",), "plan": False}),
        ("%vers swarm task", {"plan": True}, {"plan": False}),
    ],
)
def test_what_a_command_is_given_decides(name: str, looks: dict[str, Any], acts: dict[str, Any]) -> None:
    assert refusal(name, looks) is None
    error = refusal(name, acts)
    assert error is not None
    assert str(error).startswith(f"Plan mode: `{name}` is refused: it ") or "an agent" in str(error)
    assert str(error).endswith(".  `%plan off` ends plan mode.")


def test_options_that_decide_are_options_of_their_commands() -> None:
    names = {
        name: {param.name for param in command.params}
        for path, command in MAGICS
        for name, command in examples.commands(path, command)
    }
    for name, options in {
        "%vers config": {"value", "unset"},
        "%vers tag": {"name"},
        "%vers commits": {"doomed"},
        "%vers swarm log": {"html", "markdown"},
        "%vers swarm diff": {"repository"},
        "%vers swarm answer": {"reply", "cancel"},
        "%vers swarm task": {"plan"},
        "%%task": {"plan"},
    }.items():
        assert options <= names[name]
