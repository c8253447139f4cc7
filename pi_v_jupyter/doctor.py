"""Looks at everything between a notebook and its VMs, and says what to do about what is wrong."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import re
import shlex
import signal
import socket
import ssl
import stat
import sys
import time
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import asyncssh

from pi_v_jupyter.api.models import VMState
from pi_v_jupyter.errors import CertificateError, VersError, VMGoneError
from pi_v_jupyter.remote.tls import dialled, tls_context, untrusted
from pi_v_jupyter.session import Vers
from pi_v_jupyter.settings import EmbeddedPlatform, Settings
from pi_v_jupyter.vm import VM

PROBE_TIMEOUT = 10.0  # seconds
COMPUTER_TIMEOUT = 40.0  # seconds: the first time QEMU is started for a moment
LARGEST_SKEW = 10.0  # seconds; more confuses certificates, `make` and whoever reads a log
NEEDED = {"ipython": (9, 0), "ipykernel": (7, 0), "jupyterlab": (4, 4)}


@dataclass(frozen=True)
class Check:
    """One thing looked at. `remedy` is empty when there is nothing to do."""

    what: str
    ok: bool
    found: str
    remedy: str = ""


class Report(list[Check]):
    """All checks, in the order of the way from here to a VM."""

    @property
    def ok(self) -> bool:
        """Is everything in order?"""
        return all(check.ok for check in self)


async def examine(vers: Vers) -> Report:
    """Check versions, key, platform, and the way to one VM; never raises for what it finds.

    Each check ends after 10 s, that of this computer after 40 s, and what lies beyond a failed one is not
    looked at.
    """
    report = Report([_versions(), *_key_files(vers.settings)])
    try:
        endpoint = vers.settings.endpoint()
    except VersError as error:
        report.append(Check("key", False, error.message, error.hint))
        return Report([*report, *await _embedded()])
    report.append(Check("platform", True, endpoint.base_url))
    report.append(Check("key", True, f"from {endpoint.key_origin}"))
    if endpoint.embedded:
        report += await _embedded()
    try:
        vms = await vers.fleet.all()
    except VersError as error:
        report.append(Check("API", False, error.message, error.hint))
        return report
    report.append(Check("API", True, f"answers; {len(vms)} VM{'' if len(vms) == 1 else 's'}"))
    report += await _clock(vers)
    running = [vm for vm in vms if vm.state is VMState.RUNNING]
    try:
        chosen = vers.active or (running[0] if running else None)
    except VMGoneError as error:
        report.append(Check("active VM", False, error.message, error.hint))
        return report
    return Report([*report, *await _vm(vers, chosen)]) if chosen else report


def _versions() -> Check:
    found, old = [f"Python {platform.python_version()}"], []
    for name in ("pi-v-jupyter", *NEEDED):
        try:
            there = version(name)
        except PackageNotFoundError:  # JupyterLab may well be in another environment
            continue
        found.append(f"{name} {there}")
        numbers = tuple(map(int, re.findall(r"\d+", there)[:2]))
        if numbers < NEEDED.get(name, ()):
            old.append(f"'{name}>={'.'.join(map(str, NEEDED[name]))}'")
    remedy = f"`%pip install -U {' '.join(old)}`, then restart the kernel, and JupyterLab." if old else ""
    return Check("versions", not old, ", ".join(found), remedy)


def _key_files(settings: Settings) -> list[Check]:
    """The user's own files with keys, where other users of this computer may read them."""
    return [
        Check("key file", False, f"other users may read {file}", f"`chmod 600 {shlex.quote(str(file))}`.")
        for file in settings.key_files
        if _is_open(file)
    ]


def _is_open(file: Path) -> bool:
    """May others read it? Folders further up are not looked at."""
    try:
        ways = [folder.stat().st_mode for folder in file.parents[:2]]
        return all(way & (stat.S_IXGRP | stat.S_IXOTH) for way in ways) and bool(
            file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)
        )
    except OSError:  # there is none, or the user cannot tell either
        return False


async def _clock(vers: Vers) -> list[Check]:
    """This computer's against the platform's, which a `Date` header tells to the second."""
    before = time.time()
    try:
        told = await vers.client.clock()
    except VersError:  # what the platform is like has been told
        return []
    if told is None:
        return []
    moment = told.timestamp()
    ahead = max(before - moment - 1, 0.0) or min(time.time() - moment, 0.0)
    if abs(ahead) <= LARGEST_SKEW:
        return [Check("clock", True, "that of this computer and of the platform agree")]
    where = "ahead of" if ahead > 0 else "behind"
    found = f"that of this computer is {abs(ahead):.0f} s {where} the platform's"
    return [Check("clock", False, found, "`sudo timedatectl set-ntp true` has the network set it.")]


async def _vm(vers: Vers, vm: VM) -> list[Check]:
    """The way to one VM, as far as it goes."""
    try:
        host, port = vers.settings.vm_address(vm.vm_id)
        ca_file = vers.settings.ca_file
    except VersError as error:
        return [Check(f"way to {vm.label}", False, error.message, error.hint)]
    stuck = f"`%vers info {vm.label}` says how it is; `%vers pause {vm.label}` and `resume` may free it."
    steps: tuple[tuple[str, Coroutine[None, None, str], str], ...] = (
        (f"TCP to {host}:{port}", _tcp(host, port), f"Is port {port} open to the outside from here?"),
        (
            f"TLS to {host}",
            _tls(host, port, ca_file),
            "Is that the port at which VMs are? See `%vers config`.",
        ),
        (f"SSH to {vm.label}", _ssh(vm), stuck),
        (f"commands on {vm.label}", _command(vm), stuck),
    )
    report: list[Check] = []
    for what, work, remedy in steps:
        if all(check.ok for check in report):
            report.append(await _tried(what, work, remedy))
        else:
            work.close()
    return [*report, await _vm_clock(vm, stuck)] if all(check.ok for check in report) else report


async def _tried(what: str, work: Awaitable[str], remedy: str) -> Check:
    """What `work` found, or why it did not, within the time a check has."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            return Check(what, True, await work)
    except VersError as error:
        return Check(what, False, error.message, error.hint or remedy)
    except TimeoutError:
        return Check(what, False, f"no answer within {PROBE_TIMEOUT:g} s", remedy)
    except socket.gaierror:
        return Check(what, False, "its name is not known", remedy)
    except (OSError, asyncssh.Error) as error:
        return Check(what, False, str(error) or type(error).__name__, remedy)


async def _tcp(host: str, port: int) -> str:
    _, writer = await asyncio.open_connection(dialled(host), port)
    writer.transport.abort()
    return "connects"


async def _tls(host: str, port: int, ca_file: str | None) -> str:
    context = tls_context(ca_file)
    try:
        _, writer = await asyncio.open_connection(dialled(host), port, ssl=context, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        raise untrusted(host, error) from None
    except ssl.SSLError as error:
        raise CertificateError(f"{host} does not speak TLS at that port: {error.reason}.") from None
    certificate = writer.get_extra_info("peercert")
    protocol = writer.get_extra_info("ssl_object").version()
    writer.transport.abort()
    return f"{protocol}; its certificate is verified, and good until {certificate['notAfter']}"


async def _ssh(vm: VM) -> str:
    await vm.connect()
    return f"logs in; its host key is the one it had before, {vm.pinned(vm.vm_id)}"


async def _command(vm: VM) -> str:
    result = await vm.run("true")
    return f"`true` took {result.duration * 1000:.1f} ms"


async def _vm_clock(vm: VM, stuck: str) -> Check:
    what = f"clock of {vm.label}"
    before = time.time()
    told = await _tried(what, _seconds(vm), stuck)
    if not told.ok:
        return told
    ahead = min(time.time() - float(told.found), 0.0) or max(before - float(told.found) - 1, 0.0)
    if abs(ahead) <= LARGEST_SKEW:
        return Check(what, True, "agrees with this computer's")
    where = "behind" if ahead > 0 else "ahead of"
    remedy = f"`%vm --on {vm.label} date -s @{time.time():.0f}` sets it."
    return Check(what, False, f"is {abs(ahead):.0f} s {where} this computer's", remedy)


async def _seconds(vm: VM) -> str:
    result = await vm.run("date +%s")
    if not result.stdout.strip().isdecimal():
        raise VersError("`date +%s` tells no time there.")
    return result.stdout.strip()


async def _embedded() -> list[Check]:
    """The platform on this computer, and what it needs here: its own command line knows."""
    try:
        up = EmbeddedPlatform.load()
    except VersError as error:
        return [Check("embedded platform", False, error.message, error.hint)]
    told = await _this_computer()
    if up is not None:
        return [Check("embedded platform", True, f"up (QEMU, {up.accelerator})"), *told]
    return [*told, Check("embedded platform", False, "down", "`%vers up` starts it.")]


async def _this_computer() -> list[Check]:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pi_v_jupyter", "doctor", "--json"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # it may start QEMU to see whether that works: all of it is ended
    )
    try:
        async with asyncio.timeout(COMPUTER_TIMEOUT):
            out, err = await child.communicate()
    except TimeoutError:
        return [Check("this computer", False, "`pi-v-jupyter doctor` does not end", "Run it in a terminal.")]
    finally:
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
    try:
        return [Check(**told) for told in json.loads(out)]
    except (ValueError, TypeError):
        line = err.decode(errors="replace").strip().rpartition("\n")[2].removeprefix("Error: ")
        message, _, hint = line.partition("  ")
        return [
            Check("this computer", False, message or "nothing was said", hint or "`pi-v-jupyter doctor`.")
        ]
