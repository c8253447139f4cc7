"""`%vers golden` in a real kernel: agents' image built, told of, built again from another."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from kernels import Kernel
from platforms import build_golden_image

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]


@pytest.fixture
def tidied(loaded: Kernel) -> Iterator[Kernel]:
    """The module's kernel; what the test has made is gone after it."""
    build_golden_image()
    yield loaded
    cleared = loaded.run(
        "vers = get_ipython().find_line_magic('vers').__self__.vers\n"
        "await vers.delete(*await vers.list())\n"
        "for tag in await vers.tags(): await vers.untag(tag.tag_name)\n"
        "await vers.delete_commits(*reversed(await vers.commits()))",
        timeout=60,
    )
    assert cleared.error is None, cleared.traceback


def test_the_golden_image_is_built_shown_and_built_from(tidied: Kernel) -> None:
    absent = tidied.run("%vers golden status")
    assert absent.error == "UnknownCommitError" and "`%vers golden build` makes one." in absent.message

    tidied.run("from pi_v_jupyter.magics import waiting; waiting.SLOW = 0  # of any wait")
    made = tidied.run("cold = %vers golden build --cold --keep", timeout=400)
    assert made.error is None, made.traceback
    (wait,) = made.waits
    assert wait.startswith("building the golden image … "), "and that it goes on"
    assert re.search(r"^making a machine$", made.stdout, re.MULTILINE), "it says what it does"
    assert re.search(r"^✓ rg \d+\.\d+", made.stdout, re.MULTILINE)
    last = made.stdout.splitlines()[-1]
    assert re.fullmatch(r"golden  [0-9a-f]{8}  pi 0\.87\.1  node 22\.[\d.]+  cold  [\d.]+ s", last)
    kept = tidied.run("%vers ls").data[0].splitlines()
    assert len(kept) == 2 and "golden-" in kept[1], "the machine it was built on is there, as was asked for"

    made = tidied.run("%vers golden build --from cold.commit --hot", timeout=60)
    assert made.error == "UsageError" and "neither a VM nor a commit" in made.message
    made = tidied.run("%vers golden build --from golden --hot --tag second --pi 0.87.1", timeout=400)
    assert made.error is None, made.traceback
    assert "restoring golden" in made.stdout and "starting pi, idle" in made.stdout
    assert not made.data, "what the last line has said is not said again"
    assert len(tidied.run("%vers ls").data[0].splitlines()) == 2, "no other machine was left"

    shown = tidied.run("%vers golden status --tag second")
    assert "hot: pi runs in what is restored" in shown.data[0] and "<table>" in shown.html[0]
    assert re.search(r"pi 0\.87\.1, node 22\.", shown.data[0])
    assert "cold: pi is started" in tidied.run("%vers golden status").data[0], "the other tag is where it was"


def test_a_version_of_pi_that_does_not_exist_is_told_in_a_sentence(tidied: Kernel) -> None:
    failed = tidied.run("%vers golden build --cold --pi 0.0.0-never", timeout=400)
    assert failed.error == "RemoteCommandError" and "could not be made ready" in failed.message
    assert "No matching version found for" in failed.message and "`--pi` names" in failed.message
    assert len(failed.traceback.splitlines()) <= 2
    assert "No VMs." in tidied.run("%vers ls").data[0]
