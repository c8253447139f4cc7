"""The tables of what commands may be given in plan mode."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pi_v_jupyter.plan import checks
from pi_v_jupyter.plan.readonly import judge
from pi_v_jupyter.plan.rules import Rule, reasons, rules


def every() -> Iterator[Rule]:
    """Each rule of the tables, those of sub-commands too."""
    rest = list(rules().values())
    while rest:
        rule = rest.pop()
        yield rule
        rest += rule.subs.values()


def test_no_flag_both_passes_and_is_refused() -> None:
    assert [(rule.name, flag) for rule in every() for flag in rule.flags.keys() & rule.refused.keys()] == []


def test_each_flag_is_one_and_takes_what_a_flag_can() -> None:
    for rule in every():
        for flag, takes in [*rule.flags.items(), *((flag, "") for flag in rule.refused)]:
            assert flag.startswith("-"), (rule.name, flag)
            assert takes in {"", "=", "?"}, (rule.name, flag)
        assert rule.needs <= rule.flags.keys(), rule.name
        assert rule.listing <= rule.flags.keys(), rule.name
        assert rule.check in {"", *checks.CHECKS}, rule.name
        assert rule.style in {"", "test", "find"}, rule.name


def test_no_command_both_may_run_and_has_a_reason_why_not() -> None:
    assert rules().keys() & reasons().keys() == set()


@pytest.mark.parametrize("name", sorted(reasons()))
def test_a_command_with_a_reason_is_refused_for_it(name: str) -> None:
    refusal = judge(f"{name} a")
    assert refusal is not None
    assert refusal.part.startswith(name)


def test_what_a_flag_is_refused_for_names_the_flag() -> None:
    for rule in every():
        for flag, why in rule.refused.items():
            assert flag.rstrip("=") in why, (rule.name, flag)
