"""The dashboard's built bundle in a page of its own: a stand-in for its widget's model, and no kernel.

What the view sends is recorded, and what a board would say is delivered by hand. Themes are JupyterLab's own.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import labs
from playwright.sync_api import Browser, Locator, Page, Route, sync_playwright

from pi_v_jupyter.views import __file__ as views

BUNDLE = Path(views).parent / "dashboard"
AXE = Path(__file__).parents[1] / "js/node_modules/axe-core/axe.min.js"
SHOTS = Path(__file__).parent / "browser/shots"
THEMES = Path(sys.prefix) / "share/jupyter/lab/themes/@jupyterlab"
ADDRESS = "http://dashboard.test/"
NOW = 1_790_000_000.0

# A model as anywidget hands it to a view; its other widgets are boxes to type into.
SCRIPT = """
import dashboard from "./dashboard.js";
const listeners = new Set();
const restarted = new Set();
performance.now = () => 0; // drawing takes no time here: none waits for what the one before took
window.sent = [];
window.kernelGone = false;
window.restart = () => restarted.forEach((listener) => listener());
window.deliver = (message) => listeners.forEach((listener) => listener(message));
const model = {
  on: (name, listener) => (name === "comm_live_update" ? restarted : listeners).add(listener),
  off: (name, listener) => (name === "comm_live_update" ? restarted : listeners).delete(listener),
  send(content) {
    if (window.kernelGone) throw new Error("comm is closed");
    window.sent.push(content);
  },
  widget_manager: {
    get_model: async (id) => ({ id }),
    async create_view({ id }) {
      const el = document.createElement("div");
      const box = el.appendChild(document.createElement("textarea"));
      box.setAttribute("aria-label", `widget ${id}`);
      return { el, remove: () => el.remove() };
    },
  },
};
window.IntersectionObserver = class extends IntersectionObserver {
  constructor(callback) {
    super(callback);
    window.seen = { callback };
  }
};
window.leave = dashboard.render({ model, el: document.querySelector("main") });
"""
PAGE = """<!doctype html><html lang="en"><title>Dashboard</title>
<link rel="stylesheet" href="theme.css"><link rel="stylesheet" href="dashboard.css">
<style>body { margin: 8px; background: var(--jp-layout-color0, #fff) }</style>
<body data-jp-theme-light="LIGHT"><main></main><script type="module" src="page.js"></script></body></html>"""


class Dashboard:
    """A view, and what a kernel would do at its other end."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.seq = -1

    @property
    def sent(self) -> list[dict[str, Any]]:
        """All that the view has sent so far."""
        return self.page.evaluate("window.sent")  # type: ignore[no-any-return]

    def sent_last(self, kind: str) -> dict[str, Any]:
        """The last message of that kind that the view has sent."""
        return next(one for one in reversed(self.sent) if one["kind"] == kind)

    @property
    def intents(self) -> list[tuple[str, dict[str, Any]]]:
        """The names and arguments of what it wants done so far."""
        return [(one["name"], one["args"]) for one in self.sent if one["kind"] == "intent"]

    def deliver(self, **message: Any) -> None:
        """Say this to the view, as a board does, and let it be drawn."""
        self.page.evaluate(
            """async (message) => {
              window.deliver(message);
              for (let frames = 0; frames < 4; frames++) await new Promise(requestAnimationFrame);
            }""",
            message,
        )

    def show(self, state: dict[str, Any]) -> None:
        """Deliver a snapshot."""
        self.seq += 1
        view = self.sent[0]["view"]
        self.deliver(kind="snapshot", to=view, seq=self.seq, now=NOW, all=state)

    def patch(self, patch: dict[str, Any]) -> None:
        """Deliver the next patch."""
        self.seq += 1
        self.deliver(kind="patch", seq=self.seq, now=NOW, patch=patch)

    def answer(self, text: str = "", *, ok: bool = True, hint: str = "", noted: bool = False) -> None:
        """Answer the last intent; `noted`: it is told among the events, too."""
        last = [one for one in self.sent if one["kind"] == "intent"][-1]
        self.deliver(kind="heard", to=last["view"], id=last["id"])
        told = {"ok": ok, "text": text, "hint": hint, "noted": noted}
        self.deliver(kind="answer", to=last["view"], id=last["id"], **told)

    @property
    def rows(self) -> list[str]:
        """What the rows of the machines are called, top to bottom."""
        return self.page.locator("tbody .pi-v-name").all_text_contents()

    def press(self, button: str) -> None:
        """Click at the button of that name."""
        self.page.get_by_role("button", name=button, exact=True).click()

    def pick(self, *labels: str) -> None:
        """Click at the boxes of these machines and commits."""
        for label in labels:
            self.page.get_by_label(f"Choose {label}", exact=True).click()

    def tab(self, name: str) -> Locator:
        """Choose a section; its panel."""
        self.page.get_by_role("tab", name=name).click()
        return self.page.get_by_role("tabpanel", name=name)

    def shot(self, name: str) -> None:
        """Keep a picture for whoever looks at the dashboard's looks."""
        SHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png")

    def violations(self) -> list[str]:
        """What axe-core finds serious or critical, and where."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("axe.run(document.querySelector('.pi-v-dashboard'))")
        # Of what axe is not sure about: a label that may be told to nobody.
        doubtful = [one for one in found["incomplete"] if one["id"] == "aria-prohibited-attr"]
        return [
            f"{one['id']}: {node['html']} {node['failureSummary']}"
            for one in found["violations"] + doubtful
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser that several pages may share."""
    with sync_playwright() as playwright:
        flags = [*labs.FLAGS, "--no-sandbox"] if os.geteuid() == 0 else labs.FLAGS
        browser = playwright.chromium.launch(executable_path=labs.CHROMIUM, args=flags)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def dashboard(
    browser: Browser, theme: str = "light", width: int = 1000, *, clock: bool = False
) -> Iterator[Dashboard]:
    """A page with a view that has not been told anything yet.

    `theme`: "light", "dark", or "" for none; `clock`: the page's clock is moved by hand.
    """
    page = browser.new_page(viewport={"width": width, "height": 760})
    page.set_default_timeout(30_000)
    if clock:
        page.clock.install()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))

    def serve(route: Route) -> None:
        name = route.request.url.removeprefix(ADDRESS)
        if name == "theme.css":
            css = THEMES / f"theme-{theme}-extension/index.css"
            route.fulfill(body=css.read_text() if theme else "", content_type="text/css")
        elif name == "page.js":
            route.fulfill(body=SCRIPT, content_type="text/javascript")
        elif name in ("dashboard.js", "dashboard.css"):
            route.fulfill(path=BUNDLE / name)
        elif name == "":
            light = "false" if theme == "dark" else "true"
            route.fulfill(body=PAGE.replace("LIGHT", light), content_type="text/html")
        else:
            route.fulfill(status=404)

    page.route("**/*", serve)
    page.goto(ADDRESS)
    page.wait_for_function("window.sent?.length")
    try:
        yield Dashboard(page)
        assert not errors, errors
    finally:
        page.close()


def machine(label: str, *, created: float = 0, state: str = "running", **more: Any) -> dict[str, Any]:
    """A machine of a snapshot, `created` so many seconds after the first."""
    plain = {"size": "1 vCPU · 512 MB", "disk": "4 GB", "parent": "", "active": False}
    plain |= {"link": "", "agent": "", "tunnels": [], "aside": False}
    return {"name": label, "label": label, "state": state, "created": NOW - 9000 + created, **plain, **more}


def commit(label: str, *, created: float = 0, **more: Any) -> dict[str, Any]:
    """A commit of a snapshot, `created` likewise."""
    plain = {"name": "", "tags": [], "parent": "", "golden": False}
    return {"label": label, "created": NOW - 9000 + created, **plain, **more}


def snapshot(**parts: Any) -> dict[str, Any]:
    """A snapshot with these parts; the others are empty."""
    connection = {"url": "http://127.0.0.1:7777", "label": "embedded platform", "state": "ok"}
    connection |= {"reason": "", "remedy": "", "checked": NOW}
    sums = dict.fromkeys(("agents", "working", "waiting", "tokens", "cost", "budget"), 0)
    many = {name: {} for name in ("machines", "commits", "agents", "processes", "events")}
    plain = {"connection": connection, "looking": False, "lost": "", "sums": sums, **many, **parts}
    here = not any(each["active"] for each in plain["machines"].values())
    return json.loads(json.dumps({"here": here, **plain}))  # type: ignore[no-any-return]


ORDER = ["base", "left", "first", "3f9a2c1e", "reviewer-1", "right", "orphan"]  # how a family is shown


def family() -> dict[str, Any]:
    """A snapshot of a few machines and commits that came from one another."""
    machines = {
        "vm-base": machine("base", active=True, link="connected", tunnels=["8000 → 80"]),
        "vm-left": machine("left", created=60, parent="vm-base", state="paused"),
        "vm-right": machine("right", created=90, parent="vm-base", link="away"),
        "vm-review": machine("reviewer-1", created=200, parent="c-golden", agent="reviewer"),
        "vm-orphan": machine("orphan", created=30, parent="vm-long-gone", state="booting"),
    }
    commits = {
        "c-first": commit("first", created=70, parent="vm-base", tags=["stable"]),
        "c-golden": commit("3f9a2c1e", created=80, parent="c-first", golden=True, tags=["golden", "v2"]),
    }
    return snapshot(machines=machines, commits=commits)
