"""Talks to the pi of this machine and keeps the swarm's registry, for agents elsewhere, by the API's exec.

    swarm-agent start [--model PROVIDER/ID]   have pi run, and wait until it answers
    swarm-agent send [--timeout SECONDS]      one RPC command, JSON on stdin; its response as JSON
    swarm-agent status                        what the agent is at, as JSON
    swarm-agent read [--tail CHARACTERS]      what it has said
    swarm-agent stop                          end pi, and what it has started
    swarm-agent registry                      one change of the registry, JSON on stdin; its entries

pi is the background process `pi`, as when the notebook starts it. What it says is in that process's
journal, its session in a file of its own. A failure is one sentence on stderr, and exit code 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys

from . import HOME, Refused, registry, session
from .pi import ANSWER, Pi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SHOWN = 2000  # characters of the last text in a status
BUSY = ("isStreaming", "isCompacting", "pendingMessageCount")  # of pi's get_state
ENDS = ("done", "error", "aborted")


def status(pi: Pi) -> dict[str, Any]:
    """What the agent is at: idle, working, done, error, aborted; silent; or dead, with how that came."""
    about = pi.about()
    path, own = session.newest(), written()
    found: dict[str, Any] = {}
    if about.get("state") != "running":
        state, found["why"] = "dead", pi.how(about)
    else:
        try:
            now = pi.ask({"type": "get_state"}, ANSWER)["data"]
            state = "working" if any(now.get(name) for name in BUSY) else "idle"
            path, model = now.get("sessionFile") or path, now.get("model") or {}
            found["model"] = f"{model.get('provider')}/{model.get('id')}"
        except Refused as refused:
            state, found["why"] = "silent", str(refused)
    end = session.told(path)
    if state == "idle" and end["ended"]:
        # The extension knows better: pi's session calls a run that was stopped within a tool an error.
        last = end["ended"] if end["ended"] in ENDS else "done"
        state = own["status"] if own.get("status") in ENDS else last
    if state == "error":
        found["why"] = end["error"]
    if state == "aborted" and own.get("why"):
        found["why"] = own["why"]
    kept = {name: own.get(name) for name in ("task", "summary", "artifacts", "children", "updatedAt")}
    return {"state": state, **found, "text": end["text"][-SHOWN:], "cost": round(end["cost"], 6), **kept}


def written() -> dict[str, Any]:
    """This agent's own status file, which pi's extension writes; empty: none yet."""
    name = loaded("identity.json").get("agentId")
    return loaded("status", f"{name}.json") if name else {}


def loaded(*names: str) -> dict[str, Any]:
    """An object from a file of the swarm's folder; empty: there is none."""
    with contextlib.suppress(OSError, ValueError), open(os.path.join(HOME, *names), encoding="utf-8") as file:
        found = json.load(file)
        return found if isinstance(found, dict) else {}
    return {}


def asked() -> dict[str, Any]:
    """The JSON on stdin."""
    try:
        found = json.load(sys.stdin)
    except ValueError as error:
        raise Refused(f"What came on stdin is no JSON: {error}.") from None
    if not isinstance(found, dict):
        raise Refused("What came on stdin is no JSON object.")
    return found


def run(words: argparse.Namespace) -> object:
    if words.do == "registry":
        return registry.change(**asked())
    if words.do == "read":
        return session.read(words.tail)
    pi = Pi()
    if words.do == "start":
        pi.start(words.model)
    if words.do == "stop":
        pi.stop()
    return pi.ask(asked(), words.timeout) if words.do == "send" else status(pi)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    does = parser.add_subparsers(dest="do", required=True)
    does.add_parser("start").add_argument("--model")
    does.add_parser("send").add_argument("--timeout", type=float, default=ANSWER)
    does.add_parser("status")
    does.add_parser("read").add_argument("--tail", type=int)
    does.add_parser("stop")
    does.add_parser("registry")
    try:
        found = run(parser.parse_args())
    except Refused as refused:
        sys.exit(str(refused))
    except OSError as error:
        sys.exit(f"{error.strerror}: {error.filename or ''}. See whether the disk is full, and try again.")
    print(found if isinstance(found, str) else json.dumps(found))
