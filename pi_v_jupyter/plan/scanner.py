"""The commands of a text, read as bash reads it: operators, reserved words, and words by `wordscanner.py`.

This is one of two readings: `agreement.py` holds it against what tree-sitter makes of the same text. It knows
simple commands, pipelines, lists, groups, `if`, `for`, `while`, `until`, `case`, `[[`, redirections and
here-documents; functions, arrays, `select`, `coproc` and background commands it refuses.
"""

from __future__ import annotations

import string

from pi_v_jupyter.plan.braces import expanded
from pi_v_jupyter.plan.script import (
    AFTER_COMMANDS,
    BEFORE_COMMANDS,
    OPERATORS,
    REDIRECTIONS,
    REFUSED_WORDS,
    Command,
    Redirect,
    Script,
    Token,
    assigned,
)
from pi_v_jupyter.plan.words import Refused, Unknown, Word
from pi_v_jupyter.plan.wordscanner import METACHARACTERS, Words

NUMBER = frozenset(string.digits)
DEEPEST = 12  # substitutions within substitutions


def scan(text: str) -> Script:
    """What `text` says.

    Raises:
        Refused: something in it is not understood, or never passes.
    """
    for place, char in enumerate(text):
        if not char.isprintable() and char not in "\n\t":
            raise Refused(text[place : place + 1], "a control character, or one that cannot be seen")
    return _Scanner(text, 0, 0).run()


class _Scanner:
    def __init__(self, text: str, at: int, depth: int) -> None:
        self.text = text
        self.at = at
        self.depth = depth  # of substitutions around this; 0 is a whole text
        self.script = Script(text)
        self.words = Words(text, self._end_of_commands)
        self.command: Command | None = None
        self.parentheses = 0
        self.cases = 0
        self.waiting: list[tuple[Word, bool]] = []  # ends of here-documents to come, without tabs or not
        self.closed = False  # a group or loop has ended, and only an operator or redirection may follow

    def run(self) -> Script:
        while not self._ended():
            char = self.text[self.at]
            if char == "\n":
                self._new_line()
            elif char == "#":
                self._comment()
            elif operator := self._operator():
                self._take_operator(operator)
            else:
                self._take_word()
        if self.waiting:
            raise Refused(self.waiting[0][0].raw, "this here-document does not end")
        self.script.inner = self.words.inner
        return self.script

    def _ended(self) -> bool:
        self._blanks()
        if self.at < len(self.text):
            return bool(self.depth and self.text[self.at] == ")" and not self.parentheses)
        if self.depth:
            raise Refused(self.text, "a parenthesis does not end")
        return True

    def _end_of_commands(self, start: int) -> int:
        if self.depth == DEEPEST:
            raise Refused(self.text[start:], "so many substitutions within each other are not judged")
        inside = _Scanner(self.text, start, self.depth + 1)
        inside.run()
        return inside.at

    def _blanks(self) -> None:
        while self.at < len(self.text):
            if self.text[self.at] in " \t":
                self.at += 1
            elif self.text.startswith("\\\n", self.at):
                self.at += 2
                if self.text[self.at : self.at + 1] == "#":
                    raise Refused("#", "a comment right after a continued line")
            else:
                break

    def _token(self, kind: str, start: int, end: int) -> None:
        self.script.tokens.append(Token(start, end, kind))

    def _new_line(self) -> None:
        self.at += 1
        self.command = None
        self.closed = False
        for word, tabs in self.waiting:
            self.at = self.words.here_document(self.at, word, tabs)
        self.waiting = []

    def _comment(self) -> None:
        end = self.text.find("\n", self.at)
        end = len(self.text) if end < 0 else end
        self._token("comment", self.at, end)
        self.at = end

    def _operator(self) -> str:
        if self.text.startswith(("<(", ">("), self.at):
            return ""
        return next((each for each in OPERATORS if self.text.startswith(each, self.at)), "")

    def _take_operator(self, operator: str) -> None:
        start = self.at
        if operator in REDIRECTIONS:
            return self._redirect(operator, "")
        self.at += len(operator)
        self._token("other", start, self.at)
        if operator == "&":
            raise Refused("&", "& starts a command in the background, where nobody waits for it")
        if operator in {"((", ";&", ";;&"} or (operator == ";;" and not self.cases):
            raise Refused(operator, f"{operator} is not judged")
        if operator == "(" and (self.command or self.closed):
            raise Refused(self.text[start - 1 : self.at], "functions, arrays and patterns are not judged")
        self.parentheses += (operator == "(") - (operator == ")")
        self.command = None
        self.closed = operator == ")"
        if operator == ";;":
            self._pattern()
        return None

    def _simple(self, start: int) -> Command:
        if self.command is None:
            self.command = Command(start)
            self.script.commands.append(self.command)
        return self.command

    def _redirect(self, operator: str, descriptor: str) -> None:
        start = self.at
        self.at += len(operator)
        if operator in {">&", "<&"} and self.text[self.at : self.at + 1] == "-":
            # One operator in the grammar: the target is looked at, but is no token.
            target = self.words.word(self.at)
            self.at = target.end
            self._token("other", start, self.at)
        else:
            self._token("other", start, self.at)
            self._blanks()
            target = self._word()
        if operator in {"<<", "<<-"}:
            self.waiting.append((target, operator == "<<-"))
            if target.known is None:
                raise Refused(target.raw, "the end of a here-document is a plain word")
        command = self._simple(start)
        command.redirects.append(Redirect(operator, descriptor, target))

    def _word(self) -> Word:
        """The word here, as a token."""
        start = self.at
        if self.text[start : start + 1] == "#":
            raise Refused("#", "a comment in the middle of a command")
        word = self.words.word(start)
        if word.start == word.end:
            raise Refused(self.text[max(0, start - 1) : start + 1], "a word is missing here")
        self.at = word.end
        self._tokens_of(word, "other")
        return word

    def _tokens_of(self, word: Word, kind: str) -> None:
        self._token(kind, word.start, word.end)
        for part in word.parts:
            if isinstance(part, Unknown) and self.text[part.start] != "~":
                self._token("expansion", part.start, part.end)

    def _take_word(self) -> None:
        start = self.at
        digits = start
        while self.text[digits : digits + 1] in NUMBER:
            digits += 1
        if digits > start and self.text[digits : digits + 1] in {"<", ">"}:
            self._token("other", start, digits)
            self.at = digits
            if not (operator := self._operator()):
                raise Refused(self.text[start : digits + 2], "a number right before a substitution")
            return self._redirect(operator, self.text[start:digits])
        word = self.words.word(start)
        self.at = word.end
        named = self.command is not None and bool(self.command.words)
        if word.raw[0] == "{" and word.raw[-1] == "}" and self.text[self.at : self.at + 1] in {"<", ">"}:
            raise Refused(word.raw, "a redirection that sets a variable")
        if not named and self.command is None and self._reserved(word):
            return None
        if self.closed:
            raise Refused(word.raw, "an operator is missing before this")
        command = self._simple(start)
        if not named and (name := assigned(word)):
            self._tokens_of(word, "set")
            command.assignments.append((name, word.after(len(name) + 1)))
            return None
        self._tokens_of(word, "other" if named else "name")
        command.words += expanded(word)
        return None

    def _reserved(self, word: Word) -> bool:
        raw = word.raw
        if raw in REFUSED_WORDS:
            raise Refused(raw, REFUSED_WORDS[raw])
        if raw not in {*BEFORE_COMMANDS, *AFTER_COMMANDS, "for", "case", "[[", "in"}:
            return False
        self._tokens_of(word, "other")
        if self.closed or raw == "in":
            raise Refused(raw, "a ; is missing before this")
        if raw == "for":
            self._for()
        elif raw == "case":
            self._blanks()
            self._word()
            self._expect("in")
            self.cases += 1
            self._pattern()
        elif raw == "[[":
            self._condition()
        elif raw in AFTER_COMMANDS:
            self.cases -= raw == "esac"
            self.closed = True
        return True

    def _expect(self, reserved: str) -> None:
        while self.text[self.at : self.at + 1] in {" ", "\t", "\n"}:
            self.at += 1
        if self.text[self.at : self.at + 1] in METACHARACTERS | {""} or self._word().raw != reserved:
            raise Refused(self.text[self.at - 1 : self.at + 1], f"{reserved} is missing here")

    def _for(self) -> None:
        self._blanks()
        self.script.variables.append(self._word())
        self._expect("in")
        while True:
            self._blanks()
            if self.text[self.at : self.at + 1] in METACHARACTERS - {"<"} | {""}:
                return
            self._word()

    def _pattern(self) -> None:
        """The patterns of a case, up to their `)`, or its end."""
        while self.text[self.at : self.at + 1] in {" ", "\t", "\n"}:
            self.at += 1
        first = True
        while True:
            word = self._word()
            if first and word.raw == "esac":
                self.cases -= 1
                self.closed = True
                return
            first = False
            self._blanks()
            operator = self._operator()
            self._token("other", self.at, self.at + 1)
            self.at += 1
            if operator == ")":
                return
            if operator != "|":
                raise Refused(word.raw, "a pattern of case ends in )")
            self._blanks()

    def _condition(self) -> None:
        words: list[Word] = []
        while True:
            self._blanks()
            if self.text[self.at : self.at + 1] == "\n":
                self.at += 1
                continue
            operator = self._operator()
            if operator in {"&&", "||", "(", ")", "<", ">"}:
                words.append(Word(self.at, self.at + len(operator), operator, ()))
                self._token("other", self.at, self.at + len(operator))
                self.at += len(operator)
                continue
            word = self._word()
            if word.raw == "]]":
                self.script.conditions.append(words)
                self.closed = True
                return
            words.append(word)
