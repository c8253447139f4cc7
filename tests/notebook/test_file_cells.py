"""Files in cells: `%%vm write`, `%%vm edit`, `%vers read`, and Tab for their paths."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from kernels import Kernel, refused

pytestmark = pytest.mark.vm


def test_a_file_is_written_edited_and_read_where_the_session_is(kernel: Kernel) -> None:
    kernel.run("%vm mkdir -p /srv/demo && cd /srv/demo")
    written = kernel.run("%%vm write sub/hello.sh --mode 755\n#!/bin/sh\necho $0 {here}\n")
    assert written.stdout == "wrote 25 bytes to /srv/demo/sub/hello.sh on build (new)\n", written.text
    assert kernel.run("%vm sub/hello.sh").stdout == "sub/hello.sh {here}\n"
    added = kernel.run("%%vm write -a sub/hello.sh\necho two\n")
    assert added.stdout == "wrote 9 bytes to /srv/demo/sub/hello.sh on build\n"

    edit = "%%vm edit sub/hello.sh\n<<<<<<<\necho two\n=======\necho three\necho four\n>>>>>>>\n"
    shown = kernel.run(edit).stdout
    assert "\x1b[31m-echo two\x1b[0m\n\x1b[32m+echo three\x1b[0m\n\x1b[32m+echo four\x1b[0m\n" in shown
    assert kernel.run("%vm sub/hello.sh").stdout == "sub/hello.sh {here}\nthree\nfour\n"
    again = kernel.run(edit)
    assert again.error == "EditError"
    assert "The text was not found (edit 1)" in again.message and "Nothing was changed" in again.message

    read = kernel.run("%vers read sub/hello.sh --offset 2 --limit 2")
    assert read.data == [
        "echo $0 {here}\necho three\n… lines 2 to 3, of a file of 46 bytes; `--offset 4` goes on"
    ]
    assert kernel.run("x = %vers read /srv/demo/sub/hello.sh").data == []
    assert kernel.value("x.text").endswith("echo four\n")


def test_a_cell_arrives_as_it_was_typed(kernel: Kernel) -> None:
    body = ">>> prompt\n... more\nIn [1]: x\n    indented {braces} $HOME 'quotes' \\ \n\t\n\n雪\n"
    kernel.run(f"\n%%vm write /srv/typed\n{body}")
    assert kernel.value("(await vm.read_bytes('/srv/typed')).decode()") == body
    assert kernel.run("%%vm\ncat <<END\n>>> a\nEND\n").stdout == ">>> a\n"


def test_files_of_several_vms_are_written_at_once(kernel: Kernel) -> None:
    assert kernel.run("a, b = %vers branch -n 2", timeout=60).error is None
    try:
        done = kernel.run("%%vm write --on build,a,b /etc/motd\nhello\n")
        assert sorted(done.stdout.splitlines()) == [
            f"wrote 6 bytes to /etc/motd on {name}" + " (new)" * ("(new)" in done.stdout)
            for name in ("build", "build-1", "build-2")
        ]
        assert kernel.run("%vm --on build,a,b cat /etc/motd").stdout.count("] hello") == 3
    finally:
        kernel.run("%vers rm -f build-1 build-2")


def test_files_and_folders_are_copied_as_scp_names_them(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "tree" / "empty").mkdir(parents=True)
    (tmp_path / "tree" / "file").write_bytes(bytes(range(256)))
    kernel.run("%vm mkdir -p /srv/copies && cd /srv/copies")
    said = kernel.run(f"%vers cp {tmp_path}/tree/file :one").stdout.rpartition("\r")[2]  # behind any bar
    assert said.startswith("copied 1 file, 256 bytes, to /srv/copies/one on build in ")
    assert "is a folder" in kernel.run(f"%vers cp {tmp_path}/tree :").message
    assert kernel.run(f"%vers cp -r {tmp_path}/tree build:two").error is None
    assert kernel.run("other = %vers branch", timeout=60).error is None
    try:
        kernel.run("%vm chown -R 12:34 two; chmod 4755 two/file")
        assert kernel.run("%vers cp -r :two other:/srv/copies/three").error is None
        shown = kernel.run("%vm --on other stat -c '%a %u %g %s' /srv/copies/three/file").stdout
        assert shown == "4755 12 34 256\n"
        back = kernel.run(f"copied = %vers cp -r other:/srv/copies/three {tmp_path}/back")
        assert back.error is None, back.text
        assert kernel.value("(copied.files, copied.folders, copied.on)") == (1, 2, "this computer")
        assert (tmp_path / "back" / "file").read_bytes() == bytes(range(256))
        assert (tmp_path / "back" / "empty").is_dir()
    finally:
        kernel.run("%vers rm -f build-1")


def test_a_long_copy_shows_how_far_it_is_and_leaves_no_half_file(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(os.urandom(1 << 20) * 150)
    cell = kernel.start(f"%vers cp {tmp_path}/large :/srv/large")
    cell.wait_for("%|███")  # enough to be worth going on from
    kernel.interrupt()
    stopped = cell.finish()
    assert stopped.message == "copying to :/srv/large.", stopped.text
    assert kernel.run("%vm test -e /srv/large || echo no half file").stdout == "no half file\n"
    again = kernel.run(f"%vers cp {tmp_path}/large :/srv/large", timeout=120)
    assert "were there from an earlier copy" in again.stdout
    sums = kernel.run("%vm sha256sum /srv/large; rm /srv/large").stdout
    assert sums.split()[0] == hashlib.sha256((tmp_path / "large").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("%vers read /none", "No such file or directory: /none on build."),
        ('%vers read "/etc/hostname', "A quote in the line does not end."),
        ("%%vm write it's\nx", "A quote in the line does not end."),
        ("%%vm wirte /x\nx", "No such kind of cell: wirte. Did you mean write?"),
        ("%%vm write /proc/none\nx", "No such file or directory: /proc/none on build."),
        ("%vers read /usr/bin/env", "It is a binary file: /usr/bin/env on build."),
        ("%vers read /etc", "Is a directory: /etc on build."),
        ("%vers read /etc/hostname --offset 9", "/etc/hostname on build has only 1 line."),
        ("%%vm write\nx", "Missing argument 'PATH'."),
        ("%%vm write /x --mod 1\nx", "Did you mean --mode?"),
        ("%%vm write /x --mode 9\nx", "'9' is no mode"),
        ("%%vm write /etc\nx", "Is a directory: /etc on build."),
        ("%%vm edit /etc/hostname\nx", "Line 1 is outside of any block: 'x'."),
        ("%%vm edit /etc/hostname\n<<<<<<<\nx\n=======\n", "has no `>>>>>>>`"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(kernel: Kernel, cell: str, said: str) -> None:
    failed = refused(kernel, cell, None, said)
    assert "  " in failed.message, "and what to do about it"


def test_without_a_vm_files_are_those_of_this_machine(kernel: Kernel, tmp_path: Path) -> None:
    kernel.run("%vers local")
    content = "one\ntwo\n"
    assert kernel.run(f"%%vm write {tmp_path}/file\n{content}").stdout.startswith("(local)\nwrote 8 bytes")
    assert (tmp_path / "file").read_text() == content
    read = kernel.run(f"%vers read {tmp_path}/file")
    assert (read.stdout, read.data) == ("(local)\n", ["one\ntwo"])


def test_tab_completes_paths_there(kernel: Kernel) -> None:
    kernel.run(
        "%%vm\ncd /srv; mkdir -p 'tab here/inner'\ntouch 'tab here/'{one,two}.txt tabular $'tab\\nbroken'"
    )
    kernel.offers("%vers read /srv/ta", ["%vers read /srv/tab\\ here/", "%vers read /srv/tabular"])
    kernel.offers("%vers read tabu", ["%vers read tabular"])
    kernel.offers("x = %vers read /srv/tab\\ here/o", ["x = %vers read /srv/tab\\ here/one.txt"])
    kernel.offers(
        "%%vm write /srv/tab\\ here/",
        [f"%%vm write /srv/tab\\ here/{name}" for name in ("inner/", "one.txt", "two.txt")],
    )
    kernel.offers("%vers cp :/srv/tabu", ["%vers cp :/srv/tabular"])
    kernel.offers("%vers cp x build:/srv/tabu", ["%vers cp x build:/srv/tabular"])
    assert kernel.complete(f"%vers cp {__file__[:-1]}") == [f"%vers cp {__file__}"]  # IPython's own
