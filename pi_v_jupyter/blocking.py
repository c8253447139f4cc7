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
from pi_v_jupyter.remote.background import BackgroundProcess, BackgroundProcesses
from pi_v_jupyter.remote.tunnel import Tunnel, Tunnels
from pi_v_jupyter.roster import VMs

if TYPE_CHECKING:
    from pi_v_jupyter.session import Vers


class Sync:
    """The blocking form of a `Vers`, and of what it gives: the same methods, waited for."""

    def __init__(
        self,
        target: Vers | Machine | Tunnel | BackgroundProcess | Golden,
        before: Callable[[], object] = lambda: None,
    ) -> None:
        """`before` is called before anything is waited for."""
        self._target, self._before = target, before

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if inspect.isasyncgenfunction(value):
            instead = "logs" if isinstance(self._target, BackgroundProcess) else "run"
            raise UsageError(f"{name} has no blocking form.", f"Use `{instead}`.")
        if not inspect.iscoroutinefunction(value):
            return _blocking(value)

        @wraps(value)
        def call(*args: Any, **kwargs: Any) -> Any:
            bare = [arg._target if isinstance(arg, Sync) else arg for arg in args]
            self._before()
            return _blocking(loops.wait(value(*bare, **kwargs)))

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
    if isinstance(value, Machine | Tunnel | BackgroundProcess | Golden):
        return Sync(value)
    if isinstance(value, VMs | Tunnels | BackgroundProcesses):
        return [Sync(one) for one in value]
    return value
