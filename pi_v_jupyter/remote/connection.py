"""One live connection per VM: opened once, shared by all that need it, made again when it breaks."""

from __future__ import annotations

import asyncio
import secrets
import shlex
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import asyncssh
import tenacity

from pi_v_jupyter.errors import ConnectError, ConnectionLostError, VersError
from pi_v_jupyter.remote.channel import Request
from pi_v_jupyter.remote.plain import PlainProcess, PlainRunner
from pi_v_jupyter.remote.resident import Resident, ResidentProcess, program, socket_path
from pi_v_jupyter.remote.tls import PinnedClient, Pins, TLSTunnel, tls_context

CONNECT_TIMEOUT = 60.0  # seconds to reach a VM that should be there
ATTEMPT_TIMEOUT = 20.0  # seconds for one try
HEAL_TIMEOUT = 600.0  # seconds the resident program keeps commands of a client that is away
KEEPALIVE = 10  # seconds; three unanswered ones mean the connection is gone
NOISE = 1 << 16  # bytes a login script may print before the program answers
BOOT = "import sys;exec(compile(sys.stdin.buffer.read(int(sys.argv.pop(1))),'pi-v-resident','exec'))"

# AES-GCM first: hardware does it, where ChaCha20 would cost this process most of its throughput.
CIPHERS = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr"]


class Endpoint(Protocol):
    """Where a VM is and how to log in, asked afresh at each connection."""

    vm_id: str

    async def address(self) -> tuple[str, int, str | None]:
        """Host name, TLS port, CA file (None: the system's)."""

    async def private_key(self) -> str:
        """The login key, OpenSSH format."""

    async def check(self) -> None:
        """Raise VMGoneError when the VM is known to be gone for good."""


class _Session(asyncssh.SSHClientSession[bytes], asyncssh.SSHUNIXSession[bytes]):
    """Bytes between an SSH channel and a `Resident`. `token`: what marks the program's first byte."""

    def __init__(self, resident: Resident, token: bytes = b"") -> None:
        self._resident, self._token = resident, token
        self._channel: Any = None
        self._noise = b""
        self.errors = b""
        self.exit_status: int | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not token:
            self.ready.set_result(None)

    def connection_made(self, chan: Any) -> None:
        self._channel = chan

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if datatype is not None:
            self.errors = (self.errors + data)[-4096:]
        elif not self._token:
            self._resident.feed(data)
        else:
            self._noise += data
            before, found, after = self._noise.partition(self._token)
            if found:
                self._token = self._noise = b""
                self.ready.set_result(None)
                if after:
                    self._resident.feed(after)
            elif len(before) > NOISE:
                self.close()

    def exit_status_received(self, status: int) -> None:
        self.exit_status = status

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(ConnectionLostError("The resident program did not start."))
        self._resident.lost(self)

    def write(self, data: bytes) -> None:
        if not self._channel.is_closing():
            self._channel.write(data)

    def close(self) -> None:
        self._channel.close()


class Connection:
    """The connection to one VM. All of it lives on one event loop.

    `on_notice` is told, once each, what the user should know: that there is no python3, for one.
    """

    def __init__(
        self, endpoint: Endpoint, pins: Pins, on_notice: Callable[[str], None] = lambda _: None
    ) -> None:
        self._endpoint, self._pins, self._on_notice = endpoint, pins, on_notice
        self._lock = asyncio.Lock()
        self._ssh: asyncssh.SSHClientConnection | None = None
        self._resident = Resident()
        self._resident.on_lost = self._lost
        self._plain: PlainRunner | None = None
        self._healing: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._closed = False

    async def start(self, request: Request) -> ResidentProcess | PlainProcess:
        """Start a command, connecting first if need be.

        Raises:
            ConnectError: the VM cannot be reached.
        """
        if not self._resident.attached:
            await self.open()
        return self._plain.start(request) if self._plain else self._resident.start(request)

    async def open(self, timeout: float = CONNECT_TIMEOUT) -> None:
        """Connect, trying again until `timeout` seconds are over; nothing to do when connected."""
        async with self._lock:
            if self._closed:
                raise ConnectError(f"The connection to VM {self._endpoint.vm_id} was closed.")
            if self._resident.attached or (self._plain and self._ssh and not self._ssh.is_closed()):
                return
            try:
                async with asyncio.timeout(timeout):
                    async for attempt in tenacity.AsyncRetrying(
                        wait=tenacity.wait_exponential(multiplier=0.1, max=3),
                        retry=tenacity.retry_if_exception(_passing),
                        before_sleep=self._still_there,
                        reraise=True,
                    ):
                        with attempt:
                            await self._attempt()
            except TimeoutError:
                cause = f": {self._failure}" if self._failure else ""
                raise ConnectError(
                    f"VM {self._endpoint.vm_id} could not be reached within {timeout:g} s{cause}.",
                    "`%vers ls` shows its state; `%vers doctor` looks at the way there.",
                ) from None

    async def _still_there(self, state: tenacity.RetryCallState) -> None:
        self._failure = state.outcome.exception() if state.outcome else None
        await self._endpoint.check()

    async def _attempt(self) -> None:
        async with asyncio.timeout(ATTEMPT_TIMEOUT):
            if self._ssh is None or self._ssh.is_closed():
                self._ssh = await self._login()
            try:
                await self._attach(self._ssh)
            except BaseException:
                self._ssh.abort()
                self._ssh = None
                raise

    async def _login(self) -> asyncssh.SSHClientConnection:
        host, port, ca_file = await self._endpoint.address()
        key = asyncssh.import_private_key(await self._endpoint.private_key())
        client = PinnedClient(self._endpoint.vm_id, self._pins)
        try:
            return await asyncssh.connect(
                host,
                port,
                tunnel=TLSTunnel(tls_context(ca_file)),
                client_factory=lambda: client,
                username=getattr(self._endpoint, "username", "root"),
                client_keys=[key],
                known_hosts=b"",
                server_host_key_algs="default",
                preferred_auth="publickey",
                encryption_algs=CIPHERS,
                compression_algs=None,
                agent_path=None,
                config=None,
                keepalive_interval=KEEPALIVE,
            )
        except asyncssh.HostKeyNotVerifiable:
            if client.mismatch:
                raise client.mismatch from None
            raise

    async def _attach(self, ssh: asyncssh.SSHClientConnection) -> None:
        for path in dict.fromkeys(filter(None, (self._resident.socket, self._warm_socket()))):
            link = _Session(self._resident)
            try:
                await ssh.create_unix_connection(lambda: link, path)  # noqa: B023  called before this returns
            except asyncssh.ChannelOpenError:
                continue
            await self._resident.attach(link)
            return
        token = secrets.token_hex(16)
        code = program()
        words = ["python3", "-I", "-S", "-c", BOOT, str(len(code)), token]
        started = _Session(self._resident, token.encode())
        channel, _ = await ssh.create_session(lambda: started, f"exec {shlex.join(words)}", encoding=None)
        channel.write(code)
        try:
            await started.ready
        except ConnectionLostError:
            if started.exit_status not in (126, 127):
                detail = started.errors.decode(errors="backslashreplace").strip().splitlines()
                raise ConnectError(
                    f"The resident program did not start on VM {self._endpoint.vm_id}"
                    + (f": {detail[-1]}" if detail else ".")
                ) from None
            if self._plain is None:
                self._on_notice(
                    f"No python3 on VM {self._endpoint.vm_id}: each command takes a channel of its own, "
                    "and nothing of a cell's shell lasts to the next."
                )
            self._plain = PlainRunner(ssh)
            return
        await self._resident.attach(started)

    def _warm_socket(self) -> str | None:
        return socket_path() if getattr(self._endpoint, "username", "root") == "root" else None

    def _lost(self) -> None:
        if self._resident.busy and not self._closed and (self._healing is None or self._healing.done()):
            self._healing = asyncio.create_task(self._heal())

    async def _heal(self) -> None:
        """Commands are waiting: come back for them, or tell them why not."""
        try:
            await self.open(HEAL_TIMEOUT)
        except VersError as error:
            self._resident.fail(error)

    async def close(self) -> None:
        """End this client's commands and sessions on the VM, and the connection."""
        self._closed = True
        if self._healing is not None:
            self._healing.cancel()
        self._resident.goodbye()
        if self._ssh is not None:
            self._ssh.close()
            try:
                async with asyncio.timeout(2):
                    await self._ssh.wait_closed()
            except TimeoutError:
                self._ssh.abort()


def _passing(error: BaseException) -> bool:
    """May a further try succeed? A wrong certificate, host key or VM will stay wrong."""
    if isinstance(error, VersError):
        return type(error) in (ConnectError, ConnectionLostError)
    if isinstance(error, asyncssh.PermissionDenied | asyncssh.HostKeyNotVerifiable):
        return False
    return isinstance(error, OSError | asyncssh.Error | ssl.SSLError | TimeoutError)
