"""Stand-in until the judge is there: the shell that planned commands run in, and its environment."""

from __future__ import annotations

from collections.abc import Mapping

SHELL = ["bash", "--noprofile", "--norc", "-c"]


def surroundings(environment: Mapping[str, str]) -> dict[str, str]:
    """What planned commands have of an environment."""
    return {name: environment[name] for name in ("PATH", "HOME", "USER", "LANG") if name in environment}
