"""Background processes: started, looked at, read and found again, here and on a machine behind sshd."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backgrounds import leave
from machines import Reached
from running import alive, until

from pi_v_jupyter.errors import (
    NotReadyError,
    RemoteCommandError,
    RemoteFileError,
    UnknownProcessError,
    UsageError,
)
from pi_v_jupyter.machine import Machine
from pi_v_jupyter.remote.background import BackgroundProcess
from pi_v_jupyter.remote.journals import Line

Reach = Callable[[], Reached]
WAIT = "; exec sleep 300"


def seen(lines: list[Line]) -> list[tuple[str, str]]:
    return [(line.stream, str(line)) for line in lines]


async def test_what_it_writes_and_how_it_ended(place: Machine) -> None:
    process = await place.start("echo out; echo err >&2; exit 3", id="web")
    assert await process is process
    assert (process.state, process.exit_code, process.signal, process.stopped_by) == ("ended", 3, None, None)
    assert process.outcome == "exit code 3"
    assert sorted(seen(await process.logs())) == [("stderr", "err"), ("stdout", "out")]
    assert seen(await process.logs(stream="stderr")) == [("stderr", "err")]
    assert seen([line async for line in process.lines("stdout")]) == [("stdout", "out")]


async def test_the_signal_that_ended_it_is_told(place: Machine) -> None:
    process = await (await place.start("kill -SEGV $$", id="web"))
    assert (process.exit_code, process.signal, process.outcome) == (None, "SIGSEGV", "ended by SIGSEGV")


async def test_words_are_a_program_and_its_arguments(place: Machine) -> None:
    process = await (await place.start(["printf", "%s\n", "$HOME", "a b"], id="web"))
    assert await process.logs() == ["$HOME", "a b"]


async def test_a_command_that_is_not_there(place: Machine) -> None:
    process = await (await place.start("no-such-command", id="shell"))
    assert process.exit_code == 127 and "no-such-command" in (await process.logs())[0]
    for restart in (False, True):
        with pytest.raises(RemoteCommandError, match="no-such-program: command not found") as caught:
            await place.start(["no-such-program"], id="words", restart=restart)
        assert caught.value.exit_code == 127
    assert [process.id for process in await place.processes()] == ["shell"]


async def test_where_it_runs_and_with_what(place: Machine, tmp_path: Path) -> None:
    process = await place.start('pwd; echo "$A"', id="web", cwd=str(tmp_path), env={"A": "1 2"})
    await process
    assert await process.logs() == [str(tmp_path), "1 2"]
    with pytest.raises(RemoteFileError, match="nowhere"):
        await place.start("true", id="other", cwd=str(tmp_path / "nowhere"))
    wrongs: list[dict[str, Any]] = [{"env": {"A=B": "1"}}, {"env": {"A": 5}}, {"id": 5}, {"id": ""}]
    for wrong in wrongs:
        with pytest.raises(UsageError):
            await place.start("true", **({"id": "other"} | wrong))
    commands: list[Any] = [[1], ["a", "\0"], "a\0", "", " ", []]
    for command in commands:
        with pytest.raises(UsageError):
            await place.start(command, id="other")
    assert [each.id for each in await place.processes()] == ["web"]


async def test_a_restart_that_cannot_be_ends_nothing(place: Machine, tmp_path: Path) -> None:
    process = await place.start("exec sleep 300", id="web")
    with pytest.raises(RemoteFileError, match="nowhere"):
        await place.start("true", id="web", cwd=str(tmp_path / "nowhere"), restart=True)
    with pytest.raises(RemoteCommandError, match="not found"):
        await place.start(["no-such-program"], id="web", restart=True)
    assert (await process.refresh()).state == "running"


async def test_several_who_replace_one_at_once_end_with_one(reach: Reach) -> None:
    starts = (reach().start("exec sleep 300", id="web", restart=True) for _ in range(3))
    outcomes = await asyncio.gather(*starts, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} <= {BackgroundProcess, UsageError}
    states = [(await each.refresh()).state for each in outcomes if isinstance(each, BackgroundProcess)]
    assert states.count("running") == 1


async def test_it_reads_nothing(place: Machine) -> None:
    process = await (await place.start("cat; echo $?", id="web"))
    assert await process.logs() == ["0"]


@pytest.mark.parametrize("process_id", ["", ".", "..", "a/b", "-x", "a b", "a\n", "ü", "x" * 65, "\x1b[2J"])
async def test_names_that_cannot_be(place: Machine, process_id: str) -> None:
    with pytest.raises(UsageError, match="cannot name a background process") as caught:
        await place.start("true", id=process_id)
    assert "\x1b" not in str(caught.value) and "\n" not in caught.value.message


async def test_names_that_can_be(place: Machine) -> None:
    for process_id in ("a", "A.b_c-9", "x" * 64):
        assert (await (await place.start("true", id=process_id))).exit_code == 0
    assert [process.id for process in await place.processes()] == ["A.b_c-9", "a", "x" * 64]


async def test_an_unknown_name_gets_the_nearest(place: Machine) -> None:
    await place.start("true", id="server")
    with pytest.raises(UnknownProcessError, match=r"no background process servr on .* Did you mean server"):
        await place.process("servr")


async def test_a_name_that_runs_is_refused_and_a_restart_waits_for_the_end(place: Machine) -> None:
    first = await place.start(
        "trap 'echo bye; sleep 0.2; exit' TERM; echo up; while :; do sleep 0.01; done", id="a"
    )
    await first.ready("up")
    with pytest.raises(UsageError, match="a runs already") as caught:
        await place.start("true", id="a")
    assert "restart" in caught.value.hint
    second = await place.start(f"kill -0 {first.pid} 2>&- && echo both; echo two", id="a", restart=True)
    await second
    assert second.status.run != first.status.run
    assert await second.logs(1) == ["two"] and "both" not in await second.logs()
    assert [line async for line in second.lines()] == ["two"], "its own lines only"
    told = [line.partition(",")[0] for line in await second.logs() if line != "Terminated"]
    assert told == ["up", "bye", "— started again", "two"]
    await first.refresh()
    assert first.state == "lost"


async def test_of_many_who_start_one_name_at_once_exactly_one_does(reach: Reach) -> None:
    machines = [reach() for _ in range(4)]
    for _ in range(3):
        outcomes = await asyncio.gather(
            *(machine.start("exec sleep 300", id="web") for machine in machines * 3), return_exceptions=True
        )
        started = [outcome for outcome in outcomes if isinstance(outcome, BackgroundProcess)]
        refused = [outcome for outcome in outcomes if isinstance(outcome, UsageError)]
        assert (len(started), len(refused)) == (1, 11)
        await started[0].stop()
        await started[0].remove()


async def test_it_runs_as_long_as_anything_of_it_does(place: Machine) -> None:
    process = await place.start("sleep 300 & echo $!; exit 7", id="web")
    child = int(str(await process.ready(r"\d+")))
    await until(lambda: not alive(process.pid))
    assert (await process.refresh()).state == "running"
    os.kill(child, 9)
    assert (await process).exit_code == 7


async def test_a_line_that_never_ends_is_shown_all_the_same(place: Machine) -> None:
    process = await place.start("printf 'one\\ntwo... '" + WAIT, id="web")
    got = ""
    async for name, text in process.output():
        got += f"{name}: {text}"
        if "two" in got:
            break
    assert got.replace("\nstdout: ", "\n") == "stdout: one\ntwo... "
    await process.stop()
    assert await process.logs() == ["one", "two... "]


async def test_its_log_has_all_that_was_written_before_it_was_asked_for(
    place: Machine, tmp_path: Path
) -> None:
    code = "until [ -e go$n ]; do sleep 0.01; done; echo out $n; echo err $n >&2; touch gone$n"
    process = await place.start(f"for n in $(seq 9); do {code}; done", id="web", cwd=str(tmp_path))
    for count in range(1, 10):
        (tmp_path / f"go{count}").touch()
        await until((tmp_path / f"gone{count}").exists)
        assert len(await process.logs()) == 2 * count


async def test_short_lines_in_great_number_come_while_it_runs(place: Machine) -> None:
    process = await place.start(f"yes '' | head -n 3000000; echo end{WAIT}", id="web")
    count = 0
    async for line in process.lines():
        count += 1
        if line == "end":
            break
    assert count == 3_000_001


async def test_bytes_that_are_no_text_are_shown(place: Machine) -> None:
    process = await (await place.start(r"printf '\xff\xfe\n\xf0\x9f'; printf '\x98\x80\n\0'", id="web"))
    assert await process.logs() == [r"\xff\xfe", "😀", "\0"]


async def test_the_log_of_a_text_written_byte_by_byte(place: Machine) -> None:
    code = "import os, time\nfor b in 'é日🙂\\n'.encode(): os.write(1, bytes([b])); time.sleep(0.6)"
    process = await place.start([sys.executable, "-c", code], id="web")
    assert "".join([text async for _, text in process.output()]) == "é日🙂\n"
    assert await process.logs() == ["é日🙂"]


async def test_it_is_ready_when_a_line_says_so_or_a_port_is_listened_to(place: Machine) -> None:
    code = (
        "import socket, time\ns = socket.create_server(('127.0.0.1', 0))\n"
        "print('port', s.getsockname()[1], flush=True)\ntime.sleep(300)"
    )
    process = await place.start([sys.executable, "-c", code], id="web")
    line = await process.ready(re.compile(r"port (\d+)"))
    assert line is not None and line.stream == "stdout"
    assert await process.ready(int(line.split()[1])) is None
    with pytest.raises(NotReadyError, match=r"not ready after 0\.2 s") as caught:
        await process.ready("never", timeout=0.2)
    assert "%bg logs web" in caught.value.hint and (await process.refresh()).state == "running"
    with pytest.raises(NotReadyError, match="does not listen to port 1"):
        await process.ready(1, timeout=0.3)
    with pytest.raises(UsageError, match="no regular expression"):
        await process.ready("(")


@pytest.mark.parametrize("what", ["never", 1])
async def test_one_that_ends_before_it_is_ready(place: Machine, what: str | int) -> None:
    process = await place.start("echo 'cannot bind' >&2; sleep 0.2; exit 0", id="web")
    with pytest.raises(RemoteCommandError, match="ended before it was ready: exit code 0") as caught:
        await process.ready(what)
    assert caught.value.stderr == "cannot bind"


async def test_it_is_measured(place: Machine) -> None:
    process = await place.start("while :; do :; done", id="web")

    async def busy() -> None:
        while process.status.cpu < 0.2 or process.status.memory < 100_000:
            await process.refresh()

    await asyncio.wait_for(busy(), 60)
    assert 0 < process.cpu_percent < 250 and process.status.uptime > 0


async def test_one_that_ended_can_be_forgotten_and_one_that_runs_cannot(place: Machine) -> None:
    process = await place.start("exec sleep 300", id="web")
    with pytest.raises(UsageError, match="web runs on"):
        await process.remove()
    await process.stop()
    await process.remove()
    assert await place.processes() == []


async def test_names_that_are_forgotten_and_taken_at_once_are_one_persons(reach: Reach) -> None:
    machines = [reach() for _ in range(3)]

    async def turn(machine: Reached) -> int:
        started = 0
        for _ in range(10):
            try:
                process = await machine.start("exec sleep 300", id="web")
                assert (await process.refresh()).state == "running", "another took it"
                await process.stop()
                started += 1
                await process.remove()
            except (UsageError, RemoteFileError, UnknownProcessError):
                continue
        return started

    assert sum(await asyncio.gather(*map(turn, machines))) > 0
    for each in await machines[0].processes():
        assert each.state == "ended"


async def test_it_outlives_its_session_and_is_found_by_its_name(reach: Reach, tmp_path: Path) -> None:
    first = reach()
    process = await first.start(
        "echo one; until [ -e go ]; do sleep 0.01; done; echo two", id="web", cwd=str(tmp_path)
    )
    await process.ready("one")
    await leave(first)
    again = await reach().process("web")
    assert (again.state, again.pid, again.command) == ("running", process.pid, process.command)
    assert (await again.stop()).stopped_by == "SIGTERM"
    assert await again.logs() == ["one"]


async def test_twenty_who_follow_all_get_each_line(reach: Reach) -> None:
    machines = [reach() for _ in range(2)]
    await machines[0].start("for i in {1..2000}; do echo $i; done; sleep 0.3; seq 2001 100000", id="web")
    followed = [await machine.process("web") for machine in machines * 10]

    async def lines(process: BackgroundProcess) -> list[str]:
        return [line async for line in process.lines()]

    wanted = [str(number) for number in range(1, 100001)]
    assert all(got == wanted for got in await asyncio.gather(*map(lines, followed)))


async def test_a_log_in_a_folder_with_a_long_name(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pi_v_jupyter.machine import Here

    monkeypatch.setenv("XDG_DATA_HOME", str(data / ("long" * 60)))
    machine = Here(asyncio.get_running_loop())
    process = await machine.start(f"echo up{WAIT}", id="x" * 64)
    await process.ready("up")
    assert (await process.stop()).signal == "SIGTERM"
    await machine.close()
