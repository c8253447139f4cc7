"""All that was said to an agent and by it, as one value: shown in a cell, or written to a file."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Self

from pi_v_jupyter.texts import harmless

if TYPE_CHECKING:
    from pi_v_jupyter.swarm.agent import Agent

SHOWN = 400_000  # characters of one in a cell
MORE = "It is longer than a cell shows: `%vers swarm log LABEL --html FILE` writes all of it."


@dataclass(frozen=True)
class Log:
    """One agent's transcript, as it was when it was asked for. `page` is a whole document of HTML."""

    label: str
    markdown: str
    html: str
    page: str

    def __repr__(self) -> str:
        return f"<Log of {self.label}: {len(self.markdown):,} characters>"

    @classmethod
    def of(cls, agent: Agent) -> Self:
        """That of an agent, as it is now."""
        from pi_v_jupyter.swarm import transcript

        story, label = agent.story, agent.label
        return cls(
            label,
            transcript.markdown(story, label),
            transcript.html(story, label),
            transcript.page(story, label),
        )


def log_text(log: Log) -> str:
    """As Markdown, its end where it is long."""
    text = harmless(log.markdown[-SHOWN:])
    return text if len(log.markdown) <= SHOWN else f"{MORE} The end of it:\n…{text}"


def log_html(log: Log) -> str:
    """As HTML; where that is too much for a cell, the end of it as text."""
    if len(log.html) <= SHOWN:
        return log.html
    return f"<p>{escape(MORE)}</p><pre>{escape(harmless(log.markdown[-SHOWN // 4 :]))}</pre>"
