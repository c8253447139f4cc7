"""Commands on a VM: what goes in, and how they end."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from pathlib import Path

import pytest
from loopback import HOME
from running import alive, collect, descriptors, resident_pid, run, until

from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.remote.channel import Request
from pi_v_jupyter.remote.connection import Connection

pytestmark = pytest.mark.asyncio(loop_scope="session")

KINDS = [pytest.param("command", id="by bash"), pytest.param("argv", id="as it stands")]


def bash(kind: str, text: str) -> dict[str, object]:
    return {"command": text} if kind == "command" else {"argv": ("bash", "-c", text)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("code", [0, 1, 3, 255])
async def test_the_exit_code_is_the_commands(vm: Connection, kind: str, code: int) -> None:
    assert (await run(vm, **bash(kind, f"exit {code}"))).code == code


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGSEGV", "SIGUSR1"])
async def test_a_signal_is_told_by_its_name(vm: Connection, kind: str, name: str) -> None:
    outcome = await run(vm, **bash(kind, f"kill -{name[3:]} $$"))
    assert (outcome.exit.signal, outcome.code) == (name, None)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_signal_reaches_the_whole_process_group(vm: Connection, kind: str, tmp_path: Path) -> None:
    process = await vm.start(
        Request(**bash(kind, f"sleep 100 & echo $! >{tmp_path}/pid; echo up; sleep 100; echo no"))  # type: ignore[arg-type]
    )
    chunks = process.chunks()
    assert await anext(chunks) == ("stdout", b"up\n")
    process.kill(signal.SIGTERM)
    assert (await collect(process)).exit.signal == "SIGTERM"
    child = int((tmp_path / "pid").read_text())
    await until(lambda: not alive(child))


@pytest.mark.parametrize("kind", KINDS)
async def test_the_folder_is_home_unless_named(vm: Connection, kind: str) -> None:
    assert (await run(vm, **bash(kind, "pwd"))).stdout.decode().strip() == str(HOME)
    assert (await run(vm, **bash(kind, "pwd"), cwd="/usr")).stdout == b"/usr\n"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_relative_folder_starts_at_home(vm: Connection, kind: str) -> None:
    name = f"pi v {os.getpid()}"
    folder = HOME / name
    folder.mkdir(exist_ok=True)
    try:
        assert (await run(vm, **bash(kind, "pwd"), cwd=name)).stdout.decode().strip() == str(folder)
    finally:
        folder.rmdir()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_missing_folder_is_named(vm: Connection, kind: str, tmp_path: Path) -> None:
    outcome = await run(vm, **bash(kind, "true"), cwd=f"{tmp_path}/none")
    assert outcome.exit.error == "ENOENT"
    assert outcome.exit.what == f"{tmp_path}/none"
    (tmp_path / "file").touch()
    outcome = await run(vm, **bash(kind, "true"), cwd=f"{tmp_path}/file")
    assert (outcome.exit.error, outcome.exit.what) == ("ENOTDIR", f"{tmp_path}/file")


async def test_a_missing_program_is_named(vm: Connection) -> None:
    outcome = await run(vm, argv=("no-such-program", "x"))
    assert (outcome.exit.error, outcome.exit.what) == ("ENOENT", "no-such-program")


VALUES = {
    "QUOTES": """it's "so" `x` $(id) $HOME \\ !""",
    "LINES": "one\ntwo\n\n  three\n",
    "WORDS": "a  b\tc ; & | > < * ? [x] {y,z} ~ #",
    "UNICODE": "日本語 \u2028 é 🙂",
    "EMPTY": "",
    "_under9": "-n",
    "DASH": "--",
}


@pytest.mark.parametrize("kind", KINDS)
async def test_values_of_the_environment_arrive_as_they_are(vm: Connection, kind: str) -> None:
    text = "for n in " + " ".join(VALUES) + r"""; do printf '%s\0' "$(printenv $n; echo .)"; done"""
    outcome = await run(vm, **bash(kind, text), env=VALUES)
    got = [value.removesuffix("\n.") for value in outcome.stdout.decode().split("\0")[:-1]]
    assert got == list(VALUES.values())


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "é", "x;id", "A\n"])
async def test_a_name_no_variable_can_have_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name"):
        Request(command="true", env={name: "x"})


@pytest.mark.parametrize(
    "request_parts",
    [
        {"command": "echo a\0echo b"},
        {"code": "\0", "shell": "x"},
        {"argv": ("echo", "a\0b")},
        {"command": "true", "cwd": "/\0"},
        {"command": "true", "env": {"A": "x\0touch /tmp/no; "}},
    ],
)
async def test_a_nul_is_refused(request_parts: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="NUL"):
        Request(**request_parts)  # type: ignore[arg-type]


async def test_a_list_of_words_meets_no_shell(vm: Connection) -> None:
    words = ("$(id)", "`id`", "*", "a b", "", "'", '"', "\n", "é", "-n")
    outcome = await run(vm, argv=("printf", "%s\\0", *words))
    assert outcome.stdout.decode().split("\0")[:-1] == list(words)


async def test_code_reaches_an_interpreter_in_a_file_without_a_name(vm: Connection) -> None:
    code = "import sys; print(sys.argv[1:], open('/proc/self/cmdline').read().count('secret'))  # secret"
    outcome = await run(vm, argv=("python3",), code=code)
    assert outcome.stdout == b"[] 0\n"


@pytest.mark.parametrize("kind", KINDS)
async def test_without_stdin_a_command_reads_the_end_of_file_at_once(vm: Connection, kind: str) -> None:
    outcome = await run(vm, **bash(kind, "cat; read x; echo $?"))
    assert outcome.stdout == b"1\n"


@pytest.mark.parametrize("kind", KINDS)
async def test_stdin_arrives_byte_for_byte(vm: Connection, kind: str) -> None:
    data = bytes(range(256)) * 80_000  # 20 MB
    outcome = await run(vm, **bash(kind, "sha256sum"), stdin_data=data)
    assert outcome.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("kind", KINDS)
async def test_empty_stdin_is_the_end_of_file(vm: Connection, kind: str) -> None:
    assert (await run(vm, **bash(kind, "cat; echo end"), stdin_data=b"")).stdout == b"end\n"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_process_that_does_not_read_its_stdin_may_end(vm: Connection, kind: str) -> None:
    outcome = await run(vm, **bash(kind, "sleep 0.2; echo done"), stdin_data=bytes(5_000_000))
    assert (outcome.code, outcome.stdout) == (0, b"done\n")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_process_that_stops_reading_may_go_on(vm: Connection, kind: str) -> None:
    outcome = await run(vm, **bash(kind, "exec <&-; sleep 0.1; echo on"), stdin_data=bytes(5_000_000))
    assert (outcome.code, outcome.stdout) == (0, b"on\n")


async def test_a_conversation_over_stdin(vm: Connection) -> None:
    process = await vm.start(Request(argv=("cat",), stdin=True))
    chunks = process.chunks()
    for word in (b"one", b"two", b"three"):
        await process.write(word)
        assert await anext(chunks) == ("stdout", word)
    await process.write_eof()
    assert (await process.wait()).code == 0


async def test_a_command_of_a_megabyte(vm: Connection) -> None:
    text = "\n".join(f"x{i}=1" for i in range(120_000)) + "\necho $x119999"
    assert len(text) > 1_000_000
    assert (await run(vm, command=text)).stdout == b"1\n"


@pytest.mark.parametrize("kind", KINDS)
async def test_two_hundred_commands_at_once(vm: Connection, kind: str) -> None:
    outcomes = await asyncio.gather(
        *(run(vm, **bash(kind, f"sleep 0.05; echo {i}; echo e{i} >&2; exit {i % 7}")) for i in range(200))
    )
    assert [o.stdout for o in outcomes] == [b"%d\n" % i for i in range(200)]
    assert [o.stderr for o in outcomes] == [b"e%d\n" % i for i in range(200)]
    assert [o.code for o in outcomes] == [i % 7 for i in range(200)]


async def test_a_command_whose_time_is_up_is_interrupted_then_killed(vm: Connection) -> None:
    outcome = await run(vm, argv=("sleep", "100"), timeout=0.1)
    assert (outcome.exit.signal, outcome.exit.timed_out) == ("SIGINT", True)
    outcome = await run(vm, command="trap '' INT; echo on; sleep 100 & wait; wait", timeout=8)
    assert (outcome.stdout, outcome.exit.signal, outcome.exit.timed_out) == (b"on\n", "SIGKILL", True)


async def test_a_command_that_is_let_go_of_is_killed(vm: Connection) -> None:
    process = await vm.start(Request(command="echo $$; exec sleep 100"))
    _, pid = await anext(process.chunks())
    await process.close()
    await until(lambda: not alive(int(pid)))


async def test_a_child_in_the_background_does_not_hold_the_command_up(vm: Connection, tmp_path: Path) -> None:
    text = f"(sleep 0.3; echo late; touch {tmp_path}/late) & echo $!"
    outcome = await run(vm, command=text)
    assert outcome.stdout.strip().isdigit()
    await until((tmp_path / "late").exists)


async def test_the_commands_own_limits_are_the_logins(vm: Connection) -> None:
    own = os.sysconf("SC_OPEN_MAX")
    for kind in ("command", "argv"):
        assert int((await run(vm, **bash(kind, "ulimit -n"))).stdout) == own


async def test_five_thousand_commands_leave_nothing_behind(vm: Connection) -> None:
    await run(vm, command="true")
    before = descriptors(resident_pid(vm))
    for start in range(0, 5000, 50):
        kind = "command" if start % 500 == 0 else "argv"
        await asyncio.gather(
            *(run(vm, **bash(kind, "exit 0"), timeout=3600) for _ in range(start, start + 50))
        )
    await until(lambda: descriptors(resident_pid(vm)) <= before + 4)
    assert not vm._resident._jobs
