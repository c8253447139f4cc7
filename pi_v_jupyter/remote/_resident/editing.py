"""Texts in files of this machine, replaced: all or none. See `writing`."""

from __future__ import annotations

import json
import os

from .files import Refusal, opened
from .writing import replace, resolved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .files import Call

EDITABLE = 64 << 20  # bytes of a file that is edited: it is held in memory, twice
AROUND = 3  # lines told around a change
BESIDE = 2 << 10  # bytes told of a line to either side of what changed in it
MOST = 50 << 10  # bytes told of a text
NAMED = 5  # lines told in which a text occurs that should occur once


def edit(call: Call, path: str, edits: list[list[list[str]]]) -> Any:
    """Replace texts that each occur once, all of them or none.

    Each edit is a list of [old, new], of which the first whose old text occurs counts. The output is what
    surrounds the changes, before and after: {first, old, new, first_new}, a JSON line each.
    """
    target = resolved(call.path(path))
    fd, before = opened(target)
    with os.fdopen(fd, "rb") as file:
        if before.st_size > EDITABLE:
            raise Refusal("large", f"It has more than the {EDITABLE >> 20} MB that can be edited")
        content = file.read()
    spans = find(content, edits)

    def unless() -> None:
        now = os.stat(target)
        if any(getattr(now, mark) != getattr(before, mark) for mark in ("st_ino", "st_size", "st_mtime_ns")):
            raise Refusal("changed", "It was changed by somebody else meanwhile")

    pieces, at = [], 0
    for start, end, new, _ in spans:
        pieces += [content[at:start], new]
        at = end
    replace(call, target, before, None, [*pieces, content[at:]], unless)
    for region in regions(content, spans):
        call.write(json.dumps(region).encode() + b"\n")


def find(content: bytes, edits: list[list[list[str]]]) -> list[tuple[int, int, bytes, int]]:
    """Where each edit applies, in order: start, end, what comes there, the number of the edit."""
    spans = []
    for number, alternatives in enumerate(edits, 1):
        for old_text, new_text in alternatives:
            old, new = (text.encode("utf-8", "surrogateescape") for text in (old_text, new_text))
            start = content.find(old)
            if start >= 0:
                break
        else:
            raise Refusal("missing", "The text was not found", edit=number)
        lines: list[int] = []
        at = start
        while at >= 0 and len(lines) < NAMED:
            lines.append(content.count(b"\n", 0, at) + 1)
            at = content.find(old, at + 1)
        if len(lines) > 1:
            raise Refusal("repeated", "The text occurs more than once", edit=number, lines=lines)
        spans.append((start, start + len(old), new, number))
    spans.sort(key=lambda span: span[:2])
    for (_, end, _, one), (start, _, _, other) in zip(spans, spans[1:]):  # noqa: B905, RUF007  of Python 3.10
        if start < end:
            raise Refusal("overlap", "Two edits change the same text", edits=sorted((one, other)))
    return spans


def regions(content: bytes, spans: list[tuple[int, int, bytes, int]]) -> Iterable[dict[str, Any]]:
    """The lines that change and some around them; what stands close together is one region."""
    ranges: list[list[int]] = []
    for start, end, _, _ in spans:
        nearest, furthest = max(0, start - BESIDE), min(len(content), end + BESIDE)
        for _ in range(AROUND + 1):
            start = content.rfind(b"\n", nearest, max(nearest, start - 1)) + 1 or nearest
        for _ in range(AROUND + 1):
            end = content.find(b"\n", end, furthest) + 1 or furthest
        if ranges and start <= ranges[-1][1]:
            ranges[-1][1] = max(end, ranges[-1][1])
        else:
            ranges.append([start, end])
    grown = 0
    for first, last in ranges:
        pieces, at = [], first
        for start, end, text, _ in spans:
            if first <= start and end <= last:
                pieces += [content[at:start], text]
                at = end
        old, new = content[first:last], b"".join([*pieces, content[at:last]])
        line = content.count(b"\n", 0, first) + 1
        begun = first > 0 and content[first - 1 : first] != b"\n"
        ends = last < len(content) and not old.endswith(b"\n")
        texts = {"old": told(old, begun, ends), "new": told(new, begun, ends)}
        yield {"first": line, "first_new": line + grown, **texts}
        grown += new.count(b"\n") - old.count(b"\n")


def told(data: bytes, begun: bool, ends: bool) -> str:
    """As text; an ellipsis stands for the rest of a line that is too long to be told."""
    text = data[:MOST].decode("utf-8", "surrogateescape")
    return "…" * begun + text + "…" * (ends or len(data) > MOST)
