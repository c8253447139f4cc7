"""What survives a kernel: one private file, shared by any number of them."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path

import filelock
import pytest

from pi_v_jupyter.errors import SettingsError
from pi_v_jupyter.state import State

HERE, THERE = "http://here/api/v1", "http://there/api/v1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def test_values_are_kept_by_platform_and_kind(path: Path) -> None:
    State(path).set(HERE, "names", "1", "build")
    State(path).set(THERE, "names", "1", "other")
    state = State(path)
    assert state.get(HERE, "names", "1") == "build" and state.get(THERE, "names", "1") == "other"
    assert state.get(HERE, "host_keys", "1") is None
    assert state.all(HERE, "names") == {"1": "build"}
    state.set(HERE, "names", "1", None)
    assert state.all(HERE, "names") == {}


def test_a_value_is_found_on_whatever_platform_it_is(path: Path) -> None:
    state = State(path)
    state.set(HERE, "names", "1", "build")
    state.set(THERE, "active", "/a.ipynb", "vm-1")
    assert state.where("active", "/a.ipynb") == (THERE, "vm-1")
    assert state.where("active", "/b.ipynb") is None


def test_what_another_kernel_wrote_is_seen_at_once(path: Path) -> None:
    mine, theirs = State(path), State(path)
    for number in range(20):
        theirs.set(HERE, "names", "1", f"name{number}")
        assert mine.get(HERE, "names", "1") == f"name{number}"


def test_a_value_that_is_kept_already_waits_for_nobody(path: Path) -> None:
    state = State(path)
    state.set(HERE, "names", "1", "build")
    with filelock.FileLock(path.with_suffix(".lock")):
        state.set(HERE, "names", "1", "build")
        state.set(HERE, "names", "2", None)


def test_what_is_changed_is_kept_whole_or_not_at_all(path: Path) -> None:
    state = State(path)
    with state.changing(HERE) as known:
        known["names"] = {"1": "build"}
    with pytest.raises(ZeroDivisionError), state.changing(HERE) as known:
        known["names"]["1"] = str(1 / 0)
    assert state.all(HERE, "names") == {"1": "build"}


def test_a_vm_is_forgotten_with_all_that_was_known_of_it_but_who_ran_cells_there(path: Path) -> None:
    state = State(path)
    for kind, key, value in (
        ("names", "1", "a"),
        ("host_keys", "1", "f"),
        ("undone", "1", "a"),
        ("active", "/a", "1"),
        ("active", "/b", "2"),
        ("names", "2", "b"),
    ):
        state.set(HERE, kind, key, value)
    state.forget_vm(HERE, "1")
    assert json.loads(path.read_text())[HERE] == {
        "names": {"2": "b"},
        "host_keys": {},
        "undone": {},
        "active": {"/a": "1", "/b": "2"},
    }


def test_the_file_is_private_and_writers_do_not_lose_each_others_values(path: Path) -> None:
    def write(number: int) -> None:
        State(path).set(HERE, "names", str(number), "x")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(State(path).all(HERE, "names")) == 16
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_change_that_fails_leaves_what_was_read_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = State(path)
    state.set(HERE, "names", "1", "before")
    monkeypatch.setattr(
        "pi_v_jupyter.state.write_private", lambda *_: (_ for _ in ()).throw(OSError(28, "full"))
    )
    with pytest.raises(SettingsError, match="cannot be written: full"):
        state.set(HERE, "names", "1", "after")
    assert state.get(HERE, "names", "1") == "before"


@pytest.mark.parametrize("text", ["", "{", "\xff"])
def test_a_file_that_is_no_json_is_an_error_that_names_it(path: Path, text: str) -> None:
    path.write_text(text, encoding="latin-1")
    with pytest.raises(SettingsError, match=r"state\.json cannot be read"):
        State(path).get(HERE, "names", "1")


@pytest.mark.parametrize(
    "text", ["[]", "3", '{"http://here/api/v1": 3}', '{"http://here/api/v1": {"names": []}}']
)
def test_a_file_of_another_form_holds_nothing(path: Path, text: str) -> None:
    path.write_text(text)
    state = State(path)
    assert state.get(HERE, "names", "1") is None and state.where("names", "1") is None
    state.set(HERE, "names", "1", "build")
    assert state.get(HERE, "names", "1") == "build"


def test_the_next_kernel_of_a_notebook_takes_the_seat_of_one_that_is_gone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "/notebooks/a.ipynb")
    key, state = "vm /notebooks/a.ipynb", State(path)
    assert state.claim_seat(HERE, "vm") == (True, None)
    state.keep_seat(HERE, "vm", ("client", "/run/socket"))
    assert State(path).claim_seat(HERE, "vm") == (False, None)  # another session of this very process
    kept = state.get(HERE, "seats", key) or ""
    state.leave_seat(HERE, "vm")
    assert state.all(HERE, "seats") == {}

    state.set(HERE, "seats", key, kept.replace(str(os.getpid()), "1"))  # a process that runs
    assert state.claim_seat(HERE, "vm") == (False, None)
    gone = subprocess.Popen(["true"])
    gone.wait()
    state.set(HERE, "seats", key, kept.replace(str(os.getpid()), str(gone.pid)))
    assert state.claim_seat(HERE, "vm") == (True, ("client", "/run/socket"))
    state.leave_seat(HERE, "vm")
    for damaged in ("damaged", "[1]", '{"pid": "x"}'):
        state.set(HERE, "seats", key, damaged)
        assert state.claim_seat(HERE, "vm") == (True, None)
        state.leave_seat(HERE, "vm")
    state.claim_seat(HERE, "vm")
    state.forget_vm(HERE, "vm")
    assert state.all(HERE, "seats") == {}
    state.leave_seat(HERE, "vm")

    monkeypatch.delenv("JPY_SESSION_NAME")
    assert State(path).claim_seat(HERE, "vm") == (False, None)
