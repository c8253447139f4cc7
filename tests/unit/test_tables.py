"""How VMs, results and checks read, whatever names people gave them."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pi_v_jupyter.api.client import VersClient
from pi_v_jupyter.api.models import CommitInfo, VMInfo
from pi_v_jupyter.commits import Commit, Commits, Tags
from pi_v_jupyter.doctor import Check, Report
from pi_v_jupyter.fleet import Fleet
from pi_v_jupyter.lineage import Lineage, facts, lineage
from pi_v_jupyter.machine import Result, Results
from pi_v_jupyter.roster import VMs
from pi_v_jupyter.settings import Settings
from pi_v_jupyter.state import State
from pi_v_jupyter.views import history, kernels, planmode, tables
from pi_v_jupyter.vm import VM

HOSTILE = "<script>alert(1)</script>&\"'\x1b[31m\nX$x$\\(x\\)"
TABLE = {"table", "thead", "tbody", "tr", "th", "td", "span"}


class Seen(HTMLParser):
    """The tags a browser would see, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.pieces: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data
        self.pieces.append(data)

    @property
    def formulas(self) -> list[str]:
        """What a notebook would typeset: `$x$` or `\\(x\\)` in one element."""
        return [each for each in self.pieces if each.count("$") > 1 or "\\(" in each]


@pytest.fixture
def loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.close()
    return loop


def vm(loop: asyncio.AbstractEventLoop, tmp_path: Path, name: str = "build", **more: object) -> VM:
    info = VMInfo.model_validate(
        {
            "vm_id": "b3f1c0de-1111",
            "created_at": datetime.now(UTC),
            "state": "running",
            "labels": {"name": name},
        }
        | more
    )
    settings = Settings(
        session={"api_key": "k", "base_url": "http://127.0.0.1:1"}, environ={"HOME": str(tmp_path)}
    )
    return VM(info, Fleet(VersClient(settings), settings, State(tmp_path / "state.json"), loop, print))


@pytest.mark.parametrize(
    ("past", "told"),
    [(-5, "0 s"), (0, "0 s"), (59, "59 s"), (60, "1 min"), (3600, "1 h"), (86399, "23 h"), (86400, "1 d")],
)
def test_an_age_is_told_in_its_largest_unit(past: int, told: str) -> None:
    now = datetime.now(UTC)
    assert tables.age(now - timedelta(seconds=past), now) == told


def test_columns_line_up_whatever_the_script() -> None:
    text = tables.text_table(("name", "s"), [("ascii", "a"), ("機械", "b"), ("e\u0301", "c")])
    assert [tables.width(line.rsplit(" ", 1)[0]) for line in text.splitlines()] == [6, 6, 6, 6]


def test_a_vm_is_one_line_with_a_star_when_cells_run_on_it(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    box = vm(loop, tmp_path, vcpu_count=1, mem_size_mib=512)
    assert tables.vm_line(box, box.vm_id, 0.94) == "★ build  b3f1c0de  running  1 vCPU · 512 MB · 0.9 s"
    assert tables.vm_line(vm(loop, tmp_path, name=""), None) == "  b3f1c0de  running"


def test_names_cannot_become_markup_or_steer_a_terminal(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    box = vm(loop, tmp_path, name=HOSTILE)
    for html in (tables.vm_html(box, None), tables.vms_html(VMs([box]))):
        seen = Seen(html)
        assert seen.tags <= TABLE and not seen.formulas
        assert "<script>alert(1)</script>" in seen.text
    for text in (
        tables.vm_line(box, None),
        tables.vms_text(VMs([box])).splitlines()[1],
        repr(box),
        box.label,
    ):
        assert "\x1b" not in text and "\n" not in text
    report = Report([Check(HOSTILE, False, HOSTILE, HOSTILE)])
    seen = Seen(tables.report_html(report))
    assert seen.tags <= TABLE and not seen.formulas


def test_no_vms_say_how_to_make_one() -> None:
    assert "`%vers create`" in tables.vms_text(VMs([]))
    assert Seen(tables.vms_html(VMs([]))).tags == {"p", "code"}


def test_the_parent_of_a_vm_is_named_while_it_is_there(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    parent = vm(loop, tmp_path)
    child = vm(loop, tmp_path, name="child", vm_id="c0ffee00-2", grandparent_vm_id=parent.vm_id)
    of_commit = vm(loop, tmp_path, name="again", vm_id="c0ffee00-3", parent_commit_id="3fa9c1d2-9")
    lines = tables.vms_text(VMs([parent, child, of_commit])).splitlines()
    assert [line.split()[-1] for line in lines] == ["parent", "s", "build", "3fa9c1d2"]
    assert tables.vms_text(VMs([child])).endswith("b3f1c0de")


def test_a_table_names_what_a_vm_came_from_as_a_tree_does(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    parent, kept = vm(loop, tmp_path), commit()
    again = vm(
        loop,
        tmp_path,
        name="again",
        vm_id="c0ffee00-3",
        parent_commit_id=kept.id,
        grandparent_vm_id=parent.vm_id,
    )
    for vms in ([again], [parent, again]):
        tree = history.tree_text(lineage(vms, [kept])).splitlines()
        above = tree[[line.split()[1] for line in tree].index("again") - 1]
        last = tables.vms_text(VMs(vms, commits=[kept])).splitlines()[-1]
        assert last.split()[-1] == above.split()[1] == kept.label


def commit(name: str = "before", **more: object) -> Commit:
    known = {"commit_id": "3fa9c1d2-9", "created_at": datetime.now(UTC), "name": name}
    return Commit(CommitInfo.model_validate(known | more), ("golden",) if name == "before" else ())


def test_a_commit_is_one_line_and_a_table() -> None:
    assert history.commit_text(commit()) == "commit before  3fa9c1d2  golden"
    assert history.commit_text(commit("commit-3fa9c1d2")) == "commit  3fa9c1d2"
    text = history.commits_text(Commits([commit(parent_vm_id="b3f1c0de-1111", description="as it was")]))
    assert text.splitlines()[0].split() == ["name", "id", "tags", "age", "VM", "description"]
    assert text.splitlines()[1].split() == [
        "before", "3fa9c1d2", "golden", "0", "s", "b3f1c0de", "as", "it", "was",
    ]  # fmt: skip
    assert "golden" in Seen(history.commits_html(Commits([commit()]))).text


def test_no_commits_and_no_tags_say_how_to_make_one() -> None:
    assert "`%vers commit`" in history.commits_text(Commits())
    assert "`%vers tag NAME COMMIT`" in history.tags_text(Tags())
    assert "`%vers create`" in history.tree_text(Lineage())
    for html in (history.commits_html(Commits()), history.tags_html(Tags()), history.tree_html(Lineage())):
        assert Seen(html).tags == {"p", "code"}


def test_a_tree_is_drawn_with_its_lines_meeting(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    root = vm(loop, tmp_path)
    child = vm(loop, tmp_path, name="child", vm_id="c0ffee00-2", grandparent_vm_id=root.vm_id)
    kept = commit(parent_vm_id="c0ffee00-2")
    last = vm(loop, tmp_path, name="last", vm_id="c0ffee00-4", grandparent_vm_id=root.vm_id)
    tree = lineage([root, child, last], [kept], active=child.vm_id)
    lines = history.tree_text(tree).splitlines()
    assert [re.split(r" +[0-9a-f]{8} ", line)[0] for line in lines] == [
        "build",
        "├─ ★ child",
        "│  └─ ◦ golden",
        "└─ last",
    ]
    seen = Seen(history.tree_html(tree))
    assert seen.tags == {"table", "tbody", "tr", "td"} and "│  └─ ◦ golden" in seen.text


def test_what_is_known_is_told_and_what_is_not_is_left_out(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    root = vm(loop, tmp_path, state="dead", reason="Its QEMU was killed.", ip="10.0.2.15")
    kept = commit(parent_vm_id=root.vm_id, description="as it was")
    told = dict(history.facts_rows(facts(root, [root], [kept])))
    assert told["state"] == "dead" and told["reason"] == "Its QEMU was killed."
    assert told["commits"] == "commit golden (3fa9c1d2)" and told["labels"] == "name=build"
    assert "came from" not in told and "owner" not in told
    told = dict(history.facts_rows(facts(kept, [root], [kept])))
    assert told["came from"] == "build (b3f1c0de)" and told["description"] == "as it was"
    assert dict(history.facts_rows(facts(kept, [], [kept])))["came from"] == "b3f1c0de, which is gone"
    text = history.facts_text(facts(root, [root], [kept]))
    assert text.splitlines()[0].split() == ["VM", "build"]


def test_words_of_a_platform_cannot_become_markup_or_steer_a_terminal(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    kept = commit(HOSTILE, description=HOSTILE, owner_id=HOSTILE)
    box = vm(loop, tmp_path, name=HOSTILE, ip=HOSTILE, owner_id=HOSTILE, reason=HOSTILE)
    tree = lineage([box], [kept])
    shown = [facts(box, [box], [kept]), facts(kept, [box], [kept])]
    pages = [history.commits_html(Commits([kept])), history.tree_html(tree), *map(history.facts_html, shown)]
    pages += [kernels.banner_html(box), planmode.mark_html([planmode.mark(box.label, None)])]
    for html in pages:
        assert Seen(html).tags <= TABLE and not Seen(html).formulas
    for text in (
        history.commits_text(Commits([kept])),
        history.commit_text(kept),
        history.tree_text(tree),
        *map(history.facts_text, shown),
    ):
        assert "\x1b" not in text and "\nX" not in text


def test_a_result_tells_how_it_ended() -> None:
    assert tables.result_text(Result(3, None, b"", b"", 0.126)) == "exit code 3 after 0.13 s"
    ended = Result(None, "SIGKILL", b"shown", b"", 2.0)
    assert tables.result_text(ended) == "ended by SIGKILL after 2.00 s"
    assert tables.results_text(Results(a=ended)) == "a: ended by SIGKILL after 2.00 s"
    assert "shown" not in repr(ended)


def test_a_report_puts_each_remedy_under_its_check() -> None:
    report = Report([Check("key", True, "from a file"), Check("API", False, "no answer", "Wait.")])
    assert tables.report_text(report) == "✓ key: from a file\n✗ API: no answer\n    Wait."
    assert report.ok is False and Report().ok is True


def test_five_hundred_vms_are_listed_without_reading_the_state_file_for_each(
    loop: asyncio.AbstractEventLoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = vm(loop, tmp_path)
    box._state.set(box._platform, "names", box.vm_id, "named")
    reads = 0
    real = Path.read_text

    def read_text(self: Path, *given: object, **more: object) -> str:
        nonlocal reads
        reads += 1
        return real(self, *given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", read_text)
    assert tables.vms_text(VMs([box] * 500)).count("named") == 500
    assert reads < 5


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("run `make test`, twice", "run <code>make test</code>, twice"),
        ("``a `b` c``", "<code>a `b` c</code>"),
        ("a ` of no pair", "a ` of no pair"),
        ("`<b>$x$</b>` & <b>", None),
        ("*not* _this_ [one](http://a)\\`", "*not* _this_ [one](http://a)<span>\\</span>`"),
        ("of `it` \\(x\\) and `\\(y\\)`", None),
    ],
)
def test_what_markdown_takes_for_inline_code_is_code_and_nothing_else_is_anything(
    text: str, html: str | None
) -> None:
    made = tables.with_code(text)
    assert html is None or made == html
    assert Seen(made).tags <= {"code", "span"} and not Seen(made).formulas


def test_a_cell_of_a_table_shows_code_where_that_is_asked_for() -> None:
    rows = [("name", "what `it` does")]
    assert "<code>it</code>" in tables.html_table(("a", "b"), rows, cell_html=tables.with_code)
    assert "what `it` does" in tables.html_table(("a", "b"), rows)
