"""A confined command looks and cannot touch, whoever runs it; here, by the program that VMs are sent."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from pi_v_jupyter.plan._there import source

MARK = "\nmark of the report"
NOBODY = 65534
LANDLOCK = ctypes.CDLL(None).syscall(444, None, 0, 1) > 0  # has the kernel got it?
PYTHON = Path("/usr/bin/python3")  # one that another user may run, too


def run(script: str, *, user: int | None = None, **more: Any) -> tuple[str, str, int, dict[str, str]]:
    """What it wrote, how it ended, what was reported."""
    task = {
        "argv": ["bash", "--norc", "-c", f"trap 'pwd -P >&9' EXIT; {script}"],
        "env": {"PATH": os.environ["PATH"], "HOME": "/"},
        "folders": ["/"],
        "readonly": True,
        "namespaces": True,
        "mark": MARK,
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(json.dumps(task | more))
        file.flush()
        Path(file.name).chmod(0o644)
        done = subprocess.run(
            [PYTHON if user else sys.executable, "-I", "-S", "-c", source(), file.name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            user=user,
            check=False,
        )
    errors, _, report = done.stderr.partition(MARK)
    return done.stdout, errors, done.returncode, json.loads(report)


@pytest.fixture(params=["as this user", "as another", "without namespaces"])
def how(request: pytest.FixtureRequest) -> dict[str, Any]:
    """By whom, and by what means."""
    if request.param == "without namespaces":
        return {"namespaces": False}
    if request.param == "as another":
        if os.geteuid() != 0 or not PYTHON.exists():
            pytest.skip("only root is another user at will")
        return {"user": NOBODY}
    return {}


@pytest.fixture
def open_folder() -> Any:
    """A folder that everybody may write to, and that is no scratch."""
    if os.geteuid() != 0:
        pytest.skip("there is such a folder where root makes one")
    folder = Path(tempfile.mkdtemp(prefix="pi-v-open-", dir="/var/lib"))
    folder.chmod(0o777)
    (folder / "kept").write_text("kept\n")
    (folder / "kept").chmod(0o666)
    os.mkfifo(folder / "pipe")
    (folder / "pipe").chmod(0o666)
    yield folder
    for each in folder.iterdir():
        each.unlink()
    folder.rmdir()


def test_it_reads_and_cannot_write(how: dict[str, Any], open_folder: Path) -> None:
    if not LANDLOCK and not how.get("namespaces", True):
        pytest.skip("nothing but the judge holds here")
    out, _, _, report = run(f"cd {open_folder}; cat kept; echo x >kept; echo x >new; rm kept", **how)
    assert (out, report) == ("kept\n", {"folder": str(open_folder)})
    assert sorted(each.name for each in open_folder.iterdir()) == ["kept", "pipe"]
    assert (open_folder / "kept").read_text() == "kept\n"


def test_it_has_no_sockets(how: dict[str, Any]) -> None:
    code = "import socket; socket.socket(socket.AF_UNIX)"
    _, errors, code_of_exit, _ = run(f"{PYTHON} -c '{code}'", **how)
    assert code_of_exit == 1 and "Operation not permitted" in errors, errors
    assert run("exec 3<>/dev/tcp/127.0.0.1/1", **how)[1].startswith("bash: socket: Operation not")


def test_a_pipe_with_a_name_cannot_be_written_to(how: dict[str, Any], open_folder: Path) -> None:
    if not LANDLOCK:
        pytest.skip("only Landlock stops that")
    reader = os.open(open_folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        _, errors, code, _ = run(f"echo x >{open_folder}/pipe", **how)
        assert code == 1 and "Permission denied" in errors
    finally:
        os.close(reader)


def test_nothing_it_has_started_is_left_and_its_end_is_told(how: dict[str, Any]) -> None:
    long = f"sleep 4322.{os.getpid()}"
    out, _, code, _ = run(f"setsid {long} & {long} & echo begun; exit 7", **how)
    assert (out, code) == ("begun\n", 7)
    left = subprocess.run(["pgrep", "-fx", long], capture_output=True, text=True, check=False)
    assert left.stdout == ""
    assert run("kill -9 $$", **how)[2] == 137


def test_a_folder_that_is_not_there_is_told_and_nothing_runs(how: dict[str, Any]) -> None:
    out, _, code, report = run("echo ran", folders=["/nowhere"], **how)
    assert (out, code, report) == ("", 125, {"cannot": "no such folder: /nowhere"})
