"""Screens that show a terminal: none that is seen loses anything, and none holds it up for good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from loopback import Loopback
from machines import Reached
from running import alive, collect, until

from pi_v_jupyter import terminal
from pi_v_jupyter.remote._resident.wire import CHUNK
from pi_v_jupyter.remote.channel import Request
from pi_v_jupyter.remote.connection import Connection
from pi_v_jupyter.terminal import AHEAD, KEPT, Output, Terminal

NUMBERS = 400_000
LINES = b"".join(b"%d\r\n" % number for number in range(1, NUMBERS + 1))


class Screens:
    """What the screens of one terminal were sent, and what was shown beside."""

    def __init__(self, connection: Connection, *command: str) -> None:
        self.outputs: list[Output] = []
        self.sent: list[tuple[str | None, int, bytes]] = []
        self.statuses: list[str] = []
        self.terminal = Terminal(
            Reached(connection),
            command,
            on_output=self._take,
            on_status=self.statuses.append,
        )

    def _take(self, output: Output) -> None:
        self.outputs.append(output)
        self.sent.append((output.to, output.offset, output.data))

    def have(self, screen: str) -> bytes:
        """What that screen has, if it takes what is for it and for all as it comes."""
        got, start = bytearray(), None
        for to, offset, data in self.sent:
            if to == screen and start is None:
                start = offset
            if start is not None and to in (screen, None):
                end = start + len(got)
                assert offset <= end, "something is missing"
                got += data[end - offset :]
        return bytes(got)

    def acknowledge(self, *screens: str) -> None:
        for screen in screens:
            self.terminal.shown(screen, self.terminal._end)


@pytest.fixture
async def screens(
    own_server: Loopback, connect: Callable[..., Connection]
) -> AsyncIterator[Callable[..., Screens]]:
    """Makes terminals, closed at the end."""
    made: list[Screens] = []
    connection = connect(own_server)

    def new(*command: str) -> Screens:
        made.append(Screens(connection, *command))
        return made[-1]

    yield new
    for one in made:
        await one.terminal.close()


async def ended(screens: Screens) -> None:
    await until(lambda: b"[ended: " in screens.terminal._kept)


async def test_a_screen_is_sent_everything_once_and_in_order(screens: Callable[..., Screens]) -> None:
    shown = screens("bash", "-c", f"read; seq {NUMBERS}; exit 3")
    await shown.terminal.start()
    shown.terminal.opened("a", 0)
    shown.terminal.typed("a", 0, b"\n")
    while b"[ended: " not in shown.terminal._kept:
        await asyncio.sleep(0.001)
        shown.acknowledge("a")
        shown.acknowledge("a")
    text = shown.have("a")
    assert text.startswith(b"\r\n" + LINES)
    assert text.endswith(b"\r\n[ended: exit code 3]\r\n")


async def test_a_screen_that_is_behind_holds_the_program_until_it_is_not(
    screens: Callable[..., Screens],
) -> None:
    shown = screens("bash", "-c", f"read; seq {NUMBERS}")
    await shown.terminal.start()
    for screen in ("quick", "slow"):
        shown.terminal.opened(screen, 0)
    shown.terminal.typed("quick", 0, b"\n")
    await until(lambda: shown.terminal._end > AHEAD)
    shown.acknowledge("quick")
    other = await shown.terminal.machine.launch(Request(command="sleep 0.3; echo meanwhile"))
    assert (await collect(other)).stdout == b"meanwhile\n"
    assert len(shown.have("slow")) <= AHEAD + CHUNK
    while b"[ended: " not in shown.terminal._kept:
        await asyncio.sleep(0.001)
        shown.acknowledge("quick", "slow")
    assert shown.have("quick") == shown.have("slow")
    assert LINES in shown.have("slow")


async def test_a_screen_nobody_sees_is_not_waited_for_and_catches_up_when_it_is_back(
    screens: Callable[..., Screens], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "AWAY", 0.1)
    shown = screens("bash", "-c", f"read; seq {NUMBERS}; printf odd")
    await shown.terminal.start()
    shown.terminal.opened("a", 0)
    shown.terminal.typed("a", 0, b"\n")
    await ended(shown)
    before = len(shown.sent)
    shown.terminal.shown("a", 1000)
    ((to, offset, data),) = shown.sent[before:]
    assert to == "a"
    assert len(data) <= KEPT and data.endswith(b"\r\n[ended: exit code 0]\r\n")
    first, second = map(int, data.split()[:2])
    assert first + 1 == second  # from the beginning of a line
    assert offset > 1000


async def test_a_screen_that_went_without_a_word_is_not_waited_for_where_another_shows_all(
    screens: Callable[..., Screens], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "AWAY", 1000.0)
    monkeypatch.setattr(terminal, "GONE", 0.1)
    shown = screens("bash", "-c", f"read; seq {NUMBERS}")
    await shown.terminal.start()
    for screen in ("of a page that was loaded again", "a"):
        shown.terminal.opened(screen, 0)
    shown.terminal.typed("a", 0, b"\n")
    while b"[ended: " not in shown.terminal._kept:
        await asyncio.sleep(0.001)
        shown.acknowledge("a")
    assert LINES in shown.have("a")


async def test_what_a_program_asks_is_answered_by_one_screen_and_once(
    screens: Callable[..., Screens],
) -> None:
    shown = screens("bash", "-c", "echo first; read; echo second; read")
    await shown.terminal.start()
    await until(lambda: b"first\r\n" in shown.terminal._kept)
    shown.terminal.opened("a", 0)
    assert shown.outputs[-1].answered == 0
    shown.terminal.typed("a", 7, b"\n")
    await until(lambda: b"second\r\n" in shown.have("a"))
    shown.terminal.opened("b", 0)
    assert shown.outputs[-1].answered == len(shown.have("b")) == shown.terminal._end
    assert {output.speaker for output in shown.outputs} == {"a"}
    shown.terminal.resize("b", 80, 24)  # it is looked at
    shown.terminal.opened("c", 0)
    assert shown.outputs[-1].speaker == "b"
    shown.terminal.left("b")
    shown.terminal.opened("d", 0)
    assert shown.outputs[-1].speaker == "c"


async def test_a_screen_that_comes_late_is_put_in_the_modes_that_it_missed(
    screens: Callable[..., Screens],
) -> None:
    shown = screens("bash", "-c", rf"printf '\e[?1049h\e[?1;25l\e[?1h'; seq {NUMBERS}; read")
    await shown.terminal.start()
    await until(lambda: shown.terminal._kept.endswith(b"\r\n%d\r\n" % NUMBERS))
    await until(lambda: shown.terminal._begin > 0)
    shown.terminal.opened("late", 0)
    assert shown.outputs[-1].modes == "\x1b[?1049h\x1b[?1h\x1b[?25l"
    shown.terminal.opened("late", shown.terminal._end)
    assert shown.outputs[-1].modes == ""


async def test_what_is_typed_when_nobody_reads_is_not_kept(screens: Callable[..., Screens]) -> None:
    shown = screens("true")
    await shown.terminal.start()
    shown.terminal.opened("a", 0)
    assert not shown.outputs[-1].over
    await ended(shown)
    await until(lambda: shown.outputs[-1].over)
    for _ in range(100):
        shown.terminal.typed("a", 0, bytes(1 << 20))
    assert shown.terminal._typed.qsize() == 0
    asleep = screens("sleep", "300")
    await asleep.terminal.start()
    for _ in range(100):
        asleep.terminal.typed("a", 0, bytes(1 << 20))
    assert asleep.terminal._typed.qsize() <= terminal.TYPED >> 20


async def test_without_a_screen_it_goes_on_and_its_last_output_is_kept(
    screens: Callable[..., Screens],
) -> None:
    shown = screens("seq", str(NUMBERS))
    await shown.terminal.start()
    await ended(shown)
    assert shown.sent == []
    shown.terminal.opened("late", 0)
    # The usual screen, a soft reset, the usual characters; no mouse, no pastes in brackets; a cursor.
    plain = b"\x1b[?47l\x1b[!p\x1b(B\x0f\x1b[?9;1000;1002;1003;1004;1006;2004l\x1b[?25h"
    assert shown.have("late").endswith(b"\r\n400000\r\n" + plain + b"\r\n[ended: exit code 0]\r\n")
    assert KEPT // 2 < len(shown.have("late")) <= KEPT


async def test_a_break_is_told_while_it_lasts(
    screens: Callable[..., Screens], own_server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert own_server.front
    monkeypatch.setattr(terminal, "SILENCE", 0.0)
    shown = screens("cat")
    await shown.terminal.start()
    shown.terminal.opened("a", 0)
    own_server.front.refuse = True
    own_server.front.cut()
    await until(lambda: shown.statuses == ["reconnecting …"])
    shown.terminal.typed("a", 0, b"still there\n")
    own_server.front.refuse = False
    await until(lambda: shown.have("a") == b"still there\r\nstill there\r\n")
    assert shown.statuses == ["reconnecting …", ""]


async def test_ctrl_s_searches_at_the_prompt_of_a_shell_and_stops_no_output(
    screens: Callable[..., Screens],
) -> None:
    shown = screens()
    await shown.terminal.start()
    shown.terminal.opened("a", 0)
    shown.terminal.typed("a", 0, b"echo be''gun\n")
    await until(lambda: b"begun\r\n" in shown.have("a"))
    shown.terminal.typed("a", 0, b"\x13\x07echo go''es on\n")
    await until(lambda: b"goes on\r\n" in shown.have("a"))


async def test_closing_hangs_up_even_at_once(screens: Callable[..., Screens]) -> None:
    shown = screens("bash", "-c", "echo pid $$; exec sleep 300")
    await shown.terminal.start()
    shown.terminal.opened("a", 0)
    await until(lambda: b"\r\n" in shown.have("a"))
    pid = int(shown.have("a").split()[1])
    await shown.terminal.close()
    assert shown.have("a").endswith(b"[ended: it was closed]\r\n")
    await until(lambda: not alive(pid))
    at_once = screens("sleep", "300")
    await at_once.terminal.start()
    await at_once.terminal.close()
    assert not at_once.terminal.machine.connection._resident.busy
