"""What a text says to bash: its tokens and commands, and the words that the grammar of commands is made of.

`scanner.py` finds them; nothing is judged here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pi_v_jupyter.plan.words import Refused, Word, names
from pi_v_jupyter.plan.wordscanner import NAME_CHARS, NAME_STARTS

OPERATORS = sorted(  # the longest first, as bash takes them
    names(";;& &>> <<< <<- ;; ;& && || |& &> << >> >& <& <> >| (( ; & | < > ( )"), key=len, reverse=True
)
REDIRECTIONS = frozenset(each for each in OPERATORS if "<" in each or ">" in each)
BEFORE_COMMANDS = frozenset({"if", "then", "elif", "else", "while", "until", "do", "!", "{"})
AFTER_COMMANDS = frozenset({"fi", "done", "}", "esac"})
REFUSED_WORDS = {
    "function": "functions are not judged: write the commands themselves",
    "select": "select waits for somebody's choice",
    "coproc": "coproc starts a command in the background",
}


@dataclass(frozen=True)
class Redirect:
    """`operator` with its `target`, as in `2>&1`; here-documents have the word that ends them."""

    operator: str
    descriptor: str
    target: Word


@dataclass
class Command:
    """One simple command: what is assigned before it, its words, and where it reads and writes."""

    start: int
    assignments: list[tuple[str, Word]] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    redirects: list[Redirect] = field(default_factory=list)


@dataclass(frozen=True, order=True)
class Token:
    """A piece of the text: `kind` is `name`, `set`, `other`, `comment`, or `expansion` (within those)."""

    start: int
    end: int
    kind: str


@dataclass
class Script:
    """What a text says, in order. `inner` are the places of the texts in its substitutions."""

    text: str
    tokens: list[Token] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    conditions: list[list[Word]] = field(default_factory=list)  # what is in [[ … ]]
    variables: list[Word] = field(default_factory=list)  # those that loops set
    inner: list[tuple[int, int]] = field(default_factory=list)


def assigned(word: Word) -> str:
    """The variable that `word` sets, if it stands before a command's name."""
    name, equals, _ = word.raw.partition("=")
    if not equals or name[:1] not in NAME_STARTS:
        return ""
    if set(name) <= NAME_CHARS:
        return name
    if set(name.removesuffix("+")) <= NAME_CHARS or "[" in name:
        raise Refused(word.raw, "only name=value is judged: neither += nor arrays")
    return ""
