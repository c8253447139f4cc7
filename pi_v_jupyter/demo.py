"""`pi-v-jupyter demo`: the first walkthrough, on a real kernel and real VMs, shown as it runs.

Other notebooks are run the same way when what they show is to be saved (`tools/walkthroughs.py`).

Everything it starts has a state folder of its own and is ended with it: a platform the user has up is neither
used nor touched.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import nbformat
import platformdirs
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from pi_v_jupyter.errors import PlatformError, VersError

CELL_TIMEOUT = 900  # seconds: in one of them an image for agents is built
NOTEBOOK = "01-first-cells.ipynb"


def notebook_path() -> Path:
    """The walkthrough, in an installed package or in a checkout."""
    package = Path(__file__).parent
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if (folder / NOTEBOOK).exists():
            return folder / NOTEBOOK
    raise PlatformError(f"The walkthrough {NOTEBOOK} is not installed.", "Install pi-v-jupyter again.")


class _Spoken(NotebookClient):
    """Runs a notebook and says in the terminal what a browser would show."""

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        kind, content = msg["msg_type"], msg["content"]
        if kind == "execute_input":
            click.secho(f"\nIn [{content['execution_count']}]:", fg="green")
            click.echo(cell.source)
        elif kind == "stream":
            click.echo(content["text"], nl=False)
        elif kind in ("display_data", "execute_result", "update_display_data"):
            click.echo(content["data"].get("text/plain", ""))
        elif kind == "error":
            click.secho("\n".join(content["traceback"]), fg="red")
        return super().process_message(msg, cell, cell_index)


def run(output: Path) -> Path:
    """Execute the walkthrough; the executed notebook and an HTML copy are written to `output`.

    Raises:
        VersError: the platform could not be started, or a cell failed that should not have.
    """
    notebook = nbformat.read(notebook_path(), as_version=4)
    output.mkdir(parents=True, exist_ok=True)
    executed = output / NOTEBOOK
    try:
        execute(notebook)
    finally:
        nbformat.write(notebook, executed)
        page, _ = HTMLExporter().from_notebook_node(notebook)
        executed.with_suffix(".html").write_text(page)
    return executed


def execute(notebook: NotebookNode) -> None:
    """Execute a notebook in place, in an empty folder and on a platform of its own, and show it as it runs.

    Raises:
        VersError: the platform could not be started, or a cell failed that should not have.
    """
    with tempfile.TemporaryDirectory(prefix="pi-v-") as state:
        # A HOME of its own too: an account kept there is not the demo's to use.
        cache = str(platformdirs.user_cache_path())
        env = {**os.environ, "HOME": state, "XDG_STATE_HOME": state, "XDG_CACHE_HOME": cache}
        for variable in ("VERS_API_KEY", "VERS_BASE_URL"):
            env.pop(variable, None)
        folder = Path(state) / "folder"
        folder.mkdir()
        _platform(env, "up", "--port", "0", "--gateway-port", "0")
        try:
            # Its sockets are beside that file, wherever it runs.
            place = str(Path(state) / "kernel.json")
            kernel = AsyncKernelManager(kernel_name="python3", transport="ipc", connection_file=place)
            client = _Spoken(
                notebook,
                km=kernel,
                timeout=CELL_TIMEOUT,
                resources={"metadata": {"path": str(folder)}},
                coalesce_streams=True,
                record_timing=False,
            )
            client.execute(cleanup_kc=True, env=env)
        except CellExecutionError as error:
            raise VersError(f"The walkthrough failed: {error.ename}: {error.evalue}") from None
        finally:
            _platform(env, "down", "--purge", "-f")


def _platform(env: dict[str, str], *words: str) -> None:
    """Run our own command line, its output in this terminal."""
    if subprocess.run([sys.executable, "-m", "pi_v_jupyter", *words], env=env, check=False).returncode != 0:
        raise PlatformError(f"`pi-v-jupyter {words[0]}` failed; it says why above.")
