"""Stand-in until the judge is there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """The part of a command that may do more than look, and the rule that says so."""

    part: str
    rule: str


def judge(command: str) -> Refusal | None:
    """Why a command is refused."""
    for word, rule in (
        ("sort -o", "sort -o writes a file."),
        ("touch", "touch writes a file."),
        ("rm ", "rm deletes."),
    ):
        if word in command:
            return Refusal(command.strip(), rule)
    return None
