"""A program that speaks as pi does in RPC mode, and does at each prompt what the prompt's lines say.

say TEXT          answers with it, word by word
write FILE TEXT   a tool call that writes a file, with a diff
run TEXT          a tool call that fails, with that result
retry TEXT        the model is away for a moment
ask METHOD TEXT   an extension asks: confirm, select (options with |) or input; the answer is said
hold              goes on until it is aborted, or told something
fail TEXT         the model's answer is an error
spout FILE        writes the lines of a file where pi writes its records, as what it has started can
die               pi ends, with words on stderr
strand            likewise, and what it has started lives on, with its pipes
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

USAGE = {"input": 100, "output": 20, "cacheRead": 5, "cacheWrite": 0, "cost": {"total": 0.0125}}
_numbers = itertools.count(1)
_lock = threading.Lock()


def emit(kind: str, **fields: Any) -> None:
    with _lock:
        sys.stdout.buffer.write(json.dumps({"type": kind, **fields}).encode() + b"\n")
        sys.stdout.buffer.flush()


def now() -> int:
    return int(time.time() * 1000)


class Pi:
    """One pi."""

    def __init__(self) -> None:
        self.busy = threading.Event()
        self.stop = threading.Event()
        self.told: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.queued: list[str] = []

    def answer(self, command: dict[str, Any]) -> None:
        kind, data, error = command["type"], None, ""
        if kind == "get_state":
            model = {"provider": "scripted", "id": "rehearsal"}
            data = {
                "isStreaming": self.busy.is_set(),
                "isCompacting": False,
                "pendingMessageCount": 0,
                "model": model,
            }
        elif kind == "prompt" and self.busy.is_set() and "streamingBehavior" not in command:
            error = "Agent is already processing. Specify streamingBehavior."
        elif kind == "set_model" and command["modelId"] == "nosuch":
            error = "Model not found: nosuch"
        elif kind == "get_available_models":
            data = {"models": [{"provider": "anthropic", "id": "such"}, {"provider": "other", "id": "more"}]}
        elif kind == "clear_queue":
            data, self.queued = {"steering": [], "followUp": self.queued}, []
        elif kind == "extension_ui_response":
            self.told.put(command)
            return
        elif kind == "abort":
            self.abort()
        about: dict[str, Any] = {"error": error} if error else {"data": data} if data else {}
        emit("response", id=command.get("id"), command=kind, success=not error, **about)
        if error:
            return
        if kind == "prompt" and self.busy.is_set():
            self.queued.append(command["message"])
            emit("queue_update", steering=[], followUp=self.queued)
            if command["streamingBehavior"] == "steer":
                self.told.put({})
        elif kind == "prompt":
            self.busy.set()
            self.stop.clear()
            self.running = threading.Thread(target=self.run, args=(command["message"],), daemon=True)
            self.running.start()

    def abort(self) -> None:
        """As pi does, which answers when it has stopped."""
        self.stop.set()
        if self.busy.is_set():
            self.told.put({"cancelled": True})
            self.running.join()
            self.told = queue.SimpleQueue()  # what nobody waited for is nothing to the next run

    def run(self, prompt: str) -> None:
        emit("agent_start")
        while True:
            content = [{"type": "text", "text": prompt}]
            emit("message_end", message={"role": "user", "content": content, "timestamp": now()})
            for line in prompt.splitlines():
                word, _, rest = line.strip().partition(" ")
                if word in STEPS and not self.stop.is_set():
                    getattr(self, f"do_{word}")(rest)
            if self.stop.is_set() or not self.queued:
                break
            prompt = self.queued.pop(0)
        if self.stop.is_set():  # before the step that waits for it, too
            self.message([], "aborted", "Request was aborted.")
        emit("agent_end", messages=[])
        self.busy.clear()
        emit("agent_settled")

    def message(self, content: list[Any], stop: str = "stop", error: str = "") -> None:
        about = {"errorMessage": error} if error else {}
        emit(
            "message_end",
            message={
                **{"role": "assistant", "content": content, "usage": USAGE, "stopReason": stop},
                **{"timestamp": now(), "responseId": str(next(_numbers)), **about},
            },
        )

    def do_say(self, text: str) -> None:
        text = text.encode().decode("unicode_escape")
        for piece in text.split(" "):
            event = {"type": "text_delta", "contentIndex": 0, "delta": piece + " "}
            emit("message_update", assistantMessageEvent=event)
        self.message([{"type": "text", "text": text + " "}])

    def tool(self, name: str, arguments: dict[str, Any], result: str, *, failed: bool, details: Any) -> None:
        call = f"call-{next(_numbers)}"
        self.message([{"type": "toolCall", "id": call, "name": name, "arguments": arguments}], "toolUse")
        about = {"toolCallId": call, "toolName": name}
        emit("tool_execution_start", **about, args=arguments)
        given = {"content": [{"type": "text", "text": result}], "details": details}
        emit("tool_execution_end", **about, result=given, isError=failed)

    def do_write(self, rest: str) -> None:
        name, _, text = rest.partition(" ")
        Path(name).write_text(text + "\n")
        patch = f"--- {name}\n+++ {name}\n@@ -0,0 +1,1 @@\n+{text}\n"
        arguments = {"path": name, "content": text}
        self.tool("write", arguments, f"wrote {name}", failed=False, details={"patch": patch})

    def do_run(self, text: str) -> None:
        self.tool("bash", {"command": "make"}, text, failed=True, details={})

    def do_retry(self, text: str) -> None:
        emit("auto_retry_start", attempt=1, maxAttempts=3, delayMs=10, errorMessage=text)
        emit("auto_retry_end", success=True, attempt=1)

    def do_ask(self, rest: str) -> None:
        method, _, text = rest.partition(" ")
        title, *options = text.split("|")
        about = {"options": options} if options else {}
        emit("extension_ui_request", id=f"ask-{next(_numbers)}", method=method, title=title, **about)
        told = self.told.get()
        self.do_say(f"told {json.dumps({key: told[key] for key in told if key not in ('type', 'id')})}")

    def do_hold(self, _: str) -> None:
        self.told.get()

    def do_spout(self, name: str) -> None:
        with _lock:
            sys.stdout.buffer.write(Path(name).read_bytes())
            sys.stdout.buffer.flush()

    def do_fail(self, text: str) -> None:
        self.message([], "error", text)

    def do_die(self, _: str) -> None:
        sys.stderr.write("pi: out of memory\n")
        sys.stderr.flush()
        os._exit(3)

    def do_strand(self, _: str) -> None:
        subprocess.Popen(["sleep", "300"], stdin=subprocess.DEVNULL, start_new_session=True)
        self.do_die("")


STEPS = ("say", "write", "run", "retry", "ask", "hold", "spout", "fail", "die", "strand")


def main() -> None:
    pi = Pi()
    for line in sys.stdin.buffer:
        pi.answer(json.loads(line))


if __name__ == "__main__":
    main()
