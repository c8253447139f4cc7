"""`%load_ext` registers everything and never fails; `%unload_ext` undoes all of it."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from kernels import Kernel, started
from nbclient import NotebookClient
from platforms import Platform

pytestmark = pytest.mark.vm

# What takes long to import. IPython and ipykernel bring what is not named here.
HEAVY = (
    *("anywidget", "asyncssh", "click", "cryptography", "httpx", "ipywidgets", "jupyter_client", "numpy"),
    *("pandas", "polars", "pyarrow", "pydantic", "tenacity", "tqdm"),
)
OURS = {"errors", "keys", "magics"} | {
    f"magics.{name}"
    for name in (
        "configurable",
        "exact",
        "extension",
        "greeting",
        "pages",
        "route",
        "stops",
        "waiting",
        "waits",
    )
}


@pytest.fixture
def fresh(shared_platform: Platform) -> Iterator[Kernel]:
    """A kernel for one test, which leaves it as it likes."""
    with started(shared_platform.env) as kernel:
        yield kernel


@pytest.fixture
def nowhere(tmp_path: Path, shared_platform: Platform) -> dict[str, str]:
    """The environment of someone who has neither key nor platform."""
    folders = {name: tmp_path / name for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")}
    for folder in folders.values():
        folder.mkdir()
    return shared_platform.env | {name: str(folder) for name, folder in folders.items()}


def test_the_status_line_tells_of_the_platform_and_its_vms(fresh: Kernel) -> None:
    shown = fresh.run("%load_ext pi_v_jupyter")
    assert shown.error is None
    assert shown.data == ["vers: asking the platform …"]
    assert fresh.status().startswith("vers: ")
    assert fresh.status().endswith(" · embedded platform (QEMU, tcg)")


def test_a_platform_that_is_asked_up_beside_the_status_line_is_not_told_of_twice(fresh: Kernel) -> None:
    both = fresh.run("%load_ext pi_v_jupyter\n%vers up", timeout=60)
    assert both.error is None and "platform up already" in both.stdout
    assert "vers: " not in both.stdout and fresh.status().endswith(" · embedded platform (QEMU, tcg)")
    assert "\nvers: " in fresh.run("%vers up", timeout=60).stdout, "who asks later is told"


def test_a_notebook_that_a_program_runs_has_the_status_line_in_it(shared_platform: Platform) -> None:
    cells = [nbformat.v4.new_code_cell(code) for code in ("%load_ext pi_v_jupyter", "%vers up")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, kernel_name="python3", timeout=60).execute(env=shared_platform.env)
    (line,) = notebook.cells[0].outputs
    assert line.data["text/plain"].endswith(" · embedded platform (QEMU, tcg)"), notebook.cells
    assert "vers: " not in str(notebook.cells[1].outputs), "it is said once"


@pytest.mark.parametrize(
    ("setting", "why", "remedy"),
    [
        ({}, "No Vers API key is set and no embedded platform is up", "`%vers up` starts virtual machines"),
        ({"VERS_API_KEY": "k", "VERS_BASE_URL": "http://127.0.0.1:1"}, "127.0.0.1:1", ""),
        ({"VERS_API_KEY": "k", "VERS_BASE_URL": "nonsense"}, "nonsense", ""),
        ({"VERS_API_KEY": "a b", "VERS_BASE_URL": "http://127.0.0.1:1"}, "is no key", "Copy the key anew"),
    ],
)
def test_a_platform_that_is_away_is_told_and_no_error(
    nowhere: dict[str, str], setting: dict[str, str], why: str, remedy: str
) -> None:
    with started(nowhere | setting) as kernel:
        assert kernel.run("%load_ext pi_v_jupyter").error is None
        line = kernel.status(timeout=60)
        assert line.startswith("vers: offline — ") and why in line and remedy in line
        assert not line.endswith((" ", "—"))
        assert kernel.run("%vm echo here").stdout == "(local)\nhere\n"


def test_loading_imports_nothing_heavy_before_it_returns(tmp_path: Path) -> None:
    code = f"""
        import json, sys
        from IPython.core.interactiveshell import InteractiveShell
        from pi_v_jupyter import loops
        shell = InteractiveShell.instance()
        shell.kernel = None  # a notebook does not wait for the status line, a terminal does
        before = set(sys.modules)
        loops.io_loop().call_soon_threadsafe(__import__("time").sleep, 60)  # so that only this thread imports
        shell.run_line_magic("load_ext", "pi_v_jupyter")
        new = set(sys.modules) - before
        print(json.dumps([name for name in {HEAVY!r} if name in new]))
        print(json.dumps([name for name in new if name.startswith("pi_v_jupyter.")]))
        print(shell.find_line_magic("vers") is not None, shell.find_cell_magic("vm") is not None, flush=True)
        __import__("os")._exit(0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    heavy, ours, registered = done.stdout.splitlines()[-3:]
    assert json.loads(heavy) == [], done.stderr
    assert {name.removeprefix("pi_v_jupyter.") for name in json.loads(ours)} == OURS
    assert registered == "True True"


def test_loading_twice_is_loading_once(fresh: Kernel) -> None:
    fresh.run("%load_ext pi_v_jupyter")
    fresh.status()
    again = fresh.run("%load_ext pi_v_jupyter")
    assert again.error is None and again.data == []
    fresh.run("import pi_v_jupyter; pi_v_jupyter.load_ipython_extension(get_ipython())")
    assert fresh.value("[t.name for t in __import__('threading').enumerate()].count('pi_v_jupyter I/O')") == 1


def test_unloading_undoes_all_of_it(fresh: Kernel) -> None:
    fresh.run("import signal, threading, psutil, gc; me = psutil.Process()")
    fresh.run(
        "def left():\n"
        "    formatters = get_ipython().display_formatter.formatters.values()\n"
        "    own = get_ipython().display_formatter.ipython_display_formatter\n"
        "    kinds = [kind for f in [*formatters, own]\n"
        "             for kind in [*f.type_printers, *f.deferred_printers]]\n"
        "    return {'threads': sorted(t.name for t in threading.enumerate()),\n"
        "            'children': len(me.children(True)),\n"
        "            'connections': len([c for c in me.net_connections('tcp') if c.raddr]),\n"
        "            'magics': sorted(get_ipython().magics_manager.magics['line']),\n"
        "            'cell magics': sorted(get_ipython().magics_manager.magics['cell']),\n"
        "            'kinds': sorted(map(str, kinds)),\n"
        "            'configurables': [c for c in map(str, get_ipython().configurables) if 'pi_v' in c],\n"
        "            'matchers': len(get_ipython().Completer.custom_matchers),\n"
        "            'taught': sorted(vars(get_ipython().kernel).keys() & {'do_execute', 'do_inspect'}),\n"
        "            'signals': str(signal.getsignal(signal.SIGURG)),\n"
        "            'transforms': len(get_ipython().input_transformer_manager.cleanup_transforms)}"
    )
    before = fresh.value("left()")
    fresh.run("%load_ext pi_v_jupyter")
    fresh.status()
    fresh.run("%vm echo local")
    made = fresh.run("vm = %vers create --use", timeout=120)
    assert made.error is None, made.traceback
    fresh.run("%vm echo remote; sleep 600 & true")
    assert fresh.value("left()") != before
    vm_id = fresh.value("vm.id")
    unloaded = fresh.run("%unload_ext pi_v_jupyter")
    assert unloaded.error is None, unloaded.traceback
    assert fresh.value("left()") == before
    assert "not found" in fresh.run("%vm echo gone").stderr
    assert fresh.run("%load_ext pi_v_jupyter").error is None
    assert fresh.run(f"%vers use {vm_id}").error is None
    assert fresh.run("%vm echo again").stdout == "again\n"
    assert fresh.run(f"%vers rm -f {vm_id}").error is None


def test_reloading_gives_a_new_session(fresh: Kernel) -> None:
    fresh.run("%load_ext pi_v_jupyter")
    fresh.status()
    fresh.run("%vm cd /tmp")
    reloaded = fresh.run("%reload_ext pi_v_jupyter")
    assert reloaded.error is None, reloaded.traceback
    assert fresh.run("%vm echo works").stdout == "(local)\nworks\n"


def test_unloading_at_once_leaves_nothing(fresh: Kernel) -> None:
    shown = fresh.run("%load_ext pi_v_jupyter\n%unload_ext pi_v_jupyter")
    assert shown.error is None, shown.traceback
    assert not fresh.value("[t.name for t in __import__('threading').enumerate() if 'pi_v' in t.name]")


def test_a_question_mark_shows_all_the_help(fresh: Kernel) -> None:
    fresh.run("%load_ext pi_v_jupyter")
    for code, shown in (
        ("%vers?", ("Usage: %vers ", "vm = %vers create --name build --use", "  whoami ")),
        ("%%vm?", ("Usage: %%vm ", "Usage: %vm ", "Usage: %%vm edit ", "    %vm pwd")),
        ("%vm?", ("Usage: %%vm ", "Usage: %vm ")),
        ("%%task?", ("Usage: %%task ", "Do not touch the lock file.")),
    ):
        (payload,) = fresh.client.execute(code, reply=True, timeout=30)["content"]["payload"]
        page = payload["data"]["text/plain"]
        assert all(words in page for words in shown), page
        told = fresh.client.inspect(code[:-1], len(code) - 1, reply=True, timeout=30)["content"]
        assert all(words in told["data"]["text/plain"] for words in shown)
