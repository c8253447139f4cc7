"""The same text read by tree-sitter's grammar of bash, and whether that reading agrees with the scanner's.

Neither is bash. Where both see the same words, names, assignments, operators and expansions at the same
places, the text is read as bash reads it, or both are wrong in the same way; anywhere else the text is
refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from pi_v_jupyter.plan.script import Script, Token
from pi_v_jupyter.plan.words import Refused, names

if TYPE_CHECKING:
    from tree_sitter import Language, Node, Parser

CONTAINERS = names(
    "program list pipeline command redirected_statement subshell compound_statement if_statement "
    "elif_clause else_clause for_statement while_statement do_group case_statement case_item "
    "negated_command test_command unary_expression binary_expression parenthesized_expression "
    "file_redirect heredoc_redirect herestring_redirect variable_assignments"
)
WORDS = names(
    "word string raw_string ansi_c_string concatenation simple_expansion expansion "
    "command_substitution process_substitution number arithmetic_expansion extglob_pattern regex "
    "test_operator file_descriptor heredoc_start variable_name"
)
EXPANSIONS = names(
    "simple_expansion expansion command_substitution process_substitution arithmetic_expansion"
)
CHANGES = {
    "declaration_command": "declare, export, local and readonly change the shell: x=1 sets a variable for "
    "the commands after it, and env shows those that are exported",
    "unset_command": "unset changes the shell: leave it out, for nothing that is set outlives the commands",
}
SKIPPED = frozenset({"heredoc_body", "heredoc_end", "\n"})
KINDS = {"command_name": "name", "variable_assignment": "set", "comment": "comment"}


def agree(script: Script) -> None:
    """Nothing, if the second reading of a text is the same as the first, `script`.

    Raises:
        Refused: it is another, or none.
    """
    data = script.text.encode()
    root = _parser().parse(data).root_node  # one of its own: judges on two threads do not share it
    bad = next(_broken(root), None) if root.has_error else None
    if bad is not None:
        raise Refused(_text(bad) or script.text, "this is not read as bash would read it, or is not bash")
    places = _places(script.text)
    theirs = sorted(
        Token(places[token.start], places[token.end], token.kind)
        for token in _tokens(root)
        if token.end > token.start
    )
    for ours, other in zip([*sorted(script.tokens), None], [*theirs, None], strict=False):
        if ours != other:
            start, end = _first(ours, other)
            raise Refused(script.text[start:end], "this can be read in two ways: write it more plainly")


def _parser() -> Parser:
    # Imported where a command is judged, which most notebooks never ask for.
    from tree_sitter import Parser

    return Parser(_language())


@cache
def _language() -> Language:
    import tree_sitter_bash
    from tree_sitter import Language

    return Language(tree_sitter_bash.language())


def _broken(root: Node) -> Iterator[Node]:
    rest = [root]
    while rest:
        node = rest.pop()
        if node.is_error or node.is_missing:
            yield node
        rest += node.children


def _tokens(root: Node) -> Iterator[Token]:
    """What the scanner makes tokens of, in no order. A stack of our own: a long list is a deep tree."""
    rest = [root]
    while rest:
        node = rest.pop()
        if node.type in SKIPPED:
            continue
        if node.type in CONTAINERS:
            children = node.children
            if node.type == "test_command" and children[0].type == "[":
                # `[` is a command like others; the grammar has a rule of its own for it.
                bracket = children.pop(0)
                yield Token(bracket.start_byte, bracket.end_byte, "name")
            rest += children
            continue
        if node.is_named and node.type not in WORDS and node.type not in KINDS:
            plainly = f"{node.type.replace('_', ' ')} is not judged: write the commands themselves"
            raise Refused(_text(node), CHANGES.get(node.type, plainly))
        yield Token(node.start_byte, node.end_byte, KINDS.get(node.type, "other"))
        yield from _expansions(node)


def _expansions(word: Node) -> Iterator[Token]:
    rest = [word]
    while rest:
        node = rest.pop()
        if node.type in EXPANSIONS:
            # A substitution in backquotes begins, for the grammar, with the blanks before it.
            length = len((node.text or b"").lstrip(b" \t\n"))
            yield Token(node.end_byte - length, node.end_byte, "expansion")
        else:
            rest += node.children


def _text(node: Node) -> str:
    return (node.text or b"").decode(errors="replace")


def _places(text: str) -> dict[int, int]:
    """The character at each byte where one begins, and the end."""
    places, at = {}, 0
    for index, char in enumerate(text):
        places[at] = index
        at += len(char.encode())
    places[at] = len(text)
    return places


def _first(*tokens: Token | None) -> tuple[int, int]:
    found = min(token for token in tokens if token is not None)
    return found.start, found.end
