"""`%%task`: a cell is a task; what comes of it is shown, or told in that cell."""

from __future__ import annotations

import re

import pytest
from kernels import Kernel, refused
from test_swarm import good, strays, streamed, table

COLOUR = re.compile(r"\x1b\[\d*m")


def test_a_task_is_the_cell_as_it_was_typed(swarm: Kernel) -> None:
    body = "hold\nsay {not} $a %value\n>>> not a prompt\n    indented ✓"
    assert good(swarm, f"%%task a\n{body}").stdout == "⟳ a: working\n"
    assert swarm.value("team.agents[0].run.prompt") == body + "\n"


def test_a_wait_shows_text_tool_calls_and_diffs_as_they_come(swarm: Kernel) -> None:
    task = "say I write it.\nwrite notes.md some text\nrun no such target\nretry overloaded\nsay That was it."
    shown = good(swarm, f"%%task a --wait\n{task}")
    assert COLOUR.sub("", shown.stdout).replace(" \n", "\n").splitlines()[:-1] == [
        "I write it.",
        "⚙ write  notes.md",
        "  ✓ write",
        "--- notes.md",
        "+++ notes.md",
        "@@ -0,0 +1,1 @@",
        "+some text",
        "⚙ bash  make",
        "  ✗ bash failed",
        "    no such target",
        "↻ attempt 1 of 3 follows in 0.01 s: overloaded",
        "That was it.",
    ]
    assert re.fullmatch(r"✓ done  500 tokens  \$0.0500  \d+\.\d s", shown.stdout.splitlines()[-1])
    assert shown.data == [], "it is shown already"
    assert swarm.value("(_.ending, _.results[0].text)") == ("finished", "I write it. \n\nThat was it. ")


def test_several_are_labelled_line_by_line(swarm: Kernel) -> None:
    shown = good(swarm, r"%%task a,b --wait" + "\n" + r"say One\ntwo." + "\nsay Three.")
    lines = [line.rstrip() for line in shown.stdout.splitlines()]
    for label in "ab":
        own = [line for line in lines if line.startswith(f"[{label}] ")]
        assert own[:3] == [f"[{label}] One", f"[{label}] two.", f"[{label}] Three."]
        assert own[3].startswith(f"[{label}] ✓ done")
    assert len(lines) == 8


@pytest.mark.parametrize("labels", ["a b", "a, b", "a,b"])
def test_several_are_named_with_commas_or_without(swarm: Kernel, labels: str) -> None:
    shown = good(swarm, f"%%task {labels} --wait\nsay hi")
    assert "[a] hi" in shown.stdout and "[b] hi" in shown.stdout


@pytest.mark.parametrize("how", ["--steer", "--follow-up"])
def test_one_with_nothing_to_do_is_told_to_have_a_new_task(swarm: Kernel, how: str) -> None:
    told = "a has nothing to do: it is given this as a new task.\n"
    assert good(swarm, f"%%task a {how} --wait\nsay hi").stdout.startswith(told)
    good(swarm, "%%task a\nhold")
    assert told not in good(swarm, f"%%task a {how}\nsay more").stdout


def test_a_star_is_all_of_them(swarm: Kernel) -> None:
    assert good(swarm, "%%task *\nhold").stdout == "⟳ a: working\n⟳ b: working\n"


def test_what_an_agent_says_does_not_steer_the_notebook(swarm: Kernel) -> None:
    shown = good(swarm, "%%task a --wait\n" + r"say \x1b[2J\x1b]0;title\x07\x1b[31mred\rgone\x1b")
    assert "\x1b" not in shown.stdout and "\r" not in shown.stdout
    assert shown.stdout.startswith("redgone")


def test_a_flood_is_bounded_and_comes_in_few_messages(swarm: Kernel) -> None:
    shown = good(swarm, "%%task a --wait\n" + r"say " + r"word\n" * 40 + " x" * 40_000)
    assert shown.size < 700_000 and shown.updates < 20 * shown.seconds + 10
    assert "✓ done" in shown.stdout


def test_a_busy_agent_refuses_another_task_and_says_what_to_do(swarm: Kernel) -> None:
    good(swarm, "%%task a\nhold")
    told = refused(swarm, "%%task a\nsay more", "AgentError", "a works already.  `%%task --steer`")
    assert "--steer" in told.message and "--follow-up" in told.message
    assert table(good(swarm, "%vers swarm"))["a"].startswith("working hold"), "nothing has changed"


def test_one_that_refuses_spares_the_others(swarm: Kernel) -> None:
    good(swarm, "%%task a\nhold")
    both = swarm.run("%%task a,b --wait\nsay hi")
    assert both.error == "AgentError" and "[b] hi" in both.stdout


def test_a_task_steers_or_follows_what_goes_on(swarm: Kernel) -> None:
    good(swarm, "%%task a\nhold\nsay one")
    good(swarm, "%%task a --follow-up\nsay three")
    shown = good(swarm, "%%task a --steer --wait\nsay two")
    assert [line.strip() for line in shown.stdout.splitlines()[:-1]] == [
        "one",
        "» say three",
        "three",
        "» say two",
        "two",
    ]
    refused(swarm, "%%task a --steer --follow-up\nx", "UsageError", "exclude each other")


def test_a_line_gives_a_task_too(swarm: Kernel) -> None:
    assert good(swarm, '%vers swarm task a --wait "say it\'s done"').stdout.startswith("it's done")
    good(swarm, "%vers swarm task a hold")
    good(swarm, "%vers swarm task a --follow-up say next")
    assert "next" in good(swarm, "%vers swarm task a --wait --steer go").stdout


def test_a_stop_ends_the_wait_only_and_says_that_they_go_on(swarm: Kernel) -> None:
    cell = swarm.start("%%task a,b --wait\nsay begun\nhold\nsay over")
    cell.wait_for("[a] begun")
    cell.wait_for("[b] begun")
    swarm.interrupt()
    stopped = cell.finish()
    assert stopped.error == "CellInterrupted"
    assert (
        "They go on: `%vers swarm wait a b` waits again, `%vers swarm abort a b` stops." in stopped.traceback
    )
    assert {row.split()[0] for row in table(good(swarm, "%vers swarm")).values()} == {"working"}
    good(swarm, "%vers swarm task * go --steer")
    strays(swarm, cell, "✓ a: done")


def test_an_end_is_told_in_the_cell_that_gave_the_task(swarm: Kernel) -> None:
    cell = swarm.start("%%task a\nhold\nsay All is well.")
    cell.finish()
    good(swarm, "%vers swarm task a --steer go")
    strays(swarm, cell, "✓ a: done")
    told = "".join(streamed(swarm, cell))
    assert re.fullmatch(r"✓ a: done  125 tokens  \$0.0125  \d+\.\d s\n    All is well\.\n", told), "once"


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ("die", "pi ended with exit code 3: pi: out of memory"),
        ("fail 529 overloaded", "529 overloaded"),
        ("ask confirm May I?", "`%vers swarm answer b yes` or `%vers swarm answer b no` answers it."),
    ],
)
def test_a_failure_and_a_question_are_told_there_too(swarm: Kernel, task: str, told: str) -> None:
    cell = swarm.start(f"%%task b\nhold\n{task}")
    cell.finish()
    good(swarm, "%vers swarm task b --steer go")
    strays(swarm, cell, told)


def test_nothing_is_told_beside_a_cell_that_shows_it(swarm: Kernel) -> None:
    swarm.strays.clear()
    good(swarm, "%%task a --wait\nsay seen")
    good(swarm, "import time; time.sleep(0.2)")
    assert [each for each in swarm.strays if each["msg_type"] == "stream"] == []


def test_a_cell_is_told_also_of_what_another_waits_for_or_the_user_aborted(swarm: Kernel) -> None:
    given = swarm.start("%%task a\nhold")
    given.finish()
    good(swarm, "%vers swarm abort a")
    strays(swarm, given, "⊘ a: aborted")
    given = swarm.start("%%task b\nrun sleep 1\nsay All is well.")
    given.finish()
    assert "All is well." in good(swarm, "%vers swarm wait b").text
    strays(swarm, given, "✓ b: done")


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("%%task\nx", "Missing argument"),
        ("%%task a\n\n", "There is nothing to do."),
        ("%%task a --wiat\nx", "No such option: --wiat. Did you mean --wait?"),
    ],
)
def test_a_cell_that_is_no_task_is_refused(swarm: Kernel, cell: str, message: str) -> None:
    refused(swarm, cell, "UsageError", message)


def test_the_help_says_how_it_is_used(swarm: Kernel) -> None:
    assert good(swarm, "%%task --help\nx").stdout.startswith("Usage: %%task [OPTIONS] LABEL…")
    hint = "Missing argument 'LABEL…'.  `%vers swarm task --help` says more."
    refused(swarm, "%%task\nx", "UsageError", hint)  # for IPython refuses `%%task --help` without a cell
    assert good(swarm, "%vers swarm --help").stdout.startswith("Usage: %vers swarm")
