"""A command's output while there is no network for a while; to be run in a network namespace of its own.

Prints what came, as one line of JSON: the output's lines, the notices, and how often it connected.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import socket
import struct
import sys
from pathlib import Path

from loopback import MemoryPins, loopback_sshd

from pi_v_jupyter.remote.channel import Request
from pi_v_jupyter.remote.connection import Connection

SECONDS = 30
LINES = 45  # one a second: the network goes after the fifth, and is there again before the last
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1  # of <linux/sockios.h> and <linux/if.h>


def set_network(up: bool) -> None:
    """Bring the loopback device up or down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = struct.pack("16sH14x", b"lo", 0)
        _, flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, _GET_FLAGS, asked))
        wanted = flags | _UP if up else flags & ~_UP
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH14x", b"lo", wanted))


async def cut() -> None:
    set_network(up=False)
    await asyncio.sleep(SECONDS)
    set_network(up=True)


async def main(folder: Path) -> None:
    notices: list[str] = []
    with loopback_sshd(folder) as server:
        connection = Connection(server, MemoryPins(), on_notice=notices.append)
        command = f"for i in {{1..{LINES}}}; do echo $i; sleep 1; done"
        process = await connection.start(Request(command=command))
        got, gone = b"", False
        async with asyncio.TaskGroup() as tasks:
            async for _, data in process.chunks():
                got += data
                if not gone and b"\n5\n" in got:
                    gone = True
                    tasks.create_task(cut())
        assert (await process.wait()).code == 0
        await connection.close()
        assert server.front is not None
        told = {"lines": got.decode().split(), "notices": notices, "connected": server.front.accepted}
    print(json.dumps(told))


if __name__ == "__main__":
    set_network(up=True)
    asyncio.run(main(Path(sys.argv[1])))
