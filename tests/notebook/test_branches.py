"""Branch, commit, restore, pause and what belongs to them, through a real kernel, on real machines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernels import Kernel, explained, refused
from platforms import Platform
from walkthroughs import walked

pytestmark = pytest.mark.vm


@pytest.fixture
def tidy(kernel: Kernel) -> Iterator[Kernel]:
    """The module's kernel; what came from `build` in the test is gone after it."""
    yield kernel
    kernel.run("%vers use build")
    cleared = kernel.run(
        "extension = get_ipython().find_line_magic('vers').__self__\n"
        "build = await extension.vers.vm('build')\n"
        "await extension.vers.delete(*await extension.vers.descendants(build))\n"
        "for tag in await extension.vers.tags(): await extension.vers.untag(tag.tag_name)\n"
        "await extension.vers.delete_commits(*reversed(await extension.vers.commits()))",
        timeout=60,
    )
    assert cleared.error is None, cleared.traceback
    assert len(kernel.run("%vers ls").data[0].splitlines()) == 2


def good(kernel: Kernel, code: str, **how: float) -> str:
    """What a cell that works has printed."""
    shown = kernel.run(code, timeout=how.get("timeout", 90))
    assert shown.error is None, shown.traceback
    return shown.stdout


def test_two_branches_go_on_where_their_parent_was(tidy: Kernel) -> None:
    good(tidy, "%%vm\nmkdir -p /srv/demo; cd /srv/demo; export WORD=kept; (exec -a counting sleep 300 &)")
    made = tidy.run("a, b = %vers branch -n 2", timeout=90)
    assert made.error is None and not made.data, made
    assert tidy.value("[vm.name for vm in (a, b)]") == ["build-1", "build-2"]
    shown = good(
        tidy,
        "%%vm --on a,b\necho $PWD $WORD; pgrep -f ^counting >/dev/null; echo $RANDOM >choice; cat choice",
    )
    for label in "ab":
        assert f"[{label}] /srv/demo kept\n" in shown
        assert re.search(rf"^\[{label}\] ✓ [\d.]+ s$", shown, re.MULTILINE)
    drawn = re.findall(r"^\[[ab]\] (\d+)$", shown, re.MULTILINE)
    assert len(set(drawn)) == 2
    assert good(tidy, "%vm ls") == "", "a branch wrote to its parent's disk"
    good(tidy, "%vm cd /")


def test_one_branch_is_the_vm_itself_and_can_be_used_at_once(tidy: Kernel) -> None:
    line = good(tidy, "child = %vers branch --name child --use")
    assert re.fullmatch(r"★ child  [0-9a-f]{8}  running  1 vCPU · 512 MB · [\d.]+ s\n", line)
    assert tidy.value("child.name") == "child"
    assert good(tidy, "%vm echo $HOSTNAME").startswith("vm-")
    assert good(tidy, "%vers rm -f .") == "Deleted child. Cells run on this computer again.\n"


def test_the_host_key_of_a_branch_is_known_beforehand(tidy: Kernel) -> None:
    good(tidy, "child = %vers branch")
    assert tidy.value("child.pinned(child.id) == vm.pinned(vm.id) != None") is True
    good(tidy, "%vm --on child true")
    good(tidy, "kept = %vers commit")
    good(tidy, "again = %vers restore kept")
    assert tidy.value("again.pinned(again.id) == vm.pinned(vm.id)") is True
    good(tidy, "%vm --on again true")


def test_a_cell_under_way_while_its_vm_is_branched_is_in_nobodys_way(tidy: Kernel) -> None:
    good(tidy, "%vm cd /srv; rm -f begun stop")
    good(
        tidy,
        "import asyncio\n"
        "from pi_v_jupyter.remote.channel import Request\n"
        "async def slow():\n"
        "    code = 'touch /srv/begun; until [ -e /srv/stop ]; do sleep 0.1; done'\n"
        "    code += '; echo ended >/srv/ended; echo through'\n"
        "    process = await vm.launch(Request(shell='cells', code=code))\n"
        "    return b''.join([data async for _, data in process.chunks()])\n"
        "running = asyncio.run_coroutine_threadsafe(slow(), vm.home)\n"
        "begun = await vm.run('until [ -e /srv/begun ]; do sleep 0.1; done')\n",
    )
    good(tidy, "child = %vers branch --name child")
    assert good(tidy, "%vm --on child pwd; touch /srv/stop") == "/root\n"
    ended = "%vm --on child until [ -s /srv/ended ]; do sleep 0.1; done; cat /srv/ended"
    assert good(tidy, ended) == "ended\n", "it goes on in the branch too"
    assert tidy.value("running.done()") is False, "nor did the branch end it in its parent"
    good(tidy, "await vm.run('touch /srv/stop')")
    assert tidy.value("running.result(50)") == b"through\n"
    good(tidy, "%vm cd; rm -f /srv/begun /srv/stop /srv/ended")


def test_a_commit_is_restored_as_often_as_one_likes(tidy: Kernel) -> None:
    good(tidy, "%vm echo before >/root/moment; cd /srv")
    line = good(tidy, "kept = %vers commit --name before --tag good")
    assert re.fullmatch(r"commit before  [0-9a-f]{8}  good  [\d.]+ s\n", line)
    good(tidy, "%vm echo after >/root/moment")
    for name in ("good", "before", "kept"):
        good(tidy, f"again = %vers restore {name} --name again-{name}")
        assert good(tidy, "%vm --on again cat /root/moment; pwd") == "before\n/srv\n"
    good(tidy, "one, two = %vers restore good -n 2")
    assert good(tidy, "%vm --on one,two cat /root/moment").count("before") == 2
    refused = tidy.run("%vers commits -f -d good", timeout=30)
    assert refused.error == "ConflictError" and "again-good" in refused.message
    shown = tidy.run("%vers commits")
    assert "before" in shown.data[0] and "<table>" in shown.html[0]
    assert json.loads(tidy.run("%vers commits --json").stdout)[0]["name"] == "before"


def test_a_paused_vm_says_so_and_goes_on_where_it_was(tidy: Kernel) -> None:
    good(tidy, "%vm cd /srv; export WORD=kept")
    assert "paused" in good(tidy, "%vers pause")
    refused = tidy.run("%vm true")
    assert refused.error == "VMPausedError"
    assert refused.message == "VM build is paused.  `%vers resume build` has it go on."
    assert tidy.run("%vers use build").error == "VMPausedError"
    assert "running" in good(tidy, "%vers resume")
    assert good(tidy, "%vm echo $PWD $WORD") == "/srv kept\n"
    good(tidy, "%vm cd")


def test_a_vm_that_died_offers_its_last_commit(tidy: Kernel, shared_platform: Platform) -> None:
    good(tidy, "child = %vers branch --name child")
    good(tidy, "kept = %vers commit child")
    child, commit = tidy.value("(child.id, kept.id[:8])")
    (process,) = (one for one in shared_platform.qemus() if child in " ".join(one.cmdline()))
    process.kill()
    process.wait(10)
    good(tidy, "import asyncio\nwhile (await child.refresh()).state == 'running': await asyncio.sleep(0.1)")
    refused = tidy.run("%vers use child")
    assert refused.error == "VMGoneError" and f"`%vers restore {commit} --use` goes on" in refused.message
    assert re.search(r"^state +dead$", tidy.run("%vers info child").data[0], re.MULTILINE)
    good(tidy, f"%vers restore {commit} --use")
    assert good(tidy, "%vm echo alive") == "alive\n"


def test_tags_are_made_moved_listed_and_deleted(tidy: Kernel) -> None:
    assert "No tags." in tidy.run("%vers tag").data[0]
    none = tidy.run("%vers tag first")
    assert none.error == "UnknownCommitError" and "`%vers commit --tag first`" in none.message
    good(tidy, "one = %vers commit --name one")
    assert good(tidy, "%vers tag first") == f"commit one  {tidy.value('one.id')[:8]}  first\n"
    good(tidy, "two = %vers commit --name two")
    good(tidy, "%vers tag first two")
    assert tidy.run("%vers tag").data[0].splitlines()[1].split()[:2] == ["first", tidy.value("two.id")[:8]]
    assert good(tidy, "%vers tag -d first") == "Deleted the tag first.\n"


def test_the_tree_and_what_is_known(tidy: Kernel) -> None:
    good(tidy, "child = %vers branch --name child")
    good(tidy, "%vers commit child --name before")
    shown = tidy.run("%vers ls --tree")
    assert [re.split(r" +[0-9a-f]{8} ", line)[0] for line in shown.data[0].splitlines()] == [
        "★ build",
        "└─ child",
        "   └─ ◦ before",
    ]
    assert "<table>" in shown.html[0] and "└─ child" in shown.html[0]
    known = tidy.run("%vers info child").data[0]
    assert re.search(r"^came from +build \(", known, re.MULTILINE)
    assert re.search(r"^commits +commit before \(", known, re.MULTILINE)
    assert re.search(r"^came from +child \(", tidy.run("%vers info before").data[0], re.MULTILINE)
    told = json.loads(tidy.run("%vers ls --tree --json").stdout)
    assert [one.get("commit_id") is not None for one in told] == [False, False, True]
    good(tidy, "%vers restore before --name again")
    good(tidy, "%vers rm -f child")
    assert tidy.run("%vers ls").data[0].endswith("before"), "it is called as in the tree"
    good(tidy, "%vers rm -f again")


def test_deleting_takes_the_branches_when_asked_and_names_them_all(tidy: Kernel) -> None:
    good(tidy, "child = %vers branch --name child")
    good(tidy, "%vers branch child --name grandchild")
    assert "child  " in tidy.run("%vers ls").data[0].splitlines()[-1]
    refused = tidy.run("%vers rm -r child", answer="n")
    assert "Delete child, grandchild and all that is on them? [y/N]" in refused.stdout
    assert good(tidy, "%vers rm -r -f child") == "Deleted child, grandchild.\n"


def test_a_vm_is_renamed(tidy: Kernel) -> None:
    good(tidy, "child = %vers branch --name child")
    assert "other" in good(tidy, "%vers rename child other")
    assert tidy.value("child.name") == "other"
    taken = tidy.run("%vers rename other build")
    assert taken.error == "UsageError" and "There is a VM named 'build' already." in taken.message


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("%vers branch -n 2 --use", "UsageError", "--use needs one VM, not several."),
        ("%vers branch -n 0", "UsageError", "-n"),
        ("%vers branch --nam x", "UsageError", "Did you mean --name?"),
        ("%vers branch bild", "UnknownVMError", "No VM named 'bild'. Did you mean 'build'?"),
        ("%vers branch --name build", "UsageError", "There is a VM named 'build' already."),
        ("%vers commit --tag 'a b'", "UsageError", "'a b' cannot name a tag."),
        ("%vers commit --keep", "UsageError", "Did you mean --keep-paused?"),
        ("%vers restore", "UsageError", "Missing argument"),
        ("%vers restore nosuch", "UnknownCommitError", "No commit named 'nosuch'.  `%vers commits` shows"),
        ("%vers tag -d", "UsageError", "-d needs the name of a tag."),
        ("%vers tag -d nosuch", "UnknownCommitError", "No tag named 'nosuch'."),
        ("%vers info nosuch", "UnknownVMError", "No VM named 'nosuch'."),
        ("%vers commits -d nosuch", "UnknownCommitError", "No commit named 'nosuch'."),
        ("%vers rename build", "UsageError", "Missing argument"),
        ("%vers resum", "UsageError", "Did you mean resume?"),
    ],
)  # fmt: skip
def test_wrong_use_is_one_line_and_the_next_step(kernel: Kernel, code: str, error: str, message: str) -> None:
    refused(kernel, code, error, message)


def test_every_sub_command_explains_itself(kernel: Kernel) -> None:
    explained(kernel, "branch", "commit", "restore", "pause", "resume", "commits", "tag", "info", "rename")


def test_the_walkthrough_runs_alone_and_leaves_nothing(shared_platform: Platform, tmp_path: Path) -> None:
    with walked("02-branching", shared_platform, tmp_path) as walk:
        told = [outputs.text for _, outputs in walk.shown]
    counts = [re.findall(r"(\w+), process (\d+), has counted to (\d+)", text) for text in told]
    seen = [count for some in counts for count in some]
    assert len(seen) >= 9 and len({(name, pid) for name, pid, _ in seen}) == 1
    twins = next(some for some in counts if len(some) == 2)
    assert all(int(count) >= int(seen[0][2]) for _, _, count in twins), "both go on from where it was"
