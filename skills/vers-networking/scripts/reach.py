#!/usr/bin/env python3
"""Says how far one gets on the way to a service: name, TCP on each address, TLS, HTTP.

    reach.py URL      http://[::1]:8000/, https://ID.vm.vers.sh:8000/

A line for each layer; it ends with 1 when one fails. TLS is verified as the system does it. Nothing but the
standard library is needed, and no proxy is used: this is about the way itself.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import sys
import time
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

PATIENCE = 10.0  # seconds for each step
Found = TypeVar("Found")


def step(what: str, do: Callable[[], Found]) -> Found | None:
    """Do it and say how it went; None when it failed."""
    began = time.monotonic()
    try:
        found = do()
    except (OSError, http.client.HTTPException) as error:
        told = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or error
        print(f"fails  {what}: {told}")
        return None
    print(f"works  {what}, {(time.monotonic() - began) * 1000:.0f} ms")
    return found


def addresses(host: str, port: int) -> list[tuple[int, str]]:
    """What the name stands for: family and address, each once."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((family, str(place[0])) for family, *_, place in found))


def answers(address: str, where: str, host: str, port: int, path: str, *, secure: bool) -> bool:
    """Whether that address gets through all layers, a line said of each."""
    tcp = step(f"TCP, {where}", lambda: socket.create_connection((address, port), PATIENCE))
    if tcp is None:
        return False
    way: socket.socket | None = tcp
    if secure:
        context = ssl.create_default_context()
        way = step(f"TLS, {where}", lambda: context.wrap_socket(tcp, server_hostname=host))
    if way is None:
        return False
    request = http.client.HTTPConnection(host, port)
    request.sock = way

    def status() -> int:
        request.request("GET", path)
        return request.getresponse().status

    told = step(f"HTTP, {where}", status)
    request.close()
    if told is not None:
        print(f"       it answered {told}")
    return told is not None


def main(words: list[str]) -> int:
    """The exit code: 0 when every address of the name got through all layers."""
    parts = urlsplit(words[0] if len(words) == 1 else "")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        print("usage: reach.py http://HOST:PORT/ or https://HOST:PORT/", file=sys.stderr)
        return 2
    host, secure = parts.hostname, parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    found = step(f"name {host}", lambda: addresses(host, port)) or []
    through = [
        answers(
            *(address, f"{'IPv6' if family == socket.AF_INET6 else 'IPv4'} {address} port {port}"),
            *(host, port, path),
            secure=secure,
        )
        for family, address in found
    ]
    return 0 if through and all(through) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
