"""`%vers swarm`: agents made, looked at, talked to, collected from and deleted."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import psutil
import pytest
from farm import Farm
from kernels import Cell, Kernel, Outputs, refused, started

Place = tuple[Farm, dict[str, str]]


def good(kernel: Kernel, code: str) -> Outputs:
    """What a cell that must succeed has shown."""
    shown = kernel.run(code, timeout=60)
    assert shown.error is None, shown
    return shown


def table(shown: Outputs) -> dict[str, str]:
    """The rows of the last table, by the agent's label: the rest of each, S for the seconds it took."""
    lines = shown.data[-1].splitlines()[1:]
    rows = (re.fullmatch(r"\S *(\S+) *(.*)", line) for line in lines)
    return {row[1]: re.sub(r"\d+\.\d s$", "S", " ".join(row[2].split())) for row in rows if row}


def done(kernel: Kernel, label: str, *lines: str) -> Outputs:
    """A task done."""
    body = "\n".join(lines)
    return good(kernel, f"%%task {label} --wait\n{body}")


def streamed(kernel: Kernel, cell: Cell) -> list[str]:
    """What has come to an earlier cell."""
    own = [each for each in kernel.strays if each["parent_header"].get("msg_id") == cell.id]
    return [each["content"]["text"] for each in own if each["msg_type"] == "stream"]


def strays(kernel: Kernel, cell: Cell, text: str) -> None:
    """Until that came to it, while it ran or afterwards."""
    for _ in range(1200):
        if text in cell.outputs.stdout + "".join(streamed(kernel, cell)):
            return
        kernel.run("import time; time.sleep(0.05)")
    pytest.fail(f"{text!r} never came: {streamed(kernel, cell)}")


# Spawn.


def test_a_spawn_shows_what_became_of_each_and_is_its_value(swarm: Kernel) -> None:
    shown = good(
        swarm, "more = %vers swarm spawn golden -n 2 --model anthropic/some --max-vms 4 --ttl 4h --budget 5"
    )
    assert {label: row.split()[1] for label, row in table(shown).items()} == {
        "agent-1": "idle",
        "agent-2": "idle",
    }
    assert "<table>" in shown.html[0]
    assert swarm.value("[(each.label, each.agent.state) for each in more]") == [
        ("agent-1", "idle"),
        ("agent-2", "idle"),
    ]
    good(swarm, "told = (await more.agents[0].vm.read('.swarm/identity.json')).text")
    assert swarm.value("'\"budgetUsd\": 5.0' in told")
    assert good(swarm, "more.agents").data[0].splitlines()[1].split() == ["○", "agent-1", "idle"]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("nosuch", "UnknownCommitError", "nosuch"),
        ("golden --labels c,a", "UsageError", "There is an agent 'a' already."),
        ("golden --labels c, d", "UsageError", "'c,' ends with a comma"),
        ("golden --labels c,c", "UsageError", "2 agents need 2 labels, each once."),
        ("golden -n 3 --max-vms 4", "UsageError", "There are 2 agents, and 3 more would be more than 4."),
        ("golden --ttl soon", "UsageError", "'soon' is no span of time."),
        ("golden --budget 0", "UsageError", "0"),
        ("golden --budget nan", "UsageError", "nan is no sum of US dollars"),
        ("golden --max-vms 1001", "UsageError", "1001"),
        ("golden --budget lots", "UsageError", "'lots' is no number."),
        ("golden -n two", "UsageError", "'two' is no whole number."),
        ("golden --model rehearsal", "UsageError", "such as scripted/rehearsal"),
        ("golden --model scripted/rehersal", "UsageError", "`--model scripted/rehearsal` is the only one."),
        ("golden --model scriptd/rehearsal", "UsageError", "Did you mean 'scripted'?"),
        ("golden --key-env NOSUCH_KEY", "SettingsError", "NOSUCH_KEY is not set"),
        (
            "golden --labels c --model anthropic/nosuch",
            "AgentError",
            "pi has no model 'nosuch' of anthropic. Did you mean 'such'?  It has such.",
        ),
    ],
)
def test_a_spawn_that_cannot_be_says_why_and_leaves_nothing(
    swarm: Kernel, agents_farm: Place, given: str, error: str, message: str
) -> None:
    before = set(agents_farm[0].vms)
    wrong = swarm.run(f"%vers swarm spawn {given}")
    assert message in wrong.message and "Traceback" not in wrong.traceback, wrong
    assert wrong.error is not None and error in (wrong.error, "AgentError")
    assert set(agents_farm[0].vms) == before


def test_one_that_fails_spares_the_others_and_is_cleaned_up(swarm: Kernel, agents_farm: Place) -> None:
    agents_farm[0].unready = 1
    shown = swarm.run("some = %vers swarm spawn golden --labels c,d", timeout=60)
    rows = table(shown)
    assert sorted(row.split()[-1] for row in rows.values()) == ["deleted", "idle"], shown
    assert len(agents_farm[0].vms) == 3


def test_the_key_is_in_the_variable_that_is_named(swarm: Kernel, agents_farm: Place) -> None:
    swarm.run("import os; os.environ['OTHER_KEY'] = 'another-key'")
    good(swarm, "%vers swarm spawn golden --labels c --key-env OTHER_KEY")
    assert (agents_farm[0].of("c") / ".swarm/secrets/ANTHROPIC_API_KEY").read_text() == "another-key"


def test_keys_are_in_no_output_and_no_argv(swarm: Kernel, agents_farm: Place) -> None:
    secrets = agents_farm[0].of("a") / ".swarm" / "secrets"
    assert (secrets / "ANTHROPIC_API_KEY").read_text() == "key-of-the-model"
    assert (secrets / "ANTHROPIC_API_KEY").stat().st_mode & 0o777 == 0o600
    looked = good(swarm, "team\n%vers swarm\n%vm --on a ps -ef ww; echo %vers swarm log a")
    assert "key-of-the" not in looked.text


# Status.


def test_bare_it_shows_what_all_do(swarm: Kernel) -> None:
    assert table(good(swarm, "%vers swarm")) == {"a": "idle", "b": "idle"}
    done(swarm, "a", "say All is well.")
    shown = good(swarm, "agents = %vers swarm status\nagents")
    assert table(shown) == {"a": "done say All is well. All is well. 125 $0.0125 S", "b": "idle"}
    assert "<table>" in shown.html[0] and swarm.value("[agent.state for agent in agents]") == ["done", "idle"]


def test_another_kernel_finds_them_with_what_they_have_done(swarm: Kernel, agents_farm: Place) -> None:
    done(swarm, "a", "say Remember me.")
    with started(agents_farm[1]) as other:
        other.run("%load_ext pi_v_jupyter")
        shown = good(other, "%vers swarm discover")
        assert shown.stdout == "2 agents found.\n" and "Remember me." in table(shown)["a"]
        assert good(other, "%vers swarm read a").data == ["Remember me. "]


def test_without_agents_it_says_how_to_make_some(swarm: Kernel) -> None:
    good(swarm, "%vers swarm teardown -f")
    assert "`%vers swarm spawn golden -n 3`" in good(swarm, "%vers swarm").data[0]
    refused(swarm, "%vers swarm wait", "UsageError", "There are no agents.")
    assert good(swarm, "%vers swarm teardown -f").stdout == "There are no agents.\n"


@pytest.mark.parametrize(
    "words", ["read", "log", "abort", "restart", "answer", "diff", "wait", "stats", "task"]
)
def test_a_label_that_none_has_is_told_with_the_nearest(swarm: Kernel, words: str) -> None:
    rest = " do it" if words == "task" else ""
    told = refused(swarm, f"%vers swarm {words} aa{rest}", "UnknownAgentError", "There is no agent 'aa'.")
    assert "Did you mean 'a'?" in told.message


@pytest.mark.parametrize("words", ["read", "log", "answer", "diff"])
def test_what_takes_one_agent_says_so_when_several_are_named(swarm: Kernel, words: str) -> None:
    told = refused(
        swarm, f"%vers swarm {words} *", "UsageError", f"`*` names several agents; {words} takes one."
    )
    assert "One of a, b." in told.message
    refused(swarm, f"%vers swarm {words} a,b", "UsageError", "`a,b` names several agents")


@pytest.mark.parametrize("words", ["abort ''", "stats ,", "teardown ''"])
def test_no_label_at_all_is_not_all_of_them(swarm: Kernel, words: str) -> None:
    refused(swarm, f"%vers swarm {words}", "UsageError", "names no agent.")


@pytest.mark.parametrize("words", ["task a, b", "collect a, notes.txt"])
def test_half_a_list_of_labels_takes_no_word_that_follows_it(swarm: Kernel, words: str) -> None:
    refused(
        swarm, f"%vers swarm {words} more", "UsageError", "'a,' ends with a comma: labels are listed without"
    )


# Read, wait, abort, restart, answer.


def test_what_an_agent_answered_is_read_whole_or_its_end(swarm: Kernel) -> None:
    assert good(swarm, "%vers swarm read a").stdout == "○ a: idle; it has answered nothing.\n"
    done(swarm, "a", "say One.", "say Two.")
    assert good(swarm, "text = %vers swarm read a\ntext").data == ["One. \n\nTwo. "]
    assert swarm.value("(text, isinstance(text, str))") == ("One. \n\nTwo. ", True)
    assert good(swarm, "%vers swarm read a --tail 5").data == ["Two. "]


def test_a_wait_names_its_ending(swarm: Kernel) -> None:
    good(swarm, '%vers swarm task a "hold"')
    late = good(swarm, "waited = %vers swarm wait --timeout 0.3")
    assert late.data[-1].splitlines()[-1] == "timed out: a not finished. `%vers swarm wait a` goes on waiting"
    assert swarm.value("(waited.ending, waited.unfinished)") == ("timed out", ("a",))
    good(swarm, "%vers swarm abort a")
    over = good(swarm, "waited = %vers swarm wait a b")
    assert over.data[-1].splitlines()[-1] == "finished"
    assert table(over)["a"].startswith("aborted") and table(over)["b"].startswith("idle")


def test_an_agent_that_was_given_no_task_has_finished(swarm: Kernel) -> None:
    assert good(swarm, "%vers swarm wait").data[-1].splitlines()[-1] == "finished"


def test_a_stop_ends_the_wait_and_not_the_agents(swarm: Kernel) -> None:
    good(swarm, "%%task a\nhold")
    cell = swarm.start("%vers swarm wait a")
    cell.wait_for(" … ")
    swarm.interrupt()
    stopped = cell.finish()
    assert stopped.error == "CellInterrupted"
    assert "`%vers swarm wait a` waits again, `%vers swarm abort a` stops." in stopped.traceback
    assert table(good(swarm, "%vers swarm"))["a"].startswith("working")


def test_an_abort_tells_what_was_to_be_next_and_drops_it(swarm: Kernel) -> None:
    good(swarm, "%%task a\nhold")
    good(swarm, "%%task a --follow-up\nsay never")
    assert "; dropped: say never" in good(swarm, "%vers swarm abort a").stdout
    assert table(good(swarm, "%vers swarm"))["a"].startswith("aborted hold")
    assert "never" not in good(swarm, "%vers swarm read a").text.replace("say never", "")


def test_a_dead_pi_is_told_with_its_words_and_restarted(swarm: Kernel) -> None:
    done(swarm, "a", "die")
    assert table(good(swarm, "%vers swarm"))["a"] == (
        "lost die pi ended with exit code 3: pi: out of memory 0 $0.00 S"
    )
    assert good(swarm, "%vers swarm restart a").stdout == "○ a: idle\n"
    assert "Again.\n" in done(swarm, "a", "say Again.").stdout.replace(" \n", "\n")


def test_questions_are_shown_and_answered(swarm: Kernel) -> None:
    refused(swarm, "%vers swarm answer a yes", "UsageError", "a asks nothing: idle.")
    asked = done(swarm, "a", "ask select Which?|one|two")
    assert asked.stdout.splitlines() == [
        "? a asks: Which?",
        "    1. one",
        "    2. two",
        "    `%vers swarm answer a NUMBER` answers it, `%vers swarm answer a --cancel` does not choose.",
        "waiting for you: a. `%vers swarm answer a` shows the question.",
    ]
    assert "? a asks: Which?" in good(swarm, "%vers swarm").data[0]
    assert good(swarm, "%vers swarm answer a").stdout.splitlines() == asked.stdout.splitlines()[:-1]
    refused(swarm, "%vers swarm answer a 3", "UsageError", "'3' is none of the options.")
    good(swarm, "%vers swarm answer a 2")
    good(swarm, "%vers swarm wait a")
    assert good(swarm, "%vers swarm read a").data == ['told {"value": "two"} ']
    done(swarm, "a", "ask confirm Sure?")
    good(swarm, "%vers swarm answer a no")
    done(swarm, "b", "ask input Name?")
    good(swarm, "%vers swarm answer b --cancel")
    good(swarm, "%vers swarm wait")
    assert good(swarm, "%vers swarm read a").data == ['told {"confirmed": false} ']
    assert good(swarm, "%vers swarm read b").data == ['told {"cancelled": true} ']


# Stats, log, collect, diff.


def test_stats_have_each_and_the_sum(swarm: Kernel) -> None:
    done(swarm, "a,b", "say One.")
    done(swarm, "a", "write x y")
    lines = good(swarm, "used = %vers swarm stats\nused").data[0].splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [["a", "2", "2"], ["b", "1", "1"], ["sum", "3", "3"]]
    assert swarm.value("(used.sum.usage.total, round(used.sum.usage.cost, 4))") == (375, 0.0375)
    assert len(good(swarm, "%vers swarm stats b").data[0].splitlines()) == 3


def test_the_log_is_shown_or_written(swarm: Kernel, tmp_path: Path) -> None:
    done(swarm, "a", "say <b>Hello</b>.")
    shown = good(swarm, "log = %vers swarm log a")
    assert "<b>Hello</b>." in shown.data[0] and "&lt;b&gt;Hello&lt;/b&gt;." in shown.html[0]
    told = good(swarm, f"%vers swarm log a --html {tmp_path}/a.html --markdown {tmp_path}/a.md").stdout
    assert [line.split(" to ")[1] for line in told.splitlines()] == [f"{tmp_path}/a.html", f"{tmp_path}/a.md"]
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    assert "Hello" in (tmp_path / "a.md").read_text()
    refused(
        swarm, "%vers swarm log a --html /nosuch/a.html", "UsageError", "/nosuch/a.html cannot be written"
    )


def test_files_are_collected_into_a_folder_of_each(swarm: Kernel, tmp_path: Path) -> None:
    done(swarm, "a,b", "write note.md some text")
    told = good(swarm, f"copied = %vers swarm collect a,b note.md {tmp_path}/all").stdout
    assert [line.split(":")[0] for line in told.splitlines()] == ["a", "b"]
    for label in "ab":
        assert (tmp_path / "all" / label / "note.md").read_text() == "some text\n"
    good(swarm, f"%vers swarm collect a note.md {tmp_path}/one.md")
    assert (tmp_path / "one.md").read_text() == "some text\n"
    done(swarm, "a", "write more.md text")
    half = swarm.run(f"%vers swarm collect * more.md {tmp_path}/all")
    assert half.error == "RemoteFileError" and "more.md: No such file" in half.message
    assert (tmp_path / "all" / "a" / "more.md").read_text() == "text\n"


def test_where_files_went_is_told_from_the_current_folder_on(swarm: Kernel, tmp_path: Path) -> None:
    done(swarm, "a,b", "write note.md some text")
    swarm.run(f"before = %pwd\n%cd -q {tmp_path}")
    try:
        told = good(swarm, "copied = %vers swarm collect a,b note.md all").stdout
        assert ", to all/a/note.md on this computer in " in told and str(tmp_path) not in told
        assert swarm.value("copied['a'].target") == f"{tmp_path}/all/a/note.md"
    finally:
        swarm.run("%cd -q {before}")


def test_a_diff_is_shown_and_applied_to_a_branch(swarm: Kernel, tmp_path: Path) -> None:
    assert good(swarm, "%vers swarm diff a").data == ["a has changed nothing."]
    done(swarm, "a", "write note.md some text")
    shown = good(swarm, "patch = %vers swarm diff a")
    assert "\x1b[32m+some text\x1b[0m" in shown.data[0] and "+some text</span>" in shown.html[0]
    git = ["git", "-c", "user.name=me", "-c", "user.email=me@example.com", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "start"], check=True)
    told = good(swarm, f"%vers swarm diff a --apply {tmp_path} --branch from-a").stdout
    assert told == f"a changed 1 file: committed on from-a of {tmp_path}.\n"
    there = subprocess.run([*git, "show", "from-a:note.md"], check=True, capture_output=True, text=True)
    assert there.stdout == "some text\n" and not (tmp_path / "note.md").exists()
    refused(swarm, "%vers swarm diff a --branch x", "UsageError", "--branch names what --apply makes.")
    (tmp_path / "note.md").write_text("mine\n")
    subprocess.run([*git, "add", "note.md"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "mine"], check=True)
    clash = refused(swarm, f"%vers swarm diff a --apply {tmp_path}", "PatchError", "does not fit: note.md")
    assert "Nothing was changed." in clash.message


@pytest.mark.parametrize("path", ["nothere", "note.md", "../workspace"])
def test_a_folder_that_no_workspace_has_is_not_said_to_be_unchanged(swarm: Kernel, path: str) -> None:
    done(swarm, "a", "write note.md some text")
    told = f"There is no folder {path} in the workspace of a"
    refused(swarm, f"%vers swarm diff a {path}", "UsageError", told)


# Teardown.


def test_a_teardown_asks_and_deletes_what_was_named(swarm: Kernel, agents_farm: Place) -> None:
    kept = swarm.run("%vers swarm teardown a", answer="n")
    assert kept.stdout.startswith("Delete a, and all that is on its VM? [y/N] ")
    assert kept.error == "UsageError" and len(agents_farm[0].vms) == 2
    assert "Deleted a." in swarm.run("%vers swarm teardown a", answer="y", timeout=60).stdout
    assert table(good(swarm, "%vers swarm")) == {"b": "idle"}


LATE = """
from pi_v_jupyter.swarm.swarm import Swarm

made = Swarm.made

async def as_the_question_stands(self, *labels):
    told = await made(self, *labels)
    await self.fleet.client.label_vm({!r}, dict([("pi-v-agent", "late")]))
    return told

Swarm.made = as_the_question_stands
"""


def test_a_teardown_deletes_what_it_asked_about_and_no_agent_that_came_since(
    swarm: Kernel, agents_farm: Place
) -> None:
    farm = agents_farm[0]
    named, late = farm.make(), farm.make()
    farm.vms[named]["labels"] = {"name": "prod-db", "pi-v-agent": "browser"}
    good(swarm, LATE.format(late))
    try:
        shown = swarm.run("%vers swarm teardown", answer="y", timeout=60)
    finally:
        good(swarm, "Swarm.made = made")
    assert "Delete a, b, browser (VM prod-db), and all that is on their VMs?" in shown.stdout, shown
    assert "Deleted a, b, browser." in shown.stdout and {*farm.vms} == {late}


def test_a_teardown_names_what_agents_made_and_it_leaves(swarm: Kernel, agents_farm: Place) -> None:
    farm = agents_farm[0]
    child = farm.make()
    registry = farm.of("a") / ".swarm" / "registry.json"
    told = json.loads(registry.read_text())
    (root,) = (key for key, vm in farm.vms.items() if vm["labels"].get("name") == "a")
    registry.write_text(json.dumps({**told, "vms": [*told["vms"], {"vmId": child, "parentVmId": root}]}))
    stays = f"Made by agents, these stay: {child[:8]}."
    assert swarm.run("%vers swarm teardown a", answer="n").stdout.startswith(f"{stays}\nDelete a, and all")
    assert stays in good(swarm, "%vers swarm teardown -f a").text and child in farm.vms
    farm.delete(child)


def test_what_cannot_be_deleted_is_told_and_stays_on_show(swarm: Kernel, agents_farm: Place) -> None:
    agents_farm[0].stubborn.add("a")
    try:
        failed = swarm.run("%vers swarm teardown -f", timeout=60)
        assert failed.stdout == "Deleted b.\n" and failed.error == "ConflictError", failed
        assert table(good(swarm, "%vers swarm"))["a"].startswith("leaving")
    finally:
        agents_farm[0].stubborn.clear()


# Tab.


def offered(kernel: Kernel, code: str) -> list[str]:
    """What the last word of `code` may become."""
    return [each.rpartition("\n")[2].split(" ")[-1] for each in kernel.complete(code)]


def test_labels_commits_options_and_paths_are_offered(swarm: Kernel) -> None:
    swarm.offers("%vers swarm read ", ["%vers swarm read a", "%vers swarm read b"])
    assert offered(swarm, "%vers swarm wait a ") == ["b"]
    assert offered(swarm, "%%task a,") == ["a,b"]
    assert offered(swarm, "%%task a --st") == ["--steer"]
    swarm.offers("%vers swarm spawn gol", ["%vers swarm spawn golden"])
    assert {"spawn", "status", "teardown"} <= set(offered(swarm, "%vers swarm "))
    assert offered(swarm, "%%task a\nls /et") == [], "a task is no command"
    done(swarm, "a", "write notes.md text")
    swarm.offers("%vers swarm collect a no", ["%vers swarm collect a notes.md"])


# What is not here by mistake.


def test_a_notebook_without_agents_does_not_import_the_swarm(agents_farm: Place) -> None:
    look = "'pi_v_jupyter.swarm.swarm' in __import__('sys').modules"
    with started(agents_farm[1]) as kernel:
        kernel.run("%load_ext pi_v_jupyter")
        kernel.status()
        good(kernel, "%vers ls")
        assert kernel.value(look) is False
        good(kernel, "%vers swarm")
        assert kernel.value(look) is True


def test_what_agents_made_goes_with_them_and_nothing_else(swarm: Kernel, agents_farm: Place) -> None:
    farm = agents_farm[0]
    a, b = (next(key for key, vm in farm.vms.items() if vm["labels"].get("name") == name) for name in "ab")
    made = {name: farm.make() for name in ("child", "grandchild", "of-b", "users")}
    makers = {"child": [a], "grandchild": [made["child"], a], "of-b": [b], "users": []}
    for name, vm_id in made.items():
        farm.vms[vm_id]["labels"] = {"name": name}
        farm.vms[vm_id]["made_by"] = makers[name]
    asked = swarm.run("%vers swarm teardown a", answer="n")
    assert "Delete a, and what they made (child, grandchild), and all" in asked.stdout, asked
    assert "a" in table(good(swarm, "%vers swarm"))
    farm.stubborn = {"grandchild"}
    torn = swarm.run("%vers swarm teardown -f a")
    assert "Deleted a, child." in torn.stdout and torn.error is not None
    assert {vm["labels"]["name"] for vm in farm.vms.values()} == {"b", "of-b", "users", "grandchild"}
    farm.stubborn = set()
    good(swarm, "%vers swarm teardown -f")
    assert {vm["labels"]["name"] for vm in farm.vms.values()} == {"users"}
    farm.delete(made["users"])


def test_vms_that_may_be_of_a_spawn_that_was_killed_are_told_of_and_none_is_deleted(
    swarm: Kernel, agents_farm: Place
) -> None:
    farm = agents_farm[0]
    before = set(farm.vms)
    farm.telling.clear()
    try:
        with started(agents_farm[1]) as other:
            other.run("%load_ext pi_v_jupyter")
            other.start("%vers swarm spawn golden --labels c,d")
            assert farm.withheld.wait(60) and len(farm.vms) == len(before) + 2
            users = farm.make()  # of the same commit, and nameless as they are
            process = psutil.Process(other.pid)
            process.kill()
            process.wait(10)
    finally:
        farm.telling.set()
    shown = good(swarm, "%vers swarm")
    assert set(table(shown)) == {"a", "b"} and set(farm.vms) > {*before, users}
    told = re.search(r"`(%vers rm [0-9a-f ]+)`", shown.text)
    assert told is not None, shown
    good(swarm, told[1].replace("rm", "rm -f"))
    assert set(farm.vms) == before
