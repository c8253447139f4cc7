"""`python -m tools.reference` writes the pages; with `--check` it fails where those committed are others."""

from __future__ import annotations

import sys
from pathlib import Path

from tools.reference import api, commandline, errors, magics, settings

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
PAGES = {
    "magics.md": magics.page,
    "command-line.md": commandline.page,
    "settings.md": settings.page,
    "python.md": api.page,
    "errors.md": errors.page,
}


def stale() -> list[str]:
    """The pages that are not what the code says now, and files that are no page."""
    found = {file.name: file.read_text() for file in FOLDER.glob("*")}
    wanted = {name: page() for name, page in PAGES.items()}
    return sorted(name for name in found | wanted if found.get(name) != wanted.get(name))


def main(words: list[str]) -> int:
    """The exit code."""
    changed = stale()
    if words == ["--check"]:
        if changed:
            print(f"docs/reference is not what the code says: {', '.join(changed)}.  `make docs` writes it.")
        return bool(changed)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in changed:
        if name in PAGES:
            (FOLDER / name).write_text(PAGES[name]())
        else:
            (FOLDER / name).unlink()
    return 0


sys.exit(main(sys.argv[1:]))
