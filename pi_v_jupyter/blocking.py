"""The blocking form of the API."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from pi_v_jupyter import loops
from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.golden import Golden
from pi_v_jupyter.machine import Machine
from pi_v_jupyter.remote.background import BackgroundProcess
from pi_v_jupyter.remote.kernel import Kernel
from pi_v_jupyter.remote.tunnel import Tunnel

if TYPE_CHECKING:
    from pi_v_jupyter.plan.mode import PlanMode
    from pi_v_jupyter.session import Vers
    from pi_v_jupyter.swarm.agent import Agent
    from pi_v_jupyter.swarm.planning import Plans
    from pi_v_jupyter.swarm.provision import Spawned
    from pi_v_jupyter.swarm.swarm import Swarm

SWARM = "pi_v_jupyter.swarm."  # in its modules are the classes of agents
PLAN = "pi_v_jupyter.plan.mode"


class Sync:
    """The blocking form of a `Vers`, and of what it gives: the same methods, waited for."""

    def __init__(
        self,
        target: Vers
        | Machine
        | Tunnel
        | BackgroundProcess
        | Kernel
        | Golden
        | PlanMode
        | Swarm
        | Plans
        | Agent
        | Spawned,
        before: Callable[[], object] = lambda: None,
    ) -> None:
        """`before` is called before anything of it is asked for."""
        self._target, self._before = target, before

    def __getattr__(self, name: str) -> Any:
        self._before()
        value = getattr(self._target, name)
        if inspect.isasyncgenfunction(value):
            instead = "logs" if isinstance(self._target, BackgroundProcess) else "run"
            instead = "finished" if hasattr(self._target, "finished") else instead  # an agent's
            raise UsageError(f"{name} has no blocking form.", f"Use `{instead}`.")
        if not inspect.ismethod(value):
            return _blocking(value)

        @wraps(value)
        def call(*args: Any, **kwargs: Any) -> Any:
            bare = [arg._target if isinstance(arg, Sync) else arg for arg in args]
            told = value(*bare, **kwargs)
            return _blocking(loops.wait(told) if inspect.iscoroutine(told) else told)

        return call

    def __dir__(self) -> list[str]:
        return dir(self._target)

    def __repr__(self) -> str:
        return repr(self._target)

    def __enter__(self) -> Sync:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _blocking(value: Any) -> Any:
    if _waited_for(value):
        return Sync(value)
    if isinstance(value, list) and any(map(_waited_for, value)):
        return [_blocking(one) for one in value]
    return value


def _waited_for(value: Any) -> bool:
    """Has it methods that are to be waited for?"""
    if type(value).__module__ == PLAN:
        from pi_v_jupyter.plan.mode import PlanMode

        return isinstance(value, PlanMode)
    if not type(value).__module__.startswith(SWARM):  # who has no agents need not load what they are
        return isinstance(value, Machine | Tunnel | BackgroundProcess | Kernel | Golden)
    from pi_v_jupyter.swarm.agent import Agent
    from pi_v_jupyter.swarm.planning import Plans
    from pi_v_jupyter.swarm.provision import Spawned
    from pi_v_jupyter.swarm.swarm import Swarm

    return isinstance(value, Swarm | Plans | Agent | Spawned)
