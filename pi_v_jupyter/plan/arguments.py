"""The arguments of a command taken apart as the command itself would, by its rule: flags, values, operands.

A word that only the shell will know may be an option, unless it comes after `--` or begins with something
known. Long flags must be written out: which abbreviations a command knows depends on its version.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field

from pi_v_jupyter.plan.rules import MANY, Rule
from pi_v_jupyter.plan.words import Refused, Unknown, Word

# What may be opened of /dev: opening another device can do something, as that of a watchdog or a tape.
DEVICES = frozenset(f"/dev/{name}" for name in ("null", "stdin", "urandom", "random", "tty"))


@dataclass
class Given:
    """Flags with the values they were given, in order, and what is left."""

    flags: list[tuple[str, Word | None]] = field(default_factory=list)
    operands: list[Word] = field(default_factory=list)

    def values(self, *flags: str) -> list[Word]:
        return [value for flag, value in self.flags if flag in flags and value is not None]

    def has(self, flags: frozenset[str]) -> bool:
        return any(flag in flags for flag, _ in self.flags)


def taken(rule: Rule, words: Sequence[Word]) -> Given:
    """`words`, taken apart.

    Raises:
        Refused: one of them is not in the rule, or may turn out not to be.
    """
    if rule.anything and not rule.flags and not rule.refused:
        given = Given([], list(words))
        _counted(rule, given, words)
        return given
    given = Given()
    rest = list(words)
    ended = False
    while rest:
        word = rest.pop(0)
        known = word.known
        if known == "--" and not ended:
            if rule.unended or rule.subs:
                raise Refused(word.raw, f"{rule.name} does not read -- as the end of its options")
            ended = True
        elif not ended and known is None and not word.wild and (flag := _flag_with_value(rule, word.head)):
            _take_unknown_value(rule, word, flag)
            given.flags.append((flag, word))
        elif known is None:
            if not rule.anything and _may_be_flag(word, ended):
                raise Refused(word.raw, f"{rule.name} might take this for an option: {_help(word)}")
            given.operands.append(word)
            ended = ended or (rule.stops and not _may_be_flag(word, ended))
        elif ended or known == "-" or not known.startswith("-"):
            given.operands.append(word)
            ended = ended or rule.stops
        elif rule.digits and known[1:].isdecimal():
            continue
        else:
            _take_flag(rule, word, known, rest, given)
    _counted(rule, given, words)
    return given


def opened(word: Word) -> None:
    """Nothing, if `word` may be opened as far as its text tells.

    Raises:
        Refused: it names a device.
    """
    path = posixpath.normpath("/" + word.head.lstrip("/")) if word.head.startswith("/") else ""
    if path == "/proc/kmsg" or path.endswith("/trace_pipe"):
        raise Refused(word.raw, "who reads this takes it from others")
    below = path == "/dev" or path.startswith("/dev/")
    if below and path not in DEVICES and not path.startswith("/dev/fd"):
        raise Refused(word.raw, "opening a device can do something")


def _take_flag(rule: Rule, word: Word, known: str, rest: list[Word], given: Given) -> None:
    if known.startswith("--"):
        name, equals, _ = known.partition("=")
        takes = _takes(rule, name, word)
        if takes == "" and equals:
            raise Refused(word.raw, f"{rule.name} {name} takes no value")
        value = word.after(len(name) + 1) if equals else _next(rule, rest) if takes == "=" else None
        given.flags.append((name, value))
        return
    if known in rule.flags and len(known) > 2:  # a long one with one dash
        given.flags.append((known, _next(rule, rest) if rule.flags[known] == "=" else None))
        return
    for place in range(1, len(known)):
        name = f"-{known[place]}"
        takes = _takes(rule, name, word)
        last = place + 1 == len(known)
        if rule.apart and takes and len(known) > 2:
            raise Refused(word.raw, f"{rule.name} has {name} and its value as words of their own")
        if takes and not last:
            given.flags.append((name, word.after(place + 1)))
            return
        given.flags.append((name, _next(rule, rest) if takes == "=" else None))


def _takes(rule: Rule, name: str, word: Word) -> str:
    if name in rule.refused:
        raise Refused(word.raw, rule.refused[name])
    if name not in rule.flags:
        shown = name if name.isprintable() else "this"
        raise Refused(word.raw, f"{rule.name} {shown} is not among what only looks")
    return rule.flags[name]


def _next(rule: Rule, rest: list[Word]) -> Word | None:
    """The value that is the next word. Without one, the command says so or takes its default."""
    if rest and rest[0].several and not rule.anything:
        raise Refused(rest[0].raw, f"this may be several words, of which {rule.name} takes one: quote it")
    if (
        rest
        and (known := rest[0].known)
        and known.startswith("-")
        and not known[1:].isdecimal()
        and known != "-"
    ):
        # Were it an optional value after all, this would be an option.
        raise Refused(
            rest[0].raw, f"is this an option of {rule.name}, or a value? Write it right after its flag"
        )
    return rest.pop(0) if rest else None


def _flag_with_value(rule: Rule, head: str) -> str:
    """The flag that a word beginning with `head` gives a value that is not known."""
    name, equals, _ = head.partition("=")
    if head.startswith("--"):
        return name if equals and rule.flags.get(name) in {"=", "?"} else ""
    return head[:2] if head[:1] == "-" and rule.flags.get(head[:2]) in {"=", "?"} else ""


def _take_unknown_value(rule: Rule, word: Word, flag: str) -> None:
    """Without a value, which an empty variable is not, a short flag would take the next word for it."""
    empty = all(isinstance(part, Unknown) or not part.value.removeprefix(flag) for part in word.parts)
    if rule.flags[flag] == "=" and not flag.startswith("--") and (empty or rule.apart) and not rule.anything:
        raise Refused(word.raw, f"{flag} would take the next word if this were empty: write a blank after it")


def _may_be_flag(word: Word, ended: bool) -> bool:
    return not ended and (word.wild or word.head[:1] in {"", "-"})


def _help(word: Word) -> str:
    return "quote it, and write -- before it" if word.wild else "write ./ or -- before it"


def _counted(rule: Rule, given: Given, words: Sequence[Word]) -> None:
    command = words[0].raw if words else rule.name
    if rule.needs and not given.has(rule.needs) and not (rule.alone and not given.operands):
        raise Refused(command, f"{rule.name} only looks with {' or '.join(sorted(rule.needs))}")
    if rule.dashed and not command.startswith("-"):
        raise Refused(command, f"{rule.name} takes a first word without - for flags")
    most = MANY if rule.runs is not None or rule.subs or given.has(rule.listing) else rule.operands
    extra = given.operands[most:] or [each for each in given.operands if each.several and most < MANY]
    if extra:
        raise Refused(extra[0].raw, f"{rule.name} with {most or 'no'} operand{'s' * (most > 1)} only looks")
    for operand in given.operands:
        if rule.starts and (operand.wild or not operand.head.startswith(rule.starts)):
            raise Refused(operand.raw, f"{rule.name} only looks when this begins with {rule.starts}")
        if not rule.names_only:
            opened(operand)
    for _, value in given.flags:
        if value is not None and not rule.names_only:
            opened(value)
