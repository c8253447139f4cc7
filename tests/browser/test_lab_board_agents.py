"""Agents in the dashboard in JupyterLab: real pis on real machines, as somebody uses them at the page.

Only the model is scripted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from labboards import (
    LEAVE_NOTHING,
    WAIT,
    LabBoard,
    follow,
    notebook,
    opened,
    picture,
    prompt,
    shot,
    stop,
    themed,
)
from labs import CHROMIUM, SECOND, finished, first, run
from platforms import build_golden_image
from playwright.sync_api import Browser, Page, expect
from swarms import MODEL

pytestmark = [
    pytest.mark.vm,
    pytest.mark.browser,
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]
TABLE = "| query | before | after |\n|---|---|---|\n| orders | 840 ms | 12 ms |\n"
PLAN = (
    "I read the queries first. **Two** of them have no index:\n\n1. `orders` by customer\n2. `items` by order"
)
QUERY = "def orders(customer):\n    return db.all(ORDERS, customer)\n"
HELD = {
    "content": [{"think": "Where is the time spent?"}, {"say": PLAN}, {"hold": "/run/go"}, {"say": TABLE}]
}
ABORTED = {"content": [{"say": "I begin with `items`."}, {"hold": "/run/never"}]}
COSTLY = {
    "content": [
        {"say": "I look at what there is."},
        {"call": "bash", "with": {"command": "ls /usr/share/doc"}},
    ],
    "usage": {"output_tokens": 40_000},
}
EDIT = {"path": "queries.py", "edits": [{"oldText": "db.all(", "newText": "db.page(20, "}]}
EDITS = (
    {
        "content": [
            {"say": "I write it."},
            {"call": "write", "with": {"path": "queries.py", "content": QUERY}},
        ]
    },
    {"content": [{"say": "Twenty at a time will do."}, {"call": "edit", "with": EDIT}]},
    f"Done. What that gained:\n\n{TABLE}\nAll of it is in `queries.py`.",
)
CELLS = [
    "%load_ext pi_v_jupyter",
    "%vers golden build",
    f"team = %vers swarm spawn golden --labels api,docs,tests --model {MODEL} --budget 0.5",
    "%vers",
    follow("api", HELD, ABORTED),
    follow("api", ABORTED),
    follow("docs", COSTLY, "All of it is documented."),
    follow("tests", *EDITS),
    "import time\nwhile True: time.sleep(0.1)",
    LEAVE_NOTHING,
]
LOAD, GOLDEN, TEAM, DASHBOARD, HOLD, BEGIN, COST, EDITED, SLEEP, LEAVE = range(len(CELLS))


@pytest.fixture(scope="module")
def page(browser: Browser, desk: tuple[str, Path]) -> Iterator[Page]:
    """A notebook with three agents."""
    build_golden_image()
    address, folder = desk
    notebook(folder, "agents", CELLS)
    page = opened(browser, address, "agents", len(CELLS), height=1700)
    first(page)
    run(page, GOLDEN)
    expect(prompt(page, GOLDEN)).not_to_contain_text("*", timeout=400 * SECOND)
    expect(finished(page, TEAM)).not_to_contain_text("Error")
    yield page
    expect(finished(page, LEAVE)).not_to_contain_text("Error")
    page.close()


@pytest.fixture
def board(page: Page) -> LabBoard:
    """The dashboard, its agents shown."""
    board = LabBoard(finished(page, DASHBOARD))
    board.tab("Swarm")
    for label in ("api", "docs", "tests"):
        expect(board.card(label)).to_be_visible(timeout=WAIT)
    return board


def test_one_is_spawned_by_the_form_and_deleted_when_the_question_is_answered(board: LabBoard) -> None:
    board.press("Spawn…")
    shot(board.page, "swarm-spawn")
    board.fill("Spawn agents", "Spawn", Labels="solo", Model=MODEL)
    board.said("solo: ready.")
    expect(board.state("solo")).to_contain_text("idle")
    opened = board.open("solo")
    board.press("Tear down…", opened)
    question = board.dialog("Delete 1 agent with its VM?")
    shot(board.page, "swarm-teardown")
    board.press("Cancel", question)
    expect(opened).to_contain_text("idle")
    board.press("Tear down…", opened)
    board.press("Delete 1 VM", question)
    expect(board.card("api")).to_be_visible(timeout=WAIT)
    expect(board.card("solo")).to_have_count(0, timeout=WAIT)


def test_what_it_says_streams_in_while_a_cell_computes_and_it_is_aborted(page: Page, board: LabBoard) -> None:
    finished(page, HOLD)
    opened = board.open("api")
    run(page, SLEEP)
    board.tell("Find the slow queries.")
    said = opened.get_by_role("region", name="What was said to api")
    expect(said.get_by_role("listitem").filter(has_text="orders by customer")).to_be_visible(timeout=WAIT)
    expect(prompt(page, SLEEP)).to_contain_text("*")
    expect(opened.locator(".pi-v-state")).to_contain_text("working")
    expect(said).not_to_contain_text("840 ms")
    picture(board, "agent-streams")
    board.tab("Machines")
    board.choose("api", "Exec…")
    board.fill("Run on api", "Run", Command="touch /run/go")
    board.tab("Swarm")
    expect(said.get_by_role("cell", name="840 ms")).to_be_visible(timeout=WAIT)
    expect(opened.locator(".pi-v-state")).to_contain_text("done", timeout=WAIT)
    stop(page, SLEEP)

    board.tell("The other one, too.")
    expect(said).to_contain_text("I begin with items.", timeout=WAIT)
    board.press("Abort", opened)
    expect(opened.locator(".pi-v-state")).to_contain_text("aborted", timeout=WAIT)
    expect(said).to_contain_text("⊘ aborted")
    expect(opened).not_to_contain_text("✗")  # it is no failure
    shot(page, "agent-aborted")


def test_cards_tell_what_each_does_and_a_question_is_answered_there(page: Page, board: LabBoard) -> None:
    finished(page, BEGIN)
    finished(page, COST)
    for label, task in {"api": "Find the slow queries.", "docs": "What is not documented yet?"}.items():
        board.card(label).get_by_role("checkbox").check()
        board.tell(task)
        board.press("Clear")
    board.card("tests").get_by_role("checkbox").check()
    board.tell("Say what you do.")
    board.press("Clear")
    expect(board.state("tests")).to_contain_text("done", timeout=WAIT)
    asking = board.card("docs")
    expect(board.state("docs")).to_contain_text("waits for you", timeout=WAIT)
    expect(asking).to_contain_text("Budget: docs has cost $0.6")
    expect(board.state("api")).to_contain_text("working")
    expect(board.root.get_by_role("tab", name="Swarm")).to_contain_text("1 waiting for an answer")
    picture(board, "swarm")
    question = asking.locator(".pi-v-question")
    assert question.evaluate("box => box.scrollWidth <= box.clientWidth"), "it is read whole"
    board.press("Yes", asking)
    expect(asking).to_contain_text("All of it is documented.", timeout=WAIT)
    expect(board.state("docs")).to_contain_text("done", timeout=WAIT)
    board.card("api").get_by_role("checkbox").check()
    board.press("Abort")
    expect(board.state("api")).to_contain_text("aborted", timeout=WAIT)


def test_its_transcript_tells_what_it_has_changed_in_both_themes(page: Page, board: LabBoard) -> None:
    finished(page, EDITED)
    opened = board.open("tests")
    board.tell("Have `orders` read a page at a time.")
    expect(opened.locator(".pi-v-state")).to_contain_text("done", timeout=WAIT)
    said = opened.get_by_role("region", name="What was said to tests")
    write, edit = (
        said.locator(".pi-v-call", has=page.get_by_text(name, exact=True)) for name in ("write", "edit")
    )
    expect(write.locator(".pi-v-diff-added").filter(has_text="db.all(")).to_have_count(1)
    edit.locator("summary").click()
    expect(edit.locator(".pi-v-diff")).to_contain_text("db.page(20")
    said.evaluate("box => box.scrollTo(0, box.scrollHeight)")
    for theme in ("Dark", "Light"):
        themed(page, theme)
        picture(board, f"agent-{theme.lower()}")
    board.root.locator(".pi-v-telling textarea").press("Escape")
    expect(board.card("tests")).to_be_visible()
