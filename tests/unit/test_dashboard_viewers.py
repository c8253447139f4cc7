"""Views of several pages, which come and go: whoever looks has all there is, and nothing is left out."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pi_v_jupyter.dashboard import patches
from pi_v_jupyter.dashboard.viewers import FORGOTTEN, SILENT, Viewers

NAMES = ("a", "b", "c")  # the first two are of one viewer


class Store:
    """What one view in a page has: as `js/dashboard/store.js`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: Any = None
        self.seq = -1
        self.lost = False  # did it miss a patch while it looked?
        self.snapshots = 0

    def receive(self, message: dict[str, Any], *, visible: bool) -> None:
        if message.get("to", self.name) != self.name:
            return
        if message["kind"] == "snapshot":
            self.state, self.seq = message["all"], message["seq"]
            self.snapshots += 1
        elif self.state is not None and message["seq"] > self.seq:
            if message["seq"] == self.seq + 1:
                self.state, self.seq = patches.apply(self.state, message["patch"]), message["seq"]
            else:
                self.lost |= visible


class Pages:
    """A viewer: its messages reach all its views."""

    def __init__(self, *names: str) -> None:
        self.stores = {name: Store(name) for name in names}
        self.visible: set[str] = set()
        self.told = 0
        self.heard = 0.0

    def heard_until(self) -> float:
        return self.heard

    def send(self, message: dict[str, Any]) -> None:
        self.told += 1
        for name, store in self.stores.items():
            store.receive(message, visible=name in self.visible)


OPS = st.lists(
    st.tuples(st.sampled_from(("open", "show", "hide", "leave", "tell", "beat")), st.sampled_from(NAMES)),
    max_size=40,
)


# One comes back that has missed what the other, of the same viewer, was told.
AWAY = ("tell a", "open b", "show c", "tell a", "show a", "tell a", "show b", "tell a")


@given(OPS)
@example([(*words.split(),) for words in AWAY])
def test_whoever_looks_has_all_there_is_and_a_viewer_whose_views_are_hidden_is_told_nothing(
    ops: list[tuple[str, str]],
) -> None:
    viewers, both, alone = Viewers(), Pages("a", "b"), Pages("c")
    pages: dict[str, Pages] = {"a": both, "b": both, "c": alone}
    for each in (both, alone):
        viewers.add(each)
    count, now = 0, {"count": 0}
    for op, name in ops:
        page = pages[name]
        view = viewers.view(page, name, opens=True)
        assert view is not None
        before = {id(each): each.told for each in (both, alone)}
        match op:
            case "open":
                viewers.greet(view, name)
            case "show" | "hide":
                (page.visible.add if op == "show" else page.visible.discard)(name)
                viewers.show(view, name, visible=op == "show")
            case "leave":
                viewers.leave(page, name)
                page.visible.discard(name)
                page.stores[name] = Store(name)
            case "tell" | "beat":
                count += op == "tell"
                now = {"count": count}
                known = {
                    one: each.stores[one].snapshots
                    for each in (both, alone)
                    for one in each.visible
                    if each.stores[one].state is not None
                }
                viewers.tell(now, beat=0.0 if op == "beat" else 3600.0)  # type: ignore[arg-type]
                for each in (both, alone):
                    for one in each.visible:
                        store = each.stores[one]
                        assert store.state == now and not store.lost
                        assert store.snapshots == known.get(one, 1), "who has it is told what changed"
                    if not each.visible:
                        assert each.told == before[id(each)]


def test_a_view_that_left_is_not_made_again_by_its_last_words() -> None:
    viewers, pages = Viewers(), Pages("a")
    viewers.add(pages)
    assert viewers.view(pages, "a") is None, "it has not opened"
    assert viewers.view(pages, "a", opens=True) is not None
    viewers.leave(pages, "a")
    assert viewers.view(pages, "a") is None


def test_one_that_says_nothing_is_not_told_and_then_forgotten_unless_it_may_wait_for_a_cell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    viewers, pages = Viewers(), Pages("a")
    viewers.add(pages)
    view = viewers.view(pages, "a", opens=True)
    assert view is not None
    viewers.show(view, "a", visible=True)
    for silent, heard, watched, known in (
        (SILENT + 1, 0.0, True, True),  # a cell runs, and the kernel has heard nobody since
        (SILENT + 1, SILENT + 1, False, True),
        (FORGOTTEN + 1, SILENT + 1, False, True),
        (FORGOTTEN + 1, FORGOTTEN + 1, False, False),
    ):
        monkeypatch.setattr(view, "said", time.monotonic() - silent)
        pages.heard = view.said + heard
        viewers.tell({}, beat=0.0)  # type: ignore[typeddict-item]  # any will do
        assert (viewers.watched, "a" in viewers._viewers[pages]) == (watched, known)
