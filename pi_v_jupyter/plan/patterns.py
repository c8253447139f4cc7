"""Where a pattern between delimiters ends, in scripts of sed and programs of awk.

Implementations differ on what counts within brackets, so a pattern that they would end at different places is
refused.
"""

from __future__ import annotations

from pi_v_jupyter.plan.words import Refused


def pattern_end(text: str, start: int, delimiter: str) -> int:
    """Where the delimiter is that ends the pattern whose first character is at `start`.

    Raises:
        Refused: there is none, or programs do not agree which it is.
    """
    at = start
    while (char := text[at : at + 1]) != delimiter:
        if not char or char == "\n":
            raise Refused(text[start - 1 : at], "this pattern does not end")
        if char == "[":
            at = _bracket_end(text, at, delimiter)
        at += 2 if char == "\\" else 1
    return at


def _bracket_end(text: str, start: int, delimiter: str) -> int:
    at = start + 1
    at += text[at : at + 1] == "^"
    at += text[at : at + 1] == "]"
    while (char := text[at : at + 1]) != "]":
        clear = char and char not in {"\n", delimiter} and text[at : at + 2] not in {"\\]", "[.", "[="}
        if text.startswith("[:", at):
            at = text.find(":]", at) + 1
            clear = at > 0 and delimiter not in text[start:at]
        if not clear:
            raise Refused(
                text[start - 1 : at + 1], "write this pattern without its delimiter, or \\], in brackets"
            )
        at += 2 if char == "\\" else 1
    if delimiter in text[start:at].replace("\\" + delimiter, ""):
        raise Refused(text[start - 1 : at + 1], "write this pattern without its delimiter in brackets")
    return at
