"""Background processes from a notebook's Python: callbacks, restarts, `vers.sync`, unloading."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernels import Kernel, Outputs, started
from leftovers import end_background
from test_bg import Where, good, where  # noqa: F401  the fixture of both machines

COUNT = "for n in $(seq 1 {last}); do echo line $n; sleep 0.02; done"


def strays(kernel: Kernel, cell: str, kind: str) -> list[dict[str, object]]:
    """What came later for a cell, of one kind of message."""
    return [
        message["content"]
        for message in kernel.strays
        if message["parent_header"].get("msg_id") == cell and message["msg_type"] == kind
    ]


def come(kernel: Kernel, cell: str, text: str) -> None:
    """Cells run until `text`, and nothing else, was printed later for a cell."""
    deadline = time.monotonic() + 60
    while True:
        printed = "".join(str(each["text"]) for each in strays(kernel, cell, "stream"))
        if printed == text:
            return
        assert time.monotonic() < deadline, printed
        good(kernel, "import asyncio; await asyncio.sleep(0.01)")


def until(kernel: Kernel, condition: str) -> None:
    """Cells run until it holds."""
    waits = f"async with asyncio.timeout(60):\n    while not ({condition}): await asyncio.sleep(0.01)"
    good(kernel, f"import asyncio\n{waits}")


def test_callbacks_run_on_the_kernels_thread_while_a_cell_runs(where: Where, tmp_path: Path) -> None:  # noqa: F811
    kernel, go = where.kernel, tmp_path / "go"
    where.start(f"web --wait 0 -- {COUNT.format(last=50)}; exit 3")
    good(
        kernel,
        "import threading\nhere, seen, ended = threading.get_ident(), [], []\n"
        "process.on_line('line', lambda line: seen.append((str(line), threading.get_ident())))\n"
        "def exited(process):\n"
        "    ended.append((process.outcome, threading.get_ident()))\n"
        f"    open({str(go)!r}, 'w').close()  # without this, the next cell does not end\n"
        "process.on_exit(exited)",
    )
    shown = good(kernel, f"%%vm\nuntil [ -e {go} ]; do sleep 0.05; done; echo over")
    assert shown.stdout == "over\n"
    assert kernel.value("[line for line, _ in seen]") == [f"line {n}" for n in range(1, 51)]
    assert kernel.value("{*(thread for _, thread in [*seen, *ended])} == {here}")
    assert kernel.value("[how for how, _ in ended]") == ["exit code 3"]


def test_a_cell_that_sleeps_loses_nothing(where: Where) -> None:  # noqa: F811
    kernel = where.kernel
    where.start(f"web --wait 0 -- {COUNT.format(last=100)}")
    good(kernel, "import time; seen = []; process.on_line('', seen.append); time.sleep(4)")
    until(kernel, "len(seen) >= 100")
    assert kernel.value("list(map(str, seen))") == [f"line {n}" for n in range(1, 101)]


def test_a_callback_that_raises_is_shown_once_in_its_cell_and_called_no_more(where: Where) -> None:  # noqa: F811
    kernel = where.kernel
    where.start("web --wait 0 -- for n in 1 2 3; do echo tick $n; sleep 0.1; done; sleep 600")
    for define in (
        "def wrong(line):\n    calls.append(line)\n    1 / 0",
        "async def wrong(line):\n    calls.append(line)\n    await asyncio.sleep(0)\n    1 / 0",
    ):
        kernel.strays.clear()
        cell = kernel.start(f"import asyncio; calls = []\n{define}\nprocess.on_line('tick', wrong)")
        assert cell.finish().error is None
        come(kernel, cell.id, "This callback is not called again.\n")
        good(kernel, "seen = []; process.on_line('tick 3', seen.append)")
        until(kernel, "seen")
        (error,) = strays(kernel, cell.id, "error")
        assert error["ename"] == "ZeroDivisionError"
        text = "\n".join(error["traceback"])  # type: ignore[arg-type]
        assert "calls.append(line)" in text and "callbacks.py" not in text and "asyncio/" not in text
        assert [each["content"] for each in kernel.strays if each["msg_type"] == "error"] == [error]
        assert "async" in define or kernel.value("list(map(str, calls))") == ["tick 1"]


def test_no_callback_ends_a_kernel_or_keeps_a_stop_from_it(where: Where) -> None:  # noqa: F811
    kernel = where.kernel
    where.start("web --wait 0 -- while :; do echo tick; sleep 0.05; done")
    for wrong in ("import sys; sys.exit(3)", "raise KeyboardInterrupt"):
        kernel.strays.clear()
        cell = kernel.start(f"def wrong(line):\n    {wrong}\nprocess.on_line('tick', wrong)")
        assert cell.finish().error is None
        come(kernel, cell.id, "This callback is not called again.\n")
    good(kernel, "import time\ndef wrong(line):\n    print('asleep')\n    while True: time.sleep(0.01)")
    kernel.strays.clear()
    made = kernel.start("import asyncio; process.on_line('tick', wrong)")
    made.finish()
    while not strays(kernel, made.id, "stream"):  # with the kernel asleep, no cell could look
        kernel.strays.append(kernel.client.get_iopub_msg(timeout=60))
    kernel.interrupt()
    come(kernel, made.id, "asleep\nThis callback is not called again.\n")
    (error,) = strays(kernel, made.id, "error")
    assert error["ename"] == "KeyboardInterrupt"


def test_what_a_callback_prints_is_shown_in_the_cell_that_made_it(where: Where, tmp_path: Path) -> None:  # noqa: F811
    kernel = where.kernel
    go = tmp_path / "go"
    where.start(f"web --wait 0 -- until [ -e {go} ]; do sleep 0.05; done; echo gone")
    kernel.strays.clear()
    cell = kernel.start("process.on_exit(lambda process: print('told', process.id))")
    cell.finish()
    go.touch()
    come(kernel, cell.id, "told web\n")


def test_a_process_is_awaited_and_its_lines_are_iterated(where: Where) -> None:  # noqa: F811
    where.start(f"web --wait 0 -- {COUNT.format(last=20)}; exit 2")
    lines = good(
        where.kernel, "found = [str(line) async for line in process.lines()]; print(*found, sep='|')"
    )
    assert lines.stdout == "|".join(f"line {n}" for n in range(1, 21)) + "\n"
    assert good(where.kernel, "print((await process).outcome)").stdout == "exit code 2\n"


def test_a_stop_reaches_what_a_cell_awaits_and_the_process_goes_on(where: Where) -> None:  # noqa: F811
    where.start("web --wait 0 -- sleep 600")
    for awaited in ("process", "process.ready('never')", "asyncio.sleep(3600)"):
        cell = where.kernel.start(f"import asyncio; print('waits', flush=True); await {awaited}")
        cell.wait_for("waits")
        where.kernel.interrupt()
        assert cell.finish().error == "CancelledError"
    assert where.kernel.value("(await process.refresh()).state") == "running"


def test_all_of_it_has_a_blocking_form(where: Where) -> None:  # noqa: F811
    kernel = where.kernel
    machine = "sync.here" if where.option == "--local" else "sync.vm('loopback')"
    good(kernel, f"machine = {machine}; process = machine.start('echo up; sleep 600', id='web')")
    assert kernel.value("str(process.ready('up'))") == "up"
    assert kernel.value("[each.id for each in machine.processes()]") == ["web"]
    assert kernel.value("list(map(str, machine.process('web').logs()))") == ["up"]
    assert kernel.value("process.stop('SIGINT').wait().outcome") == "ended by SIGINT"
    refused = kernel.run("process.lines()")
    assert refused.error == "UsageError" and refused.message == "lines has no blocking form.  Use `logs`."
    good(kernel, "process.remove()")


def loaded(kernel: Kernel) -> None:
    kernel.late.clear()
    good(kernel, "%load_ext pi_v_jupyter")
    kernel.status()
    good(kernel, "%vers use loopback")


def states(shown: Outputs) -> list[str]:
    return [re.split(r" {2,}", line)[2] for line in shown.data[0].splitlines()[1:]]


@pytest.fixture
def own(two_places: dict[str, str], tmp_path: Path) -> Iterator[Kernel]:
    """A kernel that may be restarted, and has no processes of others here."""
    try:
        with started({**two_places, "XDG_DATA_HOME": str(tmp_path)}) as kernel:
            loaded(kernel)
            yield kernel
            kernel.run("%bg stop --all")
    finally:
        end_background(tmp_path)


def test_a_restarted_kernel_finds_them_by_their_ids_and_goes_on(own: Kernel, tmp_path: Path) -> None:
    go = tmp_path / "go"
    body = f"echo before; until [ -e {go} ]; do sleep 0.05; done; echo after; sleep 600"
    for option in ("", "--local"):
        good(own, f"%bg start web {option} --ready before -- {body}")
    own.restart()
    loaded(own)
    assert states(good(own, "%bg")) == ["running", "running"]
    go.touch()
    for option in ("", "--local"):
        cell = own.start(f"%bg logs web {option} --follow")
        cell.wait_for("before\nafter\n")
        own.interrupt()
        cell.finish()
        assert "ended by SIGTERM" in good(own, f"%bg stop web {option}").stdout
        good(own, f"%bg rm -f web {option}")


COUNTING = """
import time
for thousand in range(1000):
    print("\\n".join(map(str, range(1000 * thousand, 1000 * thousand + 1000))), flush=True)
    time.sleep(0.02)
"""
FOLLOWING = """
from pi_v_jupyter import Vers, loops
vm = await Vers().vm("loopback")

async def follow(cuts, far):
    count, marks = 0, [far * (cut + 1) // (cuts + 2) for cut in range(cuts)]
    async for line in (await vm.process("count")).lines():
        assert line == str(count), (str(line), count)
        count += 1
        if marks and count > marks[0]:
            marks.pop(0)
            loops.io_loop().call_soon_threadsafe((await vm.ssh()).abort)
        if count == far:
            print(f"{len(marks)} marks left, far", flush=True)
    return count
"""


def test_a_million_lines_come_once_each_through_ten_cuts_and_two_restarts_of_the_kernel(own: Kernel) -> None:
    counting = own.start(f"%%vm python --bg count\n{COUNTING}")
    assert counting.finish().error is None
    for cuts, far in ((4, 300_000), (3, 650_000)):
        good(own, FOLLOWING)
        own.start(f"await follow({cuts}, {far})").wait_for("0 marks left, far")
        own.restart()
        loaded(own)
    good(own, FOLLOWING)
    assert good(own, "await follow(3, 1_000_000)").data == ["1000000"]
    assert good(own, "await follow(0, 1)").data == ["1000000"], "and all of it is in the log"
    good(own, "%bg rm -f count")


def test_unloading_leaves_them_running_and_nothing_that_looks(own: Kernel) -> None:
    tasks = "[str(task) for task in asyncio.all_tasks() if 'pi_v' in str(task)]"
    good(own, "import asyncio, threading")
    for option in ("", "--local"):
        good(own, f"process = %bg start web {option} --wait 0 -- while :; do echo tick; sleep 0.05; done")
        good(own, "seen = []; process.on_line('tick', seen.append); process.on_exit(print)")
        until(own, "seen")
    own.strays.clear()
    unloaded = good(own, "%unload_ext pi_v_jupyter")
    assert unloaded.text.strip() == "" and own.value(tasks) == []
    assert not own.value("[t.name for t in threading.enumerate() if 'pi_v' in t.name]")
    counted = own.value("len(seen)")
    loaded(own)
    assert own.value("len(seen)") == counted
    assert not [each for each in own.strays if each["msg_type"] in ("stream", "error")]
    assert states(good(own, "%bg")) == ["running", "running"]
    for option in ("", "--local"):
        good(own, f"%bg stop web {option}")
        good(own, f"%bg rm -f web {option}")
