"""Two platforms that start at the same moment, of two users of a computer, have ports of their own."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from pi_v_jupyter.errors import ConflictingPlatformError
from pi_v_jupyter.local import daemon
from pi_v_jupyter.local.daemon import Options

WAYS = pytest.mark.parametrize("listen", [daemon.listen_for_api, daemon.listen_for_vms])
Listen = Callable[[Options], socket.socket]


def asked(port: int | None) -> Options:
    return Options(port=port, gateway_port=port, domain="vm.localhost")


@pytest.fixture(autouse=True)
def usual(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port of this computer that nobody has in the place of the usual ones."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    monkeypatch.setattr(daemon, "_USUAL_PORT", port)
    monkeypatch.setattr(daemon, "_USUAL_GATEWAY_PORT", port)


def never(port: int) -> bool:
    raise AssertionError(f"who has port {port} was asked")


@WAYS
def test_the_usual_port_is_the_firsts_though_it_answers_nothing_yet(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "_is_a_platform", never)
    with listen(asked(None)) as first, listen(asked(None)) as second:
        first.listen()
        second.listen()
        assert first.getsockname() != second.getsockname()


@WAYS
def test_a_port_that_was_asked_for_is_refused_to_the_second(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "_is_a_platform", lambda port: False)
    with listen(asked(0)) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConflictingPlatformError, match=f"Port {port} .* is taken by another program"):
            listen(asked(port)).close()
