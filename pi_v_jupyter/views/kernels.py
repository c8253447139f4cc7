"""Kernels, as lines and tables: HTML for a notebook, text everywhere."""

from __future__ import annotations

from pi_v_jupyter.remote.kernel import Kernel, Kernels
from pi_v_jupyter.views.tables import html_table, in_html, text_table
from pi_v_jupyter.vm import VM

COLUMNS = ("kernel", "VM", "Python", "pid")


def _row(kernel: Kernel) -> tuple[str, str, str, str]:
    python = kernel.python if kernel.connected else "does not answer"
    return kernel.name, kernel.place.label, python, str(kernel.pid or "")


def kernel_text(kernel: Kernel) -> str:
    """One kernel in a line."""
    return f"kernel {kernel.name} on {kernel.place.label}"


def kernels_text(kernels: Kernels) -> str:
    """Kernels as text."""
    return (
        text_table(COLUMNS, list(map(_row, kernels))) if kernels else "No kernels.  `%%vm python` starts one."
    )


def kernels_html(kernels: Kernels) -> str:
    """Kernels as a table."""
    if not kernels:
        return "<p>No kernels. <code>%%vm python</code> starts one.</p>"
    return html_table(COLUMNS, list(map(_row, kernels)))


def banner_text(vm: VM) -> str:
    """Where a routed cell runs, such as "⇢ build"."""
    return f"⇢ {vm.label}"


def banner_html(vm: VM) -> str:
    """The same, in the grey of what is not the cell's own output."""
    style = "color: var(--jp-ui-font-color2, gray); font-size: 85%"
    return f'<span style="{style}">{in_html(banner_text(vm))}</span>'
