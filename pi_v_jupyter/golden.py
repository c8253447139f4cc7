"""The golden image: a machine with all that agents need, kept as a commit that they are restored from.

What such a machine has is said by `golden/bootstrap.sh`, which runs on it; this module finds the machine,
watches over that, and keeps it. Hot means that pi runs in it already, idle, when it is kept: an agent
restored from that is ready as soon as its machine is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime

from pi_v_jupyter import bundled
from pi_v_jupyter.commits import Commit
from pi_v_jupyter.errors import RemoteCommandError, RemoteError, UnknownCommitError, UnknownProcessError
from pi_v_jupyter.fleet import Fleet
from pi_v_jupyter.loops import at_home
from pi_v_jupyter.machine import Machine
from pi_v_jupyter.remote.background import BackgroundProcess
from pi_v_jupyter.swarm import agentskills, workspace
from pi_v_jupyter.vm import VM

TAG = "golden"
PI = "pi"  # the id of an agent's background process
WORKSPACE = "/root/workspace"
RECIPE = "/root/.golden"  # where the recipe is while it runs
MEMORY_MIB, DISK_MIB = 4096, 8192  # of the machine, where the platform has no image of ours that knows better
BUILD_TIMEOUT = 3600.0  # seconds: an emulated machine that has to install everything takes its time
ANSWER_TIMEOUT = 180.0  # seconds until pi answers, likewise
KEPT_LINES = 20  # of what the recipe says, for an error to quote
_RAN = re.compile(r"✓ (\S+) (\S+)")
_NPM = re.compile(r"npm (?:error|ERR!) (?!code |errno |syscall |path |A complete log)(?:notarget )?(.+)")
NO_VERSION = "No matching version"  # as npm says it
_TOOL = re.compile(r"(\S+) (\S+)")

OnProgress = Callable[[str], object]


@dataclass(frozen=True)
class GoldenImage:
    """A golden image. `tools`: what runs in it, by name, each with its version; pi first."""

    commit: Commit
    hot: bool
    tools: dict[str, str]

    @property
    def made_at(self) -> datetime:
        """When it was kept."""
        return self.commit.created_at


def described(tools: dict[str, str], *, hot: bool) -> str:
    """What a commit says of itself, for people, and for `read`."""
    return "; ".join(["hot" if hot else "cold", *(f"{name} {version}" for name, version in tools.items())])


def read(commit: Commit) -> GoldenImage | None:
    """The golden image that a commit says it is; None when it says nothing of the kind."""
    kind, *rest = (commit.info.description or "").split("; ")
    found = [_TOOL.fullmatch(each) for each in rest]
    if kind not in ("hot", "cold") or not found or not all(found):
        return None
    return GoldenImage(commit, kind == "hot", {each[1]: each[2] for each in found if each})


class Golden:
    """Builds golden images on one platform, and finds them again."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.home = fleet.home

    @at_home
    async def status(self, tag: str = TAG) -> GoldenImage:
        """What is known of the image that has that tag.

        Raises:
            UnknownCommitError: nothing has it, or something that is no golden image.
        """
        commit = next((each for each in await self._fleet.commits.all() if tag in each.tags), None)
        build = f"`%vers golden build{'' if tag == TAG else f' --tag {tag}'}` makes one."
        if commit is None:
            raise UnknownCommitError(f"There is no golden image: no commit has the tag {tag}.", build)
        image = read(commit)
        if image is None:
            raise UnknownCommitError(
                f"The commit {commit.label}, {commit.id[:8]}, is no golden image.", build
            )
        return image

    @at_home
    async def build(
        self,
        source: VM | Commit | None = None,
        *,
        hot: bool | None = None,
        tag: str = TAG,
        pi: str | None = None,
        keep: bool = False,
        on_progress: OnProgress = lambda line: None,
    ) -> GoldenImage:
        """Make a golden image, of a new machine or of one like `source`, and have `tag` name it.

        Without `hot` it is so where commits keep memory. `pi` is a version of pi; `keep` leaves the machine
        there that it was made on. `on_progress` is told, a line each, what is done. What fails leaves no
        machine, no commit and the tag where it was.

        Raises:
            RemoteCommandError: the machine could not be made ready; the last lines of why are in `stderr`.
            RemoteError: `hot` was asked for and cannot be had.
        """
        async with self._machine(source, on_progress, keep=keep) as vm:
            tools = await self._made_ready(vm, pi, on_progress)
            on_progress("putting in the skills for agents")
            await agentskills.pack().give(vm)
            await _forget_agent(vm)
            await workspace.mark(vm)  # what agents change is told from here on
            if hot is not False:
                on_progress("starting pi, idle, for the image to have it running")
                process = await start(vm)
                await answered(process)
            commit = await self._kept(vm, tools, on_progress, hot=hot is not False)
            if hot is not False and not await self._stays_hot(commit, process, on_progress):
                await self._fleet.forget_commit(commit)
                if hot:
                    raise RemoteError(
                        "Commits of this platform keep no memory: pi would not run in what is restored.",
                        "`%vers golden build --cold` makes an image in which it is started then.",
                    )
                on_progress("commits keep no memory here: pi will be started in what is restored")
                await _forget_agent(vm)
                commit = await self._kept(vm, tools, on_progress, hot=False)
            await self._fleet.commits.tag(tag, commit.id)
        return await self.status(tag)

    @contextlib.asynccontextmanager
    async def _machine(
        self, source: VM | Commit | None, on_progress: OnProgress, *, keep: bool = False
    ) -> AsyncIterator[VM]:
        """One of its own, that is deleted however it ends, unless it is to be kept."""
        vm = await self._begun(source, f"golden-{secrets.token_hex(3)}", on_progress)
        try:
            yield vm
        except BaseException:
            keep = False
            raise
        finally:
            if not keep:
                # What stops the one must not stop the other: it would be a machine nobody knows of.
                await asyncio.shield(self._fleet.delete(vm))

    async def _begun(self, source: VM | Commit | None, name: str, on_progress: OnProgress) -> VM:
        if isinstance(source, VM):
            on_progress(f"branching {source.label}")
            return (await self._fleet.branch(source, 1, name))[0]
        if isinstance(source, Commit):
            on_progress(f"restoring {source.label}")
            return (await self._fleet.restore(source, 1, name))[0]
        on_progress("making a machine")
        if self._fleet.settings.embedded is not None:
            return await self._fleet.create(name=name, image="golden")
        return await self._fleet.create(name=name, mem=MEMORY_MIB, disk=DISK_MIB)

    async def _made_ready(self, vm: VM, pi: str | None, on_progress: OnProgress) -> dict[str, str]:
        """Run the recipe; the tools it has tried, with their versions."""
        await vm.run(["rm", "-rf", RECIPE])
        await vm.copy(bundled.golden(), f":{RECIPE}")
        await vm.copy(bundled.resident(), f":{RECIPE}/lib/_resident")
        tools: dict[str, str] = {}
        said: list[str] = []
        words = ["bash", f"{RECIPE}/bootstrap.sh", *(["--pi", pi] if pi else [])]
        try:
            async for line in _lines(vm, words):
                said = [*said, line][-KEPT_LINES:]
                if ran := _RAN.fullmatch(line):
                    tools[ran[1]] = ran[2]
                on_progress(line)
        except RemoteCommandError as error:
            why = telling(error.stderr.strip().splitlines() or said)
            other = "`--pi` names a version of pi that there is; without it, the one that was tried out. "
            raise RemoteCommandError(
                f"{vm.label} could not be made ready: {why}",
                f"{other if pi and NO_VERSION in why else ''}"
                "What it said before is in the error's `stderr`; the machine is deleted.",
                exit_code=error.exit_code,
                signal=error.signal,
                stderr="\n".join([*said, error.stderr]),
            ) from None
        await vm.run(["rm", "-rf", RECIPE])
        return tools

    async def _kept(self, vm: VM, tools: dict[str, str], on_progress: OnProgress, *, hot: bool) -> Commit:
        on_progress("keeping it as a commit")
        return await self._fleet.commit(
            vm,
            name=f"golden pi {tools[PI]}",
            description=described(tools, hot=hot),
            tag=None,
            keep_paused=False,
        )

    async def _stays_hot(self, commit: Commit, process: BackgroundProcess, on_progress: OnProgress) -> bool:
        """Whether pi goes on in what is restored; only trying tells. A commit that fails this is deleted."""
        on_progress("trying it")
        try:
            async with self._machine(commit, lambda line: None) as vm:
                return await _goes_on(vm, process)
        except BaseException:
            await asyncio.shield(self._fleet.forget_commit(commit))
            raise


def telling(lines: list[str]) -> str:
    """The one of them that tells why: npm's first that is more than a code; else the last."""
    found = (_NPM.fullmatch(line) for line in lines)
    last = lines[-1].removeprefix("bootstrap.sh: ") if lines else "it said nothing"
    return next((line[1] for line in found if line), last)


async def start(machine: Machine) -> BackgroundProcess:
    """Start pi, waiting for commands, for an image to have it; one that runs there is stopped first."""
    # Else it is still fetching lists of models when its machine is kept, and every copy goes on with that: it
    # answers seconds later.
    offline = {"PI_OFFLINE": "1"}
    command = ["pi", "--mode", "rpc"]
    return await machine.start(command, id=PI, cwd=WORKSPACE, env=offline, restart=True, stdin=True)


async def answered(process: BackgroundProcess, *, timeout: float = ANSWER_TIMEOUT) -> None:
    """Ask pi for its state and wait until it answers, at most `timeout` seconds.

    Raises:
        RemoteCommandError, NotReadyError: it ended instead, or said nothing.
    """
    mark = secrets.token_hex(8)
    await process.write(json.dumps({"id": mark, "type": "get_state"}) + "\n")
    await process.ready(re.compile(f'"id":"{mark}"'), timeout=timeout)


async def _goes_on(vm: VM, process: BackgroundProcess) -> bool:
    try:
        found = await vm.process(PI)
    except UnknownProcessError:
        return False
    if found.state != "running" or found.pid != process.pid:
        return False
    await answered(found)
    return True


async def _forget_agent(vm: VM) -> None:
    """End a pi that runs there, and what it said: neither belongs in an image."""
    with contextlib.suppress(UnknownProcessError):
        process = await vm.process(PI)
        await process.stop()
        await process.remove()


async def _lines(vm: VM, command: list[str]) -> AsyncIterator[str]:
    """What a command says, line by line, errors included; raises as `VM.stream` does."""
    rest = ""
    async with contextlib.aclosing(vm.stream(command, timeout=BUILD_TIMEOUT)) as pieces:
        async for stream, text in pieces:
            if stream == "stdout":
                *whole, rest = (rest + text).split("\n")
                for line in filter(None, map(str.strip, whole)):
                    yield line
