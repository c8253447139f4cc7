"""README, CONTRIBUTING and docs: each command is run or says why it is not, each link leads somewhere."""

from __future__ import annotations

import ast
import shlex
import subprocess

import pytest
from documents import COMMANDS, ROOT, TEXTS, WRITTEN, blocks_of
from fenced import blocks, links

from pi_v_jupyter.local import tools

OF_ANY_DEBIAN = {"apt", "dpkg", "tar"}
LONGEST_README = 120  # lines: two screens or so, its tables and pictures included


@pytest.mark.parametrize("page", WRITTEN)
def test_every_block_is_run_or_says_why_it_is_not(page: str) -> None:
    for block in blocks_of(page):
        if block.language in COMMANDS:
            assert block.place in COMMANDS[block.language], (
                f"{block.where}: {block.place!r} is no word for it"
            )
        else:
            assert block.language in TEXTS and not block.place, f"{block.where}: what is {block.language!r}?"


@pytest.mark.parametrize("page", WRITTEN)
def test_what_is_not_run_is_shell_or_python_all_the_same(page: str) -> None:
    for block in blocks_of(page):
        if block.language == "bash":
            done = subprocess.run(
                ["bash", "-n"], input=block.text, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{block.where}: {done.stderr}"
        elif block.language == "python" and "%" not in block.text:
            compile(block.text, block.where, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("page", WRITTEN)
def test_every_link_leads_to_a_file_that_is_there(page: str) -> None:
    for link in links((ROOT / page).read_text()):
        path = link.partition("#")[0]
        assert "://" in link or not path or (ROOT / page).parent.joinpath(path).exists(), f"{page}: {link}"


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = {"README.md"}, ["README.md"]
    while waiting:
        page = waiting.pop()
        for link in links((ROOT / page).read_text()):
            target = (ROOT / page).parent.joinpath(link.partition("#")[0]).resolve()
            name = str(target.relative_to(ROOT)) if "://" not in link and target.is_relative_to(ROOT) else ""
            if name.endswith(".md") and name not in reached:
                reached.add(name)
                waiting.append(name)
    pages = {*WRITTEN, *(str(file.relative_to(ROOT)) for file in (ROOT / "docs/reference").glob("*.md"))}
    assert not pages - reached


def test_the_readme_is_short_and_shows_the_pictures() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= LONGEST_README
    assert {str(file.relative_to(ROOT)) for file in (ROOT / "docs").glob("*.png")} <= set(links(text))


def test_a_word_behind_the_language_is_told_from_it_in_lists_too() -> None:
    text = "1. Do:\n\n   ```bash cloud\n   true\n   ```\n\n```text\nplain\n```\n"
    found = [(block.language, block.place, block.text, block.where) for block in blocks(text, "page")]
    assert found == [("bash", "cloud", "true\n", "page:3"), ("text", "", "plain\n", "page:7")]


@pytest.mark.parametrize("page", ["README.md", "docs/how-to/embedded-platform.md"])
def test_the_packages_a_page_has_one_install_are_those_that_make_installs(page: str) -> None:
    assert packages_of(page) == {*packages_of_make("x86_64"), "python3-venv"}


def test_what_is_missed_at_run_time_is_of_a_package_that_make_installs() -> None:
    needed = set(tools._DEBIAN_PACKAGES.values()) - OF_ANY_DEBIAN
    assert needed <= packages_of_make("x86_64") | packages_of_make("aarch64")
    assert packages_of_make("aarch64") - packages_of_make("x86_64") == {"qemu-system-arm"}


def packages_of(page: str) -> set[str]:
    """What its one line with `apt-get install` names."""
    lines = [
        line
        for block in blocks_of(page)
        for line in block.text.replace("\\\n", "").splitlines()
        if "apt-get install" in line
    ]
    (line,) = lines
    words = shlex.split(line)
    return {word for word in words[words.index("install") + 1 :] if not word.startswith("-")}


def packages_of_make(machine: str) -> set[str]:
    """What `make demo` and `make lab` install where something is missing."""
    shown = r"shown: ; @echo $(foreach tool,$(VM_TOOLS),$(lastword $(subst :, ,$(tool))))"
    command = ["make", "--silent", f"--eval={shown}", "shown", f"MACHINE={machine}"]
    return set(subprocess.check_output(command, cwd=ROOT, text=True).split())
