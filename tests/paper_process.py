"""The processes behind paper machines: real memory, mapped as QEMU maps it, and a monitor of a few words.

Run as a program it makes one for each line on its standard input: `{"memory", "layers", "monitor"}`, answered
by its process id. A machine outlives whoever speaks to it; all end with this program.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

PAGE = mmap.PAGESIZE
PAGES = 32  # of memory for each token, in a row
_PR_SET_PDEATHSIG = 1


class Process:
    """One machine. Tokens, small numbers, are written to its memory and to the last layer of its disk."""

    def __init__(self, memory: str, layers: list[str], monitor: str) -> None:
        file = os.open(memory, os.O_RDWR)
        size = os.fstat(file).st_size
        self._memory = mmap.mmap(file, size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
        self._layers = layers
        self._runs = False
        self._listener = socket.socket(socket.AF_UNIX)
        Path(monitor).unlink(missing_ok=True)
        self._listener.bind(monitor)
        self._listener.listen()

    def serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection, connection.makefile("rw") as lines:
                for line in lines:
                    words = json.loads(line)
                    lines.write(json.dumps(getattr(self, words.pop("op"))(**words)) + "\n")
                    lines.flush()

    def run(self, on: bool) -> None:
        self._runs = on

    def status(self) -> dict[str, Any]:
        return {"runs": self._runs, "layer": self._layers[-1]}

    def put_layer(self, path: str) -> None:
        self._layers.append(path)

    def plant(self, token: int, pages: int) -> None:
        assert self._runs
        for page in range(token * PAGES, token * PAGES + pages):
            self._memory[page * PAGE : page * PAGE + 4] = token.to_bytes(4, "little")
        with Path(self._layers[-1]).open("a") as layer:
            layer.write(f"{token}\n")

    def found(self, below: int) -> dict[str, list[int]]:
        """The tokens there are, of those from 1 to `below`."""
        starts = ((token, token * PAGES * PAGE) for token in range(1, below))
        memory = [t for t, at in starts if self._memory[at : at + 4] == t.to_bytes(4, "little")]
        disk = sorted({int(token) for layer in self._layers for token in Path(layer).read_text().split()})
        return {"memory": memory, "disk": disk}

    def dump(self, path: str) -> None:
        """Write the whole memory, as QEMU's `pmemsave` does; only what is not zero, for speed."""
        with Path(path).open("wb") as file:
            file.truncate(len(self._memory))
            for at in range(0, len(self._memory), PAGES * PAGE):
                part = self._memory[at : at + PAGES * PAGE]
                if any(part):
                    os.pwrite(file.fileno(), part, at)

    def quit(self) -> None:
        os._exit(0)


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system takes away those that have ended
    for line in sys.stdin:
        process = Process(**json.loads(line))
        pid = os.fork()
        if pid == 0:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            process.serve()
        print(pid, flush=True)
        del process


if __name__ == "__main__":
    main()
