"""Two programs change a swarm's registry, the notebook's and the agents': both keep what they do not know."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ENTRY = {"vmId": "vm-2", "agentId": "ann", "role": "agent"}
ENV = {
    "PYTHONPATH": os.pathsep.join([str(ROOT / "golden/lib"), str(ROOT / "pi_v_jupyter/remote")]),
    "PYTHONDONTWRITEBYTECODE": "1",
}


class Programs:
    """Both, in a home of their own."""

    def __init__(self, home: Path) -> None:
        self.folder = home / ".swarm"
        self.folder.mkdir()
        self.book = self.folder / "registry.json"
        self.env = {**os.environ, **ENV, "HOME": str(home), "SWARM_HOME": str(self.folder)}

    def _ran(self, words: list[str], told: dict[str, Any]) -> None:
        subprocess.run(
            [sys.executable, *words], input=json.dumps(told), text=True, check=True, timeout=60, env=self.env
        )

    def notebook(self) -> None:
        there = ROOT / "pi_v_jupyter/swarm/_there/registry.py"
        self._ran([str(there)], {"add": [ENTRY], "remove": []})

    def agents(self) -> None:
        call = "from swarm_agent import program; program.main()"
        like = {"vmId": ENTRY["vmId"], "role": "agent"}
        order = {"do": "reserve", "labels": ["ann"], "like": like, "prefix": "a", "most": 5}
        self._ran(["-c", call, "registry"], order)

    def labels(self) -> list[str]:
        return [entry["agentId"] for entry in json.loads(self.book.read_text())["vms"]]


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


@pytest.mark.parametrize("whose", ["notebook", "agents"])
@pytest.mark.parametrize(
    "damaged", [b"", b'{"vms": [{"vmId": "vm-', b"[1]", b"null", b'{"vms": 7}', b'{"vms": [7]}', b"\xff{}"]
)
def test_a_damaged_registry_is_set_aside_as_it_is_and_begun_anew(
    programs: Programs, whose: str, damaged: bytes
) -> None:
    programs.book.write_bytes(damaged)
    getattr(programs, whose)()
    assert programs.labels() == ["ann"]
    (aside,) = programs.folder.glob("registry.json.damaged-*")
    assert aside.read_bytes() == damaged


@pytest.mark.parametrize("whose", ["notebook", "agents"])
def test_what_others_keep_in_it_stays_and_it_is_private(programs: Programs, whose: str) -> None:
    programs.book.write_text(json.dumps({"vms": [{"vmId": "vm-9", "agentId": "theirs"}], "more": 1}))
    getattr(programs, whose)()
    assert programs.labels() == ["theirs", "ann"]
    assert json.loads(programs.book.read_text())["more"] == 1
    assert programs.book.stat().st_mode & 0o777 == 0o600
    assert not list(programs.folder.glob("*damaged*"))


@pytest.mark.parametrize("whose", ["notebook", "agents"])
def test_there_is_one_as_soon_as_somebody_is_in_it(programs: Programs, whose: str) -> None:
    getattr(programs, whose)()
    assert programs.labels() == ["ann"]
