"""Background processes of real machines go wherever their machine goes, each with a log of its own."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from platforms import Platform

from pi_v_jupyter import VM, Vers
from pi_v_jupyter.errors import VMGoneError, VMPausedError
from pi_v_jupyter.remote.background import BackgroundProcess

pytestmark = [pytest.mark.vm, pytest.mark.timeout(300)]

# A number that grows in a process's memory, and the word that stands in a file of its machine by then.
COUNT = """exec python3 -uc '
import itertools, time
for number in itertools.count(1):
    print(number, open("/run/word").read().strip())
    time.sleep(0.02)
'"""


@pytest.fixture
async def vers(platform: Platform) -> AsyncIterator[Vers]:
    """A user of the platform."""
    async with Vers(platform.settings) as session:
        yield session


@pytest.fixture
def mortal(own_platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """A platform that is up, the test's alone; this process is a user of it."""
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, own_platform.env[name])
    own_platform.up()
    return own_platform


@pytest.fixture
async def vm(vers: Vers) -> VM:
    """A VM that knows a word."""
    made = await vers.create()
    await say(made, "first")
    return made


async def say(vm: VM, word: str) -> None:
    await vm.run(f"echo {word} > /run/word.new && mv /run/word.new /run/word")


async def counted(
    process: BackgroundProcess, least: int = 1, *, saying: str | None = None
) -> list[tuple[int, str]]:
    """What its log tells from its start on, until it has counted so far, and says this."""
    found = []
    async with asyncio.timeout(60), aclosing(process.lines()) as lines:
        async for line in lines:
            number, word = line.split()
            found.append((int(number), word))
            if int(number) >= least and saying in (None, word):
                break
    return found


def each_once(counts: list[tuple[int, str]]) -> bool:
    return [number for number, _ in counts] == list(range(1, len(counts) + 1))


def words(counts: list[tuple[int, str]]) -> list[str]:
    return [word for word, _ in itertools.groupby(word for _, word in counts)]


async def goes_on(process: BackgroundProcess, *, saying: str, after: list[str]) -> None:
    """It counts on, and its log has all of it: what was said before, and on its own machine since."""
    counts = await counted(process, len(await counted(process)) + 20, saying=saying)
    assert each_once(counts), "none lost, none twice"
    assert words(counts) == [*after, saying]


async def test_a_process_goes_on_in_the_original_and_in_each_branch_with_a_log_of_its_own(vm: VM) -> None:
    process = await vm.start(COUNT, id="count")
    await counted(process, 20)
    twins = [await vm.branch(), *await vm.branch(2)]
    machines = {"original": vm, **{f"branch-{i}": twin for i, twin in enumerate(twins)}}
    for word, machine in machines.items():
        await say(machine, word)
    for word, machine in machines.items():
        (copy,) = await machine.processes()
        assert (copy.id, copy.pid, copy.status.run, copy.state) == (
            *("count", process.pid, process.status.run),
            "running",
        )
        assert (await machine.run(f"ps -o comm= {copy.pid}")).stdout == "python3\n"
        await goes_on(copy, saying=word, after=["first"])
    assert words(await counted(process, saying="original")) == ["first", "original"]


async def test_what_it_has_not_read_yet_is_read_in_each_branch_and_each_is_written_to_on_its_own(
    vm: VM,
) -> None:
    read = (
        'until [ -e /run/go ]; do sleep 0.05; done; exec python3 -c "import sys; print(*map(len, sys.stdin))"'
    )
    process = await vm.start(read, id="read", stdin=True)
    await process.write("x" * 2_999_999 + "\n")  # more than a pipe holds
    twin = await vm.branch()
    copy = await twin.process("read")
    await process.write("original\n")
    await copy.write("copied\n")
    for each, line in ((process, "original"), (copy, "copied")):
        await each.write_eof()
        await each.machine.run("touch /run/go")  # type: ignore[attr-defined]
        assert (await each).exit_code == 0
        assert await each.logs() == [f"3000000 {len(line) + 1}"]


async def test_who_follows_it_meanwhile_reads_on_in_the_original(vm: VM) -> None:
    process = await vm.start(COUNT, id="count")
    found: list[tuple[int, str]] = []
    twin = None
    async with asyncio.timeout(120), aclosing(process.lines()) as lines:
        async for line in lines:
            number, word = line.split()
            found.append((int(number), word))
            if int(number) == 20:
                twin = await vm.branch()
                await say(vm, "original")
            if word == "original":
                break
    assert each_once(found)
    assert words(found) == ["first", "original"]
    assert twin is not None
    assert words(await counted(await twin.process("count"), len(found))) == ["first"]


async def test_stopped_in_one_branch_it_goes_on_in_the_other(vm: VM) -> None:
    process = await vm.start(COUNT, id="count")
    await counted(process, 20)
    twin = await vm.branch()
    copy = await (await twin.process("count")).stop()
    assert (copy.outcome, copy.stopped_by) == ("ended by SIGTERM", "SIGTERM")
    assert (await twin.run("pgrep -x python3", check=False)).stdout.split().count(str(copy.pid)) == 0
    await say(vm, "alone")
    await goes_on(await vm.process("count"), saying="alone", after=["first"])
    again = await twin.start("echo another", id="count")
    await again
    assert (await again.logs())[-1] == "another"
    assert (await vm.process("count")).status.run == process.status.run


async def test_each_restore_of_a_commit_has_it_as_it_was_then(vers: Vers, vm: VM) -> None:
    process = await vm.start(COUNT, id="count")
    await counted(process, 20)
    kept = await vm.commit()
    await process.stop()
    await process.remove()
    for word in ("once", "twice"):
        restored = await vers.restore(kept)
        await say(restored, word)
        copy = await restored.process("count")
        assert (copy.pid, copy.status.run) == (process.pid, process.status.run)
        await goes_on(copy, saying=word, after=["first"])
    assert await vm.processes() == []


async def test_a_pause_loses_nothing_for_who_follows(vm: VM) -> None:
    process = await vm.start(COUNT, id="count")
    found: list[tuple[int, str]] = []

    async def follow() -> None:
        async with aclosing(process.lines()) as lines:
            async for line in lines:
                number, word = line.split()
                found.append((int(number), word))
                if word == "last":
                    return

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        group.create_task(follow())
        for word in ("second", "third", "last"):
            await counted(process, len(found) + 20)
            await vm.pause()
            await vm.resume()
            await say(vm, word)
    assert each_once(found)
    assert words(found) == ["first", "second", "third", "last"]


async def test_of_a_paused_vm_that_is_said_at_once(vers: Vers, vm: VM) -> None:
    process = await vm.start(COUNT, id="count")
    await vm.pause()
    for ask in (
        process.logs,
        process.refresh,
        process.stop,
        process.remove,
        vm.processes,
        lambda: vm.process("count"),
        lambda: vm.start("true", id="other"),
        lambda: vm.start("true", id="count", restart=True),
        lambda: process.ready("12"),
        lambda: counted(process),
    ):
        with pytest.raises(VMPausedError, match=rf"VM {vm.label} is paused.*%vers resume"):
            await asyncio.wait_for(ask(), 30)
    await vm.resume()
    await goes_on(process, saying="first", after=[])


async def test_a_vm_that_another_session_deletes_is_told_to_all_who_wait(platform: Platform, vm: VM) -> None:
    process = await vm.start(COUNT, id="count")
    told: asyncio.Queue[BackgroundProcess] = asyncio.Queue()
    process.on_exit(told.put_nowait)
    counting = asyncio.ensure_future(counted(process, 1 << 30))
    waiting = asyncio.ensure_future(process.wait())
    await counted(process, 20)
    await platform.delete(vm.id)
    for work in (counting, waiting):
        with pytest.raises(VMGoneError, match=r"was deleted.*%vers ls.*%vers local"):
            await asyncio.wait_for(work, 60)
    lost = await asyncio.wait_for(told.get(), 60)
    assert (lost is process, lost.state, lost.outcome) == (True, "lost", "lost")
    for ask in (process.logs, process.stop, vm.processes, lambda: vm.start("true", id="other")):
        with pytest.raises(VMGoneError, match="was deleted"):
            await asyncio.wait_for(ask(), 30)


async def test_a_vm_that_this_session_deletes_is_told_too(vers: Vers, vm: VM) -> None:
    process = await vm.start(COUNT, id="count")
    told: asyncio.Queue[BackgroundProcess] = asyncio.Queue()
    process.on_exit(told.put_nowait)
    counting = asyncio.ensure_future(counted(process, 1 << 30))
    command = asyncio.ensure_future(vm.run("sleep 300"))
    await counted(process, 20)
    await vers.delete(vm)
    for work in (counting, command):
        with pytest.raises(VMGoneError, match="was deleted"):
            await asyncio.wait_for(work, 60)
    assert (await asyncio.wait_for(told.get(), 60)).outcome == "lost"


async def down_and_up(platform: Platform) -> None:
    assert (await asyncio.to_thread(platform.run, "down", "-f")).returncode == 0
    await asyncio.to_thread(platform.up)


async def test_down_and_up_keep_it_and_all_it_wrote(mortal: Platform) -> None:
    async with Vers(mortal.settings) as vers:
        vm = await vers.create()
        await say(vm, "before")
        process = await vm.start(COUNT, id="count")
        await counted(process, 20)
    await down_and_up(mortal)
    async with Vers(mortal.settings) as vers:
        (vm,) = await vers.list()
        await say(vm, "after")
        again = await vm.process("count")
        assert (again.pid, again.status.run, again.state) == (process.pid, process.status.run, "running")
        await goes_on(again, saying="after", after=["before"])


async def test_who_follows_over_down_and_up_reads_on(mortal: Platform) -> None:
    async with Vers(mortal.settings) as vers:
        vm = await vers.create()
        await say(vm, "before")
        process = await vm.start(COUNT, id="count")
        told: asyncio.Queue[str] = asyncio.Queue()
        process.on_line(" after$", told.put_nowait)
        following = asyncio.ensure_future(counted(process, saying="after"))
        await counted(process, 20)
        await down_and_up(mortal)
        await say(vm, "after")
        counts = await following
        assert each_once(counts)
        assert words(counts) == ["before", "after"]
        assert (await asyncio.wait_for(told.get(), 60)).endswith(" after")


async def test_a_machine_that_had_to_boot_again_has_lost_it_but_not_its_log(mortal: Platform) -> None:
    async with Vers(mortal.settings) as vers:
        vm = await vers.create()
        await say(vm, "before")
        process = await vm.start(COUNT, id="count")
        told: asyncio.Queue[BackgroundProcess] = asyncio.Queue()
        process.on_exit(told.put_nowait)
        counts = await counted(process, 20)
        await vm.run("sync")
        (qemu,) = mortal.qemus()
        qemu.kill()
        assert (await asyncio.wait_for(told.get(), 60)).outcome == "lost"
        with pytest.raises(VMGoneError, match=r"has died.*%vers"):
            await process.logs()
        await vm.resume()
        found = await vm.process("count")
        assert (found.status.run, found.state, found.outcome) == (process.status.run, "lost", "lost")
        assert (await found).outcome == "lost", "and nobody waits for it"
        kept = [line async for line in found.lines()]
        assert kept[: len(counts)] == [f"{number} {word}" for number, word in counts]
        await say(vm, "after")
        again = await vm.start(COUNT, id="count")
        assert each_once(await counted(again, 20))
        assert (await found.logs(1))[0].endswith(" after")


async def test_twenty_on_a_small_machine_are_forked_with_it(vers: Vers) -> None:
    vm = await vers.create(mem=512)
    await say(vm, "first")
    free = await available(vm)
    names = [f"count-{number:02}" for number in range(20)]
    slowly = COUNT.replace("0.02", "0.5")
    processes = await asyncio.gather(*(vm.start(slowly, id=name) for name in names))
    for process in processes:
        await counted(process, 3)
    assert free - await available(vm) < 240 << 20, "of which 20 Python interpreters are most"
    twin = await vm.branch()
    await asyncio.gather(say(vm, "original"), say(twin, "branch"))
    for machine, word in ((vm, "original"), (twin, "branch")):
        found = await machine.processes()
        assert [(each.id, each.state) for each in found] == [(name, "running") for name in names]
        await asyncio.gather(*(goes_on_slowly(each, word) for each in found))
        killed = await machine.run("dmesg | grep -ci 'out of memory'", check=False)
        assert killed.stdout == "0\n"
    await asyncio.gather(*(process.stop() for process in await twin.processes()))
    assert {each.outcome for each in await twin.processes()} == {"ended by SIGTERM"}
    assert {each.outcome for each in await vm.processes()} == {"running"}


async def available(vm: VM) -> int:
    """Bytes of memory that more could have."""
    return int((await vm.run("awk '/MemAvailable/ {print $2}' /proc/meminfo")).stdout) << 10


async def goes_on_slowly(process: BackgroundProcess, word: str) -> None:
    counts = await counted(process, saying=word)
    assert each_once(counts) and words(counts) == ["first", word]
