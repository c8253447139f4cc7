"""What has happened, as a dashboard tells it: found by comparing what was shown."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tellings import LONG

from pi_v_jupyter.dashboard.events import EVENTS, Events, Found, compare


def seen(**sections: Any) -> Any:
    connection = {"url": "u", "label": "here", "state": "ok", "reason": "", "remedy": "", "checked": 0.0}
    empty: dict[str, Any] = {"machines": {}, "commits": {}, "agents": {}, "processes": {}, "events": {}}
    return empty | {"connection": connection | sections.pop("connection", {})} | sections


ALL = ("machines", "commits", "agents", "processes")
VM_SEEN = {"label": "build", "name": "build", "state": "running", "link": "connected"}
CARD: dict[str, Any] = {"label": "a", "state": "working", "detail": "", "asks": []}


@pytest.mark.parametrize(
    ("section", "before", "after", "events"),
    [
        ("agents", {"1": CARD}, {"1": CARD | {"state": "done"}}, [("agent", "a", "done", "info")]),
        ("agents", {"1": CARD}, {"1": CARD | {"state": "starting"}}, []),
        ("agents", {"1": CARD | {"state": "starting"}}, {"1": CARD}, []),
        ("agents", {}, {"1": CARD}, []),
        (
            "agents",
            {"1": CARD},
            {"1": CARD | {"state": "waiting", "asks": [{"title": "Sure?"}]}},
            [("agent", "a", "waiting: Sure?", "warning")],
        ),
        ("machines", {"1": VM_SEEN | {"label": "aaaa1111", "name": ""}}, {"1": VM_SEEN}, []),
        (
            "machines",
            {"1": VM_SEEN | {"label": "old", "name": "old"}},
            {"1": VM_SEEN | {"link": "away"}},
            [
                ("machine", "build", "was called old before", "info"),
                ("machine", "build", "its connection is lost", "warning"),
            ],
        ),
        ("commits", {}, {"1": {"label": "c"}}, [("commit", "c", "was made", "info")]),
        ("commits", {"1": {"label": "c"}}, {}, [("commit", "c", "is gone", "info")]),
    ],
)
def test_what_has_happened_is_what_is_another(section: str, before: Any, after: Any, events: Any) -> None:
    old, new = seen(**{section: before}), seen(**{section: after})
    assert [found[:4] for found in compare(old, new, ALL, ALL)] == events
    assert [*compare(old, new, (), ())] == [], "what is found later was there before"
    unseen = [found.text for found in compare(old, new, ALL, ())]
    assert unseen == [f"{text}, while nobody looked" for _, _, text, _ in events]


def test_a_process_that_ends_is_an_event() -> None:
    runs = {"id": "web", "machine": "build", "state": "running", "outcome": "running"}
    over = runs | {"state": "ended", "outcome": "exit code 1", "ended": 99.0}
    for looked in (ALL, ()):
        assert [*compare(seen(processes={"x": runs}), seen(processes={"x": over}), ALL, looked)] == [
            ("process", "web on build", "has ended: exit code 1", "warning", 99.0)
        ]
    assert [*compare(seen(processes={"x": runs}), seen(), ALL, ALL)] == []


def test_another_platform_is_no_trouble_of_this_one() -> None:
    away = {"state": "trouble", "reason": "It refused."}
    assert [*compare(seen(), seen(connection=away), ALL, ALL)] == [
        ("connection", "here", "It refused.", "error", 0.0)
    ]
    assert [*compare(seen(connection=away), seen(connection={"url": "other"}), ALL, ALL)] == []


def test_what_is_found_at_once_is_told_in_the_order_in_which_it_has_happened() -> None:
    events, now = Events(), time.time()
    events.found(
        [
            Found("machine", "build", "is gone"),
            Found("process", "late", "has ended", at=now - 10),
            Found("process", "early", "has ended", at=now - 99),
            Found("process", "of a clock that is ahead", "has ended", at=now + 9999),
        ]
    )
    told = [(event["about"], event["at"]) for event in events.all.values()]
    assert told[:2] == [("early", now - 99), ("late", now - 10)]
    assert all(now <= at <= time.time() for _, at in told[2:])


def test_only_the_last_events_are_kept_and_their_numbers_go_on() -> None:
    events = Events()
    for number in range(EVENTS + 5):
        events.add(float(number), "notice", "", LONG if number == 0 else str(number))
    assert len(events.all) == EVENTS and next(iter(events.all)) == "6"
    assert [*events.all.values()][-1]["text"] == str(EVENTS + 4)
