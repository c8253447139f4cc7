"""The committed reference leaves out nothing that the code has."""

from __future__ import annotations

import ast
import html
import inspect
import pkgutil
from importlib import import_module
from pathlib import Path
from types import ModuleType

import click
import pytest

import pi_v_jupyter
from pi_v_jupyter import cli, errors, magics
from pi_v_jupyter.blocking import Sync
from pi_v_jupyter.keys import KEYS
from pi_v_jupyter.machine import Here
from pi_v_jupyter.magics import examples
from pi_v_jupyter.magics.extension import Extension
from pi_v_jupyter.magics.vers import vers

FOLDER = Path(__file__).parents[2] / "docs" / "reference"


MODULES = [
    import_module(module.name) for module in pkgutil.iter_modules(magics.__path__, f"{magics.__name__}.")
]


def _commands(module: ModuleType) -> dict[str, click.Command]:
    """What a module of magics says that it has, by what one types."""
    found = getattr(module, "COMMANDS", {})
    return found if isinstance(found, dict) else {}


ROOTS = {"%vers": vers, "pi-v-jupyter": cli.main} | {
    path: command for module in MODULES for path, command in _commands(module).items() if path.startswith("%")
}
COMMANDS = {path: each for root, start in ROOTS.items() for path, each in examples.commands(root, start)}
SHOWN = {path: each for path, each in COMMANDS.items() if not each.hidden}


def sections(page: str) -> dict[str, str]:
    """What is below each heading of a page, by what the heading has in backticks."""
    found: dict[str, str] = {}
    title = ""
    for line in html.unescape((FOLDER / page).read_text()).splitlines():
        if line.startswith(("## `", "### `")):
            title = line.split("`")[1]
        else:
            found[title] = found.get(title, "") + line + "\n"
    return found


@pytest.mark.parametrize("path", SHOWN)
def test_the_reference_has_every_command_with_every_option(path: str) -> None:
    told = sections("magics.md" if path.startswith("%") else "command-line.md")[path]
    for option in COMMANDS[path].params:
        if isinstance(option, click.Option) and not option.hidden:
            row = next(line for line in told.splitlines() if line.startswith(f"| `{option.opts[0]}"))
            assert option.help and option.help.replace("|", "\\|") in row
            default = option.to_info_dict()["default"]
            assert default in (None, False, ()) or callable(default) or f"`{default}`" in row


def test_no_command_of_a_magic_is_out_of_the_references_reach() -> None:
    reached = {*map(id, COMMANDS.values())}
    made = {
        f"{module.__name__}.{name}": command
        for module in [*MODULES, cli]
        for name, command in vars(module).items()
        if isinstance(command, click.Command)
    }
    assert [name for name, command in made.items() if id(command) not in reached] == []


@pytest.mark.parametrize("path", [path for path in COMMANDS if path.startswith("%")])
def test_the_reference_has_the_examples_of_every_magic(path: str) -> None:
    assert examples.of(path) in sections("magics.md")[path]


def test_the_reference_has_every_magic_that_is_registered() -> None:
    titles = sections("magics.md")
    for kind, mark in (("line", "%"), ("cell", "%%")):
        assert all(f"{mark}{name}" in titles for name in Extension.magics[kind] if name not in ("vers",))


@pytest.mark.parametrize("name", KEYS)
def test_the_reference_has_every_setting_and_its_variable(name: str) -> None:
    rows = html.unescape((FOLDER / "settings.md").read_text()).splitlines()
    row = next(line for line in rows if line.startswith(f"| `{name}` |"))
    assert KEYS[name].variable in row and KEYS[name].about in row


def test_every_variable_of_ours_that_the_code_names_is_a_setting() -> None:
    named = {
        node.value
        for file in Path(str(pi_v_jupyter.__file__)).parent.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if node.value.startswith("VERS_") and node.value.isidentifier() and node.value != "VERS_"
    }
    assert named == {key.variable for key in KEYS.values() if key.variable}


@pytest.mark.parametrize("kind", [pi_v_jupyter.Vers, pi_v_jupyter.VM, Here, pi_v_jupyter.Result])
def test_the_reference_has_every_public_method_that_says_what_it_does(kind: type) -> None:
    told = sections("python.md")[kind.__name__]
    for name, value in inspect.getmembers_static(kind):
        if not name.startswith("_") and inspect.isfunction(value) and inspect.getdoc(value):
            assert f" {name}(" in told.replace("`", " "), name


def test_the_reference_has_every_class_with_methods_that_wait_and_each_has_a_blocking_form() -> None:
    blocking = {*inspect.signature(Sync).parameters["target"].annotation.split(" | ")}
    assert {"Machine", "Spawned"} <= blocking  # what a VM and this computer are; what a spawn gives
    told = {name for name, text in sections("python.md").items() if "\n`async " in text}
    assert told == blocking - {"Machine", "Spawned"} | {"VM", "Here"}


def test_the_reference_has_every_error_with_what_the_code_says_of_it() -> None:
    titles = sections("errors.md")
    for name, kind in vars(errors).items():
        if inspect.isclass(kind) and kind.__module__ == errors.__name__:
            assert name in titles and str(kind.__doc__).split("\n")[0] in titles[name]
    row = "| No Vers API key is set and no embedded platform is up. | `%vers up` starts virtual machines"
    assert row in titles["NoKeyError"]
