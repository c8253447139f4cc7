"""From what went wrong with a request to the error a person reads.

No sentence here quotes an exception of the HTTP library: those may hold headers, and so the key.
What the platform itself said is quoted, after `plain` has taken out the key and all that could act
on a terminal.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from http import HTTPStatus
from urllib.parse import quote, urlsplit

import httpx
from pydantic import ValidationError

from pi_v_jupyter.api.exchange import Answer, Lost, Request
from pi_v_jupyter.api.models import ErrorBody
from pi_v_jupyter.errors import (
    ApiError,
    AuthenticationError,
    ConflictError,
    NotFoundError,
    PlatformUnreachableError,
    UnsupportedError,
)
from pi_v_jupyter.settings import Endpoint

LONGEST_QUOTE = 300  # characters

_BY_STATUS: dict[int, type[ApiError]] = {
    401: AuthenticationError,
    403: AuthenticationError,
    404: NotFoundError,
    409: ConflictError,
    501: UnsupportedError,
}
_LOOK = "`%vers doctor` looks for the cause."
# Colours, cursor movements and window titles of terminals.
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)")


def plain(text: str, endpoint: Endpoint) -> str:
    """`text` from the platform as one printable line of at most 300 characters, without the key."""
    # The key goes before each cut, which might leave half of it, and again once nothing hides it.
    text = _TERMINAL.sub("", _without_key(text, endpoint)[: 16 * LONGEST_QUOTE])
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    text = _without_key(text, endpoint)
    return text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 1] + "…"


def lost(error: httpx.HTTPError | httpx.InvalidURL, *, proxied: bool) -> Lost:
    """What an exception of the HTTP library says about the try that ended in it.

    `proxied`: the environment names a proxy, which may be what failed in the platform's place.
    """
    way = f"Is the environment's proxy right? {_LOOK}" if proxied else ""
    causes = list(_chain(error))
    certificate = next((cause for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)), None)
    if certificate:
        return Lost(
            f"has a certificate that is not trusted: {certificate.verify_message}",
            sent=False,
            final=True,
            hint="SSL_CERT_FILE, set before the kernel starts, names an authority of your own.",
        )
    if isinstance(error, httpx.ConnectTimeout):
        return Lost("took no connection in time", sent=False, hint=way)
    if isinstance(error, httpx.ProxyError):
        return Lost("is behind a proxy that does not let us through", sent=False, hint=way)
    if isinstance(error, httpx.ConnectError):
        if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
            return Lost("refused the connection", sent=False, hint=way)
        if any(isinstance(cause, socket.gaierror) for cause in causes):
            return Lost("has a name that cannot be found", sent=False, hint=way)
        return Lost("cannot be connected to", sent=False, hint=way)
    if isinstance(error, httpx.TimeoutException):
        return Lost("gave no answer in time", sent=True)
    # The library reads a redirect's address even where it does not follow: hence the invalid URL.
    if isinstance(error, httpx.RemoteProtocolError | httpx.DecodingError | httpx.InvalidURL):
        return Lost("broke off its answer, or does not speak HTTP", sent=True)
    return Lost("broke the connection", sent=True)


def unreachable(request: Request, endpoint: Endpoint, outcome: Lost) -> PlatformUnreachableError:
    """The error for a request that got no answer."""
    message = f"{urlsplit(endpoint.base_url).netloc} {outcome.why} ({request})."
    hint = outcome.hint or _LOOK
    if outcome.sent and not request.repeatable:
        hint = f"{_may_have_run(request)} {hint}"
    elif endpoint.embedded:
        hint = f"`%vers up` starts it anew. {hint}"
    return PlatformUnreachableError(message, hint)


def refused(request: Request, endpoint: Endpoint, answer: Answer) -> ApiError:
    """The error for an answer that says no."""
    status = answer.status
    where = f"({request}, HTTP {status})"
    kind = _BY_STATUS.get(status, ApiError)
    if 300 <= status < 400:
        there = _origin(plain(answer.headers.get("location", ""), endpoint))
        return kind(
            f"The platform points to another address{there and f', {there}'} {where}.",
            "The key is not sent there unasked: set VERS_BASE_URL if that is the platform.",
            status=status,
        )
    sentence = plain(_sentence(answer), endpoint).rstrip(".")
    if not sentence:
        sentence = _PHRASES.get(status, "The platform answered with an error")
    return kind(f"{sentence} {where}.", _hint(request, endpoint, status), status=status)


def misshapen(request: Request, endpoint: Endpoint, answer: Answer) -> ApiError:
    """The error for an answer that says yes, but not in the shape of the Vers API."""
    if not answer.body.strip():
        shape = "is empty"
    elif answer.body.lstrip().startswith(b"<"):
        shape = "is a web page"
    else:
        shape = "is not what the Vers API answers"
    hint = (
        _may_have_run(request)
        if not request.repeatable
        else f"Is VERS_BASE_URL right? It is {endpoint.base_url}."
    )
    return ApiError(
        f"The platform's answer {shape} ({request}, HTTP {answer.status}).", hint, status=answer.status
    )


_PHRASES = {status.value: status.phrase for status in HTTPStatus}


def _hint(request: Request, endpoint: Endpoint, status: int) -> str:
    if status in (401, 403):
        remedy = (
            "`%vers down`, then `%vers up`, make a new one."
            if endpoint.embedded
            else "Set VERS_API_KEY, or write it to ~/.vers/keys.json."
        )
        return f"The key came from {endpoint.key_origin}. {remedy}"
    if status == 404 and request.look:
        return f"{request.look} shows them all."
    if status in (404, 405):
        return f"Is VERS_BASE_URL right? It is {endpoint.base_url}."
    if status == 429:
        return "The platform asks for fewer requests: wait a little."
    if status >= 500 and status not in (501, 507):  # which are certain: it was not done
        return _LOOK if request.repeatable else f"{_may_have_run(request)} {_LOOK}"
    return ""


def _may_have_run(request: Request) -> str:
    return f"It may have been done all the same: `{request.look or '%vers ls'}` shows."


def _sentence(answer: Answer) -> str:
    """What the platform says in an error: of JSON its sentence, of plain text all, of a web page nothing."""
    try:
        return ErrorBody.model_validate_json(answer.body).text
    except ValidationError:
        told = answer.headers.get("content-type", "").startswith("text/plain")
        return answer.body.decode("utf-8", "replace") if told else ""


def _without_key(text: str, endpoint: Endpoint) -> str:
    for secret in (endpoint.api_key, quote(endpoint.api_key, safe="")):
        text = text.replace(secret, "[key]")
    return text


def _origin(location: str) -> str:
    """Scheme and host of a URL; the rest may hold secrets of its own."""
    try:
        parts = urlsplit(location)
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}" if host and parts.scheme else ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """`error` and all it came from, also where several attempts failed together."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for member in error.exceptions:
                yield from _chain(member)
        error = error.__cause__ or error.__context__
