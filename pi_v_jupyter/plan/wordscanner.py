"""How bash reads one word: quotes, escapes, variables and substitutions, character by character.

It knows less than bash on purpose: what it does not know it refuses. What is inside a substitution is a text
of its own, kept for `Words.inner`; where it ends, `end_of_commands` tells, for that takes the grammar of
commands.
"""

from __future__ import annotations

import string
from collections.abc import Callable

from pi_v_jupyter.plan.words import Refused, Text, Unknown, Word

METACHARACTERS = frozenset(" \t\n;&|<>()")
NAME_STARTS = frozenset(string.ascii_letters + "_")
NAME_CHARS = NAME_STARTS | frozenset(string.digits)
SPECIAL = frozenset("?#$!-0123456789")  # parameters of one character, but for $@ and $*
NUMBERS = frozenset("?#$")  # of those, the ones that bash makes of digits alone
ARITHMETIC = frozenset(string.digits + " +-*/%()<>=&|^~!?:")  # without names, nothing is read or set
AFTER_NAME = (":-", "-", ":+", "+", "%%", "%", "##", "#", "^^", "^", ",,", ",", "//", "/")
PLAIN = frozenset(string.ascii_letters + string.digits + " _-.,:/*?=@+%")  # in ${name-these}
ESCAPES = {
    "a": "\a",
    "b": "\b",
    "e": "\x1b",
    "E": "\x1b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
}
LONGEST_ESCAPE = {"x": 2, "u": 4, "U": 8}  # hexadecimal digits


class Words:
    """Reads words of `text`; `end_of_commands(start)` is where the `)` is that ends what begins there."""

    def __init__(self, text: str, end_of_commands: Callable[[int], int]) -> None:
        self.text = text
        self.end_of_commands = end_of_commands
        self.inner: list[tuple[int, int]] = []
        self.at = 0

    def peek(self, count: int = 1) -> str:
        return self.text[self.at : self.at + count]

    def refuse(self, start: int, rule: str) -> Refused:
        """To be raised: the text from `start` to a little after here, and why."""
        return Refused(self.text[start : max(self.at, start + 1)], rule)

    def word(self, start: int) -> Word:
        """The word that begins at `start`; `at` is after it."""
        self.at = start
        parts: list[Text | Unknown] = []
        while self.at < len(self.text):
            char = self.peek()
            if self.peek(2) == "<(":
                parts += [Text("/dev/fd/", True), self._commands(2, quoted=True)]
            elif self.peek(2) == ">(":
                raise self.refuse(start, "what is written to >(…) goes to a command")
            elif char in METACHARACTERS:
                break
            elif char == "'":
                parts.append(Text(self._until("'"), True))
            elif char == '"':
                self.at += 1
                parts += [Text("", True), *self.quoted('"')]
                self.at += 1
            elif char == "\\":
                parts.append(Text(self._escaped(), True))
            elif char == "~" and self.at == start:
                parts += [Text("/", True), self._home()]
            elif char == "~" and self.text[self.at - 1] in "=:":
                parts.append(self._home())  # as in an assignment, which bash takes more words for
            elif char in "$`":
                parts.append(self.expansion(quoted=False))
            else:
                parts.append(Text(char, False))
                self.at += 1
        return Word(start, self.at, self.text[start : self.at], _joined(parts))

    def quoted(self, end: str, stop: int | None = None) -> list[Text | Unknown]:
        """What is between double quotes, up to `end`; of a here-document (`end` is empty) up to `stop`."""
        begun = self.at - 1
        parts: list[Text | Unknown] = []
        while self.at != stop:
            char = self.peek()
            if not char:
                raise self.refuse(begun, "this quote does not end")
            if char == end:
                break
            if char == "\\" and self.peek(2)[1:] in {"$", "`", "\\", "\n", end}:
                parts.append(Text(self._escaped(), True))
            elif char in "$`":
                parts.append(self.expansion(quoted=True))
            else:
                parts.append(Text(char, True))
                self.at += 1
        return parts

    def here_document(self, start: int, word: Word, tabs: bool) -> int:
        """Where the line ends that is `word`, and what the shell would expand before it is read too."""
        at = start
        while True:
            end = self.text.find("\n", at)
            end = len(self.text) if end < 0 else end
            line = self.text[at:end]
            if (line.lstrip("\t") if tabs else line) == word.known:
                break
            if end == len(self.text):
                raise Refused(word.raw, "this here-document does not end")
            at = end + 1
        if word.plain:
            self.at = start
            self.quoted("", at)
        return end

    def expansion(self, *, quoted: bool) -> Text | Unknown:
        """What begins here with `$` or a backquote."""
        start, two = self.at, self.peek(2)
        name = two[1:]
        if two[0] == "`":
            inside = self._until("`")
            if "\\" in inside:
                raise self.refuse(start, "a backslash between backquotes: write $(…)")
            self.inner.append((start + 1, self.at - 1))
            return Unknown(start, self.at, quoted)
        if self.peek(3) == "$((":
            return self._arithmetic()
        if two == "$(":
            return self._commands(2, quoted)
        if two == "${":
            return self._braced(quoted)
        if two == "$'" and not quoted:
            self.at += 1
            return Text(self._ansi(), True)
        if two in {'$"', "$["} and not (quoted and name == '"'):
            raise self.refuse(start, f"{two} is not judged: the shell makes something else of it")
        if name and name in NAME_STARTS:
            self.at += 1
            while self.peek() and self.peek() in NAME_CHARS:
                self.at += 1
            return Unknown(start, self.at, quoted)
        if name and name in SPECIAL:
            self.at += 2
            return Unknown(start, self.at, quoted or name in NUMBERS)
        if name and name in "@*":
            self.at += 2
            return Unknown(start, self.at, False)
        self.at += 1
        return Text("$", True)

    def _commands(self, opening: int, quoted: bool) -> Unknown:
        start = self.at
        end = self.end_of_commands(start + opening)
        self.inner.append((start + opening, end))
        self.at = end + 1
        return Unknown(start, self.at, quoted)

    def _arithmetic(self) -> Unknown:
        start, depth = self.at, 0
        self.at += 1
        while self.at == start + 1 or depth:
            char = self.peek()
            if not char or char not in ARITHMETIC:
                self.at += 1
                raise self.refuse(
                    start, "arithmetic is judged with numbers only: names in it can run commands"
                )
            depth += (char == "(") - (char == ")")
            self.at += 1
            if char == ")" and depth == 1 and self.peek() != ")":
                break  # the inner parenthesis ends before the outer one: commands in two of them
        if depth:
            raise self.refuse(start, "this is not arithmetic, nor commands in $(…)")
        return Unknown(start, self.at, True)

    def _braced(self, quoted: bool) -> Unknown:
        """`${name}`, its length, and what may follow a name and sets nothing."""
        start = self.at
        self.at += 2
        rule = "of ${…} only a name, its length, and - + % # ^ , / with plain text are judged"
        length = self.peek() == "#" and self.peek(2)[1:] != "}"
        self.at += length
        begun = self.at
        if self.peek() in SPECIAL - {"-", "!"}:  # ${!name} is the variable that this one names
            self.at += 1
            while self.text[begun].isdigit() and self.peek().isdigit():
                self.at += 1
        if self.text[begun : begun + 1] in NAME_STARTS:
            while self.peek() and self.peek() in NAME_CHARS:
                self.at += 1
        if self.at == begun:
            raise self.refuse(start, rule)
        if self.peek() != "}" and not length:
            rest = self.text[self.at : self.text.find("}", self.at)]
            operator = next((each for each in AFTER_NAME if rest.startswith(each)), "")
            part = rest[len(operator) :] if operator else rest[1:]
            numbers = rest.startswith(":") and all(each.strip().isdigit() for each in part.split(":", 1))
            self.at += len(rest)
            if not (operator and set(part) <= PLAIN) and not numbers:
                raise self.refuse(start, rule)
        if self.peek() != "}":
            raise self.refuse(start, rule)
        self.at += 1
        return Unknown(start, self.at, quoted or length)

    def _until(self, end: str) -> str:
        start = self.at
        stop = self.text.find(end, start + 1)
        self.at = stop + 1
        if stop < 0:
            raise self.refuse(start, "this quote does not end")
        return self.text[start + 1 : stop]

    def _escaped(self) -> str:
        char = self.peek(2)[1:]
        self.at += 2
        if char in {"", "\n"}:
            raise self.refuse(self.at - 2, "a word that goes on in the next line is not judged")
        return char

    def _ansi(self) -> str:
        r"""The value of $'…', from its first quote: `\n`, `\x41` and their like, ASCII only."""
        start, value = self.at, ""
        self.at += 1
        while (char := self.peek()) != "'":
            self.at += 1
            if char == "\\":
                char = self._ansi_escape(start)
            if not char or ord(char) == 0:
                raise self.refuse(start, "this quote does not end, or has a zero byte")
            value += char
        self.at += 1
        return value

    def _ansi_escape(self, start: int) -> str:
        char = self.peek()
        self.at += 1
        if char and char in ESCAPES:
            return ESCAPES[char]
        if char and char in "\\'\"?":
            return char
        digits, longest, base = "", LONGEST_ESCAPE.get(char, 0), string.hexdigits
        if char and char in string.octdigits:
            digits, longest, base = char, 3, string.octdigits
        while len(digits) < longest and self.peek() and self.peek() in base:
            digits += self.peek()
            self.at += 1
        number = int(digits, 8 if base == string.octdigits else 16) if digits else 0
        if not 0 < number < 128:
            raise self.refuse(start, "an escape in $'…' that is not judged")
        return chr(number)

    def _home(self) -> Unknown:
        start = self.at
        while self.peek() not in METACHARACTERS | {"", "/", ":"}:
            self.at += 1
            if self.peek() and self.peek() in "$`\"'\\":
                raise self.refuse(start, "~ with a name that is not plain")
        return Unknown(start, self.at, True)


def _joined(parts: list[Text | Unknown]) -> tuple[Text | Unknown, ...]:
    """The same with neighbours of one kind in one."""
    joined: list[Text | Unknown] = []
    for part in parts:
        last = joined[-1] if joined else None
        if isinstance(part, Text) and isinstance(last, Text) and last.quoted == part.quoted:
            joined[-1] = Text(last.value + part.value, part.quoted)
        else:
            joined.append(part)
    return tuple(joined)
