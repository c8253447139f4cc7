"""`python -m tools.walkthroughs [NOTEBOOK…]` runs walkthroughs, all or those named, and saves what they show.

Each runs on a platform of its own, in an empty folder and without the keys of models, so that what is saved
is what a reader without any sees. One that fails is left as it was.
"""

from __future__ import annotations

import os
import sys
from copy import deepcopy
from pathlib import Path

import nbformat

from pi_v_jupyter import demo
from pi_v_jupyter.errors import VersError

FOLDER = Path(__file__).parents[1] / "notebooks"


def refresh(file: Path) -> None:
    """Run one, and save it with what it has shown.

    Raises:
        VersError: it failed.
    """
    notebook = nbformat.read(file, as_version=4)
    about = deepcopy(notebook.metadata)
    demo.execute(notebook)
    notebook.metadata = about  # a kernel adds the version of the Python that happened to run it
    nbformat.write(notebook, file)


def main(words: list[str]) -> int:
    """The exit code."""
    for name in [name for name in os.environ if name.endswith("_API_KEY")]:
        del os.environ[name]
    try:
        for file in map(Path, words) if words else sorted(FOLDER.glob("*.ipynb")):
            refresh(file)
    except (VersError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
