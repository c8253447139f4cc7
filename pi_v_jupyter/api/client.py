"""The Vers API, typed: one method per request, both vintages of the platform, the cloud and the embedded one.

What may be repeated is decided in `retries`, what a person reads when it fails in `failures`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpx
from pydantic import TypeAdapter, ValidationError
from tenacity import AsyncRetrying, retry_if_result, stop_after_attempt

from pi_v_jupyter.api import failures
from pi_v_jupyter.api.exchange import Answer, Lost, Outcome, Request
from pi_v_jupyter.api.models import NewRootRequest, SSHKey, SystemVersion, VMConfig, VMInfo, VMRef, WhoAmI
from pi_v_jupyter.api.retries import TRIES, may_have_run, may_repeat, seconds_to_wait
from pi_v_jupyter.errors import ApiError, SettingsError, UsageError
from pi_v_jupyter.settings import Endpoint, Settings

LARGEST_ANSWER = 16 * 1024 * 1024  # bytes, unpacked
BOOT_TIMEOUT = 180.0  # seconds; without hardware virtualisation a VM of unusual size boots for a minute

T = TypeVar("T")

_read_vms = TypeAdapter(list[VMInfo]).validate_json


class VersClient:
    """The platform that `settings` name, asked over HTTP.

    Address and key are read from `settings` at each call, so that both may change while the client
    lives; the tries of one call stay with one platform. `timeout` is in seconds, for one try, whole
    answer included; a call makes at most three tries. Cancelling a call closes its connection.
    Use one client from one event loop.

    `transport` carries the requests in place of the network; `sleep` waits between tries.

    Every method raises:
        SettingsError: an address or key that is absent (NoKeyError) or cannot be used.
        PlatformUnreachableError: the platform did not answer.
        ApiError: it answered with an error (AuthenticationError, NotFoundError, …), or in no shape we know.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        timeout: float = 30.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._timeout = timeout
        self._sleep = sleep
        self._clients: dict[bool, httpx.AsyncClient] = {}  # by: is it for loopback?
        self._list_paths: dict[str, str] = {}  # by base URL: what the platform there lists its VMs under
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection. A call after this is a UsageError."""
        self._closed = True
        while self._clients:
            await self._clients.popitem()[1].aclose()

    async def list_vms(self) -> list[VMInfo]:
        """All VMs of the account, as far as a list tells of them (no sizes)."""
        # The newer vintage answers /vm and the older /vms; one that was upgraded is found again.
        endpoint = self._settings.endpoint()
        paths = ["/vm", "/vms"]
        if self._list_paths.get(endpoint.base_url) == "/vms":
            paths.reverse()
        missing = []
        for path in paths:
            try:
                vms = await self._ask(Request("GET", path), _read_vms, endpoint)
            except ApiError as error:
                if error.status not in (404, 405):
                    raise
                missing.append(error)
            else:
                self._list_paths[endpoint.base_url] = path
                return vms
        raise missing[0]

    async def create_vm(self, config: VMConfig, *, wait_boot: bool = True) -> str:
        """Make a root VM and return its id; with `wait_boot`, once it has booted (at most 180 s)."""
        request = Request(
            "POST",
            "/vm/new_root",
            query={"wait_boot": wait_boot},
            body=NewRootRequest(vm_config=config),
            timeout=max(self._timeout, BOOT_TIMEOUT) if wait_boot else None,
        )
        return (await self._ask(request, VMRef.model_validate_json)).vm_id

    async def vm_status(self, vm_id: str) -> VMInfo:
        """The VM's state now."""
        return await self._ask(Request.of_vm("GET", vm_id, "/status"), VMInfo.model_validate_json)

    async def vm_metadata(self, vm_id: str) -> VMInfo:
        """The VM with its sizes (MiB), address and parentage."""
        return await self._ask(Request.of_vm("GET", vm_id, "/metadata"), VMInfo.model_validate_json)

    async def delete_vm(self, vm_id: str) -> None:
        """Destroy the VM and what is on its disk."""
        await self._send(Request.of_vm("DELETE", vm_id), self._settings.endpoint())

    async def ssh_key(self, vm_id: str) -> SSHKey:
        """The private key that logs in to the VM as root."""
        return await self._ask(Request.of_vm("GET", vm_id, "/ssh_key"), SSHKey.model_validate_json)

    async def whoami(self) -> WhoAmI:
        """Whose key this is."""
        return await self._ask(Request("GET", "/whoami"), WhoAmI.model_validate_json)

    async def version(self) -> SystemVersion:
        """What the platform runs."""
        return await self._ask(Request("GET", "/system/version"), SystemVersion.model_validate_json)

    async def _ask(self, request: Request, read: Callable[[bytes], T], endpoint: Endpoint | None = None) -> T:
        """What the platform answers, made into an object by `read`."""
        endpoint = endpoint or self._settings.endpoint()
        answer = await self._send(request, endpoint)
        try:
            return read(answer.body)
        except ValidationError:
            pass
        # Raised out here: the validator's error holds the answer, and would ride along as the context.
        raise failures.misshapen(request, endpoint, answer)

    async def _send(self, request: Request, endpoint: Endpoint) -> Answer:
        """The answer that says yes, after another try or two where those are safe."""
        tries: list[Outcome] = []

        async def attempt() -> Outcome:
            tries.append(await self._try(request, endpoint))
            return tries[-1]

        # Outcomes are values until the last is judged: so no error drags a chain of others along.
        await AsyncRetrying(
            sleep=self._sleep,
            stop=stop_after_attempt(TRIES),
            wait=seconds_to_wait,
            retry=retry_if_result(partial(may_repeat, request)),
            retry_error_callback=lambda state: state.outcome,
        )(attempt)

        *earlier, last = tries
        if isinstance(last, Lost):
            raise failures.unreachable(request, endpoint, last)
        already_gone = request.method == "DELETE" and last.status == 404 and any(map(may_have_run, earlier))
        if not already_gone and not 200 <= last.status < 300:
            raise failures.refused(request, endpoint, last)
        return last

    async def _try(self, request: Request, endpoint: Endpoint) -> Outcome:
        """What comes of sending the request once."""
        client = self._client_for(endpoint)
        try:
            url = httpx.URL(endpoint.base_url + request.path, params=request.query)
        except httpx.InvalidURL:
            return Lost("is no host name", sent=False, final=True)
        seconds = request.timeout or self._timeout
        headers = {}
        content = None
        if request.method != "GET":
            headers["X-Idempotency-Key"] = request.idempotency_key
        if request.body is not None:
            headers["Content-Type"] = "application/json"
            content = request.body.model_dump_json(exclude_none=True)
        try:
            async with (
                # The library times each read; an answer that drips in must end as well.
                asyncio.timeout(seconds),
                client.stream(
                    request.method,
                    url,
                    content=content,
                    headers={**headers, "Authorization": f"Bearer {endpoint.api_key}"},
                    timeout=httpx.Timeout(seconds, connect=self._timeout / 3),
                ) as response,
            ):
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > LARGEST_ANSWER:
                        return Lost(f"answered with over {LARGEST_ANSWER >> 20} MB", sent=True, final=True)
                return Answer(response.status_code, response.headers, bytes(body))
        except TimeoutError:
            return Lost(f"gave no whole answer within {seconds:g} s", sent=True)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return failures.lost(error, proxied=client.trust_env and bool(getproxies()))

    def _client_for(self, endpoint: Endpoint) -> httpx.AsyncClient:
        """The HTTP client for a platform; the one for loopback knows no proxy."""
        if self._closed:
            raise UsageError("This VersClient is closed.", "Make a new one.")
        loopback = _is_loopback(urlsplit(endpoint.base_url).hostname or "")
        if loopback not in self._clients:
            client = _http_client(self._transport, trust_env=self._transport is None and not loopback)
            if client is None:
                raise SettingsError(
                    "The proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names cannot be used.",
                    "Name it as http://host:port; a SOCKS proxy needs `pip install httpx[socks]`.",
                )
            self._clients[loopback] = client
        return self._clients[loopback]


def _http_client(transport: httpx.AsyncBaseTransport | None, *, trust_env: bool) -> httpx.AsyncClient | None:
    """A client that trusts what the system trusts; None when the environment's proxies make no sense."""
    try:
        return httpx.AsyncClient(
            transport=transport,
            trust_env=trust_env,
            verify=ssl.create_default_context(),
            follow_redirects=False,  # the key is for this platform alone
            headers={"Accept": "application/json", "User-Agent": "pi-v-jupyter"},
            # Under the 5 s after which common servers hang up: a write must not meet a closing connection.
            limits=httpx.Limits(max_keepalive_connections=20, keepalive_expiry=4.0),
        )
    except (ValueError, ImportError, httpx.InvalidURL):
        return None  # what they say may hold the proxy's password


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
