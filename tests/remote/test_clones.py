"""What a clone of a machine, and a machine that was paused, still has of the sessions that were on it.

The clone is played by the machine itself: a second client comes with what a clone's would know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loopback import HOME, Loopback
from running import alive, collect, run, until, until_there

from pi_v_jupyter.errors import VMPausedError
from pi_v_jupyter.remote.channel import Request
from pi_v_jupyter.remote.connection import PAUSE_POLL, Connection
from pi_v_jupyter.remote.resident import NO_LEGACY, Legacy

Connect = Callable[..., Connection]


async def out(connection: Connection, code: str, shell: str = "cells") -> str:
    async with asyncio.timeout(20):
        outcome = await run(connection, shell=shell, code=code)
    assert outcome.code == 0, outcome
    return outcome.stdout.decode()


def never_returns(connection: Connection) -> None:
    """The client of the machine that was cloned: it is on that machine, and knows nothing of the clone."""
    connection._resident.on_lost = lambda: None


async def test_a_clone_goes_on_in_the_shell_session_where_it_was(server: Loopback, connect: Connect) -> None:
    parent = connect(server)
    await out(parent, "cd /usr/share; export WORD=kept; twice() { echo $1 $1; }")
    pid = await out(parent, "echo $$")
    never_returns(parent)
    clone = connect(server, legacy=parent.legacy)
    assert await out(clone, "pwd; echo $WORD; twice a; echo $$") == f"/usr/share\nkept\na a\n{pid}"


async def test_a_clone_has_random_numbers_of_its_own(server: Loopback, connect: Connect) -> None:
    parent = connect(server)
    await out(parent, "RANDOM=7")
    expected = await out(parent, "(RANDOM=7; echo $RANDOM)")
    never_returns(parent)
    clone = connect(server, legacy=parent.legacy)
    assert await out(clone, "echo $RANDOM") != expected


async def test_a_clone_of_a_clone_that_nobody_used_has_the_session_of_the_first(
    server: Loopback, connect: Connect
) -> None:
    first = connect(server)
    await out(first, "cd /usr/share")
    never_returns(first)
    second = connect(server, legacy=first.legacy)
    third = connect(server, legacy=Legacy.load(second.legacy.dump()))
    assert await out(third, "pwd") == "/usr/share\n"


async def test_what_ran_goes_on_and_is_in_nobodys_way(
    server: Loopback, connect: Connect, tmp_path: Path
) -> None:
    parent = connect(server)
    await out(parent, "cd /usr/share")
    cell = await parent.start(
        Request(
            shell="cells",
            code=f"echo $$ >{tmp_path}/pid; seq 2000000; until [ -e {tmp_path}/go ]; do sleep 0.02; done; "
            f"echo end >{tmp_path}/end",
        )
    )
    waiting = await parent.start(Request(shell="cells", code=f"touch {tmp_path}/never"))
    command = await parent.start(
        Request(command=f"until [ -e {tmp_path}/go ]; do sleep 0.02; done; echo end >{tmp_path}/end2")
    )
    fed = await parent.start(
        Request(command=f"echo $$ >{tmp_path}/fed; cat; touch {tmp_path}/half", stdin=True)
    )
    await fed.write(b"the first half")
    # A file is there before what is written to it.
    await until(
        lambda: all(name.is_file() and name.read_text() for name in (tmp_path / "pid", tmp_path / "fed"))
    )
    never_returns(parent)

    clone = connect(server, legacy=parent.legacy)
    assert await out(clone, "pwd") == f"{HOME}\n"  # that shell is busy: this is a fresh one
    shell, half = (int((tmp_path / name).read_text()) for name in ("pid", "fed"))
    await until(lambda: not alive(half))  # the rest of its input will never come
    assert alive(shell)
    (tmp_path / "go").touch()
    await until(lambda: all((tmp_path / name).exists() for name in ("end", "end2")))
    await until(lambda: not alive(shell))
    assert not any((tmp_path / name).exists() for name in ("never", "half"))
    for process in (cell, waiting, command, fed):
        await process.close()


async def test_what_runs_at_a_terminal_goes_on_without_a_screen(
    server: Loopback, connect: Connect, tmp_path: Path
) -> None:
    parent = connect(server)
    code = f"trap 'touch {tmp_path}/hung-up' HUP; seq 200000; touch {tmp_path}/end; sleep 300"
    process = await parent.start(Request(argv=("bash", "-c", f"echo $$; {code}"), pty=(80, 24)))
    pid = int((await anext(process.chunks()))[1].split()[0])
    never_returns(parent)
    clone = connect(server, legacy=parent.legacy)
    assert await out(clone, "echo there") == "there\n"
    await until((tmp_path / "end").exists)
    assert alive(pid) and not (tmp_path / "hung-up").exists()
    await out(clone, f"kill -9 -{pid}")
    await process.close()


async def test_a_command_of_the_parents_is_never_taken_for_one_of_the_clones(
    server: Loopback, connect: Connect
) -> None:
    parent = connect(server)
    for _ in range(3):
        await out(parent, "true")
    assert parent.legacy.numbers == 3
    never_returns(parent)
    clone = connect(server, legacy=parent.legacy)
    process = await clone.start(Request(shell="cells", code="echo mine"))
    assert process._number == 4 and (await collect(process)).stdout == b"mine\n"


@pytest.mark.parametrize("text", [None, "", "{", "[]", "3", '{"clients": 3}', '{"clients": ["a"]}'])
def test_what_is_kept_for_a_commit_may_be_damaged(text: str | None) -> None:
    assert Legacy.load(text) == NO_LEGACY


# Pausing


class Pausable:
    """A machine that says whether it is paused; nothing of it stands still."""

    def __init__(self, server: Loopback) -> None:
        self.server, self.paused, self.asked = server, False, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.server, name)

    async def check(self) -> None:
        self.asked += 1
        if self.paused:
            raise VMPausedError("VM box is paused.", "`%vers resume box` has it go on.")


async def test_after_a_pause_the_session_goes_on_where_it_was(server: Loopback, connect: Connect) -> None:
    box = Pausable(server)
    connection = connect(box)
    await out(connection, "cd /usr/share; export WORD=kept")
    await connection.suspend()
    await connection.resume()
    assert await out(connection, "pwd; echo $WORD") == "/usr/share\nkept\n"


async def test_a_cell_on_a_paused_machine_is_refused_in_one_sentence(
    server: Loopback, connect: Connect
) -> None:
    box = Pausable(server)
    connection = connect(box)
    await connection.open()
    box.paused = True
    await connection.suspend()
    with pytest.raises(VMPausedError, match=r"VM box is paused\."):
        await connection.start(Request(command="true"))
    box.paused = False  # somebody else had it go on
    assert (await run(connection, command="echo there")).stdout == b"there\n"


async def test_a_command_under_way_waits_through_a_pause(
    server: Loopback, connect: Connect, tmp_path: Path
) -> None:
    notices: list[str] = []
    box = Pausable(server)
    connection = connect(box, on_notice=notices.append)
    counting = "for i in {1..40}; do echo $i; sleep 0.01; done"
    process = await connection.start(Request(command=f"{counting}; {until_there(tmp_path / 'go')}; echo 41"))
    await anext(aiter(process.chunks()))
    box.paused = True
    await connection.suspend()
    await until(lambda: box.asked)
    (tmp_path / "go").touch()
    box.paused = False
    await connection.resume()
    rest = (await collect(process)).stdout
    assert rest.split()[-1] == b"41" and not notices


async def test_a_command_finds_out_that_somebody_else_paused_and_resumed(
    own_server: Loopback, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("pi_v_jupyter.remote.connection.PAUSE_POLL", PAUSE_POLL / 100)
    box = Pausable(own_server)
    connection = connect(box)
    process = await connection.start(Request(command=f"{until_there(tmp_path / 'go')}; echo through"))
    box.paused = True
    await connection.suspend()
    await until(lambda: box.asked >= 3)
    (tmp_path / "go").touch()
    box.paused = False
    assert (await collect(process)).stdout == b"through\n"
