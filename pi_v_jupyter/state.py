"""What must survive a kernel: names, host keys and sessions of VMs and commits, what a notebook used.

One small JSON file in the user's state folder, replaced whole under a lock: kernels may share it.
"""

from __future__ import annotations

import copy
import json
import os
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
        # A notebook finds its VM and sessions again after a restart; other kernels have no name for that.
        self.notebook = os.environ.get("JPY_SESSION_NAME", "")
        self._path = path or state_dir() / "state.json"
        self._cached: tuple[tuple[int, int, int], dict[str, Any]] | None = None

    def get(self, platform: str, kind: str, key: str) -> str | None:
        """One value: `kind` is such as "names", "host_keys", "sessions" (of commits), "active" or "seats"."""
        value = self._read().get(platform, {}).get(kind, {}).get(key)
        return value if isinstance(value, str) else None

    def all(self, platform: str, kind: str) -> dict[str, str]:
        """All values of a kind."""
        values = self._read().get(platform, {}).get(kind, {})
        return {key: value for key, value in values.items() if isinstance(value, str)}

    def where(self, kind: str, key: str) -> tuple[str, str] | None:
        """The platform that has a value for `key`, and the value."""
        for platform, known in self._read().items():
            value = known.get(kind, {}).get(key)
            if isinstance(value, str):
                return platform, value
        return None

    @contextmanager
    def changing(self, platform: str) -> Iterator[dict[str, dict[str, Any]]]:
        """All values of a platform by their kinds, to be read and changed while nobody else changes them.

        What was changed is kept, unless the block raises. It waits for a lock, as all that changes values.
        """
        with self._changing() as state:
            yield state.setdefault(platform, {})

    def set(self, platform: str, kind: str, key: str, value: str | None) -> None:
        """Remember a value; None forgets it."""
        if self._read().get(platform, {}).get(kind, {}).get(key) == value:
            return  # nothing to wait for the lock for
        with self._changing() as state:
            values = state.setdefault(platform, {}).setdefault(kind, {})
            if value is None:
                values.pop(key, None)
            else:
                values[key] = value

    def claim_seat(self, platform: str, vm_id: str) -> tuple[bool, tuple[str, str | None] | None]:
        """Take the place of an earlier kernel of this notebook on a VM; at most one session has it.

        Whether this one has it now, and as which client, at which socket, the former was connected.
        """
        key = f"{vm_id} {self.notebook}"
        if not self.notebook:
            return False, None
        with self._changing() as state:
            seats = state.setdefault(platform, {}).setdefault("seats", {})
            try:
                kept = json.loads(seats.get(key) or "null") or {}
                former, pid = (kept.get("client"), kept.get("socket")), int(kept.get("pid", 0))
            except (ValueError, TypeError, AttributeError):  # damaged: only comfort is lost
                former, pid = (None, None), 0
            if key in _seated if pid == os.getpid() else _runs(pid):
                return False, None
            _seated.add(key)
            seats[key] = json.dumps({"client": former[0], "socket": former[1], "pid": os.getpid()})
        return True, (str(former[0]), former[1]) if former[0] else None

    def keep_seat(self, platform: str, vm_id: str, seat: tuple[str, str | None]) -> None:
        """Remember it for the next kernel of this notebook; for the session that has claimed it."""
        kept = json.dumps({"client": seat[0], "socket": seat[1], "pid": os.getpid()})
        if self.get(platform, "seats", f"{vm_id} {self.notebook}") != kept:
            self.set(platform, "seats", f"{vm_id} {self.notebook}", kept)

    def leave_seat(self, platform: str, vm_id: str) -> None:
        """There is nothing to come back to."""
        _seated.discard(f"{vm_id} {self.notebook}")
        self.set(platform, "seats", f"{vm_id} {self.notebook}", None)

    def forget_vm(self, platform: str, vm_id: str) -> None:
        """Drop all that is known of a VM that is no more.

        But for which notebooks ran cells there: once their kernels are restarted, these do not run elsewhere
        unasked.
        """
        with self._changing() as state:
            known = state.get(platform, {})
            known.get("names", {}).pop(vm_id, None)
            known.get("host_keys", {}).pop(vm_id, None)
            known.get("agents", {}).pop(vm_id, None)
            known.get("undone", {}).pop(vm_id, None)
            known.get("plans", {}).pop(vm_id, None)
            seats = known.get("seats", {})
            for seat in [seat for seat in seats if seat.startswith(f"{vm_id} ")]:
                seats.pop(seat)

    def _read(self) -> dict[str, Any]:
        """The file as it is now, parsed only when it has changed: a list of VMs asks once for each."""
        try:
            status = self._path.stat()
            mark = (status.st_ino, status.st_mtime_ns, status.st_size)
            if self._cached is None or self._cached[0] != mark:
                self._cached = mark, _platforms(json.loads(self._path.read_text()))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise SettingsError(f"{self._path} cannot be read: {error}.", "Mend it, or remove it.") from None
        return self._cached[1]

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        try:
            with filelock.FileLock(self._path.with_suffix(".lock"), timeout=LOCK_TIMEOUT):
                state = copy.deepcopy(self._read())
                yield state
                write_private(self._path, json.dumps(state, indent=1, sort_keys=True))
        except filelock.Timeout:
            raise SettingsError(f"{self._path} is locked by another program.", "Try again.") from None
        except OSError as error:
            raise SettingsError(
                f"{self._path} cannot be written: {error.strerror}.", "Free some space?"
            ) from None


_seated: set[str] = set()  # what sessions of this process have claimed


def _runs(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _platforms(value: Any) -> dict[str, Any]:
    """What was in the file, as far as it has the form it should have."""
    known = value if isinstance(value, dict) else {}
    return {
        platform: {kind: values for kind, values in kinds.items() if isinstance(values, dict)}
        for platform, kinds in known.items()
        if isinstance(kinds, dict)
    }
