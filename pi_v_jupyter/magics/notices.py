"""What agents come to, told once in the cell that gave them their task, unless that shows it already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pi_v_jupyter.swarm.changes import Change, DialogAsked, RunEnded
from pi_v_jupyter.views import telling
from pi_v_jupyter.views.swarm import agent_text

if TYPE_CHECKING:
    from pi_v_jupyter.remote.callbacks import Callback
    from pi_v_jupyter.swarm.agent import Agent


class Notices:
    """Those of one notebook. On the I/O loop."""

    def __init__(self) -> None:
        self._waited: Counter[Agent] = Counter()
        self._expected: dict[Agent, Expected] = {}

    @contextmanager
    def waiting(self, agents: Iterable[Agent]) -> Iterator[None]:
        """The cell that gave these their task shows what comes of it: no notices of them meanwhile."""
        waited = list(agents)
        self._waited.update(waited)
        try:
            yield
        finally:
            self._waited.subtract(waited)

    def waited(self, agent: Agent) -> bool:
        """Does the cell of its task show what it does?"""
        return self._waited[agent] > 0

    def expect(self, agent: Agent, callback: Callback[str]) -> None:
        """Have `callback` told what comes of its task; while it works, whoever was first is told."""
        if not (agent.busy and agent in self._expected):
            self.forget(agent)
            self._expected[agent] = Expected(self, agent, callback)

    def forget(self, agent: Agent) -> None:
        """There is nothing to tell of it any more."""
        expected = self._expected.pop(agent, None)
        if expected is not None:
            expected.end()


class Expected:
    """One task's end, and what is asked before."""

    def __init__(self, notices: Notices, agent: Agent, callback: Callback[str]) -> None:
        self._notices, self._agent, self._callback = notices, agent, callback
        self.end = agent.listen(self._heard)

    def _heard(self, changes: list[Change]) -> None:
        agent = self._agent
        if not agent.heard:
            self._tell(f"{agent_text(agent)}\n    `%vers swarm status` looks for it again.")
            self._notices.forget(agent)
        for change in changes:
            if isinstance(change, DialogAsked):
                self._tell(telling.question_text(agent.label, change.dialog).rstrip("\n"))
            elif isinstance(change, RunEnded):
                self._tell(telling.ended_text(agent.label, change.run))
                self._notices.forget(agent)

    def _tell(self, text: str) -> None:
        if self._notices.waited(self._agent):
            return

        async def tell() -> None:
            await self._callback.call([text])

        self._agent.vm.background.attend(tell)
