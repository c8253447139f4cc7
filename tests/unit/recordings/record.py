"""Makes the recordings again: real pis, told what to do, against the scripted model.

    python tests/unit/recordings/record.py [NAME…]

Each is what pi wrote to its stdout, but for what belongs to the machine where that was, and for most of its
system prompt. A command of the recorder's is there by its answer only.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parents[1]))

from pis import NEW, OLD, Pi, Record, running_pi  # noqa: E402

OVER = ("done", "error", "aborted")
GATE = """
export default function (pi) {
  const clock = (_, ctx) => ctx.ui.setStatus("pi-v-clock", String(Date.now()));
  pi.on("tool_execution_start", clock);
  pi.on("agent_end", clock);
  pi.registerCommand("greet", { handler: async (_, ctx) => ctx.ui.notify("Hello.", "warning") });
  pi.on("tool_call", async (event, ctx) => {
    if (event.toolName !== "bash") return undefined;
    if (await ctx.ui.confirm("May it run?", event.input.command)) return undefined;
    return { block: true, reason: "It was not allowed." };
  });
}
"""
BUSY = {"status": 529}
NUMBERS = " ".join(map(str, range(1, 31)))


def run(pi: Pi) -> None:
    """One task, to its end."""
    pi.prompt("What is the sum of 19 and 23?", "task")
    pi.state(*OVER)


def abort(pi: Pi) -> None:
    """It is told to stop while it answers."""
    pi.prompt("Count to 30.", "task")
    pi.until(lambda record: "12" in pi.story.partial)
    pi.send("abort", id="stop")
    pi.response("stop")
    pi.state(*OVER)


def abort_tool(pi: Pi) -> None:
    """It is told to stop while a tool runs."""
    pi.prompt("Count to 30.", "task")
    pi.until(lambda record: record["type"] == "tool_execution_start")
    pi.send("abort", id="stop")
    pi.response("stop")
    pi.state(*OVER)


def abort_retry(pi: Pi) -> None:
    """It is told to stop while it waits for the model."""
    pi.prompt("What is the sum of 19 and 23?", "task")
    pi.state("retrying")
    pi.send("abort", id="stop")
    pi.response("stop")
    pi.state(*OVER)


def queued(pi: Pi) -> None:
    """While it works, it is told more; then it has another task."""
    pi.prompt("Count to 30.", "task")
    pi.until(lambda record: record["type"] == "tool_execution_start")
    pi.send("steer", id="steer", message="Count backwards.")
    pi.response("steer")
    pi.prompt("Then say goodbye.", "later", streamingBehavior="followUp")
    (pi.workspace / "go").touch()
    pi.state(*OVER)
    pi.prompt("And now?", "next")
    pi.state(*OVER)


def refused(pi: Pi) -> None:
    """A second task comes too early."""
    pi.prompt("Count to 30.", "task")
    pi.until(lambda record: record["type"] == "tool_execution_start")
    pi.prompt("What is the sum of 19 and 23?", "early")
    (pi.workspace / "go").touch()
    pi.state(*OVER)


def dialog(pi: Pi) -> None:
    """An extension asks, and is answered; then a command of its begins no run."""
    pi.prompt("What day is it?", "task")
    pi.state("waiting")
    pi.send("extension_ui_response", id=pi.story.dialogs[0].id, confirmed=True)
    pi.state(*OVER)
    pi.prompt("/greet", "greet")
    pi.state("working")
    pi.state(*OVER)


def killed(pi: Pi) -> None:
    """It is killed while it answers."""
    pi.prompt("Count to 30.", "task")
    pi.until(lambda record: "12" in pi.story.partial)
    pi.process.send_signal(signal.SIGKILL)


def compaction(pi: Pi) -> None:
    """A long conversation is summed up: after a run, then because the user wants it, then no more."""
    run(pi)
    pi.prompt("And of 1 and 2?", "next")
    pi.state(*OVER)
    for id in ("sum up", "again"):
        pi.send("compact", id=id)
        pi.response(id)


COUNTING = [{"content": [{"say": NUMBERS[:40]}, {"hold": "/nowhere"}], "size": 8}]
WAITING = {"call": "bash", "with": {"command": "until test -e go; do sleep 0.05; done; echo gone"}}
EDITING = [
    {"content": [{"call": "write", "with": {"path": "sum.py", "content": "print(19 + 32)\n"}}]},
    {
        "content": [
            {"think": "Two digits are the wrong way round."},
            {"say": "I correct that."},
            {"call": "edit", "with": {"path": "sum.py", "edits": [{"oldText": "32", "newText": "23"}]}},
            {"call": "bash", "with": {"command": "echo wrong >&2; exit 3"}},
        ]
    },
    {"content": [{"call": "bash", "with": {"command": "python3 sum.py"}}]},
    "The sum is 42.",
]
SMALL = {"compaction": {"enabled": True, "reserveTokens": 1000, "keepRecentTokens": 20}}
FULL = {"content": [{"say": "The sum is 42. " * 20}], "usage": {"input_tokens": 199_500}}

Scenario = tuple[list[Any], Callable[[Pi], None], dict[str, Any], str]
SCENARIOS: dict[str, Scenario] = {
    "text": ([{"content": [{"think": "Easy."}, {"say": "The sum is\u2028 42."}]}], run, {}, ""),
    "tools": (EDITING, run, {}, ""),
    "storm": ([{**BUSY, "times": 4}], run, {}, ""),
    "recovers": ([{"content": [{"say": "The su"}, {"cut": True}]}, "The sum is 42."], run, {}, ""),
    "abort": (COUNTING, abort, {}, ""),
    "abort_tool": ([{"content": [WAITING]}, "1 2 3"], abort_tool, {}, ""),
    "abort_retry": (
        [BUSY],
        abort_retry,
        {"retry": {"baseDelayMs": 60_000, "provider": {"maxRetries": 0}}},
        "",
    ),
    "queue": ([{"content": [WAITING]}, "30 29 28", "Goodbye.", "Nothing."], queued, {}, ""),
    "refused": ([{"content": [WAITING]}, "1 2 3"], refused, {}, ""),
    "dialog": (
        [{"content": [{"call": "bash", "with": {"command": "date +%A"}}]}, "A good one."],
        dialog,
        {},
        GATE,
    ),
    "compaction": ([FULL, "That is 3. " * 20], compaction, SMALL, ""),
    "killed": (COUNTING, killed, {}, ""),
    "refusal": ([{"content": [{"say": "No."}], "stop": "refusal"}], run, {}, ""),
    "length": ([{"content": [{"say": "The sum"}], "stop": "max_tokens"}], run, {}, ""),
}


def scrubbed(line: bytes, home: Path) -> str:
    """A line as it would be on an agent's machine, without most of the system prompt."""
    text = line.decode()
    text = text.replace(str(home / "workspace"), "/root/workspace").replace(str(home), "/root")
    text = text.replace(str(home).strip("/").replace("/", "-"), "root")
    text = re.sub(r"http://127\.0\.0\.1:\d+", "http://127.0.0.1:7414", text)
    return json.dumps(shortened(json.loads(text)), ensure_ascii=False, separators=(",", ":"))


def shortened(value: Any) -> Any:
    """Without what a system message holds."""
    if isinstance(value, list):
        return [shortened(each) for each in value]
    if not isinstance(value, dict):
        return value
    if value.get("role") == "system":
        return {"role": "system", "content": "", "sections": {}, "timestamp": value.get("timestamp")}
    return {key: shortened(each) for key, each in value.items()}


def record(version: str, name: str) -> Path:
    """Make one."""
    turns, drive, settings, extension = SCENARIOS[name]
    script: Record = {"turns": turns, "summary": "The sum was asked for."}
    with running_pi(version, script, settings, extension) as pi:
        drive(pi)
        lines = [scrubbed(line, pi.home) for line in pi.lines]
        print(version, name, *pi.states, f"{len(lines)} records", sep="\t")
    file = FOLDER / version / f"{name}.jsonl"
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


if __name__ == "__main__":
    for version in (OLD, NEW):
        for name in sys.argv[1:] or SCENARIOS:
            record(version, name)
