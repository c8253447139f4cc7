"""The way to a VM: whom we trust, what is refused at once, what is shared, what is left behind."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh
import psutil
import pytest
from loopback import HOST, Loopback, MemoryPins, free_port, loopback_sshd, make_certificate
from running import alive, resident_pid, run, until, working

from pi_v_jupyter.errors import CertificateError, ConnectError, HostKeyError, SettingsError, VMGoneError
from pi_v_jupyter.remote import connection as connection_module
from pi_v_jupyter.remote.channel import Request
from pi_v_jupyter.remote.connection import Connection

Connect = Callable[..., Connection]


async def refused_at_once(connection: Connection, error: type[Exception], match: str) -> Exception:
    """Trying again for a minute would change nothing: one try must do."""
    began = time.monotonic()
    with pytest.raises(error, match=match) as caught:
        await connection.open()
    assert time.monotonic() - began < connection_module.ATTEMPT_TIMEOUT / 2
    return caught.value


async def test_a_certificate_of_an_unknown_authority_is_refused_at_once(
    server: Loopback, connect: Connect, tmp_path: Path
) -> None:
    other, _ = make_certificate(tmp_path, HOST)
    error = await refused_at_once(
        connect(dataclasses.replace(server, certificate=other)), CertificateError, "not trusted"
    )
    assert HOST in str(error)
    assert "VERS_CA_FILE" in str(error)


async def test_a_certificate_for_another_name_is_refused_at_once(
    server: Loopback, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def address(self: Loopback) -> tuple[str, int, str | None]:
        return "other.vm.pi-v.localhost", self.port, str(self.certificate)

    monkeypatch.setattr(Loopback, "address", address)
    await refused_at_once(connect(server), CertificateError, r"other\.vm")


async def test_a_ca_file_that_is_none_is_named(server: Loopback, connect: Connect, tmp_path: Path) -> None:
    missing = tmp_path / "none.pem"
    await refused_at_once(
        connect(dataclasses.replace(server, certificate=missing)), SettingsError, "none.pem"
    )


async def test_the_host_key_is_pinned_on_first_sight(server: Loopback, connect: Connect) -> None:
    pins = MemoryPins()
    await connect(server, pins=pins).open()
    key = asyncssh.read_private_key(server.folder / "host_key")
    assert pins.known == {server.vm_id: key.get_fingerprint()}
    await connect(server, pins=pins).open()


async def test_another_host_key_is_refused_at_once(server: Loopback, connect: Connect) -> None:
    pins = MemoryPins()
    pins.pin(server.vm_id, "SHA256:another")
    error = await refused_at_once(connect(server, pins=pins), HostKeyError, "another SSH host key")
    assert "SHA256:another" in str(error)
    assert pins.known == {server.vm_id: "SHA256:another"}


async def test_a_refused_key_is_told_at_once(server: Loopback, connect: Connect) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    error = await refused_at_once(
        connect(dataclasses.replace(server, key=key)), ConnectError, "VM build refused the login key."
    )
    assert error.hint  # type: ignore[attr-defined]


async def test_a_key_that_is_none_is_told_at_once_and_not_shown(server: Loopback, connect: Connect) -> None:
    error = await refused_at_once(
        connect(dataclasses.replace(server, key="s3cr3t")), ConnectError, "cannot be logged in to"
    )
    assert "s3cr3t" not in repr(error) + str(error.__context__)


async def test_a_port_nobody_listens_on_is_told_after_the_time_out(
    server: Loopback, connect: Connect
) -> None:
    with socket.socket() as nobodys:  # bound, so that nobody else takes it; not listening
        nobodys.bind(("127.0.0.1", 0))
        connection = connect(dataclasses.replace(server, port=nobodys.getsockname()[1]))
        with pytest.raises(ConnectError, match=r"within 3 s: .*onnect") as caught:
            await connection.open(timeout=3)
    assert "%vers doctor" in caught.value.hint


async def test_a_server_that_does_not_answer_is_told_after_the_time_out(
    server: Loopback, connect: Connect
) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    mute = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with mute:
        port = mute.sockets[0].getsockname()[1]
        with pytest.raises(ConnectError, match=r"within 0\.3 s\."):
            await connect(dataclasses.replace(server, port=port)).open(timeout=0.3)


async def test_a_vm_that_is_gone_is_not_waited_for(
    server: Loopback, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(self: Loopback) -> None:
        raise VMGoneError("VM loopback was deleted.")

    monkeypatch.setattr(Loopback, "check", gone)
    await refused_at_once(connect(dataclasses.replace(server, port=free_port())), VMGoneError, "was deleted")


async def test_one_connection_serves_however_many_first_users(own_server: Loopback, connect: Connect) -> None:
    connection = connect(own_server)
    outcomes = await asyncio.gather(*(run(connection, command=f"echo {i}") for i in range(50)))
    assert [o.stdout for o in outcomes] == [b"%d\n" % i for i in range(50)]
    assert own_server.front and own_server.front.accepted == 1
    await connection.open()
    await run(connection, command="true")
    assert own_server.front.accepted == 1


async def test_a_first_user_who_leaves_takes_nobody_along(own_server: Loopback, connect: Connect) -> None:
    connection = connect(own_server)
    first = asyncio.create_task(run(connection, command="true"))
    second = asyncio.create_task(run(connection, command="echo on"))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).stdout == b"on\n"


@pytest.mark.parametrize(
    "noise", ["echo Welcome", "printf %40000s x", "echo Welcome >&2; stty sane", "printf '\\0\\001\\377'"]
)
async def test_what_a_login_prints_does_no_harm(tmp_path: Path, connect: Connect, noise: str) -> None:
    greeting = tmp_path / "greeting"
    greeting.write_text(f'#!/bin/sh\n{noise}\nexec sh -c "$SSH_ORIGINAL_COMMAND"\n')
    greeting.chmod(0o755)
    with loopback_sshd(tmp_path, f"ForceCommand {greeting}") as server:
        connection = connect(server)
        assert (await run(connection, command="echo clean")).stdout == b"clean\n"
        assert (await run(connection, shell="s", code="echo clean")).stdout == b"clean\n"
        await connection.close()


async def test_closing_leaves_nothing_of_ours_on_the_vm(server: Loopback, connect: Connect) -> None:
    connection = connect(server)
    background = int((await run(connection, shell="s", code="sleep 300 & echo $!")).stdout)
    started = [
        await connection.start(Request(command="sleep 301")),
        await connection.start(Request(argv=("sleep", "302"))),
        await connection.start(Request(shell="other", code="sleep 303")),
    ]
    pid, way_in = resident_pid(connection), connection._resident.socket
    assert way_in and Path(way_in).is_socket()
    program = psutil.Process(pid)
    await until(lambda: sum(words[:1] == ["sleep"] for _, words in working(program)) == 4)
    ours = [found for found, _ in working(program) if found != background]
    try:
        await connection.close()
        await until(lambda: not any(map(alive, [pid, *ours])))
        assert not Path(way_in).exists()
        assert alive(background)  # as at a logout
    finally:
        psutil.Process(background).kill()
    for process in started:
        with pytest.raises(ConnectError, match="closed"):
            await process.wait()
    with pytest.raises(ConnectError, match="was closed"):
        await connection.start(Request(command="true"))


async def test_closing_while_it_connects_leaves_no_connection(own_server: Loopback, connect: Connect) -> None:
    connection = connect(own_server)
    opening = asyncio.create_task(connection.open())
    assert own_server.front
    await until(lambda: own_server.front and own_server.front.accepted)
    await connection.close()
    with pytest.raises(ConnectError, match="was closed"):
        await opening
    await until(lambda: own_server.front and not own_server.front._writers)


async def test_no_key_is_in_a_repr(server: Loopback, connect: Connect) -> None:
    connection = connect(server)
    await connection.open()
    secret = server.key.splitlines()[2]
    assert secret not in repr(connection) + repr(server) + str(vars(connection))


@pytest.mark.parametrize(
    "how",
    [{"command": "sleep 100"}, {"argv": ("sleep", "100")}, {"shell": "s", "code": "sleep 100; : s3cr3t"}],
)
async def test_no_value_is_in_an_argument_list(
    server: Loopback, connect: Connect, how: dict[str, Any]
) -> None:
    connection = connect(server)
    process = await connection.start(Request(env={"TOKEN": "s3cr3t"}, **how))
    program = psutil.Process(resident_pid(connection))
    await until(lambda: any(words[:1] == ["sleep"] for _, words in working(program)))
    assert not any("s3cr3t" in word for _, words in working(program) for word in words)
    await process.close()
