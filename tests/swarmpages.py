"""Agents, their transcripts, processes and events, as a snapshot has them: for pages of the dashboard."""

from __future__ import annotations

import re
from typing import Any

from pages import NOW, Dashboard, commit, machine, snapshot
from playwright.sync_api import Locator, expect


def agent(label: str, state: str = "idle", **more: Any) -> dict[str, Any]:
    """A card of a snapshot."""
    texts = dict.fromkeys(("trouble", "detail", "task", "words"), "")
    numbers = dict.fromkeys(("tokens", "cost", "budget", "began", "seconds", "queued"), 0)
    lists: dict[str, Any] = {"calls": [], "asks": [], "plan": planned("")}
    return {"label": label, "state": state, "model": "acme/large-4", **texts, **numbers, **lists, **more}


def planned(stage: str, *steps: str, done: int = 0, **more: Any) -> dict[str, Any]:
    """What an agent has planned, the first `done` steps of which are done."""
    told = {str(at): {"number": at + 1, "text": text, "done": at < done} for at, text in enumerate(steps)}
    return {"stage": stage, "trouble": "", "done": done, "total": len(steps), "steps": told, **more}


def asked(
    method: str, title: str, *options: str, text: str = "", id: str = "q1", **about: Any
) -> dict[str, Any]:
    """A question."""
    told = {"id": id, "method": method, "title": title, "text": text, "options": list(options)}
    return {**told, "cut": 0, "more": 0, "whole": True, **about}


def swarm(agents: dict[str, dict[str, Any]], **parts: Any) -> dict[str, Any]:
    """A snapshot of these agents, each on a VM of its label, and a golden commit."""
    sums = {"agents": len(agents), "budget": 0}
    sums["working"] = sum(card["state"] == "working" for card in agents.values())
    sums["waiting"] = sum(card["state"] == "waiting" for card in agents.values())
    sums["tokens"] = sum(card["tokens"] for card in agents.values())
    sums["cost"] = sum(card["cost"] for card in agents.values())
    machines = {id: machine(card["label"], parent="c-golden") for id, card in agents.items()}
    commits = {
        "c-plain": commit("plain", created=50),
        "c-golden": commit("golden", golden=True, tags=["golden"]),
    }
    return snapshot(**{"agents": agents, "sums": sums, "machines": machines, "commits": commits, **parts})


def several() -> dict[str, dict[str, Any]]:
    """Agents of which each does something else."""
    return {
        "vm-a": agent(
            *("alpha", "working"),
            task="Make the tests of the parser pass, and say what was wrong. Then look at the rest.",
            calls=["bash  make test PYTEST=tests/unit/test_parser.py", "read  src/parser.py"],
            words="The parser drops the last line.\nI will fix `lines()` first,\nthen its tests.",
            tokens=123_456,
            cost=0.42,
            budget=1,
            began=NOW - 75,
            queued=2,
        ),
        "vm-b": agent(
            *("beta", "waiting"),
            task="Deploy it",
            asks=[asked("select", "Which one is to be deployed?", "staging", "production")],
            cost=0.95,
            budget=1,
            began=NOW - 300,
        ),
        "vm-c": agent("gamma", "retrying", detail="2 of 5", task="Write the docs", began=NOW - 20),
        "vm-d": agent("delta", "done", task="Write a README", words="It is in README.md.", seconds=185.2),
        "vm-e": agent("epsilon", "error", task="Look", detail="429: too many requests", seconds=3.2),
        "vm-f": agent("zeta"),
        "vm-g": agent("eta", "lost", detail="pi was ended by SIGKILL", trouble="connection refused"),
        "vm-h": agent("theta", "ended"),
    }


def step(kind: str, text: str = "", **more: Any) -> dict[str, Any]:
    """A part of a transcript."""
    return {
        "kind": kind,
        "text": text,
        "name": "",
        "result": "",
        "diff": "",
        "state": "",
        "seconds": 0,
        **more,
    }


def talk(*steps: dict[str, Any], outcome: str = "", **more: Any) -> dict[str, Any]:
    """A run."""
    numbers = dict.fromkeys(("tokens", "cost", "seconds"), 0)
    return {
        "outcome": outcome,
        "error": "",
        **numbers,
        "steps": {str(number): each for number, each in enumerate(steps)},
        "cut": 0,
        **more,
    }


def tell(shown: Dashboard, vm: str, seq: int, patch: dict[str, Any]) -> None:
    """Deliver a part of an agent's transcript, which is asked for; the first, of `seq` 0, is all there is."""
    shown.page.wait_for_function("vm => sent.findLast((one) => one.kind === 'reading')?.vm === vm", arg=vm)
    view, number = shown.sent[0]["view"], shown.sent_last("reading")["number"]
    shown.deliver(kind="transcript", to=view, reading=number, seq=seq, now=NOW, patch=patch)


MARKDOWN = """## What I found

The parser drops the **last line** where there is no newline:

```python
def lines(text):
    return text.split("\\n")[:-1]
```

1. fix `lines()`
2. fix the tests
   - [x] of the parser
   - [ ] of the printer

| file | lines |
|---|---|
| a.py | 12 |

> as [the manual](https://example.org/manual) says
"""
DIFF = """--- a/src/p.py
+++ b/src/p.py
@@ -1,2 +1,2 @@
 def lines(text):
-    return text
+    return text or ""
"""


def conversation() -> dict[str, Any]:
    """A transcript with a step of each kind."""
    first = talk(
        step("prompt", "Make the tests pass.\nAll of them."),
        step("thinking", "First I should look at what is there.\nThen think."),
        step("call", "make test", name="bash", state="failed", seconds=4.2, result="E   assert 1 == 2"),
        step("text", MARKDOWN),
        step("call", "src/p.py", name="edit", state="ok", seconds=0.1, diff=DIFF, result="Edited."),
        step("note", "Attempt 2 of 5 follows in 2 s: 429"),
        step("broken", "I was about to"),
        step("text", "All is well."),
        outcome="done",
        tokens=1000,
        cost=0.02,
        seconds=65.2,
    )
    second = talk(
        step("prompt", "Now the docs."),
        step("call", "docs/index.md " + "--and-on " * 20, name="read", state="running"),
        step("partial", "I am reading the docs, and"),
    )
    return {"cut": 0, "runs": {"0": first, "1": second}}


def process(id: str, state: str = "running", **more: Any) -> dict[str, Any]:
    """A background process."""
    plain = {"machine": "alpha", "vm": "vm-a", "outcome": "", "command": "python -m http.server 8000"}
    plain |= {"line": "Serving HTTP on 0.0.0.0 port 8000"}
    numbers = {"started": NOW - 3700, "ended": 0, "cpu": 12.4, "memory": 23_500_000}
    return {"id": id, "state": state, **plain, **numbers, **more}


def event(kind: str, about: str, text: str, level: str = "info", at: float = 0) -> dict[str, Any]:
    """Something that happened, `at` so many seconds before now."""
    return {"at": NOW - at, "kind": kind, "about": about, "text": text, "level": level}


def card(shown: Dashboard, label: str) -> Locator:
    """An agent's card."""
    return shown.page.get_by_role("article", name=label, exact=True)


def opened(shown: Dashboard, label: str = "alpha") -> Locator:
    """An agent's view, which is opened."""
    card(shown, label).get_by_role("button", name=label, exact=True).click()
    view = shown.page.get_by_role("region", name=f"Agent {label}")
    expect(view.locator(":focus")).to_have_count(1)
    return view


def transcript(shown: Dashboard) -> Locator:
    """What was said, of the agent that is opened."""
    return shown.page.get_by_role("region", name=re.compile("What was said to"))


def box(shown: Dashboard) -> Locator:
    """What one types into to tell agents something."""
    return shown.page.get_by_role("textbox", name=re.compile("^(Tell|Give)"))
