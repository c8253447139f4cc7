"""How our objects show as the value of a cell: HTML where there is a browser, text everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.display import display

from pi_v_jupyter.doctor import Report
from pi_v_jupyter.fleet import VMs
from pi_v_jupyter.machine import Result, Results
from pi_v_jupyter.views import tables
from pi_v_jupyter.vm import VM

if TYPE_CHECKING:
    from collections.abc import Callable

    from pi_v_jupyter.magics.extension import Extension


def register(extension: Extension) -> list[tuple[Any, type]]:
    """Teach this IPython our types; what was registered, for unloading."""
    formatter = extension.shell.display_formatter
    if formatter is None:  # an IPython made to show nothing
        return []

    def active() -> str | None:
        vm = extension.vers.fleet.current
        return vm.vm_id if vm else None

    texts: dict[type, tuple[Callable[[Any], str], Callable[[Any], str] | None]] = {
        VMs: (tables.vms_text, tables.vms_html),
        VM: (lambda vm: tables.vm_line(vm, active()), lambda vm: tables.vm_html(vm, active())),
        Result: (tables.result_text, None),
        Results: (tables.results_text, None),
        Report: (tables.report_text, tables.report_html),
    }

    def show(value: Any) -> None:
        text, html = texts[type(value)]
        bundle = {"text/plain": text(value)}
        if html is not None:
            bundle["text/html"] = html(value)
        display(bundle, raw=True)

    for kind in texts:
        formatter.ipython_display_formatter.for_type(kind, show)
    return [(formatter.ipython_display_formatter, kind) for kind in texts]


def keep_quiet(extension: Extension) -> Callable[[], None]:
    """Have a cell not repeat a value that its magic has shown; returns what undoes that.

    A formatter comes too late for it: a terminal has printed "Out[1]: " by then.
    """
    hook = extension.shell.displayhook
    kind = type(hook)

    class Quiet(kind):  # type: ignore[misc, valid-type]
        def __call__(self, result: Any = None) -> None:
            if extension.shown_already(result):
                self.update_user_ns(result)
            else:
                super().__call__(result)

    def undo() -> None:
        hook.__class__ = kind

    hook.__class__ = Quiet
    return undo
