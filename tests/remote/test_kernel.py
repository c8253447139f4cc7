"""A Jupyter kernel over there, with a real sshd, a real ipykernel and real signals."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback, MemoryPins, loopback_sshd
from machines import Reached
from running import alive, until
from served import clean

from pi_v_jupyter.errors import KernelError, UsageError
from pi_v_jupyter.remote._kernel.wire import HEAD, IOPUB, OWN, SHELL, packed
from pi_v_jupyter.remote.connection import Connection
from pi_v_jupyter.remote.kernel import Execution, Kernel, Message

_numbers = itertools.count()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """A VM whose user's home is the test's own, and whose python3 is this one."""
    folder = Path(tempfile.mkdtemp(prefix="pv-"))
    with loopback_sshd(tmp_path_factory.mktemp("sshd"), extra=clean(folder)) as loopback:
        yield loopback
    shutil.rmtree(folder)


@pytest.fixture
async def machine(home: Loopback) -> AsyncIterator[Reached]:
    connection = Connection(home, MemoryPins())
    yield Reached(connection)
    await connection.close()


@pytest.fixture
async def kernel(machine: Reached) -> AsyncIterator[Kernel]:
    """A kernel of the test's own, ended after it."""
    made = Kernel(machine, f"test-{next(_numbers)}")
    yield made
    await made.end()
    await made.close()
    assert not [
        entry.name
        for entry in await machine.listdir("~/.local/share/pi-v/kernels")
        if made.name in entry.name and entry.name.endswith(".sock")
    ]


def texts(messages: list[Message]) -> str:
    return "".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream")


async def run(kernel: Kernel, code: str) -> tuple[Message, list[Message]]:
    messages: list[Message] = []
    reply = await kernel.execute(code, messages.append)
    return reply, messages


async def asleep(kernel: Kernel) -> asyncio.Task[Message]:
    """A cell that has begun, and never ends. It naps: Python may miss a signal just before a long sleep."""
    began = asyncio.Event()
    code = "import time\nprint('asleep', flush=True)\nwhile True: time.sleep(0.05)"
    cell = asyncio.create_task(
        kernel.execute(code, lambda m: began.set() if m["msg_type"] == "stream" else None)
    )
    async with asyncio.timeout(120):
        await began.wait()
    return cell


async def test_what_a_cell_defines_lasts_whoever_comes_next(machine: Reached, kernel: Kernel) -> None:
    reply, _ = await run(kernel, "answer = 42")
    assert (reply["status"], reply["execution_count"]) == ("ok", 1)
    await kernel.close()
    other = Kernel(machine, kernel.name)
    reply, messages = await run(other, "print(answer)")
    assert (reply["execution_count"], texts(messages)) == (2, "42\n")
    await other.close()


async def test_what_a_cell_shows_comes_in_order_and_whole(kernel: Kernel) -> None:
    code = """
from IPython.display import HTML, display
import sys
print("one")
handle = display(HTML("<b>two</b>"), display_id="shown")
print("three", file=sys.stderr)
handle.update(HTML("<b>four</b>"))
{"five": 5}
"""
    reply, messages = await run(kernel, code)
    assert reply["status"] == "ok"
    kinds = [message["msg_type"] for message in messages]
    assert kinds == [
        "execute_input",
        "stream",
        "display_data",
        "stream",
        "update_display_data",
        "execute_result",
    ]
    assert messages[2]["content"]["data"]["text/html"] == "<b>two</b>"
    assert messages[5]["content"]["data"] == {"text/plain": "{'five': 5}"}


async def test_an_error_is_the_kernels_own(kernel: Kernel) -> None:
    reply, _ = await run(kernel, "1/0")
    assert (reply["status"], reply["ename"], reply["evalue"]) == (
        "error",
        "ZeroDivisionError",
        "division by zero",
    )
    assert "1/0" in "".join(reply["traceback"]).replace("\x1b[", "") or reply["traceback"]


async def test_an_interrupt_ends_the_cell_and_nothing_else(kernel: Kernel) -> None:
    await run(kernel, "kept = 1")
    running = await asleep(kernel)
    await kernel.interrupt()
    assert (await running)["ename"] == "KeyboardInterrupt"
    assert texts((await run(kernel, "print(kept)"))[1]) == "1\n"


async def test_what_it_asks_is_answered(kernel: Kernel) -> None:
    answered = []

    def take(message: Message) -> None:
        if message["msg_type"] == "input_request":
            answered.append(asyncio.ensure_future(kernel.answer(message, f"answer {len(answered)}")))
            prompts.append((message["content"]["prompt"], message["content"]["password"]))
        elif message["msg_type"] == "stream":
            said.append(message["content"]["text"])

    prompts: list[tuple[str, bool]] = []
    said: list[str] = []
    code = "import getpass\na = input('name? ')\nb = getpass.getpass('secret? ')\nprint(a, b)"
    assert (await kernel.execute(code, take, asks=True))["status"] == "ok"
    assert prompts == [("name? ", False), ("secret? ", True)]
    assert "".join(said) == "answer 0 answer 1\n"


async def test_a_silent_cell_neither_counts_nor_asks(kernel: Kernel) -> None:
    await kernel.execute("x = 1", silent=True)
    reply = await kernel.execute("input()", silent=True)
    assert reply["ename"] == "StdinNotImplementedError"
    assert (await run(kernel, "x"))[0]["execution_count"] == 1


async def test_completion_and_help(kernel: Kernel) -> None:
    await run(kernel, "import collections")
    found = await kernel.ask("complete_request", code="collections.Orde", cursor_pos=16)
    assert "OrderedDict" in "".join(found["matches"])
    told = await kernel.ask("inspect_request", code="len", cursor_pos=3, detail_level=0)
    assert told["found"] and "number of items" in told["data"]["text/plain"]


async def test_a_kernel_that_dies_says_how_and_the_next_cell_has_a_new_one(kernel: Kernel) -> None:
    await run(kernel, "gone = 1")
    with pytest.raises(KernelError, match=r"died \(SIGKILL, as when memory runs out\); what it held is gone"):
        await run(kernel, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    reply, _ = await run(kernel, "gone")
    assert (reply["ename"], reply["execution_count"]) == ("NameError", 1)
    with pytest.raises(KernelError, match="died \\(exit code 3\\)"):
        await run(kernel, "import os\nos._exit(3)")


async def test_one_that_dies_while_nobody_waits_is_told_with_the_next_cell(machine: Reached) -> None:
    said: list[str] = []
    kernel = Kernel(machine, f"test-{next(_numbers)}", said.append)
    deaf = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('deaf', flush=True)\n"
    began = asyncio.Event()
    try:
        left = asyncio.create_task(
            kernel.execute(
                deaf + "while True: time.sleep(0.05)",
                lambda m: began.set() if m["msg_type"] == "stream" else None,
            )
        )
        async with asyncio.timeout(60):
            await began.wait()
        left.cancel()
        await asyncio.wait([left])
        os.kill(kernel.pid, signal.SIGKILL)
        await until(lambda: not kernel.connected)
        assert texts((await run(kernel, "print('afresh')"))[1]) == "afresh\n"
        assert any("died (SIGKILL" in words and "This cell begins in a new one." in words for words in said)
    finally:
        await kernel.end()


async def test_a_restart_begins_afresh_and_tells_who_waits(kernel: Kernel) -> None:
    await run(kernel, "gone = 1")
    waiting = await asleep(kernel)
    await kernel.restart()
    with pytest.raises(KernelError, match="was restarted"):
        await waiting
    reply, _ = await run(kernel, "gone")
    assert (reply["ename"], reply["execution_count"]) == ("NameError", 1)


async def test_two_clients_hear_their_own_cells(machine: Reached, kernel: Kernel) -> None:
    other = Kernel(machine, kernel.name)
    await kernel.open()
    await other.open()
    (_, mine), (_, theirs) = await asyncio.gather(
        run(kernel, "for i in range(100): print('mine', i)"),
        run(other, "for i in range(100): print('theirs', i)"),
    )
    assert texts(mine) == "".join(f"mine {i}\n" for i in range(100))
    assert texts(theirs) == "".join(f"theirs {i}\n" for i in range(100))
    await other.close()


async def test_a_cell_goes_on_through_cut_connections_and_loses_nothing(
    home: Loopback, kernel: Kernel
) -> None:
    assert home.front
    code = "import time\nfor i in range(60):\n    print(i, flush=True)\n    time.sleep(0.05)"
    running = asyncio.create_task(run(kernel, code))
    for _ in range(4):
        await asyncio.sleep(0.7)
        home.front.cut()
    reply, messages = await running
    assert reply["status"] == "ok"
    assert texts(messages) == "".join(f"{i}\n" for i in range(60))


async def test_a_keeper_that_is_killed_takes_its_kernel_along(machine: Reached, kernel: Kernel) -> None:
    told: list[Message] = []
    await kernel.execute("import os\nprint(os.getpid(), os.getppid())", told.append)
    kernel_pid, keeper_pid = map(int, texts(told).split())
    waiting = await asleep(kernel)
    os.kill(keeper_pid, signal.SIGKILL)
    with pytest.raises(KernelError, match="ended"):
        await waiting
    await until(lambda: not alive(kernel_pid))
    assert texts((await run(kernel, "print('again')"))[1]) == "again\n"


async def test_ending_ends_all_of_it(machine: Reached, kernel: Kernel) -> None:
    _, messages = await run(kernel, "import os\nprint(os.getpid(), os.getppid())")
    await kernel.end()
    async with asyncio.timeout(20):
        while any(Path(f"/proc/{pid}").exists() for pid in texts(messages).split()):
            await asyncio.sleep(0.05)
    await kernel.end()


async def test_two_that_come_at_once_get_the_same_kernel(machine: Reached, kernel: Kernel) -> None:
    others = [Kernel(machine, kernel.name) for _ in range(3)]
    await asyncio.gather(kernel.open(), *(other.open() for other in others))
    assert {other.pid for other in others} == {kernel.pid}
    for other in others:
        await other.close()


async def test_a_kernel_that_cannot_start_says_so_and_can_be_mended(machine: Reached, kernel: Kernel) -> None:
    await run(kernel, "x = 1")
    profile = "~/.ipython/profile_default/ipython_kernel_config.py"
    await machine.write(profile, "import os\nos._exit(7)\n")
    with pytest.raises(KernelError, match=r"cannot be started: RuntimeError: the kernel ended .*exit code 7"):
        await kernel.restart()
    with pytest.raises(KernelError, match="exit code 7"):
        await run(kernel, "x")
    await machine.remove(profile)
    assert (await run(kernel, "x"))[0]["ename"] == "NameError"


async def test_interrupts_during_a_restart_do_no_harm(machine: Reached, kernel: Kernel) -> None:
    other = Kernel(machine, kernel.name)
    await asyncio.gather(kernel.open(), other.open())

    async def press() -> None:
        while True:
            await other.interrupt()
            await asyncio.sleep(0.03)

    presses = asyncio.create_task(press())
    await kernel.restart()
    presses.cancel()
    assert texts((await run(kernel, "print('up')"))[1]) == "up\n"
    assert texts((await run(other, "print('too')"))[1]) == "too\n"
    await other.close()


async def test_a_cell_that_is_given_up_before_its_turn_never_runs(kernel: Kernel, tmp_path: Path) -> None:
    first = await asleep(kernel)
    second = asyncio.create_task(kernel.execute(f"open({str(tmp_path / 'ran')!r}, 'w')"))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    third = asyncio.create_task(run(kernel, "print('third')"))
    await kernel.interrupt()
    await asyncio.wait([first])
    assert texts((await third)[1]) == "third\n"
    assert not (tmp_path / "ran").exists()


async def test_one_that_does_not_answer_is_replaced(
    machine: Reached, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, messages = await run(kernel, "import os\nprint(os.getppid())")
    os.kill(int(texts(messages)), signal.SIGSTOP)
    await kernel.close()
    with monkeypatch.context() as patched:  # the one that takes its place may be slow to begin
        patched.setattr("pi_v_jupyter.remote.kernel.ANSWER_TIMEOUT", 1.0)
        with pytest.raises(KernelError, match="does not answer"):
            await run(kernel, "1")
    await kernel.restart()
    assert texts((await run(kernel, "print('again')"))[1]) == "again\n"


async def test_a_large_cell_shares_the_way_with_interrupts_and_can_be_given_up_half_sent(
    kernel: Kernel,
) -> None:
    await kernel.open()
    large = f"x = {'1' * 5_000_000!r}"
    async with asyncio.timeout(60):
        cell = asyncio.create_task(kernel.execute(large))
        await asyncio.sleep(0)
        await asyncio.gather(*(kernel.interrupt() for _ in range(3)))
        assert (await cell)["status"] in ("ok", "error")
        given_up = asyncio.create_task(kernel.execute(large))
        await asyncio.sleep(0.02)
        given_up.cancel()
        await asyncio.wait([given_up])
        assert texts((await run(kernel, "print('goes on')"))[1]) == "goes on\n"


async def test_closing_tells_who_waits_and_a_cell_that_is_given_up_is_interrupted(
    machine: Reached, kernel: Kernel
) -> None:
    waiting = await asleep(kernel)
    await kernel.close()
    with pytest.raises(KernelError, match=r"ended|let go of"):
        await waiting
    await kernel.interrupt()
    await kernel.open()
    await kernel.interrupt()
    given_up = await asleep(kernel)
    given_up.cancel()
    await asyncio.wait([given_up])
    async with asyncio.timeout(30):
        assert texts((await run(kernel, "print('free')"))[1]) == "free\n"


async def test_files_named_as_modules_are_in_nobodys_way(machine: Reached, kernel: Kernel) -> None:
    for name in ("random", "struct", "socket"):
        await machine.write(f"~/{name}.py", "raise SystemExit('not this one')\n")
    try:
        assert texts((await run(kernel, "print('up')"))[1]) == "up\n"
    finally:
        for name in ("random", "struct", "socket"):
            await machine.remove(f"~/{name}.py")


async def test_what_is_not_to_be_asked_fails_there(kernel: Kernel) -> None:
    assert (await run(kernel, "input()"))[0]["ename"] == "StdinNotImplementedError"


async def test_a_kernel_that_ended_between_two_cells_is_told_of_with_the_next(machine: Reached) -> None:
    said: list[str] = []
    kernel = Kernel(machine, f"test-{next(_numbers)}", said.append)
    _, messages = await run(kernel, "import os\nprint(os.getpid())")
    os.kill(int(texts(messages)), 40)
    async with asyncio.timeout(20):
        while kernel.connected:
            await asyncio.sleep(0.05)
    await run(kernel, "1")
    assert f"The kernel {kernel.name} on build died (signal 40); what it held is gone." in said[0]
    await kernel.end()


async def test_input_that_nobody_will_answer_is_interrupted(machine: Reached, kernel: Kernel) -> None:
    asked = asyncio.Event()
    other = Kernel(machine, kernel.name)
    cell = asyncio.create_task(
        other.execute(
            "input()", lambda m: asked.set() if m["msg_type"] == "input_request" else None, asks=True
        )
    )
    await asked.wait()
    await other.close()
    with pytest.raises(KernelError):
        await cell
    async with asyncio.timeout(30):
        assert texts((await run(kernel, "print('free')"))[1]) == "free\n"


async def test_a_cell_that_waits_behind_anothers_is_not_what_is_interrupted(
    machine: Reached, kernel: Kernel
) -> None:
    first = await asleep(kernel)
    other = Kernel(machine, kernel.name)
    execution: list[Execution] = []
    second = asyncio.create_task(other.execute("while True: pass", on_asked=execution.append))
    while not execution:
        await asyncio.sleep(0.05)
    interrupting = asyncio.create_task(execution[0].interrupt())
    await asyncio.sleep(0.3)
    assert not first.done() and not interrupting.done()
    await kernel.interrupt()
    assert (await first)["ename"] == "KeyboardInterrupt"
    assert (await second)["ename"] == "KeyboardInterrupt"
    await interrupting
    await other.close()


HOLDING = """
def held(*_):
    kernel._forward_input = before
    time.sleep(60)
import time
kernel = get_ipython().kernel
before, kernel._forward_input = kernel._forward_input, held
"""


async def test_a_stop_that_comes_just_before_a_cells_own_code_still_ends_it(kernel: Kernel) -> None:
    await run(kernel, HOLDING)
    execution: list[Execution] = []
    cell = asyncio.create_task(kernel.execute("while True: pass", on_asked=execution.append))
    await until(lambda: bool(execution))
    await execution[0].interrupt()
    async with asyncio.timeout(30):
        assert (await cell)["ename"] == "KeyboardInterrupt"
        assert texts((await run(kernel, "print('usable')"))[1]) == "usable\n"


async def test_a_stop_that_comes_so_early_ends_the_cell_though_anothers_runs_next(
    machine: Reached, kernel: Kernel
) -> None:
    await run(kernel, HOLDING)
    execution: list[Execution] = []
    cell = asyncio.create_task(kernel.execute("while True: pass", on_asked=execution.append))
    await until(lambda: bool(execution))
    async with asyncio.timeout(30):
        await execution[0].begun.wait()
    other = Kernel(machine, kernel.name)
    await other.attach()
    sent: list[Execution] = []
    code = "import time\nwhile True: time.sleep(0.05)"
    after = asyncio.create_task(other.execute(code, on_asked=sent.append))
    await until(lambda: bool(sent) and sent[0].sent)
    await execution[0].interrupt()
    async with asyncio.timeout(30):
        assert (await cell)["ename"] == "KeyboardInterrupt"
    assert not after.done(), "it waited for nobody"
    await other.interrupt()
    assert (await after)["ename"] == "KeyboardInterrupt"
    await other.close()


async def test_a_large_output_arrives(kernel: Kernel) -> None:
    reply, messages = await run(kernel, "print('x' * 30_000_000)")
    assert reply["status"] == "ok" and len(texts(messages)) == 30_000_001


async def test_a_large_output_costs_its_keeper_little_more_than_itself(kernel: Kernel) -> None:
    _, messages = await run(kernel, "import os\nprint(os.getppid())")
    status = Path(f"/proc/{texts(messages).strip()}/status")

    def most() -> int:
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024

    before = most()
    await run(kernel, "print('x' * 50_000_000)")
    assert most() - before < 2.5 * 50_000_000


@pytest.mark.parametrize("name", ["", "../up", "a b", "-x", "x" * 32, "ü"])
async def test_names_that_cannot_be(machine: Reached, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a kernel"):
        Kernel(machine, name)


def told(what: Any) -> bytes:
    data = json.dumps(what).encode()
    return HEAD.pack(len(data), OWN) + data


KNOWN = told({"version": 1, "key": "k", "pid": 1, "python": "3", "used": True})


@asynccontextmanager
async def in_a_keepers_place(machine: Reached, says: bytes) -> AsyncIterator[Kernel]:
    """A kernel whose keeper is an impostor."""
    made = Kernel(machine, f"hostile-{next(_numbers)}")
    path = Path((await machine.run("mkdir -p ~/.local/share/pi-v/kernels; echo -n $HOME")).stdout)
    path = path / f".local/share/pi-v/kernels/{made.name}.sock"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        await reader.read(1 << 16)  # its greeting, or its end
        writer.close()

    async with await asyncio.start_unix_server(serve, path):
        try:
            yield made
        finally:
            await made.close()
            path.unlink()


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\xff" * 64,
        told([]),
        told({"key": 1}),
        told({"version": 1, "key": "k", "pid": 1, "python": "3"}),
        told({"version": 2, "key": "k", "pid": 1, "python": "3", "used": True}),
        KNOWN + packed(IOPUB, [b"", b"<IDS|MSG>", b"forged", b"{}", b"{}", b"{}", b"{}"]),
        KNOWN + packed(SHELL, [b"no delimiter"]),
        KNOWN + HEAD.pack(3, IOPUB) + b"\0\0\1",
        packed(IOPUB, [b"before any key"]),
    ],
)
async def test_whatever_answers_in_a_keepers_place_is_one_clear_error(
    machine: Reached, nonsense: bytes
) -> None:
    async with in_a_keepers_place(machine, nonsense) as made:
        with pytest.raises(KernelError, match=r"sent what no kernel would|another release"):
            await run(made, "1")


async def test_words_of_a_vm_steer_no_terminal(machine: Reached) -> None:
    async with in_a_keepers_place(machine, KNOWN + told({"died": "x\x1b[2J\n\u202e"})) as made:
        with pytest.raises(KernelError, match=r" died \(x\\x1b\[2J\\n\\u202e\); what it held is gone\."):
            await run(made, "1")


async def test_without_ipykernel_and_without_a_way_to_get_it_that_is_told(
    tmp_path: Path, connect: Callable[..., Connection]
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="pv-"))
    python = shutil.which("python3", path="/usr/bin:/bin")
    assert python
    (folder / "bin").mkdir()
    (folder / "bin" / "python3").symlink_to(python)
    extra = (
        f"SetEnv HOME={folder} PATH={folder}/bin:/usr/bin:/bin PIP_CONFIG_FILE=/dev/null "
        "PIP_INDEX_URL=http://127.0.0.1:9/ PIP_RETRIES=0"
    )
    said: list[str] = []
    with loopback_sshd(tmp_path, extra=extra) as server:
        made = Kernel(Reached(connect(server)), on_progress=said.append)
        with pytest.raises(KernelError, match="ipykernel cannot be installed on build: ") as caught:
            await made.open()
        await made.close()
    assert "pip install ipykernel" in caught.value.hint
    assert said[0] == "installing ipykernel on build, the first time only"
    left = [path.name for path in (folder / ".local/share/pi-v").iterdir()]
    assert left == ["python.lock"], "nothing half made"
    shutil.rmtree(folder)
