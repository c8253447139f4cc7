"""The committed bundles are what their sources say; neither a browser nor npm is needed to know."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
JS = ROOT / "js"
FOLDER = ROOT / "pi_v_jupyter" / "views" / "terminal"
SOURCES = ("build.js", "package-lock.json", "package.json", "terminal.css", "terminal.js")


@pytest.mark.parametrize("name", ["terminal.js", "terminal.css"])
def test_a_bundle_was_built_from_the_sources_and_not_changed_since(name: str) -> None:
    banner, _, text = (FOLDER / name).read_text().partition("\n")
    said = dict(re.findall(r"(source|text) ([0-9a-f]{64})", banner))
    source = hashlib.sha256(b"".join((JS / name).read_bytes() for name in SOURCES)).hexdigest()
    assert said == {"source": source, "text": hashlib.sha256(text.encode()).hexdigest()}, "run `make widgets`"


def test_the_licences_of_all_that_is_bundled_are_beside_it() -> None:
    licences = (FOLDER / "LICENSES.txt").read_text()
    for name in json.loads((JS / "package.json").read_text())["dependencies"]:
        assert name in licences
    assert licences.count("Permission is hereby granted, free of charge") == 2


def test_the_lock_names_no_host() -> None:
    packages = json.loads((JS / "package-lock.json").read_text())["packages"]
    assert not [name for name, package in packages.items() if "resolved" in package]
