"""A dashboard in a notebook in JupyterLab, and what somebody does with it who has a mouse and a keyboard."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
from labs import SECOND
from pages import SHOTS
from playwright.sync_api import Browser, Locator, Page, expect

WAIT = 90 * SECOND
VERS = "vers = get_ipython().find_line_magic('vers').__self__.vers"
LEAVE_NOTHING = f"""{VERS}
await vers.swarm.teardown()
await vers.delete(*await vers.list())
for tag in await vers.tags(): await vers.untag(tag.tag_name)
await vers.delete_commits(*reversed(await vers.commits()))
await vers.local()"""


def notebook(folder: Path, name: str, cells: list[str]) -> None:
    """Write a notebook of these cells."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(made, folder / f"{name}.ipynb")


def opened(
    browser: Browser, address: str, name: str, cells: int, *, height: int = 1500, script: str = ""
) -> Page:
    """A page with that notebook of the JupyterLab at `address`, and nothing beside it; its kernel is idle.

    `script` runs before the page's own.
    """
    page = browser.new_page(viewport={"width": 1200, "height": height})
    page.set_default_timeout(WAIT)
    page.add_init_script(script)
    page.goto(address.replace("lab/tree/first", f"doc/tree/{name}"))
    expect(page.locator(".jp-Notebook .jp-CodeCell")).to_have_count(cells, timeout=WAIT)
    idle(page)
    return page


def idle(page: Page) -> None:
    """Until its kernel has nothing to do."""
    expect(page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")).to_be_visible(timeout=WAIT)


def prompt(page: Page, number: int) -> Locator:
    """The brackets beside a cell: a star while it runs."""
    return page.locator(".jp-Notebook .jp-CodeCell").nth(number).locator(".jp-InputPrompt")


def stop(page: Page, number: int) -> None:
    """Interrupt the cell that runs."""
    page.locator("[data-command='notebook:interrupt-kernel']").first.click()
    expect(prompt(page, number)).not_to_contain_text("*", timeout=WAIT)


def shot(page: Page, name: str) -> None:
    """Keep a picture for whoever looks at the dashboard's looks."""
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"lab-{name}.png")


def picture(board: LabBoard, name: str) -> None:
    """Keep a picture of the dashboard alone."""
    SHOTS.mkdir(exist_ok=True)
    board.root.screenshot(path=SHOTS / f"lab-{name}.png")


class LabBoard:
    """The dashboard that a cell shows."""

    def __init__(self, shown: Locator) -> None:
        self.page = shown.page
        self.root = shown.locator(".pi-v-live")
        expect(self.root).to_contain_text("embedded platform", timeout=WAIT)
        self.tab("Machines")  # a page that is loaded again shows the one that it showed last

    # Machines.

    def row(self, label: str) -> Locator:
        """The row of the machine or commit of that name."""
        box = self.page.get_by_role("checkbox", name=f"Choose {label}", exact=True)
        return self.root.get_by_role("row").filter(has=box)

    def there(self, *labels: str) -> None:
        """Until there are rows of these names, and no others."""
        expect(self.root.locator("tbody").get_by_role("row")).to_have_count(len(labels), timeout=WAIT)
        for label in labels:
            expect(self.row(label)).to_be_visible(timeout=WAIT)

    def choose(self, label: str, action: str) -> None:
        """An action of a row's own menu."""
        self.row(label).get_by_role("button", name=f"Actions for {label}").click()
        self.page.get_by_role("menuitem", name=action, exact=True).click()

    def create(self, name: str) -> None:
        """A machine, by the form."""
        self.press("New machine…")
        self.fill("New machine", "Create", Name=name)
        expect(self.row(name)).to_contain_text("running", timeout=WAIT)

    # Forms, questions, answers.

    def press(self, button: str, within: Locator | None = None) -> None:
        """Click at the button of that name."""
        (within or self.root).get_by_role("button", name=button, exact=True).click()

    def dialog(self, title: str) -> Locator:
        """The dialog of that title."""
        return self.page.get_by_role("dialog", name=title, exact=True)

    def fill(self, title: str, button: str, **fields: str) -> None:
        """Fill in a form, and send it by its button."""
        form = self.dialog(title)
        for label, value in fields.items():
            form.get_by_label(re.compile(f"^{label}")).fill(value)
        self.press(button, form)
        expect(form).to_have_count(0, timeout=WAIT)

    def said(self, text: str | re.Pattern[str]) -> None:
        """Until it tells that something was done."""
        expect(self.root.locator(".pi-v-latest")).to_contain_text(text, timeout=WAIT)

    def tab(self, name: str) -> Locator:
        """Choose a section; its panel."""
        self.root.get_by_role("tab", name=name).click()
        return self.root.get_by_role("tabpanel", name=name)

    # Agents.

    def card(self, label: str) -> Locator:
        """An agent's card."""
        return self.root.get_by_role("article", name=label, exact=True)

    def state(self, label: str) -> Locator:
        """What its card says it does."""
        return self.card(label).locator(".pi-v-state")

    def open(self, label: str) -> Locator:
        """An agent, opened from its card."""
        self.press(label, self.card(label))
        return self.root.get_by_role("region", name=f"Agent {label}")

    def tell(self, text: str) -> None:
        """Type into the box of what is open, and press Enter."""
        box = self.root.locator(".pi-v-telling textarea")
        box.fill(text)
        box.press("Enter")
        expect(box).to_have_value("", timeout=WAIT)


def follow(label: str, *turns: object) -> str:
    """A cell that has the model of an agent answer so, from the next request on."""
    script = json.dumps(json.dumps({"turns": list(turns)}))
    agent = f"agent = await vers.swarm.agent({label!r})"
    return f"{VERS}\n{agent}\nwritten = await agent.vm.write('.swarm/script.json', {script})"


def themed(page: Page, theme: str) -> None:
    """Choose JupyterLab's theme "Dark" or "Light"."""
    page.get_by_role("menuitem", name="Settings").click()
    page.get_by_text("Theme", exact=True).hover()
    page.get_by_role("menuitem", name=f"JupyterLab {theme}", exact=True).click()
    light = "true" if theme == "Light" else "false"
    expect(page.locator("body")).to_have_attribute("data-jp-theme-light", light)
    expect(page.locator("#jupyterlab-splash")).to_have_count(0)
