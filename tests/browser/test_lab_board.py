"""Machines in the dashboard in JupyterLab: real ones, and all of it as somebody does it at the page."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from labboards import LEAVE_NOTHING, WAIT, LabBoard, idle, notebook, opened, picture, prompt, shot, stop
from labs import CHROMIUM, finished, first, run
from platforms import Platform
from playwright.sync_api import Browser, Page, expect

pytestmark = [
    pytest.mark.vm,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]
CELLS = [
    "%load_ext pi_v_jupyter",
    "%vers",
    "%%vm\nread line < /srv/go && echo it was $line",
    "%vm mkfifo /srv/go; echo made",
    "%bg start ticks -- sh -c 'for n in 1 2 3 4 5 6 7 8 9; do echo tick $n; sleep 1; done; sleep 600'",
    "import time\nwhile True: time.sleep(0.1)",
    LEAVE_NOTHING,
]
LOAD, DASHBOARD, READ, FIFO, TICKS, SLEEP, LEAVE = range(len(CELLS))
FRESH = 2.0  # seconds that the state in the page may be old

# Another session of Python: it makes a machine and deletes it, and tells when.
ANOTHER = """
import time
from pi_v_jupyter import Vers
vers = Vers().sync
vm = vers.create(name="passing")
print(time.time(), flush=True)
input()
vers.delete(vm)
print(time.time(), flush=True)
vers.close()
"""
# When a page was told a state, and of when that was; and when it has shown a name first, and last.
WATCH = """
window.told = [];
const Native = window.WebSocket;
window.WebSocket = class extends Native {
  constructor(...given) {
    super(...given);
    this.addEventListener("message", ({ data }) => {
      const text = typeof data === "string" ? data : new TextDecoder().decode(data);
      const [, now] = text.match(/"kind": ?"(?:patch|snapshot)".*?"now": ?([\\d.]+)/s) ?? [];
      if (now) window.told.push([Date.now() / 1000, Number(now)]);
    });
  }
};
"""
SEEN = """(name) => {
  window.seen = { first: 0, last: 0 };
  const look = () => {
    const there = [...document.querySelectorAll(".pi-v-name")].some((one) => one.textContent === name);
    if (there && !window.seen.first) window.seen.first = Date.now() / 1000;
    if (!there && window.seen.first && !window.seen.last) window.seen.last = Date.now() / 1000;
  };
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true, characterData: true });
  window.held = 0;  // the longest that this computer kept the page from running
  let before = performance.now();
  setInterval(() => {
    window.held = Math.max(window.held, (performance.now() - before - 50) / 1000);
    before = performance.now();
  }, 50);
}"""


@pytest.fixture(scope="module")
def page(browser: Browser, desk: tuple[str, Path]) -> Iterator[Page]:
    """A notebook that shows the dashboard."""
    address, folder = desk
    notebook(folder, "machines", CELLS)
    page = opened(browser, address, "machines", len(CELLS), script=WATCH)
    expect(first(page)).to_contain_text("embedded platform", timeout=WAIT)
    yield page
    page.close()


@pytest.fixture
def board(page: Page) -> Iterator[LabBoard]:
    """The dashboard of a platform that has nothing; nothing is left on it."""
    yield LabBoard(finished(page, DASHBOARD))
    expect(finished(page, LEAVE)).not_to_contain_text("Error")


def test_a_machine_is_made_used_and_seen_while_cells_run_on_it(page: Page, board: LabBoard) -> None:
    expect(board.root).to_contain_text("No machines yet")
    shot(page, "machines-none")
    board.press("New machine…")
    form = board.dialog("New machine")
    form.get_by_label("Name").fill("build")
    shot(page, "machines-create")
    board.press("Create", form)
    board.said("build was made.")
    row = board.row("build")
    expect(row).to_contain_text("running")
    expect(row).to_contain_text("1 vCPU · 512 MB", timeout=WAIT)
    board.choose("build", "Use")
    board.said("Cells run on build.")
    expect(row.get_by_title("Cells run here")).to_be_visible()

    expect(finished(page, FIFO)).to_contain_text("made")
    shown = run(page, READ)
    expect(row).to_contain_text("connected", timeout=WAIT)
    expect(prompt(page, READ)).to_contain_text("*")
    board.choose("build", "Exec…")
    board.fill("Run on build", "Run", Command="echo heard > /srv/go; uname -n")
    expect(shown).to_contain_text("it was heard", timeout=WAIT)
    expect(board.root.get_by_role("region", name="Output of echo heard")).to_have_text("build", timeout=WAIT)
    shot(page, "machines-exec")

    finished(page, TICKS)
    processes = board.tab("Processes")
    last = re.compile("tick [3-9]")
    expect(processes.get_by_role("row", name="ticks")).to_contain_text(last, timeout=WAIT)
    shot(page, "processes")
    events = board.tab("Events")
    expect(events).to_contain_text("build was made.")
    expect(events).to_contain_text("echo heard > /srv/go; uname -n on build: build")
    shot(page, "events")


def test_a_family_of_machines_is_branched_kept_restored_and_seen_as_such(page: Page, board: LabBoard) -> None:
    board.create("web")
    board.choose("web", "Use")
    board.said("Cells run on web.")
    board.choose("web", "Branch…")
    board.fill("Branch web", "Branch", **{"How many": "2"})
    board.said("web: branched as web-1, web-2.")
    board.choose("web-1", "Commit…")
    board.fill("Commit web-1", "Commit", Name="ready", Tag="stable")
    board.said("web-1: kept as stable.")
    board.choose("stable", "Restore…")
    board.fill("Restore stable", "Restore", Name="again")
    board.there("web", "web-1", "web-2", "stable", "again")
    expect(board.row("stable").get_by_role("rowheader")).to_have_text("stable ready of web-1")
    for label, origin in {"web-1": "from web", "stable": "of web-1", "again": "from stable"}.items():
        expect(board.row(label)).to_contain_text(origin)
    board.choose("web-2", "Pause")
    expect(board.row("web-2")).to_contain_text("paused", timeout=WAIT)
    picture(board, "machines-lineage")
    board.choose("web-2", "Resume")
    expect(board.row("web-2")).to_contain_text("running", timeout=WAIT)

    board.choose("web", "Delete…")
    question = board.dialog("Delete web?")
    expect(question).to_contain_text("Cells run on web now: afterwards they run on this computer")
    expect(question).to_contain_text("3 machines came from it: ")
    shot(page, "machines-delete")
    board.press("Cancel", question)
    expect(question).to_have_count(0)
    board.choose("web-2", "Delete…")
    board.fill("Delete web-2?", "Delete")
    board.said("web-2: deleted.")
    board.there("web", "web-1", "stable", "again")


def test_its_terminal_takes_what_is_typed(page: Page, board: LabBoard) -> None:
    board.create("desk")
    board.choose("desk", "Terminal")
    terminal = board.root.get_by_role("region", name="Terminal on desk")
    screen = terminal.locator(".xterm-rows")
    expect(screen).to_contain_text("root@desk", timeout=WAIT)
    page.keyboard.type("echo answer' '$((6*7))\n")  # the focus is there already
    expect(screen).to_contain_text("answer 42", timeout=WAIT)
    shot(page, "machines-terminal")
    board.press("End the terminal on desk")
    expect(terminal).to_have_count(0)


def test_what_it_shows_is_never_older_than_two_seconds_while_a_cell_sleeps(
    page: Page, board: LabBoard, shared_platform: Platform
) -> None:
    expect(board.root).to_contain_text("No machines yet")
    run(page, SLEEP)
    expect(prompt(page, SLEEP)).to_contain_text("*")
    page.evaluate(SEEN, "passing")
    began = time.time()
    with subprocess.Popen(
        [sys.executable, "-c", ANOTHER],
        env=shared_platform.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdin and other.stdout
        made = float(other.stdout.readline())
        page.wait_for_function("window.seen.first")
        other.stdin.write("\n")
        other.stdin.flush()
        deleted = float(other.stdout.readline())
        page.wait_for_function("window.seen.last")
        other.stdin.close()
    ended, held = time.time(), page.evaluate("window.held")
    expect(prompt(page, SLEEP)).to_contain_text("*")
    shot(page, "machines-asleep")
    stop(page, SLEEP)
    seen = page.evaluate("window.seen")
    assert held <= FRESH, "the page stood still"
    fresh = FRESH + held
    assert seen["first"] - made <= fresh
    assert seen["last"] - deleted <= fresh
    told = [(at, of) for at, of in page.evaluate("window.told") if began <= at <= ended]
    oldest = max(later - of for (_, of), (later, _) in itertools.pairwise(told))
    assert oldest <= fresh


def test_two_notebooks_show_the_same_truth(
    page: Page, board: LabBoard, browser: Browser, desk: tuple[str, Path]
) -> None:
    address, folder = desk
    notebook(folder, "other", CELLS)
    other = opened(browser, address, "other", len(CELLS))
    first(other)
    second = LabBoard(finished(other, DASHBOARD))
    board.create("one")
    expect(second.row("one")).to_contain_text("running", timeout=WAIT)
    second.choose("one", "Rename…")
    second.fill("Rename one", "Rename", Name="two")
    expect(board.row("two")).to_be_visible(timeout=WAIT)
    board.choose("two", "Use")
    board.said("Cells run on two.")
    board.choose("two", "Pause")
    expect(second.row("two")).to_contain_text("paused", timeout=WAIT)
    second.choose("two", "Delete…")
    second.fill("Delete two?", "Delete")
    expect(board.root).to_contain_text("No machines yet", timeout=WAIT)
    expect(second.root).to_contain_text("No machines yet", timeout=WAIT)
    gone = board.root.locator(".pi-v-notice", has_text="two, which cells run on, is gone")
    shot(page, "machines-gone")
    board.press("Run here", gone)
    board.said("Cells run on this computer")
    expect(gone).to_have_count(0)
    other.close()


def test_a_restarted_kernel_shows_what_still_runs_and_so_does_a_page_that_is_opened_again(
    page: Page, board: LabBoard
) -> None:
    board.create("stays")
    board.choose("stays", "Use")
    board.said("Cells run on stays.")
    page.locator("[data-command='notebook:restart-kernel']").first.click()
    page.locator(".jp-Dialog .jp-mod-accept").click()
    expect(board.root.locator(".pi-v-notice")).to_contain_text(
        "The kernel that this was shown by is gone", timeout=WAIT
    )
    idle(page)  # it was so before that, too
    shot(page, "machines-restarted")
    first(page)
    board = LabBoard(finished(page, DASHBOARD))
    expect(board.row("stays").get_by_title("Cells run here")).to_be_visible(timeout=WAIT)
    page.locator("[data-command='docmanager:save']").first.click()
    expect(page.locator(".jp-mod-dirty")).to_have_count(0, timeout=WAIT)
    page.reload()
    board = LabBoard(page.locator(".jp-Notebook .jp-CodeCell").nth(DASHBOARD))
    expect(board.row("stays")).to_contain_text("running")
    board.choose("stays", "Pause")
    expect(board.row("stays")).to_contain_text("paused", timeout=WAIT)
    shot(page, "machines-reopened")
