"""Requests to the platform: sent, tried again where that is safe, their answers read or refused.

What may be repeated is decided in `retries`, what a person reads when it fails in `failures`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from functools import partial
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpx
from pydantic import ValidationError
from tenacity import AsyncRetrying, retry_if_result, stop_after_attempt

from pi_v_jupyter.api import failures
from pi_v_jupyter.api.exchange import Answer, Lost, Outcome, Request
from pi_v_jupyter.api.retries import TRIES, may_have_run, may_repeat, seconds_to_wait
from pi_v_jupyter.errors import ApiError, SettingsError, UsageError
from pi_v_jupyter.settings import Endpoint, Settings

LARGEST_ANSWER = 16 * 1024 * 1024  # bytes, unpacked

T = TypeVar("T")


class Calls:
    """Sends requests to the platform that `settings` name; `VersClient` says which there are."""

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
        self._vintages: dict[tuple[str, str], str] = {}  # which word the platform at a base URL takes
        self._closed = False
        self._ahead = 0.0  # seconds by which the platform's clock is ahead of ours, as its last answer says

    def now(self) -> float:
        """What time it is by the platform's clock, as its last answer told it; in seconds since the epoch."""
        return time.time() + self._ahead

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

    async def _in_either_vintage(
        self, words: tuple[str, str], ask: Callable[[str, Endpoint], Awaitable[T]], refusals: tuple[int, ...]
    ) -> T:
        """Ask in the newer vintage's word and, where that is refused, in the older's.

        Which one it was is remembered; a platform that was upgraded is found again.
        """
        endpoint = self._settings.endpoint()
        known = (endpoint.base_url, words[0])
        refused = []
        for word in sorted(words, key=lambda word: word != self._vintages.get(known, words[0])):
            try:
                answer = await ask(word, endpoint)
            except ApiError as error:
                if error.status not in refusals:
                    raise
                refused.append(error)
            else:
                self._vintages[known] = word
                return answer
        raise refused[0]

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
                self._ahead = _seconds_ahead(response.headers, self._ahead)
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
                    "Name it as http://host:port; a SOCKS proxy needs `pip install 'httpx[socks]'`.",
                )
            self._clients[loopback] = client
        return self._clients[loopback]


def _seconds_ahead(headers: httpx.Headers, known: float) -> float:
    try:
        return parsedate_to_datetime(headers["Date"]).timestamp() - time.time()
    except (KeyError, ValueError, OverflowError, OSError):
        return known


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
