"""`Vers`: the machines, and what is done with them, for one kernel or script."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self, overload

from pi_v_jupyter import environment, loops
from pi_v_jupyter.api.client import VersClient
from pi_v_jupyter.api.models import SystemVersion, WhoAmI
from pi_v_jupyter.blocking import Sync
from pi_v_jupyter.commits import Commit, Commits, Tags
from pi_v_jupyter.environment import Environment
from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.fleet import Fleet
from pi_v_jupyter.golden import Golden
from pi_v_jupyter.lineage import Facts, Lineage
from pi_v_jupyter.machine import Here, Machine
from pi_v_jupyter.places import Place
from pi_v_jupyter.remote.callbacks import Callbacks
from pi_v_jupyter.remote.copying import Copied, OnProgress
from pi_v_jupyter.remote.openssh import SSHConfig
from pi_v_jupyter.remote.tunnel import Tunnels
from pi_v_jupyter.roster import VMs
from pi_v_jupyter.settings import Settings
from pi_v_jupyter.state import State
from pi_v_jupyter.vm import VM

if TYPE_CHECKING:
    from pi_v_jupyter.plan.mode import PlanMode
    from pi_v_jupyter.swarm.swarm import Swarm
    from pi_v_jupyter.views.dashboard import DashboardView
    from pi_v_jupyter.views.saved import Saved

log = logging.getLogger("pi_v_jupyter")


class Vers:
    """The Python API: `async with Vers() as vers: vm = await vers.create(name="build")`.

    It lives on the loop of the `async with`, or on the I/O loop where a notebook's extension is loaded; its
    methods may be awaited on any. `vers.sync` is the same without `await`. `on_notice` is told, in one line,
    what a user should know and no answer says.
    """

    notebook: ClassVar[Vers | None] = None
    """The session of a notebook's extension: whatever platform that uses, `Vers()` beside it uses too."""

    shows: ClassVar[Callable[[Vers], DashboardView | Saved] | None] = None
    """How a notebook's extension shows a session, where one is loaded."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        home: asyncio.AbstractEventLoop | None = None,
        on_notice: Callable[[str], None] = log.warning,
    ) -> None:
        self.settings: Settings = settings or (Vers.notebook.settings if Vers.notebook else Settings())
        self.on_notice = on_notice
        self._home = home
        self._parts: tuple[VersClient, Fleet] | None = None
        self._swarm: Swarm | None = None
        self._plan: PlanMode | None = None
        self._making = threading.Lock()  # a cell and the I/O loop may be the first at once
        self._planning = threading.Lock()  # likewise
        self._listeners: set[Callable[[str], object]] = set()
        self._companions: set[Callable[[], Awaitable[object]]] = set()

    @property
    def home(self) -> asyncio.AbstractEventLoop:
        """The loop it lives on; fixed by its first use."""
        if self._home is None:
            self._home = loops.running_io_loop() or asyncio.get_running_loop()
        return self._home

    def _made(self) -> tuple[VersClient, Fleet]:
        with self._making:
            if self._parts is None:
                client = VersClient(self.settings)
                fleet = Fleet(
                    *(client, self.settings, State(), self.home, self._notice),
                    self.callbacks,
                )
                self._parts = client, fleet
            return self._parts

    def _notice(self, text: str) -> None:
        self.on_notice(text)
        for listener in tuple(self._listeners):
            listener(text)

    def accompany(
        self, listener: Callable[[str], object], end: Callable[[], Awaitable[object]]
    ) -> Callable[[], None]:
        """For what lives as long as this session: `listener` is told what `on_notice` is, on whatever thread,
        and `end` is awaited on the home loop before the session closes. What is returned undoes this.
        """
        self._listeners.add(listener)
        self._companions.add(end)

        def leave() -> None:
            self._listeners.discard(listener)
            self._companions.discard(end)

        return leave

    @property
    def client(self) -> VersClient:
        """The platform's API, one method per request."""
        return self._made()[0]

    @property
    def fleet(self) -> Fleet:
        """All VMs; which one is active."""
        return self._made()[1]

    @property
    def here(self) -> Here:
        """This computer, as a machine commands can run on."""
        return self.fleet.here

    @property
    def active(self) -> VM | None:
        """The VM cells run on, or None. Raises VMGoneError when the one this notebook used is not there."""
        return self.fleet.active

    @property
    def machine(self) -> Machine:
        """Where cells run: the active VM, or this computer."""
        return self.active or self.here

    @cached_property
    def callbacks(self) -> Callbacks:
        """How functions of the user's are called when something happens to a background process."""
        return Callbacks(self.home)

    @property
    def golden(self) -> Golden:
        """The image that agents start from: built, and found again."""
        return Golden(self.fleet)

    @property
    def sync(self) -> Sync:
        """The same API in its blocking form: `vers.sync.create(name="build").run("make")`."""
        return Sync(self, self._home_elsewhere)

    def _home_elsewhere(self) -> None:
        """Who waits blocks a loop of its own: what is waited for lives on the I/O loop."""
        if self._home is None:
            self._home = loops.io_loop()

    async def __aenter__(self) -> Self:
        assert self.home is not None  # noqa: S101  fixed here
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @loops.at_home
    async def close(self) -> None:
        """End this session's commands and connections. VMs go on."""
        for end in tuple(self._companions):
            await end()
        if self._parts is not None:
            (client, fleet), self._parts = self._parts, None
            if self._plan is not None:
                await self._plan.close()
            if self._swarm is not None:
                await self._swarm.close()
            await fleet.close()
            await fleet.here.close()
            await client.close()

    @loops.at_home
    async def list(self) -> VMs:
        """Every VM of the account, oldest first."""
        return await self.fleet.listed()

    @loops.at_home
    async def create(
        self,
        *,
        name: str | None = None,
        vcpu: int | None = None,
        mem: int | None = None,
        disk: int | None = None,
        wait: bool = True,
    ) -> VM:
        """Make a root VM; `mem` and `disk` are in MiB. With `wait` it runs when this returns."""
        return await self.fleet.create(name=name, vcpu=vcpu, mem=mem, disk=disk, wait=wait)

    @loops.at_home
    async def vm(self, name: str) -> VM:
        """The VM of that id, unique id prefix or name; `.` is the active one."""
        return await self.fleet.find(name)

    @loops.at_home
    async def use(self, vm: VM | str) -> VM:
        """Have cells run on that VM from now on."""
        found = await self.fleet.find(vm) if isinstance(vm, str) else vm
        await self.fleet.use(found)
        return found

    @loops.at_home
    async def local(self) -> None:
        """Have cells run on this computer again."""
        self.fleet.local()

    @loops.at_home
    async def delete(self, *vms: VM | str, branches: bool = False) -> None:
        """Destroy VMs and their disks, all at once. One that cannot be deleted spares no other.

        With `branches`, all that came from them too, at whatever remove.
        """
        found = [await self.fleet.find(vm) if isinstance(vm, str) else vm for vm in vms]
        if branches:
            found += await self.fleet.descendants(found)
        outcomes = await asyncio.gather(*map(self.fleet.delete, found), return_exceptions=True)
        failed = [outcome for outcome in outcomes if outcome is not None]
        if failed:
            raise failed[0]

    @overload
    async def restore(self, commit: Commit | str, n: None = None, *, name: str | None = None) -> VM: ...
    @overload
    async def restore(self, commit: Commit | str, n: int, *, name: str | None = None) -> VMs: ...

    async def restore(
        self, commit: Commit | str, n: int | None = None, *, name: str | None = None
    ) -> VM | VMs:
        """A new VM that goes on from a commit, or a list of `n`; that is named by id, unique id prefix,
        name or tag.

        Named `name`, several NAME-1, NAME-2, …; without it after the commit or its VM, with the first numbers
        free.

        Raises:
            UsageError: `name` cannot be a name, or is taken.
            UnknownCommitError, AmbiguousCommitError: none, or several.
        """
        made = await self._restore(commit, 1 if n is None else n, name)
        return made[0] if n is None else made

    @loops.at_home
    async def _restore(self, commit: Commit | str, count: int, name: str | None) -> VMs:
        return await self.fleet.restore(commit, count, name)

    @loops.at_home
    async def commits(self) -> Commits:
        """Every commit of the account, oldest first."""
        return await self.fleet.commits.all()

    @loops.at_home
    async def commit(self, name: str) -> Commit:
        """The commit of that id, unique id prefix, name or tag."""
        return await self.fleet.commits.find(name)

    @loops.at_home
    async def delete_commits(self, *commits: Commit | str) -> None:
        """Remove commits. One that something still needs is refused (ConflictError), with what needs it."""
        for commit in commits:
            found = await self.fleet.commits.find(commit) if isinstance(commit, str) else commit
            await self.fleet.forget_commit(found)

    @loops.at_home
    async def tags(self) -> Tags:
        """Every tag of the account, by name."""
        return await self.fleet.commits.tags()

    @loops.at_home
    async def tag(self, name: str, commit: Commit | str | None = None) -> Commit:
        """Have the tag `name` name that commit from now on; without one, the active VM's last."""
        return await self.fleet.tag(name, commit)

    @loops.at_home
    async def untag(self, name: str) -> None:
        """Remove a tag; the commit stays."""
        await self.fleet.commits.untag(name)

    @property
    def swarm(self) -> Swarm:
        """The agents: `await vers.swarm.spawn("golden", 3)`."""
        from pi_v_jupyter.swarm.swarm import Swarm  # who has no agents need not wait for it

        if self._swarm is None or self._swarm.fleet is not self.fleet:
            self._swarm = Swarm(self.fleet)
        return self._swarm

    @property
    def plan(self) -> PlanMode:
        """Plan mode: `await vers.plan.on()` has the magics and dashboards of this session look only."""
        from pi_v_jupyter.plan.mode import PlanMode  # who does not plan need not wait for it

        with self._planning:
            if self._plan is None or self._plan.fleet is not self.fleet:
                self._plan = PlanMode(self.fleet)
            return self._plan

    def dashboard(self) -> DashboardView | Saved:
        """All that runs, live, as a widget: the value of a cell, or part of others. In a terminal, tables.

        Raises:
            UsageError: no extension is loaded that could show it.
        """
        if Vers.shows is None:
            raise UsageError(
                "Nothing is loaded that shows a dashboard.", "`%load_ext pi_v_jupyter` does that."
            )
        return Vers.shows(self)

    def tunnels(self) -> Tunnels:
        """The tunnels of this session that are open; `await vm.tunnel(PORT)` makes one."""
        return self.fleet.tunnels()

    @loops.at_home
    async def ssh_config(self, *vms: VM | str, write: bool = False) -> SSHConfig:
        """A configuration with which plain `ssh`, `scp` or `rsync` reaches these VMs, or the active one.

        `write` has `~/.ssh/config` include it, with those written earlier that are still there. The VMs' keys
        are kept in files of the state folder until the VMs are deleted.

        Raises:
            UnknownVMError: there is no such VM, or none is active.
            ConnectError: one cannot be reached; HostKeyError: it has another host key than before.
            SettingsError: a file cannot be written.
        """
        found = [await self.fleet.find(vm) if isinstance(vm, str) else vm for vm in vms or (".",)]
        return await self.fleet.ssh_config(found, write=write)

    @loops.at_home
    async def lineage(self) -> Lineage:
        """All VMs and commits, under what they came from."""
        return await self.fleet.lineage()

    @loops.at_home
    async def descendants(self, *vms: VM) -> VMs:
        """The VMs that came from these, by branch or restore, at whatever remove."""
        return await self.fleet.descendants(vms)

    @loops.at_home
    async def info(self, what: VM | Commit | str) -> Facts:
        """All that is known of a VM or a commit."""
        return await self.fleet.facts(what)

    @loops.at_home
    async def copy(
        self,
        sources: Place | Sequence[Place],
        target: Place,
        *,
        on_progress: OnProgress = lambda done, total: None,
    ) -> Copied:
        """Copy files and folders between machines, as `scp -rp` would, in one stream.

        `NAME:/path` is on that VM, `:/path` on the active one, any other path, and each `Path`, on this
        computer. Modes, times, links, empty folders and holes are kept. Files take their places in one
        moment each; what is stopped leaves no half file, and one large file goes on from there the next
        time. `on_progress` is called on this session's loop with the bytes so far and, where known, all
        there will be.

        Raises:
            RemoteFileError: it cannot be copied, or parts of it cannot be read: then all else was copied.
        """
        return await self.fleet.places().copy(sources, target, on_progress=on_progress)

    @loops.at_home
    async def whoami(self) -> WhoAmI:
        """Whose key it is."""
        return await self.client.whoami()

    @loops.at_home
    async def env(self) -> Environment:
        """The account's environment variables, a dict, which new VMs find in `/etc/environment`."""
        return await environment.variables(self.client)

    @loops.at_home
    async def set_env(self, variables: Mapping[str, str]) -> None:
        """Add to them. VMs that are there keep those they have.

        Raises:
            UsageError: a name or a value that cannot be one; nothing was changed.
        """
        await environment.set_variables(self.client, variables)

    @loops.at_home
    async def unset_env(self, *names: str) -> None:
        """Take some away.

        Raises:
            NotFoundError: there is none of that name.
        """
        await environment.unset_variables(self.client, *names)

    @loops.at_home
    async def version(self) -> SystemVersion:
        """What the platform runs."""
        return await self.client.version()
