"""The walkthrough of plans does what it tells, on a real machine; its model is the scripted one."""

from __future__ import annotations

from pathlib import Path

import pytest
from platforms import Platform, build_golden_image
from walkthroughs import walked

pytestmark = pytest.mark.timeout(900)


def test_the_walkthrough_has_an_agent_plan_and_do_it_and_leaves_nothing(
    shared_platform: Platform, tmp_path: Path
) -> None:
    build_golden_image()
    with walked("06-plan", shared_platform, tmp_path) as walk:
        of = walk.of
    assert "○ 2. Read `notes.md` again, to see that it is whole." in of("%%task ann --plan").data[-1]
    assert "ann has changed nothing." in of("swarm diff").text
    assert of("plan run").data[-1].startswith("✓ ann: its plan is done, 2 of 2 steps done")
    assert "1 file: notes.md" in of("plan show").text
    assert "+++ b/notes.md" in of("swarm diff", 1).text
