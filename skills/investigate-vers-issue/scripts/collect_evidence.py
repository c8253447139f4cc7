#!/usr/bin/env python3
"""Writes down, as Markdown, what whoever looks at an issue will ask for, without anything secret.

    collect_evidence.py [--vm ID] [--log FILE]...

What it looks at: this machine, versions, settings by name, the agent, the platform's API and clock; with
`--vm`, one machine; with `--log`, the last lines of files. Keys that this machine knows, and what variables
named as keys hold, are left out of all that it prints, whoever repeats them. It changes nothing, and needs
nothing but Python's standard library.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

SWARM = Path(os.environ.get("SWARM_HOME") or "/root/.swarm")
KEY_FILES = ("keys.json", "config.json")  # of ~/.vers
DEFAULT_BASE = "https://api.vers.sh/api/v1"
SECRET_NAMES = ("KEY", "TOKEN", "SECRET", "PASSW", "CREDENTIAL", "AUTH")
SHORTEST = 6  # characters of a value that is taken for a secret; shorter ones are words like "none"
PATIENCE = 20.0  # seconds for one request or program
MOST = 4000  # characters of one thing that are shown
LARGEST = 1 << 20  # bytes of an answer
LINES = 40  # of a log
PROGRAMS = ("pi", "node", "python3", "git", "curl", "pi-v-jupyter")
IDENTITY = (
    "vmId",
    "agentId",
    "rootVmId",
    "parentVmId",
    "depth",
    "maxDepth",
    "maxVms",
    "budgetUsd",
    "createdAt",
)


class Secrets:
    """The secret values known here, each with what stands in its place."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        for name, value in found_secrets():
            value = value.strip()
            if len(value) >= SHORTEST:
                for form in forms(value):
                    self._known[form] = f"<{name}>"

    def without(self, text: str) -> str:
        """`text` with names in place of values; the longest first, for one may be part of another."""
        for value in sorted(self._known, key=len, reverse=True):
            text = text.replace(value, self._known[value])
        return text


def found_secrets() -> Iterator[tuple[str, str]]:
    """Names and values: of the swarm's folder, of the environment, of the user's files of keys."""
    if (SWARM / "secrets").is_dir():
        for file in (SWARM / "secrets").iterdir():
            if file.name != "VERS_BASE_URL":
                yield file.name, read(file)
    for name, value in os.environ.items():
        if any(word in name.upper() for word in SECRET_NAMES):
            yield name, value
    for name in KEY_FILES:
        yield from (
            (key, value) for key, value in leaves(loaded(Path.home() / ".vers" / name)) if secret(key)
        )
    agent = Path(os.environ.get("PI_CODING_AGENT_DIR") or Path.home() / ".pi" / "agent")
    yield from leaves(loaded(agent / "auth.json"))
    address = urllib.parse.urlsplit(base())
    yield from (("password of VERS_BASE_URL", part) for part in (address.password,) if part)


def secret(name: str) -> bool:
    """Whether a value of that name is one."""
    return any(word in name.upper() for word in SECRET_NAMES)


def forms(value: str) -> Iterator[str]:
    """How a value may be written: as it is, quoted for an address or for JSON, in base64."""
    yield value
    yield urllib.parse.quote(value, safe="")
    yield json.dumps(value)[1:-1]
    yield base64.b64encode(value.encode()).decode().rstrip("=")


def leaves(found: Any, name: str = "key") -> Iterator[tuple[str, str]]:
    """The texts in a JSON value, each with the name it stands under."""
    if isinstance(found, dict):
        for key, value in found.items():
            yield from leaves(value, str(key))
    elif isinstance(found, list):
        for value in found:
            yield from leaves(value, name)
    elif isinstance(found, str):
        yield name, found


def read(path: Path) -> str:
    """A file's text; empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def loaded(path: Path) -> Any:
    """A file's JSON; None where there is none."""
    try:
        return json.loads(read(path))
    except ValueError:
        return None


def base() -> str:
    """The address of the API, from the swarm's folder, the environment or the default."""
    given = read(SWARM / "secrets" / "VERS_BASE_URL").strip() or os.environ.get("VERS_BASE_URL", "").strip()
    return (given or DEFAULT_BASE).rstrip("/").removesuffix("/api/v1") + "/api/v1"


def key() -> str:
    """The API key; empty where there is none."""
    for found in (read(SWARM / "secrets" / "VERS_API_KEY"), os.environ.get("VERS_API_KEY", "")):
        if found.strip():
            return found.strip()
    for name in KEY_FILES:
        for label, value in leaves(loaded(Path.home() / ".vers" / name)):
            if label in ("VERS_API_KEY", "versApiKey", "api_key"):
                return value.strip()
    return ""


def said(*command: str) -> str:
    """What a program says, or why it says nothing."""
    if shutil.which(command[0]) is None:
        return "is not there"
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not run: {type(error).__name__}"
    return (done.stdout or done.stderr).decode(errors="replace").strip() or f"ended with {done.returncode}"


class Stays(urllib.request.HTTPRedirectHandler):
    """The key is for this address alone: no redirect is followed."""

    def redirect_request(self, *_: Any) -> None:
        return None


def asked(path: str) -> str:
    """One request to the API: status, time, clock and answer, in lines."""
    request = urllib.request.Request(base() + path, headers={"Authorization": f"Bearer {key()}"})  # noqa: S310
    opener = urllib.request.build_opener(Stays)
    began, now = time.monotonic(), datetime.now(UTC)
    try:
        try:
            answer = opener.open(request, timeout=PATIENCE)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            # More than is shown, for half a key at the end would not be known as one.
            status, body, date = answer.status, answer.read(LARGEST), answer.headers.get("Date")
    except (OSError, ValueError) as error:
        return f"no answer after {time.monotonic() - began:.1f} s: {getattr(error, 'reason', error)}"
    lines = [f"{status} after {time.monotonic() - began:.2f} s"]
    if date:
        skew = (parsedate_to_datetime(date) - now).total_seconds()
        lines.append(f"the platform's clock is {skew:+.0f} s off this one's, to a second or two")
    return "\n".join([*lines, body.decode(errors="replace")])


def sections(vm: str | None, logs: list[str]) -> Iterator[tuple[str, str]]:
    """Titles and texts."""
    yield "Time", datetime.now(UTC).isoformat(timespec="seconds")
    disk = shutil.disk_usage("/")
    memory = [line for line in read(Path("/proc/meminfo")).splitlines() if line.startswith(("MemT", "MemA"))]
    room = f"disk: {disk.free >> 20} of {disk.total >> 20} MiB free"
    yield "Machine", "\n".join([platform.platform(), *memory, room, f"load: {read(Path('/proc/loadavg'))}"])
    versions = (f"{name}: {said(name, '--version').splitlines()[0]}" for name in PROGRAMS)
    yield "Versions", "\n".join(versions)
    names = sorted(name for name in os.environ if name.startswith(("VERS_", "PI_", "SWARM_")))
    has_key = f"API key: {'there' if key() else 'none'}"
    yield "Settings", "\n".join([f"API: {base()}", has_key, f"set: {', '.join(names) or 'nothing'}"])
    identity = loaded(SWARM / "identity.json")
    if isinstance(identity, dict):
        yield "Agent", json.dumps({name: identity.get(name) for name in IDENTITY}, indent=1)
        yield "Agent's status", said("swarm-agent", "status")
    for path in ("/system/version", "/vm", *([f"/vm/{vm}/metadata"] if vm else [])):
        yield f"GET {path}", asked(path)
    yield "Kernel's last messages", "\n".join(said("dmesg").splitlines()[-LINES:])
    for name in logs:
        lines = read(Path(name)).splitlines()[-LINES:]
        yield f"Log {name}", "\n".join(lines) or "is empty, or cannot be read"


def main() -> None:
    parser = argparse.ArgumentParser(description="Evidence for a report, as Markdown, without secrets.")
    parser.add_argument("--vm", metavar="ID", help="also tell of that machine")
    parser.add_argument("--log", metavar="FILE", action="append", default=[], help="also its last lines")
    words = parser.parse_args()
    secrets = Secrets()
    print("# Evidence")
    for title, text in sections(words.vm, words.log):
        shown = secrets.without(text)  # whole, for a value that was cut would not be known
        short = shown if len(shown) <= MOST else f"{shown[:MOST]}\n… {len(shown) - MOST} characters more"
        indented = "\n".join(f"    {line}".rstrip() for line in short.splitlines())
        print(f"\n## {secrets.without(title)}\n\n{indented}")


if __name__ == "__main__":
    sys.exit(main())
