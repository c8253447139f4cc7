"""Which commands may run while one may only look."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from readonly_lists import listed

from pi_v_jupyter.plan import agreement, readonly, scanner, wordscanner
from pi_v_jupyter.plan.readonly import judge
from pi_v_jupyter.plan.words import Refused

REFUSED = listed("refused")
PASSES = listed("passes")
# What bash would not run at all, or reads as the grammar does not: each passes if one of the readers is not
# asked.
READ_IN_TWO_WAYS = [
    "ls; done",
    "do ls",
    "then ls",
    "fi",
    "if ls; then pwd; fi; fi",
    "echo <(ls)<(pwd)",
    "! ! ls",
    "ls )",
    "ls;\n;pwd",
    "for f in a b; cat f",
]


@pytest.mark.parametrize(("group", "command"), REFUSED)
def test_what_could_do_more_than_look_is_refused(group: str, command: str) -> None:
    refusal = judge(command)
    assert refusal is not None
    assert refusal.part
    assert refusal.rule
    assert "\n" not in refusal.rule


@pytest.mark.parametrize(("group", "command"), PASSES)
def test_what_only_looks_passes(group: str, command: str) -> None:
    assert judge(command) is None


@pytest.mark.parametrize(
    ("command", "way_out"),
    [
        ("export PAGER=cat; ls", "x=1 sets a variable"),
        ("declare -p", "env shows those"),
        ("unset a", "leave it out"),
        ("apt update", "apt only looks with --version"),
    ],
)
def test_what_changes_the_shell_is_refused_with_what_does_instead(command: str, way_out: str) -> None:
    refusal = judge(command)
    assert refusal is not None and way_out in refusal.rule


def test_the_lists_are_long_and_hold_nothing_twice() -> None:
    refused, passes = [command for _, command in REFUSED], [command for _, command in PASSES]
    assert len(refused) >= 300
    assert len(passes) >= 250
    assert len({*refused, *passes}) == len(refused) + len(passes)


@pytest.mark.parametrize("command", READ_IN_TWO_WAYS)
def test_a_text_that_two_readers_do_not_read_alike_is_refused(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert judge(command) is not None
    monkeypatch.setattr(readonly, "agree", lambda script: None)
    assert judge(command) is None, "this does not show that there is a second reader"


@pytest.mark.parametrize("char", sorted(wordscanner.METACHARACTERS - {" ", "\t", "<", ">"}))
def test_a_reader_that_overlooks_a_sign_is_contradicted_by_the_other(
    char: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = {"(": "echo a(b", ")": "(echo a)"}.get(char, f"echo a{char}echo b")
    monkeypatch.setattr(wordscanner, "METACHARACTERS", wordscanner.METACHARACTERS - {char})
    with pytest.raises(Refused):
        agreement.agree(scanner.scan(command))


@pytest.mark.parametrize(
    ("command", "part", "rule"),
    [
        ("ls && sort -o f a", "-o", "sort -o writes a file"),
        ("cat a | rm b", "rm", "rm changes files"),
        ("ls 2>&1 >out.txt", ">out.txt", "> writes a file: only /dev/null may be written to"),
        ("echo $(find . -delete)", "-delete", "find -delete deletes"),
        ("sed -n 'w f' a", "'w f'", "sed's w writes a file"),
        ("git status & ls", "&", "& starts a command in the background, where nobody waits for it"),
        ("sort $x", "$x", "sort might take this for an option: quote it, and write -- before it"),
        ("frobnicate a", "frobnicate", "frobnicate is not among the commands that only look"),
    ],
)
def test_a_refusal_names_the_part_and_the_rule(command: str, part: str, rule: str) -> None:
    assert judge(command) == readonly.Refusal(part, rule)


def test_what_is_known_of_a_word_is_what_bash_makes_of_it() -> None:
    seed = 20_240_607
    chance = random.Random(seed)
    pieces = [
        *"ab-=/.,:@%+^~]}",
        "\\",
        "'",
        '"',
        "$'",
        "\\'",
        '\\"',
        "\\n",
        "\\x41",
        "$",
        "${x}",
        "$x",
        " ",
        "*",
        "[",
        "{",
    ]
    texts = {"".join(chance.choices(pieces, k=chance.randint(1, 9))) for _ in range(6000)}
    known: dict[str, list[str]] = {}
    for text in sorted(texts):
        try:
            script = scanner.scan(f"echo {text}")
            agreement.agree(script)
        except Refused:
            continue
        words = [word.known for command in script.commands for word in command.words[1:]]
        if len(script.commands) == 1 and None not in words:
            known[text] = [word for word in words if word is not None]
    assert len(known) > 500
    shell = "\n".join(f"printf '%s\\0' {text}; printf '\\1\\0'" for text in known)
    ran = subprocess.run(["bash", "-c", shell], stdout=subprocess.PIPE, cwd="/", check=True, text=True)
    theirs = [group.split("\0")[:-1] for group in ran.stdout.split("\1\0")[:-1]]
    for (text, ours), other in zip(known.items(), theirs, strict=True):
        # printf without a word writes an empty one.
        assert (ours or [""]) == other, f"{text!r}, seed {seed}"


def test_a_long_or_deep_command_is_refused_and_not_read_for_ever() -> None:
    assert judge("echo " + "a" * 30_000) is not None
    assert judge("echo " + "$(echo " * 500 + ")" * 500) is not None
    assert judge("nice " * 500 + "ls") is not None
    assert judge("(" * 1500 + "ls" + ")" * 1500) is not None
    assert judge("echo " + "{a,b}" * 30) is not None
    assert judge("{ " * 2000 + "ls" + "; }" * 2000) is None
    assert judge("ls && " * 3000 + "ls") is None


@pytest.mark.parametrize("text", ["\ud800", "\0", "echo \udcff", "", " ", "\n", "# nothing"])
def test_any_text_is_judged_without_an_exception(text: str) -> None:
    judge(text)


def test_loading_the_extension_does_not_load_the_grammar() -> None:
    code = (
        "import sys, pi_v_jupyter.magics.extension, pi_v_jupyter.plan.readonly\n"
        "print('tree_sitter' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
