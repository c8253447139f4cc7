"""What a viewer wants, done: each intent by its name, and what came of it in words. Nothing of it raises.

Whether something is to be destroyed was asked before, in the view.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from pi_v_jupyter import names
from pi_v_jupyter.dashboard import arguments as given
from pi_v_jupyter.dashboard.agentintents import AgentIntents
from pi_v_jupyter.dashboard.outcomes import Answer, answer, each
from pi_v_jupyter.dashboard.processintents import ProcessIntents
from pi_v_jupyter.errors import UsageError, VersError
from pi_v_jupyter.names import shown
from pi_v_jupyter.texts import harmless
from pi_v_jupyter.vm import VM

__all__ = ["Answer", "Intents"]

log = logging.getLogger("pi_v_jupyter")


def _label(vm: VM) -> str:
    return shown(vm.label)


class Intents(AgentIntents, ProcessIntents):
    """Those of one session, one after the other or at once."""

    async def do(self, name: str, args: dict[str, Any]) -> Answer:
        """Do it."""
        try:
            intent = INTENTS.get(name)
            if intent is None:
                near = names.nearest(name[:40], INTENTS)
                raise UsageError(  # noqa: TRY301  as each that is refused
                    f"There is no intent {shown(name[:40])!r}.{near}",
                    "Is the page older than the kernel? Reload it.",
                )
            self.vers.plan.check(name, args)
            told = await intent.act(self, given.checked(intent.given, name, args))
        except VersError as error:
            told = Answer(ok=False, text=error.message, hint=error.hint)
        except Exception as error:
            log.exception("The intent %s failed.", name)
            told = Answer(ok=False, text=f"{shown(name[:40])} failed: {type(error).__name__}: {error}")
        quiet = intent is None or intent.quiet
        return replace(
            told, text=harmless(told.text), event=not quiet, agents=intent is not None and intent.agents
        )

    # The platform, and where cells run.

    async def _check(self, args: given.Arguments) -> Answer:
        vms = await self.vers.fleet.all()
        return Answer(
            ok=True, text=f"The platform answers: it has {len(vms)} VM{'' if len(vms) == 1 else 's'}."
        )

    async def _use(self, args: given.OneVM) -> Answer:
        vm = await self.find(args.vm)
        await self.vers.use(vm)
        return Answer(ok=True, text=f"Cells run on {_label(vm)}.")

    async def _local(self, args: given.Arguments) -> Answer:
        await self.vers.local()
        return Answer(ok=True, text="Cells run on this computer.")

    # VMs.

    async def _create(self, args: given.Create) -> Answer:
        vm = await self.vers.create(name=args.name, vcpu=args.vcpu, mem=args.mem, disk=args.disk)
        return Answer(ok=True, text=f"{_label(vm)} was made.")

    async def _branch(self, args: given.Branch) -> Answer:
        if args.name is not None and len({*args.vms}) > 1:
            raise UsageError("Branches of several VMs cannot have one name.", "Leave it out, or branch one.")

        async def branch(vm: VM) -> str:
            made = await vm.branch(args.n, name=args.name)
            return f"branched as {', '.join(map(_label, made))}"

        return await self.with_each(args.vms, branch)

    async def _commit(self, args: given.Keep) -> Answer:
        if args.tag is not None and len({*args.vms}) > 1:
            raise UsageError("A tag names one commit.", "Leave it out, or commit one VM.")

        async def keep(vm: VM) -> str:
            made = await vm.commit(name=args.name, tag=args.tag)
            return f"kept as {shown(made.label)}"

        return await self.with_each(args.vms, keep)

    async def _pause(self, args: given.VMs) -> Answer:
        async def pause(vm: VM) -> str:
            await vm.pause()
            return "paused"

        return await self.with_each(args.vms, pause)

    async def _resume(self, args: given.VMs) -> Answer:
        async def resume(vm: VM) -> str:
            await vm.resume()
            return "goes on"

        return await self.with_each(args.vms, resume)

    async def _rename(self, args: given.Rename) -> Answer:
        vm = await self.find(args.vm)
        before = _label(vm)
        await vm.rename(args.name)
        return Answer(ok=True, text=f"{before} is called {_label(vm)}.")

    async def _delete(self, args: given.VMs) -> Answer:
        async def delete(vm: VM) -> str:
            await self.vers.delete(vm)
            return "deleted"

        return await self.ending(self.with_each(args.vms, delete, "deleted before"))

    async def _tunnel(self, args: given.Tunnel) -> Answer:
        vm = await self.find(args.vm)
        tunnel = await vm.tunnel(args.port, local=args.local)
        return Answer(ok=True, text=f"{tunnel.url} leads to port {args.port} of {_label(vm)}.")

    async def _close_tunnel(self, args: given.CloseTunnel) -> Answer:
        vm = await self.find(args.vm)
        closing = [tunnel for tunnel in vm.tunnels if tunnel.remote_port == args.port]
        if not closing:
            raise UsageError(
                f"No tunnel leads to port {args.port} of {_label(vm)}.",
                "`%vers tunnel ls` shows those there are.",
            )
        for tunnel in closing:
            await tunnel.close()
        return Answer(ok=True, text=f"Nothing leads to port {args.port} of {_label(vm)} any more.")

    # Commits.

    async def _restore(self, args: given.Restore) -> Answer:
        made = await self.vers.restore(args.commit, args.n, name=args.name)
        return Answer(ok=True, text=f"{', '.join(map(_label, made))}: restored.")

    async def _tag(self, args: given.Tag) -> Answer:
        commit = await self.vers.tag(args.tag, args.commit)
        return Answer(ok=True, text=f"{shown(args.tag)} names {commit.id[:8]}.")

    async def _untag(self, args: given.Untag) -> Answer:
        await self.vers.untag(args.tag)
        return Answer(ok=True, text=f"{shown(args.tag)} names no commit any more.")

    async def _delete_commits(self, args: given.Commits) -> Answer:
        known = {commit.id: commit for commit in await self.vers.commits()}

        async def delete(id: str) -> str:
            tags = known[id].tags if id in known else ()
            for tag in tags:  # the platform keeps what has one
                await self.vers.untag(tag)
            try:
                await self.vers.delete_commits(id)
            except BaseException:
                for tag in tags:
                    await self.vers.tag(tag, id)
                raise
            return "deleted"

        def label(id: str) -> str:
            return shown(known[id].label if id in known else id[:8])

        return answer(await each(args.commits, label, delete))


@dataclass(frozen=True)
class Intent:
    """How one is done. `quiet`: nothing changes by it; `agents`: there may be other agents then."""

    act: Callable[[Intents, Any], Awaitable[Answer]]
    given: type[given.Arguments]
    quiet: bool = False
    agents: bool = False


INTENTS: dict[str, Intent] = {
    "check": Intent(Intents._check, given.Arguments, quiet=True),
    "connect": Intent(Intents._connect, given.VMs),
    "use": Intent(Intents._use, given.OneVM),
    "local": Intent(Intents._local, given.Arguments),
    "create": Intent(Intents._create, given.Create),
    "branch": Intent(Intents._branch, given.Branch),
    "commit": Intent(Intents._commit, given.Keep),
    "pause": Intent(Intents._pause, given.VMs),
    "resume": Intent(Intents._resume, given.VMs),
    "rename": Intent(Intents._rename, given.Rename),
    "delete": Intent(Intents._delete, given.VMs, agents=True),
    "exec": Intent(Intents._exec, given.Exec),
    "terminal": Intent(Intents._terminal, given.OneVM, quiet=True),
    "close_terminal": Intent(Intents._close_terminal, given.OneVM, quiet=True),
    "tunnel": Intent(Intents._tunnel, given.Tunnel),
    "close_tunnel": Intent(Intents._close_tunnel, given.CloseTunnel),
    "restore": Intent(Intents._restore, given.Restore),
    "tag": Intent(Intents._tag, given.Tag),
    "untag": Intent(Intents._untag, given.Untag),
    "delete_commits": Intent(Intents._delete_commits, given.Commits),
    "spawn": Intent(Intents._spawn, given.Spawn, agents=True),
    "task": Intent(Intents._task, given.Told),
    "steer": Intent(Intents._steer, given.Told),
    "follow_up": Intent(Intents._follow_up, given.Told),
    "abort": Intent(Intents._abort, given.Agents),
    "answer": Intent(Intents._answer, given.Reply),
    "restart": Intent(Intents._restart, given.Agents, agents=True),
    "teardown": Intent(Intents._teardown, given.Agents, agents=True),
    "stop": Intent(Intents._stop, given.Process),
    "forget": Intent(Intents._forget, given.Process),
    "logs": Intent(Intents._logs, given.Logs, quiet=True),
}
