"""Programs of awk: only what reads its input and prints passes.

Refused are pipes, redirections of `print`, `system`, `getline`, everything with `@`, and changes of what awk
reads next (`ARGV`). The program is read token by token; where awk tells a pattern from a division by what it
has parsed before, a text that could be either is refused.
"""

from __future__ import annotations

import string

from pi_v_jupyter.plan.patterns import pattern_end
from pi_v_jupyter.plan.words import Refused, names

NAMES = frozenset(string.ascii_letters + string.digits + "_")
DIGITS = frozenset(string.digits + ".")
REFUSED = {
    "system": "awk's system runs a command",
    "getline": "awk's getline reads from commands and files",
    "ARGV": "what awk reads next is not changed here",
    "ARGC": "what awk reads next is not changed here",
}
# What / means after these depends on more than the token before it, or, as of `length`, on which awk it is.
WORDS = names(
    "length print printf return in else do case exit delete default break continue next nextfile BEGIN END "
    "if while for switch function func"
)
HEADS = frozenset({"if", "while", "for", "switch"})  # after their parentheses a statement begins
OPERANDS_END = frozenset(")]")  # after these, / divides
PATTERN_FOLLOWS = frozenset("{};(,~!&|\n")  # after these, / begins a pattern


def judge_program(program: str) -> None:
    """Nothing, if `program` runs and writes nothing.

    Raises:
        Refused: it does, or is not understood.
    """
    _Program(program).run()


class _Program:
    def __init__(self, program: str) -> None:
        self.program = program
        self.at = 0
        self.last = "\n"  # the last character of the last token
        self.name = ""  # that token, if it is a name
        self.parentheses: list[bool] = []  # those open, each whether it is a head's
        self.printing: int | None = None  # the depth of parentheses where print stands

    def run(self) -> None:
        while self.at < len(self.program):
            char = self.program[self.at]
            two = self.program[self.at : self.at + 2]
            if char in " \t" or two == "\\\n":
                self.at += 1 + (char == "\\")
            elif char == "#":
                end = self.program.find("\n", self.at)
                self.at = len(self.program) if end < 0 else end
            elif char == '"':
                self._string()
            elif char == "/" and self._pattern_here():
                self._pattern()
            elif char in DIGITS:
                self._number()
            elif char in NAMES:
                self._name()
            else:
                self._sign(char, two)

    def _refuse(self, why: str, start: int | None = None) -> Refused:
        start = self.at if start is None else start
        return Refused(self.program[start : start + 12], why)

    def _string(self) -> None:
        start = self.at
        self.at += 1
        while (char := self.program[self.at : self.at + 1]) != '"':
            if not char or char == "\n":
                raise self._refuse("a string of awk's does not end", start)
            self.at += 2 if char == "\\" else 1
        self.at += 1
        self.last, self.name = ")", ""

    def _pattern_here(self) -> bool:
        if self.last in PATTERN_FOLLOWS:
            return True
        if self.last in OPERANDS_END:
            return False
        raise self._refuse(
            "whether this / divides or begins a pattern is not clear: put a parenthesis before it"
        )

    def _pattern(self) -> None:
        self.at = pattern_end(self.program, self.at + 1, "/") + 1
        self.last, self.name = ")", ""

    def _number(self) -> None:
        start = self.at
        while self.program[self.at : self.at + 1] in DIGITS | {"e", "E"} and self.at < len(self.program):
            self.at += 1
        if self.program[self.at : self.at + 1] in NAMES:
            raise self._refuse("a name right after a number of awk's: write a blank between them", start)
        self.last, self.name = ")", ""

    def _name(self) -> None:
        start = self.at
        while self.program[self.at : self.at + 1] in NAMES and self.at < len(self.program):
            self.at += 1
        self.name = self.program[start : self.at]
        if self.name in REFUSED:
            raise self._refuse(REFUSED[self.name], start)
        if self.name in {"print", "printf"}:
            self.printing = len(self.parentheses)
        self.last = "?" if self.name in WORDS else ")"

    def _sign(self, char: str, two: str) -> None:
        if char == "@" or not char.isascii() or char in "'`":
            raise self._refuse(f"awk's {char} is not judged")
        if two in {"||", "&&"}:
            self.at += 1
        elif char == "|":
            raise self._refuse("awk's | runs a command")
        elif char == ">" and self.printing == len(self.parentheses):
            raise self._refuse("awk's > after print writes a file: compare in parentheses")
        self.last = char
        if char in "([":
            self.parentheses.append(char == "(" and self.name in HEADS)
        elif char in ")]" and self.parentheses and self.parentheses.pop():
            self.last = "?"
        elif char in ";}":
            self.printing = None
        self.name = ""
        self.at += 1
