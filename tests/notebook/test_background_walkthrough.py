"""The walkthrough of background processes does what it tells."""

from __future__ import annotations

import re
from pathlib import Path

from platforms import Platform
from walkthroughs import walked


def test_the_walkthrough_serves_from_both_branches_and_leaves_nothing(
    shared_platform: Platform, tmp_path: Path
) -> None:
    with walked("04-background", shared_platform, tmp_path) as walk:
        of = walk.of
    visitors = [f"Hello, visitor {number}\n" for number in range(1, 8)]
    said = [f"said: {line}" for line in visitors]
    assert of("range(3)").stdout.splitlines(keepends=True) == visitors[:3]
    assert of("%bg logs web").stdout.splitlines(keepends=True) == said[:3]
    followed = of("--follow")
    assert followed.stdout.startswith("".join(said[1:3]))
    assert "".join(said[1:5]).startswith(followed.stdout)
    assert followed.error == "CellInterrupted" and "`%bg stop web --on site` ends it" in followed.traceback
    assert of("build.outcome").data == ["'exit code 0'"]
    assert re.findall("step (.) of 3", of("build.lines()").stdout) == ["1", "2", "3"]
    assert of('"branch:"').stdout == f"site:   {visitors[5]}branch: Good evening, visitor 6\n"
    logs = of("%bg logs web --last 2 --on branch").stdout
    assert logs == f"{said[4]}said: Good evening, visitor 6\n"
    assert "web on branch: ended by SIGTERM" in of("%bg stop web --on branch").stdout
    stopped_in_one = of('print(httpx.get(here).text, end="")', -1)
    assert stopped_in_one.stdout == visitors[6], "it goes on in the other"
    assert "web on site: ended by SIGTERM" in of("%bg stop --all").stdout
