"""The word at the end of unfinished bash code: what it means, and what can stand there.

Nothing is ever run or expanded: a word with an expansion in it has no meaning here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
DELIMITER = re.compile(r"(-?)[ \t]*(['\"]?)([^\s;&|()<>'\"]+)\2")
# After these, a command follows.
BEFORE = frozenset(
    (
        *("!", "{", "then", "do", "else", "elif", "if", "while", "until", "time"),
        *("sudo", "exec", "command", "builtin", "nohup", "env", "nice", "xargs"),
    )
)


@dataclass(frozen=True)
class Word:
    """`typed`: as it stands, from its beginning on; `text`: what that means.

    `kind`: "command" where a command's name belongs, "variable" for what a `$` begins, "path" elsewhere.
    `of`: the command whose argument it is.
    """

    kind: str
    typed: str
    text: str
    of: str = ""


@dataclass
class _Command:
    """A command that is being read: a script, or what a `$(`, a `(` or a backquote begins."""

    closer: str
    start: int | None = None  # of the word that is being read
    pieces: list[str] = field(default_factory=list)  # of it
    plain: bool = True  # is it without expansions?
    quote: str = ""
    expected: bool = True  # a command's name?
    target: bool = False  # of a redirection?
    name: str = ""
    waiting: list[tuple[str, bool]] = field(
        default_factory=list
    )  # here-documents that begin at the line's end

    @property
    def text(self) -> str:
        """The word, as far as it is read."""
        return "".join(self.pieces)

    def begin(self, at: int) -> None:
        if self.start is None:
            self.start, self.pieces, self.plain = at, [], True

    def add(self, at: int, text: str) -> None:
        self.begin(at)
        self.pieces.append(text)

    def end(self) -> None:
        """Of the word, if there is one."""
        if self.start is None:
            return
        self.start = None
        if self.target:
            self.target = False
        elif self.expected:
            self.expected = self.text in BEFORE or bool(ASSIGNMENT.match(self.text) or self.text[:1] == "-")
            self.name = "" if self.expected else self.text

    def separate(self) -> None:
        """Another command begins."""
        self.end()
        self.expected, self.target, self.name = True, False, ""


def word_at_end(code: str) -> Word | None:
    """None where nothing can be said: in a comment, a here-document, or after an expansion."""
    stack = [_Command("")]
    at = 0
    while at < len(code):
        command, char, rest = stack[-1], code[at], code[at + 1 : at + 2]
        step = 1
        if command.quote == "'":
            if char == "'":
                command.quote = ""
            else:
                command.add(at, char)
        elif char == "\\":
            step = 2
            kept = char if command.quote and rest not in '$`"\\\n' else ""
            if rest != "\n":
                command.add(at, kept + rest)
        elif char == '"' or (char == "'" and not command.quote):
            command.begin(at)
            command.quote = "" if command.quote else char
        elif char == "$" and rest == "(":
            command.begin(at)
            command.plain = False
            stack.append(_Command(")"))
            step = 2
        elif char == "$":
            name = NAME.match(code, at + 1 + (rest == "{"))
            if at + 1 + (rest == "{") + len(name[0] if name else "") == len(code):
                return Word("variable", code[at:], name[0] if name else "")
            command.begin(at)
            command.plain = False
            if rest == "{":
                close = code.find("}", at)
                if close < 0:
                    return None
                step = close + 1 - at
        elif char == "`":
            if command.closer == "`":
                stack.pop()
            else:
                command.begin(at)
                command.plain = False
                stack.append(_Command("`"))
        elif command.quote:
            command.add(at, char)
        elif char == "#" and command.start is None:
            end = code.find("\n", at)
            if end < 0:
                return None
            step = end - at
        elif char == "\n":
            command.separate()
            after = _after_documents(code, at + 1, stack)
            if after is None:
                return None
            step = after - at
        elif char in " \t":
            command.end()
        elif char in "<>":
            if command.text.isdigit():  # a descriptor's number, and no word
                command.start = None
            command.end()
            if rest == "(":
                stack.append(_Command(")"))
                step = 2
            elif code.startswith("<<", at) and not code.startswith("<<<", at):
                found = DELIMITER.match(code, at + 2)
                if found is None:
                    return None
                command.waiting.append((found[3], bool(found[1])))
                step = found.end() - at
            else:
                command.target = True
                step = 3 if code.startswith("<<<", at) else 1
        elif char == "&" and (rest == ">" or code[at - 1 : at] in ("<", ">")):
            command.end()
        elif char in ";&|":
            command.separate()
        elif char == "(":
            command.separate()
            stack.append(_Command(")"))
        elif char == ")" and command.closer == ")":
            stack.pop()
        elif char == ")":
            command.separate()
        else:
            command.add(at, char)
        at += step
    return _word(code, stack[-1])


def _after_documents(code: str, at: int, stack: list[_Command]) -> int | None:
    """Where the here-documents end that begin at `at`; None where one does not."""
    for command in stack:
        for delimiter, indented in command.waiting:
            while True:
                end = code.find("\n", at)
                if end < 0:
                    return None
                line, at = code[at:end], end + 1
                if (line.lstrip("\t") if indented else line) == delimiter:
                    break
        command.waiting.clear()
    return at


def _word(code: str, command: _Command) -> Word | None:
    if command.start is None:
        kind = "command" if command.expected and not command.target else "path"
        return Word(kind, "", "", command.name)
    if not command.plain:
        return None
    typed = code[command.start :]
    option = ASSIGNMENT.match(typed) if command.expected else re.match(r"--[\w-]+=", typed)
    if option is not None:
        value = typed[option.end() :]
        return Word("path", value, command.text[option.end() :], command.name)
    named = command.expected and not command.target and "/" not in command.text
    return Word("command" if named else "path", typed, command.text, command.name)
