"""What one record of pi's stream changes in a `Story`: for whoever shows it as it happens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pi_v_jupyter.swarm.runs import Run, ToolCall

State = Literal[
    "starting", "idle", "working", "waiting", "retrying", "done", "error", "aborted", "lost", "ended"
]
Method = Literal["select", "confirm", "input", "editor"]
Level = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Dialog:
    """A question of an extension. Its agent goes no further until that is answered, by its `id`.

    `options` belong to a `select`; `text` is the message of a `confirm`, the placeholder of an `input` or
    what stands in an `editor`. `timeout` is in seconds: after that, pi answers by itself.
    """

    id: str
    method: Method
    title: str
    text: str = ""
    options: tuple[str, ...] = ()
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """Something an extension, or what became of one, tells the user."""

    level: Level
    text: str


@dataclass(frozen=True, slots=True)
class Retry:
    """The model could not be reached: it is asked again after `delay` seconds."""

    attempt: int
    most: int
    delay: float
    error: str


@dataclass(frozen=True, slots=True)
class Death:
    """How pi ended: its exit code, or the signal that ended it; `stderr` is the end of what it wrote."""

    code: int | None = None
    signal: str | None = None
    stderr: str = ""

    def __str__(self) -> str:
        how = f"was ended by {self.signal}" if self.signal else f"ended with exit code {self.code}"
        if self.code is None and self.signal is None:
            how = "is gone"
        return f"pi {how}" + (f": {telling(self.stderr)}" if telling(self.stderr) else "")


def telling(stderr: str) -> str:
    """The line that tells why a program ended: the last that names an error, or else the last there is."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "error" in line.casefold()), lines[-1] if lines else "")


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The agent's state is another."""

    before: State
    after: State


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A prompt was accepted, or an extension began a run."""

    run: Run


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A run is over; `run.outcome` says how. A run may be taken up again: then it ends again."""

    run: Run


@dataclass(frozen=True, slots=True)
class PromptRefused:
    """A prompt was not accepted, which changes nothing else."""

    id: str
    error: str


@dataclass(frozen=True, slots=True)
class Prompted:
    """A prompt has come to the model: the task of a run, or what was queued for it."""

    text: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the answer; with `thinking`, of what the model thinks."""

    text: str
    thinking: bool = False


@dataclass(frozen=True, slots=True)
class AnswerEnded:
    """A message of the model is complete: `text` is all it said, whatever streamed in before."""

    text: str
    stop: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """A tool was called."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class ToolProgress:
    """A tool that still runs has said something: `call.progress`."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class ToolEnded:
    """A tool has returned; `call.diff` is what it changed in a file, if it tells."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class QueueChanged:
    """What waits for the model to take it up."""

    steering: tuple[str, ...]
    follow_up: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DialogAsked:
    """Somebody must answer."""

    dialog: Dialog


@dataclass(frozen=True, slots=True)
class Noticed:
    """The user is told something."""

    notice: Notice


@dataclass(frozen=True, slots=True)
class RetryStarted:
    """The model is asked again, later."""

    retry: Retry


@dataclass(frozen=True, slots=True)
class Compacted:
    """The conversation was summed up; `error` says why not."""

    reason: str
    error: str = ""


Change = (
    StateChanged
    | RunStarted
    | RunEnded
    | PromptRefused
    | Prompted
    | TextDelta
    | AnswerEnded
    | ToolStarted
    | ToolProgress
    | ToolEnded
    | QueueChanged
    | DialogAsked
    | Noticed
    | RetryStarted
    | Compacted
)
