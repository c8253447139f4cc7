"""What came of an intent, in a few sentences."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pi_v_jupyter.errors import VersError

log = logging.getLogger("pi_v_jupyter")

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """Was it done, and what is there to tell? `hint` says what to do next, and may be empty.

    `event`: is it told among what happened, too? `agents`: may there be other agents now? `stopped`: it was
    not done because a viewer did not want it any more, which is no failure.
    """

    ok: bool
    text: str
    hint: str = ""
    event: bool = False
    agents: bool = False
    stopped: bool = False

    def told(self) -> dict[str, Any]:
        """As a view is told."""
        said = {"ok": self.ok, "text": self.text, "hint": self.hint}
        return {**said, "noted": self.event, "stopped": self.stopped}

    def happened(self, asked: str) -> str:
        """As it is told among what happened. `asked`: what was wanted, where `text` alone would not tell."""
        return ": ".join(filter(None, (asked, f"{self.text} {self.hint}".strip())))


AGAIN = "`%load_ext pi_v_jupyter` and `%vers` open another."
GIVEN_UP = Answer(ok=False, text="It was given up, as this dashboard's session was closed.", hint=AGAIN)
CLOSED = Answer(ok=False, text="This dashboard's session was closed.", hint=AGAIN)
STOPPED = Answer(ok=False, text="It was stopped.", event=True, stopped=True)
TOO_LATE = Answer(ok=False, text="There is nothing to stop any more.")


@dataclass(frozen=True)
class Outcome:
    """What came of one of several: a word or two, or an error."""

    label: str
    word: str = ""
    error: VersError | None = None


async def each(
    things: Iterable[T], label: Callable[[T], str], act: Callable[[T], Awaitable[str]]
) -> list[Outcome]:
    """Do it with all of them at once; what went wrong with one spares the others."""

    async def one(thing: T) -> Outcome:
        called = label(thing)
        try:
            return Outcome(called, await act(thing))
        except VersError as error:
            return Outcome(called, error=error)
        except Exception as error:
            log.exception("Something failed that a dashboard was to do with %s.", called)
            return Outcome(called, error=VersError(f"{type(error).__name__}: {error}"))

    return [*await asyncio.gather(*map(one, things))]


def answer(outcomes: Sequence[Outcome]) -> Answer:
    """One sentence for all that came to the same; an error of one alone needs no name before it, nor does one
    without a label.
    """
    said: dict[str, list[str]] = {}
    for outcome in outcomes:
        word = outcome.word if outcome.error is None else outcome.error.message
        said.setdefault(word.rstrip("."), []).append(outcome.label)
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if len(outcomes) == 1 and errors:
        return Answer(ok=False, text=errors[0].message, hint=errors[0].hint)
    heads = {word: ", ".join(filter(None, labels)) for word, labels in said.items()}
    text = " ".join(f"{head}: {word}." if head else f"{word}." for word, head in heads.items())
    return Answer(not errors, text, next((error.hint for error in errors if error.hint), ""))
