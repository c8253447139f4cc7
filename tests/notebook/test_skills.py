"""`%vers skills` in a real kernel: listed, shown, completed; and cells that skills have a notebook run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kernels import Kernel, explained, refused
from platforms import build_golden_image
from skillblocks import SKILLS, blocks, documents

from pi_v_jupyter import skills

SLOW = 600  # seconds for a cell: an image is built in one
CLEAR = (
    "vers = get_ipython().find_line_magic('vers').__self__.vers\n"
    "await vers.delete(*await vers.list())\n"
    "for tag in await vers.tags(): await vers.untag(tag.tag_name)\n"
    "await vers.delete_commits(*reversed(await vers.commits()))"
)


def test_all_skills_are_listed_with_what_they_are_for(loaded: Kernel) -> None:
    shown = loaded.run("%vers skills")
    assert shown.error is None, shown.traceback
    for skill in skills.every():
        assert skill.name in shown.data[0] and skill.description[:40] in shown.data[0]
        assert skill.name in shown.html[0]
    assert "<code>%vers golden build</code>" in shown.html[0] and "`" not in shown.html[0]
    loaded.run("found = %vers skills")
    assert loaded.value("[skill.name for skill in found]") == SKILLS


def test_one_is_shown_as_the_document_it_is(loaded: Kernel) -> None:
    shown = loaded.run("%vers skills investigate-vers-issue")
    assert shown.error is None, shown.traceback
    assert (
        shown.data[0].startswith("# Investigate an issue")
        and "- `scripts/collect_evidence.py`" in shown.data[0]
    )
    rich = [each["content"]["data"] for each in loaded.heard if "data" in each["content"]]
    assert rich[-1]["text/markdown"] == rich[-1]["text/plain"] and "text/html" not in rich[-1]
    loaded.run("one = %vers skills investigate-vers-issue")
    assert loaded.value("(one.folder / 'scripts/collect_evidence.py').is_file()") is True


def test_a_skill_that_is_not_there_is_told_with_the_nearest(loaded: Kernel) -> None:
    refused(loaded, "%vers skills vers-golden", "UnknownSkillError", "Did you mean 'vers-golden-vm'?")
    shown = refused(loaded, "%vers skills nothing-like-it", "UnknownSkillError", "`%vers skills` lists them.")
    assert "Did you mean" not in shown.message
    refused(loaded, "%vers skills one two", "UsageError", "two")


def test_names_of_skills_are_offered_and_help_is_there(loaded: Kernel) -> None:
    offered = [each.rpartition(" ")[2] for each in loaded.complete("%vers skills vers-")]
    assert offered == ["vers-golden-vm", "vers-networking", "vers-platform-development"]
    assert "skills" in [each.rpartition(" ")[2] for each in loaded.complete("%vers sk")]
    explained(loaded, "skills")


@pytest.fixture
def tidied(loaded: Kernel) -> Iterator[Kernel]:
    """The module's kernel; what a skill has had it make is gone after it."""
    build_golden_image()
    yield loaded
    cleared = loaded.run(CLEAR, timeout=120)
    assert cleared.error is None, cleared.traceback


@pytest.mark.vm
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", SKILLS)
def test_what_a_skill_has_a_notebook_run_works(tidied: Kernel, name: str) -> None:
    cells = [block for document in documents(name) for block in blocks(document) if block.place == "notebook"]
    for cell in cells:
        shown = tidied.run(cell.text, timeout=SLOW)
        assert shown.error is None, f"{cell.where}\n{shown.traceback}"
    assert "No VMs." in tidied.run("%vers ls").data[0], "it has cleaned up"
