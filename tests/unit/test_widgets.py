"""The committed bundles are what their sources say; neither a browser nor npm is needed to know."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from pi_v_jupyter.views.dashboard import DashboardView
from pi_v_jupyter.views.terminal import TerminalView

ROOT = Path(__file__).parents[2]
JS = ROOT / "js"
SHARED = ("build.js", "keys.js", "package-lock.json", "package.json")
SOURCES = {
    "terminal": ["terminal.css", "terminal.js"],
    "dashboard": sorted(f"dashboard/{each.name}" for each in (JS / "dashboard").iterdir()),
}
MIT, APACHE = "Permission is hereby granted, free of charge", "Apache License"
LICENCES = {
    "terminal": {"@xterm/xterm": MIT, "@xterm/addon-fit": MIT},
    "dashboard": {"preact": MIT, "marked": MIT, "dompurify": APACHE},
}


def folder(view: str) -> Path:
    """Where a view's bundle is."""
    return ROOT / "pi_v_jupyter" / "views" / view


@pytest.mark.parametrize("suffix", ["js", "css"])
@pytest.mark.parametrize("view", SOURCES)
def test_a_bundle_was_built_from_the_sources_and_not_changed_since(view: str, suffix: str) -> None:
    banner, _, text = (folder(view) / f"{view}.{suffix}").read_text().partition("\n")
    said = dict(re.findall(r"(source|text) ([0-9a-f]{64})", banner))
    sources = [(JS / name).read_bytes() for name in (*SHARED, *SOURCES[view])]
    source = hashlib.sha256(b"".join(sources)).hexdigest()
    assert said == {"source": source, "text": hashlib.sha256(text.encode()).hexdigest()}, "run `make widgets`"


@pytest.mark.parametrize("view", LICENCES)
def test_the_licences_of_all_that_is_bundled_are_beside_it(view: str) -> None:
    parts = (folder(view) / "LICENSES.txt").read_text().split(f"\n{'-' * 80}\n\n")
    told = {part.partition("\n")[0]: part for part in parts}
    assert told.keys() == LICENCES[view].keys()
    assert all(licence in told[name] for name, licence in LICENCES[view].items())


def test_no_view_bundles_what_another_test_does_not_know() -> None:
    dependencies = json.loads((JS / "package.json").read_text())["dependencies"]
    assert {name for each in LICENCES.values() for name in each} == dependencies.keys()


def test_a_widget_runs_the_bundle_beside_it() -> None:
    for kind, view in ((TerminalView, "terminal"), (DashboardView, "dashboard")):
        for given, suffix in ((kind._esm, "js"), (kind._css, "css")):
            assert str(given) == (folder(view) / f"{view}.{suffix}").read_text()


def test_the_lock_names_no_host() -> None:
    packages = json.loads((JS / "package-lock.json").read_text())["packages"]
    assert not [name for name, package in packages.items() if "resolved" in package]
