"""The walkthrough of an image of one's own does what it tells, on real machines; its model is scripted."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest
from platforms import Platform, build_golden_image
from walkthroughs import walked

pytestmark = pytest.mark.timeout(900)


def test_the_walkthrough_has_agents_of_an_image_of_ones_own_and_leaves_nothing(
    shared_platform: Platform, tmp_path: Path
) -> None:
    build_golden_image()
    # It builds the image by itself where there is none: in the cache that has it, that takes no time.
    cache = {"XDG_CACHE_HOME": str(platformdirs.user_cache_path())}
    platform = Platform(shared_platform.folder, shared_platform.env | cache)
    with walked("07-golden-image", platform, tmp_path) as walk:
        of = walk.of
    assert "Debian bookworm" in of("image build --golden").stdout
    assert "  cold  " in of("stock = ").stdout.splitlines()[-1]
    assert of("undocumented && git log").stdout.startswith("prices.py:1: total\nprices.py:5: reduced\n")
    assert "  hot  " in of("image = ").stdout.splitlines()[-1]
    assert "hot: pi runs in what is restored" in of("golden status").text
    seen = of("--on ann,bob,cat").stdout
    for label in ("ann", "bob", "cat"):
        for line in ("prices.py:1: total", "prices.py:5: reduced", "document-functions", "vers"):
            assert f"[{label}] {line}\n" in seen, "each has what was put in"
    waited = of("swarm wait --timeout 300").text
    assert "cat asks: Budget: cat has cost" in waited and "waiting for you: cat" in waited
    assert "⊘  cat    aborted" in of("swarm status").text
    assert of("--apply").stdout == (
        "ann changed 1 file: committed on swarm/ann of shop.\n"
        "bob changed 1 file: committed on swarm/bob of shop.\n"
    )
    assert "notes.md" in of("git -C shop log").stdout
    assert "from-agents/bob/notes.md" in of("swarm collect").stdout
