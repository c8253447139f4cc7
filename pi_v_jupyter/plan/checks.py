"""What must hold for certain commands beyond flags: scripts, formats, conditions, expressions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from pi_v_jupyter.plan.arguments import Given, opened
from pi_v_jupyter.plan.awkprogram import judge_program
from pi_v_jupyter.plan.rules import Rule
from pi_v_jupyter.plan.sedscript import judge_script
from pi_v_jupyter.plan.words import Refused, Word, names
from pi_v_jupyter.plan.wordscanner import NAME_CHARS, NAME_STARTS

LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz_")
BINARY = names("= == != < > -eq -ne -lt -le -gt -ge -ef -nt -ot")
NUMERIC = names("-eq -ne -lt -le -gt -ge")
JOINING = frozenset(["-a", "-o"])
BY_NAME = {"-v", "-R"}  # whether a variable is set, whose name may have a subscript, which may run commands


def settable(name: str) -> bool:
    """Whether a variable of that name may be set: in small letters, as none is that a program heeds here."""
    return name[:1] in LETTERS and set(name) <= NAME_CHARS and name == name.lower()


def check(rule: Rule, given: Given) -> None:
    """Nothing, if what `rule` asks for by name holds of `given`.

    Raises:
        Refused: it does not.
    """
    if rule.check:
        CHECKS[rule.check](rule, given)


def _known(rule: Rule, word: Word, what: str) -> str:
    if word.known is None:
        raise Refused(word.raw, f"{what} of {rule.name} must be known beforehand")
    return word.known


def _sed(rule: Rule, given: Given) -> None:
    scripts = given.values("-e", "--expression")
    scripts = scripts or given.operands[:1]
    texts = [_known(rule, script, "a script") for script in scripts]
    try:
        judge_script("\n".join(texts))
    except Refused as refused:
        raise Refused(scripts[0].raw, refused.rule) from None


def _awk(rule: Rule, given: Given) -> None:
    for program in given.operands[:1]:
        try:
            judge_program(_known(rule, program, "the program"))
        except Refused as refused:
            raise Refused(program.raw, refused.rule) from None
    for operand in given.operands[1:]:
        head = operand.head
        # One that is not known may become what its head could be the beginning of.
        begins = operand.known is None and (operand.wild or "/inet".startswith(head))
        if begins or head.startswith(("-", "/inet")):
            raise Refused(
                operand.raw, "awk might take this for an option or a connection: write ./ before it"
            )


def _printf(rule: Rule, given: Given) -> None:
    if not given.operands:
        return
    text = _known(rule, given.operands[0], "the format")
    rest = iter(text.replace("%%", ""))
    for char in rest:
        if char == "%":
            kind = next((each for each in rest if each not in "0123456789.-+ #'*hlLjzt"), "")
            if kind not in set("sdiouxXcqbeEfFgGaA"):
                raise Refused(given.operands[0].raw, f"printf's %{kind} is not judged: %n sets a variable")


def _read(rule: Rule, given: Given) -> None:
    for operand in given.operands:
        if not settable(_known(rule, operand, "the variables")):
            raise Refused(operand.raw, "only variables in small letters are set here")


def _one_of(words: Sequence[Word], place: int) -> str:
    return (words[place].known or "") if place < len(words) else ""


def _ip(rule: Rule, given: Given) -> None:
    subject, action = _one_of(given.operands, 0), _one_of(given.operands, 1)
    if not given.operands:
        return
    if subject not in ["a", "addr", "address", "r", "route", "l", "link", "n", "neigh", "rule", "maddr"]:
        raise Refused(
            given.operands[0].raw, "of ip, only addr, link, route, rule, neigh and maddr show are judged"
        )
    if len(given.operands) > 1 and action not in {"show", "list", "ls"}:
        raise Refused(given.operands[1].raw, "of ip, only show (or list) looks")


def _assigning(rule: Rule, given: Given) -> None:
    for operand in given.operands:
        if "=" in _known(rule, operand, "each name"):
            raise Refused(operand.raw, f"{rule.name} name=value sets it")


def _tar(rule: Rule, given: Given) -> None:
    for archive in given.values("-f", "--file"):
        if ":" in _known(rule, archive, "the archive"):
            raise Refused(archive.raw, "tar takes a name with : for another machine's")


def test(words: Sequence[Word]) -> None:
    """Of `test` and `[`: whatever the unknown words are, none becomes an operator that runs something.

    Raises:
        Refused: one might.
    """
    words = list(words)
    for word in words:
        if word.several:
            raise Refused(word.raw, 'this may become several words of the test: write "…" around it')
        if word.known in BY_NAME:
            raise Refused(word.raw, "a variable's name can have a subscript that runs commands")
    for word, after in pairwise(words):
        if word.known is None and (after.known not in BINARY | JOINING | {")"}):
            raise Refused(word.raw, "this may turn out to be an operator of the test")


def condition(words: Sequence[Word]) -> None:
    """Of `[[`: numbers are compared only if they are known, since what is in a variable is evaluated.

    Raises:
        Refused: a number is not known, or a variable is looked up by its name.
    """
    for word in words:
        if word.known in BY_NAME:
            raise Refused(word.raw, "a variable's name can have a subscript that runs commands")
    for place, word in enumerate(words):
        if word.known in NUMERIC:
            for each in (*words[max(0, place - 1) : place], *words[place + 1 : place + 2]):
                if not (each.known or "").lstrip("-").isdecimal():
                    raise Refused(each.raw, "[[ evaluates what is in a variable: compare numbers with [ … ]")


def expression(rule: Rule, words: Sequence[Word]) -> None:
    """Of `find`: starting points, then predicates with as many values as each takes.

    Raises:
        Refused: one of them is not in the rule, or may turn out not to be.
    """
    rest = list(words)
    while rest:
        word = rest.pop(0)
        known = word.known
        if known is None:
            if word.wild or word.head[:1] in {"", "-", "(", ")", "!", ","}:
                raise Refused(
                    word.raw, f'{rule.name} might take this for an option: write ./ before it, in "…"'
                )
        elif known in rule.refused:
            raise Refused(word.raw, rule.refused[known])
        elif known.startswith("-") and known not in rule.flags:
            raise Refused(word.raw, f"{rule.name} {known} is not among what only looks")
        elif rule.flags.get(known) == "=" and rest:
            value = rest.pop(0)
            if value.several:
                raise Refused(value.raw, 'this may be several words: write "…" around it')
            opened(value)


def name_of_variable(word: Word) -> None:
    """Nothing, if a loop may set the variable of that name.

    Raises:
        Refused: it may not.
    """
    if word.raw[:1] not in NAME_STARTS or not settable(word.raw):
        raise Refused(word.raw, "only variables in small letters are set here")


CHECKS: dict[str, Callable[[Rule, Given], None]] = {
    "sed": _sed,
    "awk": _awk,
    "printf": _printf,
    "read": _read,
    "ip": _ip,
    "assigning": _assigning,
    "tar": _tar,
}
