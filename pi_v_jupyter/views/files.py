"""What is shown of files: excerpts, what was written, diffs in the colours of diffs."""

from __future__ import annotations

import math

from pi_v_jupyter.remote.copying import Copied
from pi_v_jupyter.remote.files import Edited, Excerpt, Written

SHOWN = 100_000  # characters of a diff
UNITS = ("bytes", "kB", "MB", "GB", "TB")
RED, GREEN, CYAN, PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[36m", "\x1b[0m"


def amount(size: float) -> str:
    """Bytes as people read them: 812 bytes, 1.2 kB, 3.4 MB."""
    if size < 1000:
        return "1 byte" if size == 1 else f"{size:.0f} bytes"
    power = min(int(math.log(size, 1000)), len(UNITS) - 1)
    return f"{size / 1000**power:.1f} {UNITS[power]}"


def printable(text: str) -> str:
    """Without what steers a terminal: a file may hold anything."""
    return "".join(char if char.isprintable() or char in "\n\t\r" else ascii(char)[1:-1] for char in text)


def excerpt_text(excerpt: Excerpt) -> str:
    """The lines; and, where there are more, how to go on."""
    text = printable(excerpt.text)
    if excerpt.next is None and excerpt.cut is None:
        return text.removesuffix("\n")
    last = excerpt.first + excerpt.lines - 1
    if excerpt.cut is not None:
        note = f"line {last} goes on: it has {amount(excerpt.cut)}"
    else:
        note = f"lines {excerpt.first} to {last}, of a file of {amount(excerpt.size)}"
    further = f"; `--offset {excerpt.next}` goes on" if excerpt.next is not None else ""
    return f"{text}{'' if text.endswith(chr(10)) else chr(10)}… {note}{further}"


def written_text(written: Written, label: str) -> str:
    """Such as "wrote 1.2 kB to /srv/Makefile on build"."""
    new = " (new)" if written.created else ""
    return f"wrote {amount(written.size)} to {printable(written.path)} on {label}{new}\n"


def copied_text(copied: Copied) -> str:
    """Such as "copied 12 files, 3.4 MB, to /srv/x on build in 0.8 s"."""
    files = f"{copied.files:,} file{'' if copied.files == 1 else 's'}"
    extra = f"; {copied.skipped} sockets or devices left out" if copied.skipped else ""
    resumed = f" ({amount(copied.resumed)} were there from an earlier copy)" if copied.resumed else ""
    where = f"{printable(copied.target)} on {copied.on}"
    return f"copied {files}, {amount(copied.bytes)}, to {where} in {copied.seconds:.1f} s{resumed}{extra}"


def edited_text(edited: Edited, label: str) -> str:
    """The diff, coloured."""
    if not edited.diff:
        return f"{printable(edited.path)} on {label} is as it was\n"
    shown, rest = edited.diff[:SHOWN], len(edited.diff) - SHOWN
    more = f"… and {amount(rest)} more of it\n" if rest > 0 else ""
    return "".join(f"{coloured(line)}\n" for line in printable(shown).removesuffix("\n").split("\n")) + more


def coloured(line: str) -> str:
    """A line of a diff, in the colour of its kind."""
    colours = {"-": RED, "+": GREEN, "@": CYAN}
    return f"{colours[line[0]]}{line}{PLAIN}" if line[:1] in colours else line
