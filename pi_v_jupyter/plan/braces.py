"""Braces that stand for several words, as in `src/{a,b}.c`: made to what bash makes of them."""

from __future__ import annotations

from pi_v_jupyter.plan.words import Refused, Text, Unknown, Word

MOST = 100  # words of one


def expanded(word: Word) -> list[Word]:
    """The words that bash makes of `word`: itself, unless it has braces with commas.

    Raises:
        Refused: braces with more in them than plain text and commas.
    """
    loose = "".join(part.value for part in word.parts if isinstance(part, Text) and not part.quoted)
    if "{" not in loose or not ("," in loose or ".." in loose):
        return [word]
    begun, _, rest = word.raw.partition("{")
    inside, closed, after = rest.partition("}")
    plain = (
        len(word.parts) == 1
        and loose == word.raw
        and not any(isinstance(each, Unknown) for each in word.parts)
    )
    if not plain or not closed or "{" in inside or "," not in inside or ".." in inside or "}" in begun:
        raise Refused(word.raw, "of braces only {these,plain,ones} are judged")
    words: list[Word] = []
    for each in inside.split(","):
        value = begun + each + after
        # An empty one is no word at all, and nothing comes of it.
        words += expanded(Word(word.start, word.end, value, (Text(value, False),))) if value else []
    if len(words) > MOST:
        raise Refused(word.raw, "these braces are too many words")
    return [Word(word.start, word.end, word.raw, each.parts) for each in words]
