"""`up`, `down` and `status`, seen from outside the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import filelock
import httpx
import psutil

from pi_v_jupyter.api.models import VMState
from pi_v_jupyter.errors import PlatformError
from pi_v_jupyter.local import daemon, paths, processes, record
from pi_v_jupyter.local.base import Resident
from pi_v_jupyter.local.daemon import Options
from pi_v_jupyter.local.rootfs import Progress
from pi_v_jupyter.settings import EmbeddedPlatform

_ANSWER_TIMEOUT = 10.0
_START_TIMEOUT = 900.0  # another process may be building the image
_END_TIMEOUT = 600.0  # it has memories to write
# How the names of variables with secrets end.
_SECRETS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIALS", "_PAT")


def is_up() -> bool:
    """Whether this user's daemon lives, be it still starting."""
    return EmbeddedPlatform.lives()


def up(options: Options, resident: Resident | None, progress: Progress) -> tuple[EmbeddedPlatform, bool]:
    """Start the daemon, detached; the platform, and whether it was started by this call.

    Raises:
        PlatformError and its kin: it cannot start.
    """
    with _launching():
        if is_up():
            return _wait_for_description(), False
        daemon.listen_for_api(options).close()
        daemon.listen_for_vms(options).close()
        asyncio.run(daemon.prepare(resident, progress))
        return _spawn(options), True


def down(*, purge: bool, options: Options, resident: Resident | None) -> bool:
    """End the daemon, which saves its VMs; with `purge` delete them and all else that is kept.

    One that is starting is waited for. VMs that one which died left running are taken over first, by one
    started with `options`, so that they are saved too. Returns whether there was anything to end.

    Raises:
        PlatformError: another start does not come to an end.
    """
    with _launching():
        if not purge and not is_up() and vms_that_run():
            asyncio.run(daemon.prepare(resident, lambda _: None))
            _spawn(options)
        return _down(purge=purge)


@contextlib.contextmanager
def _launching() -> Iterator[None]:
    """Meanwhile nobody else starts or ends the platform."""
    lock = filelock.FileLock(paths.platform_dir() / "launch.lock")
    try:
        lock.acquire(timeout=_START_TIMEOUT)
    except filelock.Timeout:
        raise PlatformError(
            "Another start of the platform does not come to an end.", "End it and try again."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _down(*, purge: bool) -> bool:
    platform = None
    if is_up():
        with contextlib.suppress(PlatformError):  # it did not come up, or has just ended
            platform = _wait_for_description()
    if platform is not None:
        _end_daemon(platform.pid)
    unsaved = set() if purge else {vm.pid for vm in record.load_all() if vm.pid is not None}
    strays = processes.left_over(f"{paths.runtime_dir().name}:", unsaved)
    for stray in strays:
        with contextlib.suppress(psutil.NoSuchProcess):
            stray.kill()
    psutil.wait_procs(strays, timeout=_END_TIMEOUT)
    if purge:
        shutil.rmtree(paths.platform_dir())
        shutil.rmtree(paths.runtime_dir())
    elif vms_that_run():
        raise PlatformError(
            f"{vms_that_run()} of the VMs could not be saved, and still run; why is in {paths.log_file()}.",
            "`pi-v-jupyter up` takes them over; then free some space, and `down` again.",
        )
    return platform is not None or bool(strays)


def vms_that_run() -> int:
    """How many VMs there are running, those of a daemon that died included."""
    prefix = f"{paths.runtime_dir().name}:"
    found = processes.left_over(prefix, ())
    return sum(processes.name_of(process) != f"{prefix}base" for process in found)


def vms_kept() -> int:
    """How many VMs `down --purge` would delete."""
    return len(record.load_all())


def vms_saved() -> int:
    """How many VMs the next `up` brings back."""
    return sum(vm.saved is not None for vm in record.load_all())


def status() -> dict[str, Any]:
    """What is up, as plain data: `{"up": bool, ...}`."""
    if not is_up():
        return {"up": False, "vms_left_running": vms_that_run(), "vms_kept": vms_kept()}
    platform = _wait_for_description()
    vms = _ask(platform, "/vm")
    return {
        "up": True,
        **asdict(platform),
        "vms": {state.value: sum(vm["state"] == state for vm in vms) for state in VMState},
        "log": str(paths.log_file()),
    }


def _ask(platform: EmbeddedPlatform, path: str) -> Any:
    key = Path(platform.key_file).read_text().strip()
    try:
        answer = httpx.get(
            platform.base_url + path,
            headers={"Authorization": f"Bearer {key}"},
            timeout=_ANSWER_TIMEOUT,
            trust_env=False,  # a proxy has no business with loopback
        )
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise PlatformError(
            f"The platform (process {platform.pid}) does not answer: {type(error).__name__}.",
            f"Its log is {paths.log_file()}; `pi-v-jupyter down` ends it.",
        ) from None
    return answer.json()


def _wait_for_description() -> EmbeddedPlatform:
    deadline = time.monotonic() + _START_TIMEOUT
    while (platform := EmbeddedPlatform.load()) is None:
        if time.monotonic() > deadline or not is_up():
            raise PlatformError(
                "The platform was starting and did not come up.", f"Its log is {paths.log_file()}"
            )
        time.sleep(0.1)
    return platform


def _spawn(options: Options) -> EmbeddedPlatform:
    log_file = paths.log_file()
    if log_file.exists():
        log_file.replace(log_file.with_suffix(".log.1"))
    # The daemon reports through this pipe once, then closes it: success, or the sentence of its failure.
    reading, writing = os.pipe()
    package = str(Path(__file__).parents[2])
    search_path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    command = [
        *(sys.executable, "-m", "pi_v_jupyter", "up", "--foreground", "--report-fd", str(writing)),
        *("--domain", options.domain),
    ]
    for option, number in (
        ("--port", options.port),
        ("--gateway-port", options.gateway_port),
        ("--max-vms", options.max_vms),
        ("--max-vcpus", options.max_vcpus),
        ("--max-memory", options.max_memory_mib),
        ("--max-disk", options.max_disk_mib),
    ):
        if number is not None:
            command += [option, str(number)]
    with log_file.open("wb") as log:
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(writing,),
            start_new_session=True,
            cwd=paths.platform_dir(),
            env=_without_secrets(os.environ) | {"PYTHONPATH": search_path},
        )
    os.close(writing)
    with os.fdopen(reading) as report:
        text = report.read()
    try:
        failure = json.loads(text)
    except ValueError:
        raise PlatformError("The platform ended while it started.", f"Its log is {log_file}") from None
    if failure:
        raise PlatformError(failure["message"], failure["hint"])
    return _wait_for_description()


def _without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` but for our settings and what looks like a key: the daemon outlives who set them."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith("VERS_") and not name.upper().endswith(_SECRETS)
    }


def _end_daemon(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _END_TIMEOUT
    while is_up():
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            deadline = float("inf")
        time.sleep(0.05)
