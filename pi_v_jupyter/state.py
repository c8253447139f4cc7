"""What must survive a kernel: names of VMs, pinned host keys, which VM a notebook was using.

One small JSON file in the user's state folder, replaced whole under a lock: any number of kernels may share it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from pi_v_jupyter.errors import SettingsError
from pi_v_jupyter.settings import state_dir, write_private

LOCK_TIMEOUT = 10.0  # seconds; a write takes a millisecond


class State:
    """The state file. Values are grouped by platform (its base URL), since ids mean nothing elsewhere."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or state_dir() / "state.json"

    def get(self, platform: str, kind: str, key: str) -> str | None:
        """One value: `kind` is "names", "host_keys" or "active"."""
        value = self._read().get(platform, {}).get(kind, {}).get(key)
        return value if isinstance(value, str) else None

    def all(self, platform: str, kind: str) -> dict[str, str]:
        """All values of a kind."""
        return dict(self._read().get(platform, {}).get(kind, {}))

    def set(self, platform: str, kind: str, key: str, value: str | None) -> None:
        """Remember a value; None forgets it."""
        with self._changing() as state:
            values = state.setdefault(platform, {}).setdefault(kind, {})
            if value is None:
                values.pop(key, None)
            else:
                values[key] = value

    def forget_vm(self, platform: str, vm_id: str) -> None:
        """Drop all that is known of a VM that is no more."""
        with self._changing() as state:
            known = state.get(platform, {})
            known.get("names", {}).pop(vm_id, None)
            known.get("host_keys", {}).pop(vm_id, None)
            active = known.get("active", {})
            for notebook in [notebook for notebook, used in active.items() if used == vm_id]:
                active.pop(notebook)

    def _read(self) -> dict[str, Any]:
        try:
            value = json.loads(self._path.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise SettingsError(f"{self._path} cannot be read: {error}.", "Mend it, or remove it.") from None
        return value if isinstance(value, dict) else {}

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        try:
            with filelock.FileLock(self._path.with_suffix(".lock"), timeout=LOCK_TIMEOUT):
                state = self._read()
                yield state
                write_private(self._path, json.dumps(state, indent=1, sort_keys=True))
        except filelock.Timeout:
            raise SettingsError(f"{self._path} is locked by another program.", "Try again.") from None
        except OSError as error:
            raise SettingsError(
                f"{self._path} cannot be written: {error.strerror}.", "Free some space?"
            ) from None
