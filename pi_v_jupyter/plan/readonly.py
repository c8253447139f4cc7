"""May this command run while one may only look?

`judge` says so of a text that is run by `ground.SHELL` in `ground.surroundings`, and by nothing else: without
that clean ground a variable, function or file of the user's could give every word of it another meaning.

What passes changes no file, no process, no setting of the machine and no clock, and sends no packet, whatever
its variables, globs and substitutions turn out to be, whatever files there are, and whatever the
configuration of a repository says. What is not understood, or not in the tables, is refused.

What is not promised: that a command ends (the loop `while true`, `sleep`, and a named pipe without a writer
are the runner's to stop), or that it prints little. Nor that reading is itself without effect: access times
change; a pipe, or a device that is not named as such, is emptied by who reads it; a file system, or the list
of users, may live on another machine; the kernel may load a module to answer `ss`, and git renews the time
of an index that is split. Programs in the system's own folders are taken for what their names say. A large
`sort` or here-document uses /tmp, and so does `tac` of a pipe.
"""

from __future__ import annotations

import posixpath
import string
from collections.abc import Sequence
from dataclasses import dataclass

from pi_v_jupyter.plan import checks
from pi_v_jupyter.plan.agreement import agree
from pi_v_jupyter.plan.arguments import opened, taken
from pi_v_jupyter.plan.ground import FOLDERS
from pi_v_jupyter.plan.rules import Rule, reasons, rules
from pi_v_jupyter.plan.scanner import scan
from pi_v_jupyter.plan.script import Command, Redirect
from pi_v_jupyter.plan.words import Refused, Unknown, Word, names

DEEPEST = 12  # commands before commands, substitutions within substitutions
LONGEST = 20_000  # characters of a command
SURROUNDING = names(
    "LC_ALL LC_COLLATE LC_CTYPE LC_MESSAGES LC_NUMERIC LC_TIME LANG LANGUAGE TZ NO_COLOR COLUMNS"
)
HARMLESS = frozenset(string.ascii_letters + string.digits + "._-@:+")  # characters of what those may be
WRITES = frozenset({">", ">>", ">|", "&>", "&>>"})
COPIES = frozenset({">&", "<&"})
COUNTED = names("-n -L --max-args")  # with them xargs puts what it reads at the end, after -I too
STREAMS = frozenset({"0", "1", "2", "-"})


@dataclass(frozen=True)
class Refusal:
    """Why a command may not run: `part` is the text of what is refused, `rule` one sentence for people."""

    part: str
    rule: str


def judge(command: str) -> Refusal | None:
    """Why `command`, as it would be typed into bash, may not run; nothing if it may."""
    try:
        _judge(command, 0)
    except Refused as refused:
        return Refusal(refused.part, refused.rule)
    return None


def _judge(text: str, depth: int) -> None:
    if len(text) > LONGEST or depth > DEEPEST:
        raise Refused(text[:80], "a command as long or as nested as this is not judged")
    script = scan(text)
    agree(script)
    for variable in script.variables:
        checks.name_of_variable(variable)
    for condition in script.conditions:
        checks.condition(condition)
    for command in script.commands:
        _judge_command(command)
    for start, end in script.inner:
        _judge(text[start:end], depth + 1)


def _judge_command(command: Command) -> None:
    reads = bool(command.words) and command.words[0].known == "read"
    for name, value in command.assignments:
        if command.words:
            _judge_surrounding(name, value, reads)
        elif not checks.settable(name):
            raise Refused(
                f"{name}={value.raw.partition('=')[2]}", "only variables in small letters are set here"
            )
    for redirect in command.redirects:
        _judge_redirect(redirect)
    if command.words:
        _judge_words(command.words, 0)


def _judge_surrounding(name: str, value: Word, reads: bool) -> None:
    if reads and name == "IFS":
        return
    if name not in SURROUNDING:
        raise Refused(value.raw, f"{name} may not be set for a command: only language, zone and width may")
    if value.known is None or not set(value.known) <= (HARMLESS | {"/"} if name == "TZ" else HARMLESS):
        raise Refused(value.raw, f"{name} must be a plain name")
    if name == "TZ":
        opened(value.with_value(value.known.lstrip(":")))


def _judge_redirect(redirect: Redirect) -> None:
    operator, target = redirect.operator, redirect.target
    shown = f"{redirect.descriptor}{operator}{target.raw}"
    if operator in WRITES:
        if target.known != "/dev/null":
            raise Refused(shown, f"{operator} writes a file: only /dev/null may be written to")
    elif operator in COPIES:
        if target.known not in STREAMS:
            raise Refused(shown, f"{operator} with anything but 0, 1, 2 or - may write a file")
    elif operator == "<>":
        raise Refused(shown, "<> makes a file")
    elif operator == "<":
        head = target.head
        inside = target.raw.startswith("<(")
        if not inside and (target.several or head.startswith(("/dev/tcp", "/dev/udp"))):
            raise Refused(shown, "this would open a connection, or is not one file")
        if not inside and target.known is None and ("/dev".startswith(head) or head.startswith("/dev")):
            raise Refused(shown, "this may turn out to be a connection: write ./ before it")
        opened(target)


def _judge_words(words: Sequence[Word], depth: int) -> None:
    name = words[0].known
    if depth > DEEPEST:
        raise Refused(words[0].raw, "so many commands before commands are not judged")
    if name is None:
        raise Refused(words[0].raw, "which command this is must be known beforehand")
    if posixpath.dirname(name) in FOLDERS:
        name = posixpath.basename(name)
    rule = rules().get(name)
    if rule is None:
        why = reasons().get(name)
        raise Refused(
            words[0].raw, f"{name} {why}" if why else f"{name} is not among the commands that only look"
        )
    if rule.direct and (depth or "/" in (words[0].known or "")):
        raise Refused(
            words[0].raw, f"{name} is judged only as a command of its own, started by its plain name"
        )
    _judge_rule(rule, words, depth)


def _judge_rule(rule: Rule, words: Sequence[Word], depth: int) -> None:
    arguments = list(words[1:])
    if rule.style == "test":
        if rule.name == "[" and arguments[-1:] and arguments[-1].known == "]":
            arguments.pop()
        return checks.test(arguments)
    if rule.style == "find":
        return checks.expression(rule, arguments)
    given = taken(rule, arguments)
    checks.check(rule, given)
    if rule.subs:
        return _judge_sub(rule, words, given.operands, depth)
    if rule.runs is not None:
        before, inner = given.operands[: rule.runs], given.operands[rule.runs :]
        if any(each.several for each in (*before, *inner[:1])):
            raise Refused(words[0].raw, f"which command {rule.name} runs must be known beforehand")
        if rule.adds_input:
            replaced = given.values("-I")
            if replaced and given.has(COUNTED):
                raise Refused(words[0].raw, "xargs heeds only one of -I and a number of words or lines")
            inner = _with_input(inner or [words[0].with_value("echo")], replaced)
        if inner:
            _judge_words(inner, depth + 1)
    return None


def _judge_sub(rule: Rule, words: Sequence[Word], operands: Sequence[Word], depth: int) -> None:
    if not operands and rule.alone:
        return
    if not operands or operands[0].known is None:
        raise Refused(
            (operands[0] if operands else words[0]).raw, f"which of {rule.name}'s commands must be known"
        )
    sub = rule.subs.get(operands[0].known)
    if sub is None:
        part = f"{words[0].raw} {operands[0].raw}"
        raise Refused(part, f"{rule.name} {operands[0].known} is not among what only looks")
    _judge_rule(sub, operands, depth)


def _with_input(inner: Sequence[Word], replaced: Sequence[Word]) -> list[Word]:
    """The command that xargs makes of `inner` and what it reads, of which nothing is known."""
    if not replaced:
        return [
            *inner,
            Word(inner[0].start, inner[-1].end, "xargs", (Unknown(inner[0].start, inner[-1].end, False),)),
        ]
    sign = replaced[-1].known
    words = []
    for word in inner:
        if not sign or word.known is None:
            raise Refused(word.raw, "with xargs -I each word must be known beforehand")
        begun, found, _ = word.known.partition(sign)
        whole = word.with_value(begun)
        rest = Unknown(word.start, word.end, True)
        words.append(Word(word.start, word.end, word.raw, (*whole.parts, rest)) if found else word)
    return words
