"""The page of the Python API: public classes, with signatures and docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import pi_v_jupyter
from pi_v_jupyter.commits import Commit
from pi_v_jupyter.golden import Golden
from pi_v_jupyter.machine import Here
from pi_v_jupyter.plan.mode import PlanMode
from pi_v_jupyter.remote.background import BackgroundProcess
from pi_v_jupyter.remote.kernel import Kernel
from pi_v_jupyter.remote.tunnel import Tunnel
from pi_v_jupyter.swarm.agent import Agent
from pi_v_jupyter.swarm.planning import Plans
from pi_v_jupyter.swarm.swarm import Swarm
from tools.reference.markdown import begin, code, finished, prose

ABOUT = """\
`from pi_v_jupyter import Vers`; all else is reached from there. Methods marked `async` are awaited, on
any loop; `Vers().sync` has the same without `await`. A `Place` is a path of this computer, or
`VM:/path` as scp names it. Errors are those of [errors.md](errors.md)."""
WAYS = {
    Here: "`vers.here`",
    Commit: "`await vm.commit()`, `await vers.commit(NAME)`",
    BackgroundProcess: "`await vm.start(…)`, `await vm.process(ID)`",
    Kernel: "`vm.kernel()`",
    Tunnel: "`await vm.tunnel(PORT)`",
    PlanMode: "`vers.plan`",
    Golden: "`vers.golden`",
    Swarm: "`vers.swarm`",
    Agent: "`await vers.swarm.agent(LABEL)`",
    Plans: "`vers.swarm.plans`",
}


class _Told:
    """What a signature shows as this text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _signature(function: Callable[..., object]) -> str:
    """Without `self`; types as they are written, a default that is a function as an ellipsis."""
    target = inspect.unwrap(function)
    signature = inspect.signature(target)
    parameters = [
        each.replace(
            annotation=each.annotation if each.annotation is each.empty else _Told(str(each.annotation)),
            default=_Told("…") if callable(each.default) and each.default is not each.empty else each.default,
        )
        for name, each in signature.parameters.items()
        if name not in ("self", "cls")
    ]
    returned = signature.return_annotation
    shown = signature.replace(
        parameters=parameters,
        return_annotation=returned if returned is signature.empty else _Told(str(returned)),
    )
    waits = inspect.iscoroutinefunction(target) or inspect.isasyncgenfunction(target)
    return f"{'async ' if waits else ''}{target.__name__}{shown}"


def members(kind: type) -> Iterator[str]:
    """Its public properties and methods, each with what its docstring says; what has none is no promise."""
    for name, value in sorted(inspect.getmembers_static(kind)):
        if name.startswith("_"):
            continue
        if isinstance(value, classmethod | staticmethod):
            value = value.__func__
        if isinstance(value, property) or hasattr(value, "attrname"):  # of functools.cached_property
            getter = value.fget if isinstance(value, property) else value.func
            told, text = f"{name}: {getter.__annotations__['return']}", getter.__doc__
        elif inspect.isfunction(value):
            told, text = _signature(value), inspect.unwrap(value).__doc__
        else:
            continue
        if text:
            yield f"\n{code(told)}\n\n{prose(text)}"


def page() -> str:
    """All of it."""
    public = [getattr(pi_v_jupyter, name) for name in sorted(pi_v_jupyter.__all__)]
    classes = [each for each in public if inspect.isclass(each) and not issubclass(each, Exception)]
    classes.sort(key=lambda each: each is not pi_v_jupyter.Vers)
    lines = begin("Python API", ABOUT)
    for kind in (*classes, *WAYS):
        way = f" From {WAYS[kind]}." if kind in WAYS else " `from pi_v_jupyter import " + kind.__name__ + "`."
        lines += ["", f"## {code(kind.__name__)}", "", prose(kind.__doc__), "", way.strip(), *members(kind)]
    return finished(lines)
