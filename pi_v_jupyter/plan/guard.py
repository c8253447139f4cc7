"""What plan mode says to each thing that can be asked of this package: it looks only, or is refused, and why.

One table, by what a user types, or, for what a dashboard asks, by the intent's name. What is in it under no
name is refused: nothing new can be forgotten. Commands of a shell are judged by `readonly`, not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pi_v_jupyter.errors import PlanModeError

Rule = Callable[[Mapping[str, Any]], str]
"""Why it is refused with what it was given, or an empty text."""


def looks(given: Mapping[str, Any]) -> str:
    """It only looks."""
    return ""


def refused(why: str) -> Rule:
    """It is refused, whatever it is given."""
    return lambda given: why


def without(why: str, *names: str) -> Rule:
    """It only looks unless one of these is given."""
    return lambda given: why if any(given.get(name) for name in names) else ""


def only_with(name: str, why: str) -> Rule:
    """It is refused unless that is given."""
    return lambda given: "" if given.get(name) else why


MAKES, DELETES, CHANGES = "it makes VMs.", "it deletes.", "it changes VMs or commits."
STOPS, TELLS = "it ends what runs.", "it has an agent go on, which may touch anything."
UNJUDGED = "nothing but commands of bash is judged."
HERE = "it writes files on this computer."
PLANNED = "an agent is given nothing to do but to plan: `%%task LABEL --plan`."

TABLE: dict[str, Rule] = {
    "%vers": looks,
    "%vers ls": looks,
    "%vers info": looks,
    "%vers dashboard": looks,
    "%vers doctor": looks,
    "%vers whoami": looks,
    "%vers read": looks,
    "%vers use": looks,
    "%vers local": looks,
    "%vers route": looks,
    "%vers commits": without(DELETES, "doomed"),
    "%vers tag": without("it changes tags.", "name"),
    "%vers config": without("it changes a setting.", "value", "unset"),
    "%vers env": looks,
    "%vers env set": refused("it changes what new VMs are born with."),
    "%vers env rm": refused("it changes what new VMs are born with."),
    "%vers create": refused(MAKES),
    "%vers branch": refused(MAKES),
    "%vers restore": refused(MAKES),
    "%vers commit": refused("it makes a commit."),
    "%vers rm": refused(DELETES),
    "%vers rename": refused(CHANGES),
    "%vers pause": refused(CHANGES),
    "%vers resume": refused(CHANGES),
    "%vers forget-host-key": refused("it has another host key trusted."),
    "%vers up": refused("it starts the embedded platform."),
    "%vers down": refused("it ends the embedded platform."),
    "%vers cp": refused("it writes where it copies to."),
    "%vers ssh-config": refused(HERE),
    "%vers shell": refused("what is typed at a terminal is judged by nobody."),
    "%vers golden": looks,
    "%vers golden status": looks,
    "%vers golden build": refused(MAKES),
    "%vers skills": looks,
    "%vers kernels": looks,
    "%vers kernels ls": looks,
    "%vers kernels restart": refused(STOPS),
    "%vers kernels rm": refused(STOPS),
    "%vers tunnel": looks,
    "%vers tunnel ls": looks,
    "%vers tunnel open": refused("what goes through a tunnel is judged by nobody."),
    "%vers tunnel close": refused(STOPS),
    "%vers push": refused("it changes variables of a kernel on the VM."),
    "%vers pull": refused("it changes variables of this notebook, by a kernel on the VM."),
    "%vers swarm": looks,
    "%vers swarm status": looks,
    "%vers swarm discover": refused("it may start a program on VMs of agents."),
    "%vers swarm read": looks,
    "%vers swarm wait": looks,
    "%vers swarm stats": looks,
    "%vers swarm log": without(HERE, "html", "markdown"),
    "%vers swarm diff": without("it makes a branch of a repository.", "repository"),
    "%vers swarm spawn": refused(MAKES),
    "%vers swarm task": only_with("plan", PLANNED),
    "%vers swarm abort": refused(STOPS),
    "%vers swarm restart": refused(STOPS),
    "%vers swarm answer": without(TELLS, "reply", "cancel"),
    "%vers swarm teardown": refused(DELETES),
    "%vers swarm collect": refused(HERE),
    "%bg": looks,
    "%bg list": looks,
    "%bg logs": looks,
    "%bg start": refused("what runs in the background outlives the look."),
    "%%bg": refused("what runs in the background outlives the look."),
    "%bg stop": refused(STOPS),
    "%bg rm": refused(DELETES),
    "%%task": only_with("plan", PLANNED),
    "%%vm write": refused("it writes a file."),
    "%%vm edit": refused("it changes a file."),
    "%%vm python": refused(UNJUDGED),
    "%%vm --bg": refused("what runs in the background outlives the look."),
    "%plan": looks,
    "%plan on": looks,
    "%plan off": looks,
    "%plan status": looks,
    "%plan show": looks,
    "%plan done": looks,
    "%plan run": refused(TELLS),
    "%%plan": looks,
    "terminal": refused("what is typed at a terminal is judged by nobody."),
    "close_terminal": refused(STOPS),
    "check": looks,
    "connect": looks,
    "use": looks,
    "local": looks,
    "logs": looks,
    "exec": looks,  # its command is judged, and runs as a planned cell's does
    "create": refused(MAKES),
    "branch": refused(MAKES),
    "restore": refused(MAKES),
    "spawn": refused(MAKES),
    "commit": refused("it makes a commit."),
    "pause": refused(CHANGES),
    "resume": refused(CHANGES),
    "rename": refused(CHANGES),
    "delete": refused(DELETES),
    "delete_commits": refused(DELETES),
    "teardown": refused(DELETES),
    "forget": refused(DELETES),
    "tag": refused("it changes tags."),
    "untag": refused("it changes tags."),
    "tunnel": refused("what goes through a tunnel is judged by nobody."),
    "close_tunnel": refused(STOPS),
    "stop": refused(STOPS),
    "abort": refused(STOPS),
    "restart": refused(STOPS),
    "task": refused(TELLS),
    "steer": refused(TELLS),
    "follow_up": refused(TELLS),
    "answer": refused(TELLS),
}


def check(name: str, given: Mapping[str, Any]) -> None:
    """Pass what looks only.

    Raises:
        PlanModeError: it may do more, or nobody has said what it does.
    """
    rule = TABLE.get(name, refused("plan mode does not know it."))(given)
    if rule:
        raise PlanModeError(name, rule)
