"""The process behind `pi-v-jupyter up`: API, VMs and gateway together, until it is told to end.

One per user and state folder: it holds a lock for as long as it lives. What it tells its clients is in
the description file, written when everything answers and removed at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import getpass
import logging
import os
import secrets
import signal
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import filelock
import httpx
import uvicorn

from pi_v_jupyter.errors import ConflictingPlatformError, PlatformError
from pi_v_jupyter.local import accelerator, app, base, certificates, image, paths, record, upkeep
from pi_v_jupyter.local.access import Access
from pi_v_jupyter.local.base import Base, Resident
from pi_v_jupyter.local.capacity import Limits
from pi_v_jupyter.local.catalog import Catalog
from pi_v_jupyter.local.fleet import Fleet
from pi_v_jupyter.local.foundry import Foundry
from pi_v_jupyter.local.gateway import Gateway
from pi_v_jupyter.local.image import Image
from pi_v_jupyter.local.rootfs import Progress
from pi_v_jupyter.local.roster import Roster
from pi_v_jupyter.local.routes.access import Address
from pi_v_jupyter.local.sieve import Sieve
from pi_v_jupyter.settings import EmbeddedPlatform, write_private

log = logging.getLogger(__name__)

_USUAL_PORT = 7730
_USUAL_GATEWAY_PORT = 7731
_GRACE = 5  # seconds that requests under way get at the end


@dataclass(frozen=True)
class Options:
    """What `up` can be told. Port 0 takes a free one, None the usual one or, where it is taken, a free one.

    A limit of None is what this computer can bear.
    """

    port: int | None
    gateway_port: int | None
    domain: str
    max_vms: int | None = None
    max_vcpus: int | None = None
    max_memory_mib: int | None = None
    max_disk_mib: int | None = None

    @property
    def limits(self) -> Limits:
        """What all VMs together may have."""
        sensible = Limits.sensible()
        return Limits(
            vms=self.max_vms or sensible.vms,
            vcpus=self.max_vcpus or sensible.vcpus,
            memory_mib=self.max_memory_mib or sensible.memory_mib,
            disk_mib=self.max_disk_mib or sensible.disk_mib,
        )


@dataclass(frozen=True)
class Ground:
    """What has to be there before a VM can be."""

    image: Image
    accelerator: str
    base: Base


def lock() -> filelock.FileLock:
    """Held by the daemon while it lives; the system lets go of it however the daemon ends."""
    return filelock.FileLock(paths.platform_dir() / EmbeddedPlatform.lock_file().name)


async def prepare(resident: Resident | None, progress: Progress) -> Ground:
    """Build what is not there yet: image, choice of accelerator, booted machine.

    Raises:
        MissingToolError, ImageError: it cannot be built.
    """
    accelerator.qemu_version()  # absent QEMU is to be told before a minute's work, not after it
    built = await asyncio.to_thread(image.ensure, progress)
    accel = await asyncio.to_thread(accelerator.choose, built, progress)
    return Ground(built, accel, await base.ensure(built, accel, resident, progress))


def listen_for_api(options: Options) -> socket.socket:
    """The socket of the API.

    Raises:
        ConflictingPlatformError: someone else has the port that was asked for.
    """
    return _listen(options.port, _USUAL_PORT, "the API", "--port")


def listen_for_vms(options: Options) -> socket.socket:
    """The socket that VMs are reached by; as `listen_for_api`."""
    return _listen(options.gateway_port, _USUAL_GATEWAY_PORT, "the VMs", "--gateway-port")


def _listen(asked: int | None, usual: int, what: str, option: str) -> socket.socket:
    if asked is None:
        with contextlib.suppress(OSError):  # taken by another user of this computer, most likely
            return _bind(usual)
    port = asked or 0
    try:
        return _bind(port)
    except OSError as error:
        hint = f"Choose another with `{option} PORT`; 0 takes a free one."
        if error.errno == errno.EADDRINUSE:
            owner = "another embedded platform" if _is_a_platform(port) else "another program"
            raise ConflictingPlatformError(f"Port {port} for {what} is taken by {owner}.", hint) from None
        raise ConflictingPlatformError(
            f"Port {port} for {what} cannot be used: {error.strerror}.", hint
        ) from None


def _bind(port: int) -> socket.socket:
    # asyncio sends without delay only where it is told that this is TCP: an answer would come 40 ms late.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()  # at once: until somebody listens, others get the same port, and fail minutes later
    except OSError:
        listener.close()
        raise
    return listener


def _is_a_platform(port: int) -> bool:
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/system/version", timeout=2, trust_env=False)
    except httpx.HTTPError:
        return False
    return bool(answer.headers.get("server") == app.SERVER_NAME)


async def serve(
    options: Options,
    resident: Resident | None,
    ready: Callable[[EmbeddedPlatform], None],
    progress: Progress,
) -> None:
    """Run the platform until SIGTERM or SIGINT, then end its VMs.

    `ready` is called once everything answers.

    Raises:
        ConflictingPlatformError: this user's platform is up already, or a port is taken.
        PlatformError: it cannot start.
    """
    holding = lock()
    try:
        holding.acquire(timeout=1)  # whoever asks whether it is up holds it for a moment
    except filelock.Timeout:
        raise ConflictingPlatformError(
            "The embedded platform is up already.", "`pi-v-jupyter status`"
        ) from None
    with (
        holding,
        listen_for_api(options) as api_socket,
        listen_for_vms(options) as gateway_socket,
    ):
        # What one that died has told leads to ports that are no longer its own.
        EmbeddedPlatform.path().unlink(missing_ok=True)
        ground = await prepare(resident, progress)
        with upkeep.in_use(ground.image.folder, ground.base.folder, *_golden(ground.accelerator, resident)):
            os.umask(0o077)  # not before: what an image is built from has modes of its own
            record.remove_unfinished()
            for folder in upkeep.remove_unused():
                log.info("removed %s, which nothing uses", folder)
            await _serve(options, ground, resident, api_socket, gateway_socket, ready)


def _golden(accel: str, resident: Resident | None) -> list[Path]:
    """Folders of the golden image and its base, as far as there are any: whoever built it means to use it."""
    built = image.current(image.GOLDEN)
    if built is None:
        return []
    return [each for each in (built.folder, base.where(built, accel, resident).folder) if each.exists()]


async def _serve(
    options: Options,
    ground: Ground,
    resident: Resident | None,
    api_socket: socket.socket,
    gateway_socket: socket.socket,
    ready: Callable[[EmbeddedPlatform], None],
) -> None:
    folder, domain = paths.platform_dir(), options.domain
    context = certificates.server_context(folder, domain)
    gateway = Gateway(gateway_socket, context, domain)
    owner = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{getpass.getuser()}.{domain}"))
    sieve = Sieve()
    catalog = Catalog.load()
    foundry = Foundry(ground.image, ground.base, ground.accelerator, catalog.env_vars.all, resident)
    roster = Roster(foundry, gateway.route, sieve.connect)
    fleet = Fleet(foundry, roster, catalog, options.limits, owner)
    address = Address(
        api_port=api_socket.getsockname()[1],
        gateway_port=gateway_socket.getsockname()[1],
        domain=domain,
        ca_pem=certificates.authority_file(folder).read_text(),
    )
    keys = Access(
        folder / "vm_keys.json",
        fleet.get,
        lambda vm_id, opened: sieve.open(vm_id, address.ports if opened else frozenset()),
    )
    server = _Server(app.build(fleet, keys, address, _api_key(folder / "api_key")))
    description = EmbeddedPlatform(
        base_url=f"http://127.0.0.1:{api_socket.getsockname()[1]}/api/v1",
        domain=domain,
        vm_port=gateway_socket.getsockname()[1],
        ca_file=str(certificates.authority_file(folder)),
        key_file=str(folder / "api_key"),
        pid=os.getpid(),
        accelerator=ground.accelerator,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    gateway.start()
    sieve.start()
    try:
        await fleet.begin()
        keys.open_all()
        serving = asyncio.create_task(server.serve(sockets=[api_socket]))
        await server.answers(serving)
        description.save()
        log.info(
            "up: %s, VMs at 127.0.0.1:%d, %s", description.base_url, description.vm_port, ground.accelerator
        )
        ready(description)
        await serving
    finally:
        EmbeddedPlatform.path().unlink(missing_ok=True)
        await fleet.end()
        gateway.stop()
        sieve.stop()
        log.info("down")


def _api_key(file: Path) -> str:
    """The bearer key: kept, so that clients set up with it go on working."""
    try:
        key = file.read_text().strip()
    except FileNotFoundError:
        key = ""
    if not key:
        key = secrets.token_urlsafe(32)
        write_private(file, key)
    return key


class _Server(uvicorn.Server):
    """uvicorn, told to end by us: its own signal handling would end the process before the VMs."""

    def __init__(self, application: object) -> None:
        config = uvicorn.Config(
            application,  # type: ignore[arg-type]  # uvicorn's own, narrower name for an ASGI application
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            headers=[("server", app.SERVER_NAME)],
            timeout_graceful_shutdown=_GRACE,
        )
        super().__init__(config)

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield

    def stop(self) -> None:
        """Answer what is under way, then return from `serve`."""
        self.should_exit = True

    async def answers(self, serving: asyncio.Task[None]) -> None:
        """Wait until requests are answered."""
        while not self.started:
            if serving.done():
                raise PlatformError("The API did not start.") from serving.exception()
            await asyncio.sleep(0.01)
