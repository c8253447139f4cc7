"""Jupyter cells on virtual machines.

In a notebook: `%load_ext pi_v_jupyter`. In a script: `from pi_v_jupyter import Vers`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from pi_v_jupyter.errors import RemoteCommandError, VersError
    from pi_v_jupyter.machine import Result
    from pi_v_jupyter.session import Vers
    from pi_v_jupyter.vm import VM

__version__ = version("pi-v-jupyter")
__all__ = [
    "VM",
    "RemoteCommandError",
    "Result",
    "Vers",
    "VersError",
    "load_ipython_extension",
    "unload_ipython_extension",
]

_HOMES = {
    "VM": "vm",
    "RemoteCommandError": "errors",
    "Result": "machine",
    "Vers": "session",
    "VersError": "errors",
}
_loaded: dict[int, Any] = {}


def __getattr__(name: str) -> Any:
    """Public names are imported when they are asked for: `%load_ext` must not wait for all of them."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_ipython_extension(shell: InteractiveShell) -> None:
    """`%load_ext pi_v_jupyter`."""
    from pi_v_jupyter.magics.extension import Extension

    if id(shell) not in _loaded:
        extension = Extension(shell)
        extension.load()
        _loaded[id(shell)] = extension


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """`%unload_ext pi_v_jupyter`."""
    extension = _loaded.pop(id(shell), None)
    if extension is not None:
        extension.unload()
