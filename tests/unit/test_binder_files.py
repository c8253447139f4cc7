"""What Binder reads of this repository is what it needs, as repo2docker finds it."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from binders import wanted
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


@pytest.mark.parametrize("page", ["README.md", "docs/how-to/binder.md"])
def test_the_badge_and_whatever_jupyter_is_started_open_the_first_walkthrough(page: str) -> None:
    settings = json.loads((ROOT / "binder/jupyter/jupyter_server_config.json").read_text())
    ways = {app["default_url"].removeprefix("/") for app in settings.values()}
    (badge,) = {link for link in links((ROOT / page).read_text()) if "mybinder.org/v2" in link}
    (way,) = {*ways, *parse_qs(urlsplit(badge).query)["urlpath"]}
    assert way.startswith("lab/tree/")
    assert (ROOT / way.removeprefix("lab/tree/")).is_file()
    assert Path(way).name == "01-first-cells.ipynb"
