"""What Binder reads of this repository is what it needs, as repo2docker finds it."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import binders
import pytest
from binders import can_bound, copy, wanted
from fenced import links
from packaging.specifiers import SpecifierSet
from platforms import ROOT

from pi_v_jupyter.local import image, rootfs, tools


def test_it_is_a_python_that_the_package_runs_on() -> None:
    ask = wanted()
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert ask.pack == "PythonBuildPack"
    assert ask.python in SpecifierSet(needs)
    assert (ROOT / ask.requirements).read_text() == "-e .[local,lab]\n"
    assert ask.post_build == ["binder/postBuild"]
    assert ask.start == "/home/jovyan/binder/start"
    assert os.access(ROOT / "binder/start", os.X_OK)


def test_all_programs_that_build_and_run_machines_without_root_are_among_its_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(rootfs, "mode", lambda: "fakechroot")
    monkeypatch.setattr(rootfs, "sources", lambda suite: [])
    packages = {tools.package(program) for program in (*image.builders(), "qemu-system-x86_64")}
    assert packages - {"tar"} == set(wanted().apt)


def test_settings_are_found_from_anywhere_and_those_of_others_are_kept(tmp_path: Path) -> None:
    def told(**more: str) -> list[str]:
        command = [ROOT / "binder/start", "printenv", "JUPYTER_CONFIG_PATH"]
        env = {"PATH": os.environ["PATH"], **more}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
        return done.stdout.strip().split(":")

    ours = str(ROOT / "binder/jupyter")
    assert told() == [ours]
    assert told(JUPYTER_CONFIG_PATH="/etc/hub:/etc/more") == [ours, "/etc/hub", "/etc/more"]


@pytest.mark.parametrize("page", ["README.md", "docs/how-to/binder.md"])
def test_the_badge_and_whatever_jupyter_is_started_open_the_first_walkthrough(page: str) -> None:
    settings = json.loads((ROOT / "binder/jupyter/jupyter_server_config.json").read_text())
    ways = {app["default_url"].removeprefix("/") for app in settings.values()}
    (badge,) = {link for link in links((ROOT / page).read_text()) if "mybinder.org/v2" in link}
    (way,) = {*ways, *parse_qs(urlsplit(badge).query)["urlpath"]}
    assert way.startswith("lab/tree/")
    assert (ROOT / way.removeprefix("lab/tree/")).is_file()
    assert Path(way).name == "01-first-cells.ipynb"


@pytest.mark.skipif(os.geteuid() != 0, reason="a file of somebody else is root's to make")
def test_root_can_copy_a_checkout_of_an_ordinary_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "none"))  # where root may trust everybody
    theirs = tmp_path / "theirs"
    subprocess.run(["git", "init", "--quiet", theirs], check=True)
    (theirs / "file").write_text("here\n")
    author = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
    subprocess.run(["git", "-C", theirs, "add", "file"], check=True)
    subprocess.run(["git", "-C", theirs, *author, "commit", "--quiet", "--message=one"], check=True)
    for path in (theirs, theirs / ".git"):
        os.chown(path, 1000, 1000)
    copy(theirs, tmp_path / "copied")
    assert (tmp_path / "copied/file").read_text() == "here\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copied", "theirs"]


def test_it_is_known_where_no_bounds_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binders, "_V1", tmp_path)
    assert not can_bound(), "no control groups at all"
    (tmp_path / "memory").mkdir()
    assert not can_bound()
    (tmp_path / "cpu").mkdir()
    assert can_bound()
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("\n")
    assert not can_bound(), "what a container has that runs in its topmost group"
    (tmp_path / "cgroup.subtree_control").write_text("cpuset cpu io memory pids\n")
    assert can_bound()
