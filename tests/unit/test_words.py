"""A magic's line is read as a shell reads it, and what is the command's own stays as it was typed."""

from __future__ import annotations

import click
import pytest

from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.magics import words
from pi_v_jupyter.magics.options import CELL, LINE


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", []),
        ("   ", []),
        ("ls -l", ["ls", "-l"]),
        ("  a\t b  ", ["a", "b"]),
        ("'two words' \"and more\"", ["two words", "and more"]),
        ("a'b'c", ["abc"]),
        ("'' x", ["", "x"]),
        (r"a\ b", ["a b"]),
        ("a # b", ["a", "#", "b"]),
        ("it's", ["it's"]),
        ('x "open', ["x", '"open']),
        ("größe ★", ["größe", "★"]),
    ],
)
def test_a_line_is_split_as_a_shell_would(line: str, expected: list[str]) -> None:
    assert words.split(line)[0] == expected


def test_each_word_is_found_where_it_begins() -> None:
    line = "  -e 'A=1 2'   echo  \"x\""
    found, starts = words.split(line)
    assert [line[start:][:4] for start in starts] == ["-e '", "'A=1", "echo", '"x"']
    assert len(found) == 4


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("echo  'two  spaces' $x {y}", "echo  'two  spaces' $x {y}"),
        ("--fresh   echo it's", "echo it's"),
        ("--timeout 3 sh -c 'a; b' --timeout 4", "sh -c 'a; b' --timeout 4"),
        ("-- -x --help", "-x --help"),
        ('-e A=\'1 2\' -e B="3" env | grep "A"', 'env | grep "A"'),
        ("ls -- -x", "ls -- -x"),
        ("--fresh", ""),
        ("echo 'open", "echo 'open"),
    ],
)
def test_the_command_of_a_line_stays_as_typed(line: str, command: str) -> None:
    assert words.options_then_rest(LINE, "%vm", line)[1] == command


def test_options_of_a_line_are_those_before_the_command() -> None:
    given, _ = words.options_then_rest(LINE, "%vm", "-e A=x=y -e B= --on a,b --no-raise echo --fresh")
    assert given is not None
    assert given["env"] == (("A", "x=y"), ("B", "")) and given["on"] == "a,b"
    assert given["no_raise"] is True and given["fresh"] is False and given["timeout"] is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--tmeout", "3"], "No such option: --tmeout. Did you mean --timeout?"),
        (["--xyzzy"], "No such option: --xyzzy."),
        (["bash", "sh"], "Got unexpected extra argument (sh)."),
        (["--timeout"], "Option '--timeout' requires an argument."),
        (["--timeout", "-1"], "Invalid value for '--timeout': -1.0 is not in the range x>=0."),
        (
            ["--timeout", "inf"],
            "Invalid value for '--timeout': 'inf' is not a number of seconds; 0 means no limit.",
        ),
        (["--out", "1x"], "Invalid value for '--out': '1x' cannot name a variable."),
        (["--out", "class"], "Invalid value for '--out': 'class' cannot name a variable."),
        (["-e", "=x"], "Invalid value for '-e' / '--env': '' does not begin K=V."),
    ],
)
def test_wrong_use_is_one_sentence_and_where_to_look(given: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        words.run(CELL, "%%vm", given, None)
    assert caught.value.message == message
    assert caught.value.hint == "`%%vm --help` says more."


def test_a_value_that_may_be_a_secret_is_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        words.run(CELL, "%%vm", ["-e", "1TOKEN=hush-hush"], None)
    assert "hush" not in str(caught.value)


def test_help_is_shown_and_nothing_is_returned(capsys: pytest.CaptureFixture[str]) -> None:
    assert words.run(CELL, "%%vm", ["--help"], None) is None
    assert words.options_then_rest(LINE, "%vm", "--help") == (None, "")
    assert capsys.readouterr().out.count("Usage: ") == 2


def test_a_stop_is_no_usage_error() -> None:
    @click.command()
    def stopped() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        words.run(stopped, "%x", [], None)


def test_a_number_a_command_returns_is_returned() -> None:
    @click.command()
    def seven() -> int:
        return 7

    assert words.run(seven, "%x", [], None) == 7
