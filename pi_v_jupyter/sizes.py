"""How large a machine is, in words: the same ones in tables, trees and the dashboard."""

from __future__ import annotations


def mebibytes(size: int) -> str:
    """MiB as people say it, and no other number than it is: 512 MB, 1 GB, 1.5 GB, 3000 MB."""
    return f"{size / 1024:g} GB" if size >= 1024 and size % 512 == 0 else f"{size} MB"


def machine(vcpu: int | None, memory: int | None) -> str:
    """Processors and MiB of memory, such as "1 vCPU · 512 MB"; empty when the platform has not said."""
    return " · ".join([*([f"{vcpu} vCPU"] if vcpu else []), *([mebibytes(memory)] if memory else [])])
