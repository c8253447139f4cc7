"""Python values to and from a kernel on a machine, by `_kernel/travel.py`, which runs at both ends."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import resources
from typing import Any

from pi_v_jupyter.errors import KernelError, RemoteFileError, UsageError
from pi_v_jupyter.remote import _kernel
from pi_v_jupyter.remote._kernel import travel
from pi_v_jupyter.remote.files import Files
from pi_v_jupyter.remote.kernel import FOLDER, Kernel

OnProgress = Callable[[int, int | None], object]
PICKLE = (
    "`--pickle` of `%vers push` and `pull` (`pickle=True`) sends it all the same, and trusts the other end."
)
# Makes the module at the other end, once for each release of it.
SETUP = """\
def __pi_v_made(source, digest):
    import sys, types
    made = sys.modules.get("pi_v_travel")
    if made is None or made.DIGEST != digest:
        made = types.ModuleType("pi_v_travel")
        made.DIGEST = digest
        sys.modules["pi_v_travel"] = made
        exec(compile(source, "pi_v_travel", "exec"), made.__dict__)
__pi_v_made({source!r}, {digest!r})
del __pi_v_made
"""


@cache
def _setup() -> str:
    source = resources.files(_kernel).joinpath("travel.py").read_text(encoding="utf-8")
    return SETUP.format(source=source, digest=hashlib.sha256(source.encode()).hexdigest())


async def push(
    machine: Files,
    kernel: Kernel,
    values: Mapping[str, Any],
    *,
    pickle: bool = False,
    on_progress: OnProgress = lambda done, total: None,
) -> int:
    """Give the kernel's namespace `values` by their names; the bytes it took. On the machine's loop.

    Raises:
        UsageError: one does not travel; nothing was changed there.
    """
    there = await _told(kernel, "libraries()", pickle=pickle)
    try:
        data = await asyncio.to_thread(travel.dump, dict(values), there, pickle)
    except travel.Unfit as error:
        raise _refusal(type(error).__name__, str(error), kernel, pickle=pickle) from None
    path = _path()
    try:
        await machine.write(path, data, mode=0o600, on_progress=on_progress)
        await _told(kernel, f"take({path!r}, get_ipython().user_ns, {pickle!r})", pickle=pickle)
    finally:
        with suppress(RemoteFileError):  # it was taken
            await machine.remove(path)
    return len(data)


async def pull(
    machine: Files,
    kernel: Kernel,
    names: Sequence[str],
    known: dict[str, Any],
    *,
    pickle: bool = False,
    on_progress: OnProgress = lambda done, total: None,
) -> tuple[dict[str, Any], int]:
    """The values of `names` in the kernel, and the bytes they took. On the machine's loop.

    `known`: where a dataclass of `__main__` is looked for.

    Raises:
        UsageError: one is not there, or does not travel.
    """
    path = _path()
    here = travel.libraries()
    try:
        size = await _told(
            kernel,
            f"leave({path!r}, {list(names)!r}, get_ipython().user_ns, {here!r}, {pickle!r})",
            pickle=pickle,
        )
        data = await machine.read_bytes(path, on_progress=lambda done: on_progress(done, size))
    finally:
        with suppress(RemoteFileError):  # it was not left
            await machine.remove(path)
    try:
        return await asyncio.to_thread(travel.load, data, known, pickle), len(data)
    except travel.Unfit as error:
        raise _refusal(type(error).__name__, str(error), kernel, pickle=pickle) from None


def _path() -> str:
    return f"{FOLDER}/{secrets.token_hex(8)}.values"


async def _told(kernel: Kernel, call: str, *, pickle: bool) -> Any:
    """What a function of `travel` returned there."""
    asked = f"__import__('json').dumps(__import__('pi_v_travel').{call})"
    reply = await kernel.execute(_setup(), silent=True, expressions={"told": asked})
    found = reply.get("user_expressions", {}).get("told", {})
    if found.get("status") == "ok":
        try:
            return json.loads(ast.literal_eval(found["data"]["text/plain"]))
        except (ValueError, KeyError, TypeError, SyntaxError):
            pass
    elif found.get("ename") in ("Unfit", "Missing", "Lacking"):
        raise _refusal(str(found["ename"]), str(found.get("evalue", "")), kernel, pickle=pickle)
    why = found.get("evalue") or reply.get("evalue") or "no answer"
    raise KernelError(f"The kernel {kernel.name} on {kernel.place.label} could not do it: {why}.")


def _refusal(kind: str, why: str, kernel: Kernel, *, pickle: bool) -> UsageError:
    if kind == "Missing":
        return UsageError(
            f"There is no variable {why} in the kernel {kernel.name} on {kernel.place.label}.",
            "`%%vm python` with `%who` lists those there are.",
        )
    hint = f"JSON, bytes, arrays, tables, and dataclasses of those do. {PICKLE}"
    if kind == "Lacking":
        hint = "Both ends must have it."
    elif pickle:
        hint = ""
    return UsageError(f"That does not travel to or from {kernel.place.label}: {why}.", hint)
