"""The difference between two snapshots: cases that the browser's side has too, and whatever else there is."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pi_v_jupyter.dashboard.patches import MANY, apply, diff

CASES = json.loads(Path(__file__).with_name("dashboard_patches.json").read_text())
NAMES = st.text(max_size=3).filter(lambda name: name != "+")
TEXTS = st.text(max_size=5) | st.integers(MANY - 2, MANY + 9).map(lambda length: ("0123456789" * 9)[:length])
SCALARS = st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
SNAPSHOTS = st.dictionaries(NAMES, VALUES, max_size=5)


@pytest.mark.parametrize("case", CASES, ids=[case["what"] for case in CASES])
def test_a_patch_tells_no_more_than_what_has_changed(case: dict[str, Any]) -> None:
    assert diff(case["old"], case["new"]) == case["patch"]
    assert apply(case["old"], case["patch"]) == case["new"]


@given(SNAPSHOTS, SNAPSHOTS)
def test_a_snapshot_and_its_patch_make_the_next(old: Any, new: Any) -> None:
    before = copy.deepcopy(old)
    patch = json.loads(json.dumps(diff(old, new)))
    assert apply(old, patch) == new
    assert old == before, "what a patch is applied to stays as it is"


@given(SNAPSHOTS)
def test_what_has_not_changed_needs_no_patch(snapshot: Any) -> None:
    assert diff(snapshot, copy.deepcopy(snapshot)) == {}


def test_what_has_not_changed_is_not_looked_into() -> None:
    class Never(dict[str, Any]):
        def __eq__(self, _: object) -> bool:
            raise AssertionError("it was compared")

        __hash__ = None  # type: ignore[assignment]

    same = Never()
    assert diff({"a": same, "b": 1}, {"a": same, "b": 2}) == {"b": 2}
