"""The walkthrough of a swarm does what it tells, on real machines; its model is the scripted one."""

from __future__ import annotations

from pathlib import Path

import pytest
from platforms import Platform, build_golden_image
from walkthroughs import walked

pytestmark = pytest.mark.timeout(900)


def test_the_walkthrough_has_two_agents_work_and_leaves_nothing(
    shared_platform: Platform, tmp_path: Path
) -> None:
    build_golden_image()
    with walked("05-swarm", shared_platform, tmp_path) as walk:
        of = walk.of
    assert "a scripted model plays the real one" in of("import os").stdout
    work = of("--wait").stdout
    assert all(f"[{label}] ⚙ write  notes.md" in work for label in ("ann", "bob"))
    assert "finished" in of("swarm wait").text
    assert "+Examples in Python, please." in of("swarm diff").text
    assert "three rules for good names" in of("read_text").stdout
    assert "of $1.00" in of("swarm stats").text
