"""Scripts of sed: only what selects, prints and changes lines on their way passes.

`w`, `W`, `e`, `r`, `R`, and the flags `w` and `e` of `s` are refused, and so is what this does not know.
"""

from __future__ import annotations

import string

from pi_v_jupyter.plan.patterns import pattern_end
from pi_v_jupyter.plan.words import Refused

PLAIN = frozenset("=dDgGhHnNpPxzF")
NUMBERED = frozenset("qQl")
TEXT = frozenset("aic")
LABELLED = frozenset(":btT")
FLAGS = frozenset("gpiIm" + string.digits)
WHY = {
    "w": "sed's w writes a file",
    "W": "sed's W writes a file",
    "e": "sed's e runs a command",
    "r": "sed's r is not judged: cat reads files",
    "R": "sed's R is not judged: cat reads files",
}


def judge_script(script: str) -> None:
    """Nothing, if `script` writes and runs nothing.

    Raises:
        Refused: it does, or is not understood.
    """
    _Script(script).run()


class _Script:
    def __init__(self, script: str) -> None:
        self.script = script
        self.at = 0

    def run(self) -> None:
        while True:
            self._skip(" \t\n;")
            if not self._peek():
                return
            if self._peek() == "#":
                self._line()
                continue
            self._address()
            self._skip(" \t")
            if self._peek() == ",":
                self.at += 1
                self._skip(" \t")
                self._skip("+~")
                self._address()
            self._skip(" \t!")
            self._command()

    def _peek(self) -> str:
        return self.script[self.at : self.at + 1]

    def _skip(self, chars: str) -> None:
        while self._peek() and self._peek() in chars:
            self.at += 1

    def _line(self) -> str:
        end = self.script.find("\n", self.at)
        end = len(self.script) if end < 0 else end
        line, self.at = self.script[self.at : end], end
        return line

    def _refuse(self, why: str) -> Refused:
        return Refused(self.script[max(0, self.at - 1) : self.at + 8] or self.script, why)

    def _address(self) -> None:
        if self._peek() == "$":
            self.at += 1
        elif self._peek() in {"/", "\\"}:
            self.at += self._peek() == "\\"
            self._pattern(self._peek())
            self._skip("IM")
        else:
            self._skip(string.digits + "~")

    def _pattern(self, delimiter: str, *, regex: bool = True) -> None:
        """From a delimiter to the next one, which is taken too for the last pattern of a command."""
        if not delimiter or delimiter in "\n\\ " or not delimiter.isascii():
            raise self._refuse("a pattern of sed's is not understood")
        self.at += 1
        if regex:
            self.at = pattern_end(self.script, self.at, delimiter)
        while self._peek() != delimiter:
            if self._peek() in {"", "\n"}:
                raise self._refuse("a pattern of sed's does not end")
            self.at += 2 if self._peek() == "\\" else 1
        self.at += 1

    def _command(self) -> None:
        char = self._peek()
        self.at += 1
        if char in WHY:
            raise self._refuse(WHY[char])
        if char in {"{", "}"}:
            return
        if char and char in TEXT:
            self._skip(" \t")
            if "\\" in self._line():
                raise self._refuse("text of sed's with a backslash is not judged")
        elif char and char in LABELLED:
            self._skip(" \t")
            self._skip(string.ascii_letters + string.digits + "_")
            self._end()
        elif char in {"s", "y"}:
            self._change(char)
        elif char and char in PLAIN | NUMBERED:
            if char in NUMBERED:
                self._skip(" \t")
                self._skip(string.digits)
            self._end()
        else:
            raise self._refuse(f"sed's {char or 'end'} is not judged here")

    def _change(self, char: str) -> None:
        delimiter = self._peek()
        self._pattern(delimiter, regex=char == "s")
        self.at -= 1
        self._pattern(delimiter, regex=False)
        while char == "s" and self._peek() and self._peek() not in " \t\n;}#":
            flag = self._peek()
            self.at += 1
            if flag not in FLAGS:
                raise self._refuse(
                    {"w": "sed's s///w writes a file", "e": "sed's s///e runs a command"}.get(
                        flag, "a flag of sed's s is not known"
                    )
                )
        self._end()

    def _end(self) -> None:
        self._skip(" \t")
        if self._peek() not in {"", "\n", ";", "}", "#"}:
            raise self._refuse("what follows a command of sed's is not understood")
