"""What `from pi_v_jupyter import …` gives, and how little a notebook pays for it before it is used.

`python tests/unit/test_public.py` writes public.txt anew, for a change that is meant.
"""

from __future__ import annotations

import difflib
import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest

import pi_v_jupyter
from pi_v_jupyter.machine import Here

SNAPSHOT = Path(__file__).with_name("public.txt")


class Told:
    """What a signature shows as this text, and no other way."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def signed(function: Callable[..., object]) -> str:
    """Its signature, types as they are written, a default that is a function as an ellipsis."""
    target = inspect.unwrap(function)
    signature = inspect.signature(target)
    parameters = [
        each.replace(
            annotation=each.annotation if each.annotation is each.empty else Told(each.annotation),
            default=Told("…") if inspect.isfunction(each.default) else each.default,
        )
        for each in signature.parameters.values()
    ]
    waits = inspect.iscoroutinefunction(target) or inspect.isasyncgenfunction(target)
    shown = signature.replace(parameters=parameters, return_annotation=Told(signature.return_annotation))
    return f"{'async ' if waits else ''}{function.__name__}{shown}"


def members(kind: type) -> Iterator[str]:
    """Its public fields, properties and methods, a line each."""
    fields = {
        name: each for base in kind.__mro__ for name, each in vars(base).get("__annotations__", {}).items()
    }
    yield from (f"  {name}: {each}" for name, each in sorted(fields.items()) if not name.startswith("_"))
    for name, value in sorted(inspect.getmembers_static(kind)):
        if name.startswith("_"):
            continue
        if isinstance(value, property):
            yield f"  {name}: {value.fget.__annotations__['return']}"
        elif inspect.isfunction(value):
            yield f"  {signed(value)}"


def public() -> str:
    """The public names, and what can be done with what they name."""
    lines = sorted(pi_v_jupyter.__all__)
    for kind in (pi_v_jupyter.Vers, pi_v_jupyter.VM, Here, pi_v_jupyter.Result):
        lines += ["", kind.__name__, *members(kind)]
    return "\n".join(lines) + "\n"


def test_the_public_names_and_their_signatures_are_these() -> None:
    told = SNAPSHOT.read_text().splitlines(), public().splitlines()
    changed = list(difflib.unified_diff(*told, "promised", "now", lineterm="", n=0))
    assert not changed, "\n".join(
        ["`python tests/unit/test_public.py` writes it anew, if it is meant:", *changed]
    )


def test_every_public_name_is_there() -> None:
    assert all(getattr(pi_v_jupyter, name) is not None for name in pi_v_jupyter.__all__)
    assert pi_v_jupyter.__version__


def test_the_package_says_that_it_is_typed() -> None:
    assert files(pi_v_jupyter).joinpath("py.typed").is_file()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = pi_v_jupyter.nonsense


def test_importing_the_package_imports_none_of_its_parts() -> None:
    code = "import sys, pi_v_jupyter; print([m for m in sys.modules if m.startswith('pi_v_jupyter.')])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"


if __name__ == "__main__":
    SNAPSHOT.write_text(public())
