"""What the cursor is at, in lines and cells of ours and in unfinished bash: nothing here asks a machine."""

from __future__ import annotations

import pytest

from pi_v_jupyter.magics.completion.cursor import Body, Line, last_word, place, quoted
from pi_v_jupyter.magics.completion.scan import Word, word_at_end


def at(cell: str) -> Line | Body | None:
    """What is at the `|` in `cell`."""
    before, _, after = cell.partition("|")
    lines = before.split("\n")
    return place(before + after, len(lines) - 1, len(lines[-1]))


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("%vers |", Line("%vers", " ")),
        ("%vers use b| x", Line("%vers", " use b")),
        ("a, b = %vers branch -|", Line("%vers", " branch -")),
        ("for n in range(3):\n    vm = %vers create --n|", Line("%vers", " create --n")),
        ("%vm ls /|", Line("%vm", " ls /")),
        ("p = %bg stop |", Line("%bg", " stop ")),
        ("%plan run |", Line("%plan", " run ")),
        ("%%plan ann\n1. a|", Body("%%plan", "ann", "1. a")),
        ("%%bg w|\nls", Line("%%bg", " w")),
        ("%%bg web\nls|", Body("%%bg", "web", "ls")),
        ("\n%%vm --on |\nls", Line("%%vm", " --on ")),
        ("\n%%vm --on a,b\ncd /\nls |-l", Body("%%vm", "--on a,b", "cd /\nls ")),
        ("%%vm\nls|", Body("%%vm", "", "ls")),
        ("%%v|m\nls", None),
        ("%%vm|", None),
        ("%ver|", None),
        ("%vers|", None),
        ("x = '%vers |'", None),
        ("# %vers |", None),
        ("vers.|", None),
        ("%%vmx\nls|", None),
        ("%%bash\n%vmx |", None),
        ("|", None),
    ],
)
def test_lines_and_bodies_of_ours_are_told_from_others(cell: str, found: Line | Body | None) -> None:
    assert at(cell) == found


@pytest.mark.parametrize(
    ("text", "args", "typed", "word"),
    [
        (" ", [], "", ""),
        (" use bu", ["use"], "bu", "bu"),
        (" use ", ["use"], "", ""),
        (" read /tab\\ he", ["read"], "/tab\\ he", "/tab he"),
        (" read /tab\\ ", ["read"], "/tab\\ ", "/tab "),
        (" read '/tab he", ["read"], "'/tab he", "/tab he"),
        (' read "/tab he', ["read"], '"/tab he', "/tab he"),
        (" read 'it is'/x", ["read"], "'it is'/x", "it is/x"),
        (" read x\\", ["read"], "x\\", "x"),
        (" create --name=", ["create"], "--name=", "--name="),
    ],
)
def test_the_word_at_the_cursor_is_taken_as_a_shell_would(
    text: str, args: list[str], typed: str, word: str
) -> None:
    assert last_word(text) == (args, typed, word)


def test_what_is_offered_can_be_typed() -> None:
    for name in ("tab here", "it's", "a$b`c", "(x)", "snow 雪", 'say "hi"', "a&b;c|d", "star*"):
        assert last_word(f" {quoted(name)}")[2] == name
        assert word_at_end(f"cat {quoted(name)}") == Word("path", quoted(name), name, "cat")


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("", Word("command", "", "")),
        ("gre", Word("command", "gre", "gre")),
        ("ls /et", Word("path", "/et", "/et", "ls")),
        ("ls ", Word("path", "", "", "ls")),
        ("./con", Word("path", "./con", "./con")),
        ("cd /srv\ngi", Word("command", "gi", "gi")),
        ("cd /srv && gi", Word("command", "gi", "gi")),
        ("make | he", Word("command", "he", "he")),
        ("make |& he", Word("command", "he", "he")),
        ("sleep 1 & he", Word("command", "he", "he")),
        ("if gre", Word("command", "gre", "gre")),
        ("for x in a; do ec", Word("command", "ec", "ec")),
        ("sudo ap", Word("command", "ap", "ap")),
        ("A=1 B=2 ma", Word("command", "ma", "ma")),
        ("A=/sr", Word("path", "/sr", "/sr")),
        ("./configure --prefix=/us", Word("path", "/us", "/us", "./configure")),
        ("make 2>&1 >/tm", Word("path", "/tm", "/tm", "make")),
        ("make &>/tm", Word("path", "/tm", "/tm", "make")),
        ("make 2>&1 fi", Word("path", "fi", "fi", "make")),
        ("<in gre", Word("command", "gre", "gre")),
        ("(cd /sr", Word("path", "/sr", "/sr", "cd")),
        ("(cd /srv); gi", Word("command", "gi", "gi")),
        ("case $x in\na) ec", Word("command", "ec", "ec")),
        ("echo $(ca", Word("command", "ca", "ca")),
        ("echo `ca", Word("command", "ca", "ca")),
        ("echo $(cat x) /tm", Word("path", "/tm", "/tm", "echo")),
        ("diff <(sor", Word("command", "sor", "sor")),
        ("cat 'my fi", Word("path", "'my fi", "my fi", "cat")),
        ('cat "my fi', Word("path", '"my fi', "my fi", "cat")),
        ("cat my\\ fi", Word("path", "my\\ fi", "my fi", "cat")),
        ("cat a\\\n  b", Word("path", "b", "b", "cat")),
        ("echo $HO", Word("variable", "$HO", "HO")),
        ("echo ${HO", Word("variable", "${HO", "HO")),
        ('echo "is $', Word("variable", "$", "")),
        ("echo '$HO", Word("path", "'$HO", "$HO", "echo")),
        ("echo it # don't\nls 'a", Word("path", "'a", "a", "ls")),
        ("cat <<END\ndon't\nEND\ngre", Word("command", "gre", "gre")),
        ("cat <<-'END'\n\tdon't\n\tEND\ngre", Word("command", "gre", "gre")),
        ("cat <<<wo", Word("path", "wo", "wo", "cat")),
        ("x='a\nb' gre", Word("command", "gre", "gre")),
    ],
)
def test_unfinished_bash_is_understood(code: str, word: Word) -> None:
    assert word_at_end(code) == word


@pytest.mark.parametrize(
    "code",
    [
        *("$(reboot)", "ls $(reboot)", "ls `reboot`", 'ls "$(reboot)/x', "ls $HOME/x", "ls ${HOME}/x"),
        *("# not", "cat <<END\nin it", "cat <<", "echo ${HOME:-"),
    ],
)
def test_what_only_running_it_would_tell_is_not_guessed(code: str) -> None:
    assert word_at_end(code) is None
