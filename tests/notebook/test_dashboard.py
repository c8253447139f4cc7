"""The dashboard of a real kernel, as a page speaks with it and as a notebook keeps it."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from kernels import WAIT, Kernel, started
from nbclient import NotebookClient
from nbconvert import HTMLExporter

WIDGET = "application/vnd.jupyter.widget-view+json"
SLEEP = "import time; print('sleeps', flush=True); time.sleep(60)"


class Page:
    """One page that shows a widget: it hears all of it, and speaks on a subshell, as JupyterLab does."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self._client = client
        self.heard: list[dict[str, Any]] = []
        self._subshell = self._made()

    def _made(self) -> str:
        message = self._client.session.msg("create_subshell_request", {})
        self._client.control_channel.send(message)
        reply = self._client.control_channel.get_msg(timeout=30)
        return str(reply["content"]["subshell_id"])

    def say(self, model: str, **content: Any) -> None:
        """A custom message to a widget."""
        data = {"method": "custom", "content": content}
        message = self._client.session.msg("comm_msg", {"comm_id": model, "data": data})
        message["header"]["subshell_id"] = self._subshell
        self._client.shell_channel.send(message)

    def message(self, kind: str, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The content of the first message of that kind that has not been looked for before."""
        deadline = time.monotonic() + 60
        while True:
            for number, message in enumerate(self.heard):
                if message["msg_type"] == kind and holds(message["content"]):
                    del self.heard[: number + 1]
                    return dict(message["content"])
            assert time.monotonic() < deadline, f"no such {kind} came"
            try:
                self.heard.append(self._client.get_iopub_msg(timeout=1))
            except queue.Empty:
                continue

    def custom(self, model: str, kind: str, **about: Any) -> dict[str, Any]:
        """The next custom message of a widget that is of that kind, and says that."""

        def holds(content: dict[str, Any]) -> bool:
            said = content["data"].get("content", {})
            return content["comm_id"] == model and {**said, "kind": kind, **about} == said

        return dict(self.message("comm_msg", holds)["data"]["content"])


@pytest.fixture
def fresh(two_places: dict[str, str]) -> Iterator[Kernel]:
    """A kernel with the extension, and this machine as its one VM."""
    with started(two_places) as kernel:
        kernel.run("%load_ext pi_v_jupyter")
        kernel.status()
        yield kernel


@pytest.fixture
def page(fresh: Kernel) -> Iterator[Page]:
    """A page beside it."""
    with fresh.heard_by_another() as client:
        yield Page(client)


def opened(kernel: Kernel, page: Page) -> str:
    """The dashboard's model, when a view has opened and is looked at."""
    shown = kernel.run("x = %vers\nx")
    assert shown.error is None, shown.traceback
    model = str(kernel.value("x.model_id"))
    page.say(model, kind="opened", view="v1")
    page.custom(model, "snapshot", to="v1")
    page.say(model, kind="visible", view="v1", visible=True)
    return model


def bundles(kernel: Kernel) -> list[dict[str, Any]]:
    """What the latest cell has displayed, but for what it waited for."""
    shown = [each["content"]["data"] for each in kernel.heard if each["msg_type"] == "display_data"]
    return [each for each in shown if not WAIT.search(each["text/plain"])]


def test_a_cell_that_shows_it_has_the_widget_and_tables_of_the_same(fresh: Kernel) -> None:
    shown = fresh.run("%vers")
    assert shown.error is None, shown.traceback
    widget, saved = bundles(fresh)
    assert WIDGET in widget and widget["text/html"] == ""
    assert WIDGET not in saved and "loopback" in saved["text/html"] and "loopback" in saved["text/plain"]
    assert "1 VM" in widget["text/plain"] and "1 VM" in saved["text/plain"]


def test_where_the_platform_is_away_it_shows_why_and_what_to_do(
    two_places: dict[str, str], tmp_path: Path
) -> None:
    nowhere = {key: value for key, value in two_places.items() if not key.startswith("VERS_")}
    with started(nowhere | {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}) as kernel:
        kernel.run("%load_ext pi_v_jupyter")
        shown = kernel.run("%vers", timeout=60)
        assert shown.error is None and "✗ No Vers API key is set" in shown.data[-1], shown
        assert "`%vers up` starts virtual machines" in shown.data[-1] and "No VMs" not in shown.data[-1]


def test_a_page_that_cannot_be_heard_while_a_cell_runs_is_told_on_and_one_that_has_vanished_is_not(
    fresh: Kernel, page: Page
) -> None:
    model = opened(fresh, page)
    # Without subshells what a page says waits for the cell: here it says nothing at all, for long.
    fresh.run("from pi_v_jupyter.dashboard import viewers\nviewers.SILENT = 0.0")
    fresh.run("from pi_v_jupyter.views import dashboard\ndashboard.WHILE = 0.0")
    busy = fresh.start("import time; print('computes', flush=True); time.sleep(60)")
    busy.wait_for("computes")
    page.say(model, kind="visible", view="v1", visible=True)
    for _ in range(4):
        page.custom(model, "patch")
    fresh.interrupt()
    busy.finish()
    watched = "x._board._looks.watched.is_set()"
    while fresh.value(watched):
        time.sleep(0.1)


def test_nothing_of_it_is_imported_before_it_is_shown(fresh: Kernel) -> None:
    fresh.run("%vers ls\n%vers --help")
    parts = "('pi_v_jupyter.dashboard.board', 'pi_v_jupyter.views.dashboard', 'anywidget')"
    assert fresh.value(f"[name for name in {parts} if name in __import__('sys').modules]") == []


def test_all_that_shows_it_shows_the_same_one_until_it_is_closed(fresh: Kernel) -> None:
    assert fresh.run("x = %vers\ny = %vers dashboard").data == []
    fresh.run("extension = get_ipython().magics_manager.registry['Extension']")
    assert fresh.value("x is y is extension.vers.dashboard()") is True
    assert "1 VM" in fresh.value("repr(x)")
    fresh.run("import ipywidgets; ipywidgets.VBox([x])")
    fresh.run("x.close()")
    assert "it was closed" in fresh.value("repr(x)")
    fresh.run("x")
    assert [WIDGET in each for each in bundles(fresh)] == [False], "its tables are left"
    assert fresh.value("extension.vers.dashboard() is x") is False


def test_a_session_beside_that_of_the_notebook_has_its_own(fresh: Kernel) -> None:
    fresh.run("from pi_v_jupyter import Vers; other = Vers(); x = other.dashboard()")
    fresh.run("y = %vers")
    assert fresh.value("x is y") is False and fresh.value("other.dashboard() is x") is True


def test_without_the_extension_it_is_said_what_shows_one(fresh: Kernel) -> None:
    fresh.run("%unload_ext pi_v_jupyter\nfrom pi_v_jupyter import Vers")
    refused = fresh.run("Vers().dashboard()")
    assert refused.error == "UsageError" and "`%load_ext pi_v_jupyter`" in refused.message


def test_a_view_is_told_all_there_is_and_then_what_changes_while_a_cell_runs(
    fresh: Kernel, page: Page
) -> None:
    model = opened(fresh, page)
    page.say(model, kind="opened", view="v2")
    told = page.custom(model, "snapshot", to="v2")
    assert [*told["all"]["machines"]] == ["loopback"] and "events" in told["all"]
    cell = fresh.start(SLEEP)
    cell.wait_for("sleeps")
    first = page.custom(model, "patch")
    assert page.custom(model, "patch")["seq"] == first["seq"] + 1
    fresh.interrupt()
    assert cell.finish().error == "KeyboardInterrupt"


def test_one_that_could_not_be_told_something_is_live_again_when_it_is_shown_again(
    fresh: Kernel, page: Page
) -> None:
    model = opened(fresh, page)
    fresh.run("def broken(message): raise OSError('gone')\nx._carrier.send = broken")
    fresh.run("import time\nwhile x._carrier in x._board._viewers._viewers: time.sleep(0.05)")
    assert fresh.run("del x._carrier.send\nx").error is None
    page.say(model, kind="opened", view="v2")
    assert [*page.custom(model, "snapshot", to="v2")["all"]["machines"]] == ["loopback"]


def test_what_is_wanted_is_done_while_a_cell_runs(fresh: Kernel, page: Page) -> None:
    model = opened(fresh, page)
    cell = fresh.start(SLEEP)
    cell.wait_for("sleeps")
    wanted = {"vms": ["loopback"], "command": "echo done while a cell sleeps"}
    page.say(model, kind="intent", view="v1", id=7, name="exec", args=wanted)
    page.custom(model, "heard", to="v1", id=7)
    answer = page.custom(model, "answer", to="v1", id=7)
    assert answer["ok"] and "done while a cell sleeps" in answer["text"]
    page.say(model, kind="intent", view="v1", id=8, name="use", args={"vm": "loopback"})
    assert page.custom(model, "answer", to="v1", id=8)["ok"]
    fresh.interrupt()
    assert cell.finish().error == "KeyboardInterrupt"
    assert "★" in fresh.run("%vers ls").data[0]


def test_a_terminal_of_a_vm_is_opened_once_and_again_when_it_has_ended(fresh: Kernel, page: Page) -> None:
    model = opened(fresh, page)

    def terminal(number: int) -> str:
        page.say(model, kind="intent", view="v1", id=number, name="terminal", args={"vm": "loopback"})
        page.custom(model, "heard", to="v1", id=number)
        answer = page.custom(model, "answer", to="v1", id=number)
        assert answer["ok"], answer
        return str(answer["text"])

    shell = terminal(1)
    page.say(shell, kind="opened", view="t1", have=0)
    page.custom(shell, "output", to="t1")
    assert terminal(2) == shell
    fresh.run("import ipywidgets; ipywidgets.Widget.widgets")
    fresh.run(f"from ipywidgets.widgets.widget import _instances\nt = _instances[{shell!r}]; t.close()")
    other = terminal(3)
    assert other != shell
    fresh.run("x.close()")
    ended = {page.message("comm_close", lambda content: True)["comm_id"] for _ in range(2)}
    assert ended == {model, other}


def test_a_terminal_that_cannot_be_opened_is_answered_with_what_to_do(fresh: Kernel, page: Page) -> None:
    model = opened(fresh, page)
    page.say(model, kind="intent", view="v1", id=1, name="terminal", args={"vm": "nosuchvm"})
    answer = page.custom(model, "answer", to="v1", id=1)
    assert (answer["ok"], answer["text"]) == (False, "VM nosuchvm is not there any more.")
    assert answer["hint"] == "Choose again."


def test_what_no_page_of_ours_would_say_does_no_harm(fresh: Kernel, page: Page) -> None:
    model = opened(fresh, page)
    for nonsense in (
        {},
        {"kind": 1},
        {"kind": "intent", "name": "terminal"},
        {"view": ["v1"], "kind": "opened"},
    ):
        page.say(model, **nonsense)
    page.say(model, kind="opened", view="v3")
    page.custom(model, "snapshot", to="v3")


def test_the_tables_are_changed_when_something_has_happened(fresh: Kernel, page: Page) -> None:
    model = opened(fresh, page)
    page.say(model, kind="intent", view="v1", id=1, name="use", args={"vm": "loopback"})
    changed = page.message("update_display_data", lambda content: "★" in content["data"]["text/html"])
    assert "★  " in changed["data"]["text/plain"]


def test_unloading_closes_it_and_leaves_the_tables_as_it_was_last(fresh: Kernel, page: Page) -> None:
    model = opened(fresh, page)
    page.say(model, kind="intent", view="v1", id=1, name="terminal", args={"vm": "loopback"})
    shell = page.custom(model, "answer", to="v1", id=1)["text"]
    page.say(model, kind="intent", view="v1", id=2, name="use", args={"vm": "loopback"})
    while "active" not in str(page.custom(model, "patch")):
        pass  # another, such as of the link that the terminal has made
    unloaded = fresh.run("%unload_ext pi_v_jupyter")
    assert (unloaded.error, unloaded.text.strip()) == (None, "")
    page.message("update_display_data", lambda content: "★" in content["data"]["text/html"])
    page.message("comm_close", lambda content: content["comm_id"] in (model, shell))
    page.message("comm_close", lambda content: content["comm_id"] in (model, shell))
    assert not fresh.value("[t.name for t in __import__('threading').enumerate() if 'pi_v' in t.name]")
    again = fresh.run("%load_ext pi_v_jupyter\n%vers")
    assert again.error is None and "1 VM" in again.data[-1]


@pytest.mark.parametrize("stored", [True, False])
def test_a_notebook_that_was_run_without_a_page_keeps_the_tables_and_so_does_its_html(
    two_places: dict[str, str], stored: bool
) -> None:
    cells = [nbformat.v4.new_code_cell(code) for code in ("%load_ext pi_v_jupyter", "%vers")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = NotebookClient(notebook, timeout=60, store_widget_state=stored)
    client.execute(env={**os.environ, **two_places})
    assert ("widgets" in notebook.metadata) is stored
    html, _ = HTMLExporter().from_notebook_node(notebook)
    (_, table) = html.split('<div class="pi-v-saved">')
    assert ">loopback</td>" in table and "as of 20" in table
