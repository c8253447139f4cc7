"""A Python on a machine that can run a Jupyter kernel: found there, or made in a folder of its own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from pi_v_jupyter.errors import KernelError
from pi_v_jupyter.remote.channel import Process, Request
from pi_v_jupyter.remote.refusals import shown

INSTALL_TIMEOUT = 900.0  # seconds
LOOK_TIMEOUT = 60.0
GRACE = 3.0  # seconds an installation that is stopped has to clean up
# The first that can: the environment of an earlier time, then what the user would call python3.
LOOK = """\
cd /  # in the user's home, a file may be named as a module is
for python in "$HOME/.local/share/pi-v/python/bin/python" python3; do
    if "$python" -c 'import ipykernel, jupyter_client' 2>/dev/null; then command -v "$python"; exit 0; fi
done
exit 3
"""
# Made beside its final place: one that was interrupted is no environment.
INSTALL = """\
set -e
final="$HOME/.local/share/pi-v/python" made="$final.$$"
mkdir -p "$(dirname "$final")"
cd /
if command -v flock >/dev/null; then exec 9>"$final.lock"; flock 9; fi
if "$final/bin/python" -c 'import ipykernel, jupyter_client' 2>/dev/null; then exit 0; fi
rm -rf "$final".[0-9]*
trap 'rm -rf "$made"' EXIT
trap 'exit 143' TERM
if command -v uv >/dev/null; then
    uv venv --quiet --seed --system-site-packages --relocatable "$made"
else
    if ! python3 -c 'import ensurepip' 2>/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null
    then
        echo "apt-get install python3-venv"
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
    fi
    python3 -m venv --system-site-packages "$made"
fi
echo "pip install ipykernel"
"$made/bin/python" -m pip install --quiet --disable-pip-version-check ipykernel
rm -rf "$final"
mv "$made" "$final"
"""


class Place(Protocol):
    """A machine, as a kernel needs it."""

    @property
    def home(self) -> asyncio.AbstractEventLoop:
        """The loop it lives on."""

    @property
    def label(self) -> str:
        """What to call it in a sentence."""

    async def connect(self) -> None:
        """Have a connection to it. Raises ConnectError: there can be none, for now or ever."""

    async def launch(self, request: Request) -> Process:
        """Start a command there."""


class Pythons:
    """The Pythons of one machine."""

    def __init__(self, place: Place, on_progress: Callable[[str], object]) -> None:
        self._place, self._on_progress = place, on_progress

    async def find(self) -> str:
        """The path of one that has ipykernel, which is installed first if need be.

        Raises:
            KernelError: it cannot be installed.
        """
        found = await self._look()
        if found is not None:
            return found
        self._on_progress(f"installing ipykernel on {self._place.label}, the first time only")
        code, said = await self._run(INSTALL, INSTALL_TIMEOUT, self._on_progress)
        found = await self._look() if code == 0 else None
        if found is None:
            why = (said.strip().splitlines() or ["no reason given"])[-1].rstrip(".")
            raise KernelError(
                f"ipykernel cannot be installed on {self._place.label}: {shown(why)}.",
                "`%vm python3 -m pip install ipykernel`, or as its system does it, and then again.",
            )
        return found

    async def _look(self) -> str | None:
        code, said = await self._run(LOOK, LOOK_TIMEOUT, lambda _: None)
        return said.strip() if code == 0 else None

    async def _run(
        self, script: str, timeout: float, on_line: Callable[[str], object]
    ) -> tuple[int | None, str]:
        """Its code, and what it said; the lines of its stdout are told as they come."""
        process = await self._place.launch(Request(command=script, timeout=timeout))
        said = bytearray()
        try:
            async for stream, piece in process.chunks():
                said += piece
                if stream == "stdout" and piece.strip():
                    line = piece.decode(errors="backslashreplace").strip().splitlines()[-1]
                    on_line(f"{shown(line)} on {self._place.label}")
            return (await process.wait()).code, said.decode(errors="backslashreplace")
        except asyncio.CancelledError:
            process.kill(signal.SIGTERM)  # it has something to remove
            with suppress(TimeoutError):
                async with asyncio.timeout(GRACE):
                    await process.wait()
            raise
        finally:
            await process.close()
