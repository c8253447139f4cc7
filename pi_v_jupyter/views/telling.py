"""What an agent does, as lines of a cell: what it says, calls, changes and asks.

All of it comes from its machine, and may be hostile: nothing of it steers a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.names import shown as name_shown
from pi_v_jupyter.swarm.changes import (
    AnswerEnded,
    Change,
    Compacted,
    Dialog,
    DialogAsked,
    Noticed,
    Prompted,
    RetryStarted,
    RunEnded,
    RunStarted,
    TextDelta,
    ToolEnded,
    ToolStarted,
)
from pi_v_jupyter.swarm.runs import Run, ToolCall, call_text
from pi_v_jupyter.texts import harmless, short, tail
from pi_v_jupyter.views.files import PLAIN as UNCOLOURED
from pi_v_jupyter.views.files import RED, coloured
from pi_v_jupyter.vm import VM

MOST_LINES = 60  # of a diff
MOST_OPTIONS = 60  # of a question
FAILED_LINES = 10  # of what a tool that failed has said
ICONS = {
    "starting": "…",
    "idle": "○",
    "working": "⟳",
    "waiting": "?",
    "retrying": "↻",
    "done": "✓",
    "error": "✗",
    "aborted": "⊘",
    "lost": "✗",
    "ended": "✗",
    "leaving": "✗",
}


def money(cost: float) -> str:
    """US dollars, such as $0.0042 or $12.30."""
    return f"${cost:.2f}" if cost >= 1 or not cost else f"${cost:.4f}"


def clock(seconds: float | None) -> str:
    """Such as 0.4 s, 12 s, 3 min 05 s, 2 h 10 min."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def run_text(run: Run, state: str, label: str = "") -> str:
    """How a run stands: "✓ done  1,204 tokens  $0.0042  12 s"."""
    called = f"{name_shown(label)}: " if label else ""
    parts = [f"{ICONS.get(state, '○')} {called}{state}", f"{run.usage.total:,} tokens", money(run.usage.cost)]
    if run.seconds is not None:
        parts.append(clock(run.seconds))
    return "  ".join(parts)


def ended_text(label: str, run: Run) -> str:
    """How a task has ended, with its last words, in two lines."""
    state = run.outcome or "done"
    words = short(run.error, 400) if state == "error" else tail(run.answer)
    head = run_text(run, state, label)
    return f"{head}\n    {words}" if words else head


def diff_text(diff: str, most: int = MOST_LINES) -> str:
    """A diff in the colours of diffs, its first lines."""
    lines = harmless(diff).rstrip("\n").split("\n")
    more = f"… {len(lines) - most} more lines\n" if len(lines) > most else ""
    return "".join(f"{coloured(line)}\n" for line in lines[:most]) + more


def question_text(label: str, dialog: Dialog) -> str:
    """A question, and what to type to answer it."""
    asked = [f"? {name_shown(label)} asks: {short(dialog.title, 400)}"]
    if dialog.text:
        asked += [f"    {line}" for line in harmless(dialog.text[:4000]).splitlines()[:FAILED_LINES]]
    asked += [
        f"    {number}. {short(option)}" for number, option in enumerate(dialog.options[:MOST_OPTIONS], 1)
    ]
    if len(dialog.options) > MOST_OPTIONS:
        asked.append(f"    … {len(dialog.options) - MOST_OPTIONS} more")
    return "\n".join([*asked, f"    {answering(label, dialog)}"]) + "\n"


def answering(label: str, dialog: Dialog) -> str:
    """How to answer it."""
    command = f"%vers swarm answer {name_shown(label)}"
    if dialog.method == "confirm":
        return f"`{command} yes` or `{command} no` answers it."
    if dialog.method == "select":
        return f"`{command} NUMBER` answers it, `{command} --cancel` does not choose."
    return f"`{command} TEXT` answers it, `{command} --cancel` leaves it."


def reply(dialog: Dialog, words: str, *, cancel: bool = False) -> dict[str, str | bool]:
    """What is sent for an answer in words.

    Raises:
        UsageError: it is none to this question.
    """
    if cancel:
        return {"cancelled": True}
    if dialog.method == "confirm":
        if words.lower() not in ("y", "yes", "n", "no"):
            raise UsageError(
                f"{short(words)!r} is neither yes nor no.", f"The question is: {short(dialog.title)}"
            )
        return {"confirmed": words.lower() in ("y", "yes")}
    if dialog.method == "select" and words not in dialog.options:
        number = int(words) if words.isascii() and words.isdecimal() and len(words) < 6 else 0
        if not 1 <= number <= len(dialog.options):
            offered = ", ".join(
                f"{at}. {short(option, 40)}" for at, option in enumerate(dialog.options[:MOST_OPTIONS], 1)
            )
            raise UsageError(f"{short(words)!r} is none of the options.", f"They are: {offered}")
        return {"value": dialog.options[number - 1]}
    return {"value": words}


class Telling:
    """Tells of one agent, change by change; `label` is how it is called in what one may type.

    `begun`: it has been told its task already.
    """

    def __init__(self, label: str, *, begun: bool = False) -> None:
        self._label = label
        self._streamed = ""  # of the message that is being said
        self._open = False  # is there a line that has not ended?
        self._first = not begun  # is what it is told next its task?

    def text(self, changes: Iterable[Change]) -> str:
        """What is to be shown for these."""
        return "".join(map(self._one, changes))

    def _line(self, text: str) -> str:
        """Lines of their own."""
        return f"{self._break()}{text}\n"

    def _break(self) -> str:
        before, self._open = "\n" * self._open, False
        return before

    def _said(self, text: str) -> str:
        if text:
            self._open = not text.endswith("\n")
        return text

    def _one(self, change: Change) -> str:
        match change:
            case RunStarted():
                self._first = True
            case Prompted(text):
                first, self._first = self._first, False
                return "" if first else self._line(f"» {short(text)}")
            case TextDelta(text, thinking=False):
                self._streamed += text
                return self._said(harmless(text))
            case AnswerEnded():
                return self._answered(change)
            case ToolStarted(call):
                return self._line(f"⚙ {call_text(call)}")
            case ToolEnded(call):
                return self._returned(call)
            case RetryStarted(retry):
                return self._line(
                    f"↻ attempt {retry.attempt} of {retry.most} follows in {retry.delay:g} s: "
                    f"{short(retry.error)}"
                )
            case Compacted(_, error):
                return self._line(f"· {short(error) if error else 'the conversation was summed up'}")
            case DialogAsked(dialog):
                return self._line(question_text(self._label, dialog).rstrip("\n"))
            case Noticed(notice):
                return self._line(f"! {short(notice.text, 400)}")
            case RunEnded(run):
                state = run.outcome or "done"
                why = f"  {short(run.error, 400)}" if run.error and state == "error" else ""
                return self._line(run_text(run, state) + why)
            case _:
                pass
        return ""

    def _answered(self, message: AnswerEnded) -> str:
        streamed, self._streamed = self._streamed, ""
        shown = ""
        if message.text.startswith(streamed):
            shown = self._said(harmless(message.text[len(streamed) :]))
        elif message.text:  # it counts, whatever streamed in before
            shown = self._break() + self._said(harmless(message.text))
        return shown + self._break()

    def _returned(self, call: ToolCall) -> str:
        took = f"  {clock(call.seconds)}" if call.seconds is not None else ""
        if call.failed:
            lines = harmless(call.result).strip().splitlines()
            said = "".join(f"    {line}\n" for line in lines[:FAILED_LINES])
            more = f"    … {len(lines) - FAILED_LINES} more lines\n" if len(lines) > FAILED_LINES else ""
            mark = f"{RED}✗{UNCOLOURED}"
            return self._line(f"  {mark} {short(call.name, 40)} failed{took}") + said + more
        return self._line(f"  ✓ {short(call.name, 40)}{took}") + (diff_text(call.diff) if call.diff else "")


def farewell_text(doomed: Mapping[str, VM], made: Sequence[VM], stays: Sequence[VM]) -> str:
    """The question whether to delete agents, by their labels, with what they made; and what stays of that."""

    def named(vms: Sequence[VM]) -> str:
        return ", ".join(name_shown(vm.label) for vm in vms)

    called = ", ".join(
        name_shown(label if vm.label == label else f"{label} (VM {vm.label})") for label, vm in doomed.items()
    )
    more = f", and what they made ({named(made)})" if made else ""
    whose = "its VM" if len(doomed) == 1 else "their VMs"
    left = f"Made by agents, these stay: {named(stays)}.\n" if stays else ""
    return f"{left}Delete {called}{more}, and all that is on {whose}?"
