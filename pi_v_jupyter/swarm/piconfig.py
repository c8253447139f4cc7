"""The user's own configuration of pi, as agents are given it: packed once per spawn, merged on each VM.

Taken are instructions, resources and the settings that an agent works by. Sessions, models, repositories,
what a package manager can bring again and files named as keys are stay here; what else a resource has goes.
"""

from __future__ import annotations

import fnmatch
import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pi_v_jupyter.errors import UsageError
from pi_v_jupyter.swarm._there import source
from pi_v_jupyter.vm import VM

MOST = 20 * 1024 * 1024  # bytes, unpacked
SETTINGS = "settings.json"
# pi takes the first of these that is there.
INSTRUCTIONS = ("AGENTS.override.md", "AGENTS.md", "AGENTS.MD", "CLAUDE.md", "CLAUDE.MD")
PROMPTS = ("SYSTEM.md", "APPEND_SYSTEM.md")
FOLDERS = ("skills", "extensions", "prompts", "themes")
LEFT = (
    *(".git", "node_modules", "__pycache__", ".cache", ".venv", ".ds_store", "auth.json"),
    # Keys and passwords, by the names that programs look for them under.
    *(".env*", "*.env", ".netrc", "_netrc", ".npmrc", ".yarnrc*", ".pypirc", ".pgpass", ".htpasswd"),
    *(".git-credentials", ".credentials*", "credentials", "client_secret*.json", "service[-_]account*.json"),
    *(
        f"{word}.{kind}"
        for word in ("credentials", "secrets")
        for kind in ("json", "y*ml", "toml", "ini", "txt")
    ),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*.pem", "*.key", "*.ppk", "*.p12", "*.pfx"),
    *("*.jks", "*.keystore", "*.kdbx", ".secrets*", ".ssh", ".gnupg", ".aws", ".azure", ".docker", ".kube"),
)
OURS = {"extensions/vers", "extensions/vers.ts", "skills/vers"}  # those of agents stay as they are
# Settings by name (pi's "Settings Reference"), for extensions keep keys of theirs among them. Not those that
# choose a model, which is for the spawn to say; nor paths and programs of this computer; nor packages, which
# each agent would fetch; nor what the golden image needs in order to run unattended.
WANTED = {
    *("defaultThinkingLevel", "thinkingBudgets", "cacheWarming", "defaultTools", "images"),
    *("steeringMode", "followUpMode", "compaction", "branchSummary", "retry", "theme"),
    *("transport", "httpIdleTimeoutMs", "websocketConnectTimeoutMs", "enableSkillCommands", *FOLDERS),
}
RUN_TIMEOUT = 120.0  # seconds to send and merge it
HINT = "`--bare` spawns without your configuration of pi."


@dataclass(frozen=True)
class PiConfig:
    """What agents are given: `archive` is a gzipped tar, `contents` what is in it, in words."""

    archive: bytes = field(repr=False)
    contents: tuple[str, ...]

    async def give(self, vm: VM) -> None:
        """Merge it into the configuration of pi on a VM, in one stream; a new session of its pi has it.

        Raises:
            VersError: it cannot be.
        """
        await vm.run(
            ["python3", "-c", source("piconfig")], stdin=self.archive, timeout=RUN_TIMEOUT, check=True
        )


def folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the user's pi has its configuration."""
    named = environment.get("PI_CODING_AGENT_DIR", "").strip()
    return Path(named or "~/.pi/agent").expanduser()


def pack(root: Path) -> PiConfig | None:
    """What agents are given of the configuration in that folder; None when there is nothing.

    Raises:
        UsageError: it is too large, cannot be read, or has settings that are no JSON object.
    """
    packed, size, contents = io.BytesIO(), 0, []
    try:
        with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=3) as archive:
            for name, data, executable, what in _pieces(root):
                size += len(data)
                if size > MOST:
                    raise _too_large(root)
                about = tarfile.TarInfo(name)
                about.size, about.mode = len(data), 0o700 if executable else 0o600
                archive.addfile(about, io.BytesIO(data))
                contents.append(what)
    except OSError as error:
        raise UsageError(
            f"{error.filename or root} cannot be read: {error.strerror}.", f"Mend it, or move it; {HINT}"
        ) from None
    counts = {what: contents.count(what) for what in contents}
    told = [what if count == 1 else f"{what} ({count} files)" for what, count in counts.items()]
    return PiConfig(packed.getvalue(), tuple(told)) if told else None


def _pieces(root: Path) -> Iterator[tuple[str, bytes, bool, str]]:
    """Names over there, their bytes, whether they can be run, and what they are part of."""
    settings = _settings(root / SETTINGS)
    if settings:
        yield SETTINGS, json.dumps(settings).encode(), False, SETTINGS
    instructions = [root / name for name in INSTRUCTIONS if (root / name).is_file()][:1]
    for path in (*instructions, *(root / name for name in PROMPTS if (root / name).is_file())):
        name = path.name if path.name in PROMPTS else "AGENTS.md"
        yield name, _read(path, root), False, path.name
    for top in FOLDERS:
        for name, path in _files(root / top, top, ()):
            yield name, _read(path, root), os.access(path, os.X_OK), f"{top}/"


def _read(path: Path, root: Path) -> bytes:
    if path.stat().st_size > MOST:
        raise _too_large(root)
    return path.read_bytes()


def _too_large(root: Path) -> UsageError:
    return UsageError(
        f"What agents would get of {root} is more than {MOST >> 20} MB.",
        f"Move large files elsewhere; {HINT}",
    )


def _files(at: Path, name: str, above: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """All files below a folder. Links are followed, as many keep their skills in a repository elsewhere."""
    real = os.path.realpath(at)
    if not at.is_dir() or real in above:
        return
    for path in sorted(at.iterdir()):
        below = f"{name}/{path.name}"
        if below in OURS or _left(path.name) or _left(Path(os.path.realpath(path)).name):
            continue
        if path.is_dir():
            yield from _files(path, below, (*above, real))
        elif path.is_file():
            yield below, path


def _left(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name.lower(), pattern) for pattern in LEFT)


def _settings(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise UsageError(f"{path} is no JSON object.", f"Mend it; {HINT}")
    kept = {name: value for name, value in told.items() if name in WANTED}
    for name in FOLDERS:
        if isinstance(kept.get(name), list):
            kept[name] = [each for each in kept[name] if _within(each)]
    return kept


def _within(resource: object) -> bool:
    """Does a path of a resource lead to what agents are given?"""
    if not isinstance(resource, str):
        return False
    parts = Path(resource.lstrip("!+-")).parts
    return bool(parts) and parts[0] in FOLDERS and ".." not in parts
