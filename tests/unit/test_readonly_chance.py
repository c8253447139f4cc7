"""Commands made up by chance that the judge lets pass, run here in a folder of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import readonly_runner
from readonly_grammar import PLAYGROUND, commands

from pi_v_jupyter.plan.ground import SHELL, surroundings
from pi_v_jupyter.plan.readonly import judge

SEED = 20_240_608
MANY = 400
# Whatever the judge might have missed: root in there is no root of this computer, which has a clock, and its
# file system is read-only but for one folder.
READONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro / && exec "$@"'
SPARED = ["unshare", "--map-root-user", "--mount", "sh", "-c", READONLY]
pytestmark = pytest.mark.skipif(
    subprocess.run([*SPARED, "/var/tmp", "true"], capture_output=True, check=False).returncode != 0,
    reason="this system keeps nobody from it",
)


def run(folder: Path, chosen: list[str]) -> dict[str, Any]:
    """What the runner found after it ran `chosen` in `folder`, in which it has made the playground."""
    playground = folder / "playground"
    playground.mkdir()
    environment = surroundings(os.environ | {"HOME": str(folder)})
    subprocess.run(
        ["bash", "-c", PLAYGROUND],
        cwd=playground,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    task = {
        "shell": SHELL,
        "environment": environment,
        "folder": str(playground),
        "commands": chosen,
        "seconds": 3,
        "roots": [str(folder)],
        "hashed": [str(folder)],
        "left_out": [],
    }
    ran = subprocess.run(
        [*SPARED, str(folder), sys.executable, readonly_runner.__file__],
        input=json.dumps(task),
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    # /tmp is another one for what runs, so this is not below it.
    with TemporaryDirectory(dir="/var/tmp") as folder:
        yield Path(folder)


def test_about_half_of_what_is_made_up_passes() -> None:
    passes = sum(judge(command) is None for command in islice(commands(SEED), 1000))
    assert 300 < passes < 700


def test_what_passes_changes_nothing_and_sends_nothing(folder: Path) -> None:
    passing = (command for command in commands(SEED) if judge(command) is None)
    found = run(folder, list(islice(passing, MANY)))
    assert sum(found["codes"].values()) == MANY
    assert found["codes"]["0"] > MANY / 4, "most of them do nothing"
    told = f"seed {SEED}: {found['culprits']}"
    assert found["changed"] == [], told
    # Where the system lets nobody leave its network, what others send is counted too.
    assert found["sent"] == {} or found["kept_from"] == "nothing", told


def test_what_does_change_something_is_seen(folder: Path) -> None:
    found = run(folder, ["ls", "echo one two > words"])
    assert found["changed"] == [str(folder / "playground" / "words")]
    assert found["culprits"] == [[*found["changed"], "ls", "echo one two > words"]]


def test_a_packet_that_cannot_leave_is_seen_all_the_same(folder: Path) -> None:
    found = run(folder, ["echo a > /dev/udp/10.9.8.7/9"])
    if found["kept_from"] == "nothing":
        pytest.skip("this system lets nobody leave its network, so what it sends itself is counted")
    assert found["sent"] != {}
