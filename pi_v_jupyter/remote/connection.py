"""One live connection per VM: opened once, shared by all that need it, made again when it breaks."""

from __future__ import annotations

import asyncio
import secrets
import shlex
from collections.abc import Callable

import asyncssh
import tenacity

from pi_v_jupyter.errors import (
    ConnectError,
    ConnectionLostError,
    PlatformUnreachableError,
    SettingsError,
    VersError,
    VMGoneError,
    VMPausedError,
)
from pi_v_jupyter.remote.channel import Request
from pi_v_jupyter.remote.link import ChannelLink
from pi_v_jupyter.remote.login import Endpoint, login
from pi_v_jupyter.remote.pins import Pins
from pi_v_jupyter.remote.plain import PlainProcess, PlainRunner
from pi_v_jupyter.remote.process import ResidentProcess
from pi_v_jupyter.remote.resident import LINGER, NO_LEGACY, Legacy, Resident, Seat, program, socket_path

CONNECT_TIMEOUT = 60.0  # seconds to reach a VM that should be there
ATTEMPT_TIMEOUT = 20.0  # seconds for one try
SILENCE = 3.0  # seconds without a connection after which the user is told
PAUSE_POLL = 3.0  # seconds between looks whether a paused VM, for which commands wait, goes on
PYTHON = ("python3", "-I", "-S", "-X", "utf8", "-c")
BOOT = "import sys;exec(compile(sys.stdin.buffer.read(int(sys.argv.pop(1))),'pi-v-resident','exec'))"


class Connection:
    """The connection to one VM. All of it lives on one event loop.

    `on_notice` is told, once each, what the user should know: that there is no python3, for one. `linger`:
    seconds commands go on while the VM is out of reach, and are waited for. `legacy`: the VM is a clone.
    `seat`: an earlier kernel's, whose sessions are to be gone on with; `on_seat` is told of this one's.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        pins: Pins,
        on_notice: Callable[[str], None] = lambda _: None,
        *,
        linger: float = LINGER,
        legacy: Legacy = NO_LEGACY,
        seat: Seat | None = None,
        on_seat: Callable[[Seat], object] = lambda _: None,
    ) -> None:
        self._endpoint, self._pins, self._on_notice = endpoint, pins, on_notice
        self._lock = asyncio.Lock()
        self._ssh: asyncssh.SSHClientConnection | None = None
        self._resident = Resident(linger, legacy, seat)
        self._on_seat = on_seat
        self._resident.on_lost = self._lost
        self._plain: PlainRunner | None = None
        self._noticed = False
        self._healing: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._suspended = False
        self._closed = False
        self._stood = False

    @property
    def legacy(self) -> Legacy:
        """What a clone that is made of the VM now holds for its own connection."""
        return self._resident.legacy

    async def start(self, request: Request) -> ResidentProcess | PlainProcess:
        """Start a command, connecting first if need be.

        Raises:
            ConnectError: the VM cannot be reached.
        """
        await self.open()
        if self._plain is not None:
            if request.work is None and request.socket is None:
                return self._plain.start(request)
            await self._look_for_python()
        process = self._resident.start(request)
        if not self._resident.attached:
            self._lost()  # since `open` saw it: the loss found nobody waiting, and now somebody is
        return process

    async def _look_for_python(self) -> None:
        """It was not there before; somebody may have installed it."""
        async with self._lock:
            if self._plain is not None and self._ssh is not None:
                await self._attach(self._ssh)
        if self._plain is not None:
            raise ConnectError(
                f"VM {self._endpoint.label} has no usable python3: "
                "its files, kernels and background processes are out of reach.",
                "Install it there: `%vm apt-get install -y python3`, or as its system does it.",
            )

    async def open(self, timeout: float = CONNECT_TIMEOUT) -> None:
        """Connect, trying again until `timeout` seconds are over; nothing to do when connected.

        Raises:
            ConnectError: the VM cannot be reached; VMPausedError: because it is paused.
        """
        if self._suspended:
            await self._endpoint.check()
            self._suspended = False
        if self._ready():
            return
        try:
            async with asyncio.timeout(timeout), self._lock:
                if not self._ready():
                    await self._connect()
        except TimeoutError:
            raise ConnectError(
                f"VM {self._endpoint.label} could not be reached within {timeout:g} s{self._cause()}.",
                "`%vers ls` shows its state; `%vers doctor` looks at the way there.",
            ) from None

    async def ssh(self) -> asyncssh.SSHClientConnection:
        """The SSH connection itself, made if need be: for channels that carry no commands.

        Raises:
            ConnectError: as `open`.
        """
        await self.open()
        if self._ssh is None:
            raise ConnectionLostError(f"The connection to VM {self._endpoint.label} broke just now.")
        return self._ssh

    def _ready(self) -> bool:
        if self._closed:
            raise ConnectError(f"The connection to VM {self._endpoint.label} was closed.")
        return self.up

    @property
    def up(self) -> bool:
        """Does it stand now?"""
        plain = self._plain is not None and self._ssh is not None and not self._ssh.is_closed()
        return self._resident.attached or plain

    @property
    def lost(self) -> bool:
        """Did it stand, and does not any more?"""
        return self._stood and not self.up

    def _cause(self) -> str:
        if self._failure is None:
            return ""
        text = self._failure.message if isinstance(self._failure, VersError) else str(self._failure)
        return f": {text.rstrip('.') or 'no answer'}"

    async def _connect(self) -> None:
        self._failure = None
        try:
            async for attempt in tenacity.AsyncRetrying(
                wait=tenacity.wait_exponential(multiplier=0.1, max=3),
                retry=tenacity.retry_if_exception(lambda error: not self._closed and self._passing(error)),
                before_sleep=self._still_there,
                reraise=True,
            ):
                with attempt:
                    await self._attempt()
        except asyncssh.PermissionDenied:
            raise ConnectError(
                f"VM {self._endpoint.label} refused the login key.",
                "Its authorized_keys may have been changed; the key is the one the platform gives.",
            ) from None
        except (asyncssh.Error, asyncssh.KeyImportError) as error:
            raise ConnectError(f"VM {self._endpoint.label} cannot be logged in to: {error}.") from None

    def _passing(self, error: BaseException) -> bool:
        # Where commands wait over there, a platform that is down is waited for as well.
        return _passing(error) or (self._resident.busy and isinstance(error, SettingsError))

    async def _still_there(self, state: tenacity.RetryCallState) -> None:
        self._failure = state.outcome.exception() if state.outcome else None
        try:
            await self._endpoint.check()
        except (VMGoneError, VMPausedError):
            raise
        except VersError:
            return  # the platform does not answer either: the trouble may be on this side, and pass

    async def _attempt(self) -> None:
        async with asyncio.timeout(ATTEMPT_TIMEOUT):
            if self._ssh is None or self._ssh.is_closed():
                self._ssh = await login(self._endpoint, self._pins)
            try:
                self._ready()
                await self._attach(self._ssh)
                if self._resident.attached:
                    self._on_seat(self._resident.seat)
                self._stood = True
            except BaseException:
                self._ssh.abort()
                self._ssh = None
                raise

    async def _attach(self, ssh: asyncssh.SSHClientConnection) -> None:
        for path in dict.fromkeys(filter(None, (self._resident.socket, self._warm_socket()))):
            link = ChannelLink(self._resident)
            try:
                await ssh.create_unix_connection(lambda: link, path)  # noqa: B023  called before this returns
            except asyncssh.ChannelOpenError:
                continue
            await self._resident.attach(link)
            self._plain = None
            return
        token = secrets.token_hex(16)
        code = program()
        session = ChannelLink(self._resident, token.encode())
        command = f"exec {shlex.join([*PYTHON, BOOT, str(len(code)), token])}"
        channel, _ = await ssh.create_session(lambda: session, command, encoding=None)
        channel.write(code)
        await session.settled.wait()
        if session.started:
            await self._resident.attach(session)
            self._plain = None
        elif session.exit_status is None:
            raise ConnectionLostError(f"The resident program did not start{session.reason()}")
        else:
            self._fall_back(ssh, session)

    def _fall_back(self, ssh: asyncssh.SSHClientConnection, session: ChannelLink) -> None:
        if not self._noticed:
            self._noticed = True
            missing = session.exit_status in (126, 127)
            why = "No python3" if missing else "No usable python3 (3.8 or newer)"
            reason = "." if missing else session.reason()
            self._on_notice(
                f"{why} on VM {self._endpoint.label}{reason} Each command takes a channel of its own, and "
                "nothing of a cell's shell lasts to the next."
            )
        self._plain = PlainRunner(ssh)

    def _warm_socket(self) -> str | None:
        return socket_path() if getattr(self._endpoint, "username", "root") == "root" else None

    def _lost(self) -> None:
        if self._resident.busy and not self._closed and (self._healing is None or self._healing.done()):
            self._healing = asyncio.create_task(self._heal())

    async def _heal(self) -> None:
        """Commands are waiting: come back for them, or tell them why not."""
        notice = asyncio.get_running_loop().call_later(SILENCE, self._tell_broken)
        try:
            while self._resident.busy and not self._resident.attached:
                try:
                    await self.open(self._resident.linger)
                except VMPausedError:  # for as long as its user wants: nothing there grows old meanwhile
                    self._suspended = True
                    await asyncio.sleep(PAUSE_POLL)
                    continue
                if self._plain is not None:
                    raise ConnectionLostError(
                        f"VM {self._endpoint.label} came back without python3, and its commands are lost."
                    )
        except VersError as error:
            if not isinstance(error, ConnectError) or type(error) is ConnectError:
                error = ConnectionLostError(error.message, error.hint)
            self._resident.fail(error)
        finally:
            notice.cancel()

    def _tell_broken(self) -> None:
        if not self._suspended:
            self._on_notice(
                f"The connection to VM {self._endpoint.label} broke; what it runs goes on. Reconnecting …"
            )

    async def suspend(self) -> None:
        """Let go of a VM that was paused: what it runs, and its sessions, are there again when it goes on."""
        self._suspended = True
        await self._hang_up()

    async def resume(self) -> None:
        """The VM goes on: be connected to it again.

        Raises:
            ConnectError: it cannot be reached. Commands that wait for it are still come back for.
        """
        self._suspended = False
        await self._stop_healing()
        try:
            await self.open()
        finally:
            if not self._resident.attached:
                self._lost()

    def fail(self, error: ConnectError) -> None:
        """What waits for something over there raises this."""
        self._resident.fail(error)

    async def close(self) -> None:
        """End this client's commands and sessions on the VM, and the connection."""
        self._closed = True
        await self._stop_healing()
        await self._resident.goodbye()
        await self._hang_up()

    async def _stop_healing(self) -> None:
        if self._healing is not None:
            self._healing.cancel()
            await asyncio.wait([self._healing])

    async def _hang_up(self) -> None:
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
        return type(error) in (ConnectError, ConnectionLostError, PlatformUnreachableError)
    if isinstance(error, asyncssh.PermissionDenied | asyncssh.HostKeyNotVerifiable):
        return False
    return isinstance(error, OSError | asyncssh.Error | TimeoutError)
