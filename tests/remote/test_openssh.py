"""Plain `ssh` by our configuration and through our proxy; OpenSSH itself says how it reads what we write."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncssh
import pytest
from loopback import HOST, Loopback, make_certificate

from pi_v_jupyter.errors import SettingsError
from pi_v_jupyter.remote import openssh
from pi_v_jupyter.remote.openssh import Address, Login
from pi_v_jupyter.remote.proxy import Stream
from pi_v_jupyter.remote.tls import tls_context

PLATFORM, OTHER = "http://127.0.0.1:7730/api/v1", "https://api.example/api/v1"
Ssh = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose folders have names that mean something to ssh, or to a shell."""
    odd = tmp_path / "it's 100%h of [my] $HOME"
    (odd / "state").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(odd))
    monkeypatch.setenv("XDG_STATE_HOME", str(odd / "state"))
    return odd


@pytest.fixture
def login(server: Loopback, home: Path) -> Login:
    """The loopback server as a VM named build; its authority's file has an odd name too."""
    authority = home / "ca $(false) `id` %p.pem"
    authority.write_bytes(server.certificate.read_bytes())
    key = asyncssh.read_private_key(server.folder / "host_key").export_public_key().decode()
    address = Address(PLATFORM, "aaaa-1111", "build", HOST, server.port, str(authority))
    return Login(address, server.key, " ".join(key.split()[:2]))


def other(login: Login, vm_id: str, name: str, platform: str = PLATFORM) -> Login:
    """Another VM at the same place."""
    at = login.address
    return Login(
        Address(platform, vm_id, name, at.host, at.port, at.ca_file), login.private_key, login.host_key
    )


@pytest.fixture
def ssh(home: Path) -> Ssh:
    """Run ssh by ~/.ssh/config: it looks for that where the system's user database says, not in $HOME."""

    def run(*words: str, stdin: bytes = b"", program: str = "ssh") -> subprocess.CompletedProcess[bytes]:
        user = ("-l", getpass.getuser()) if program == "ssh" else ()
        command = [program, "-F", str(home / ".ssh" / "config"), *user, *words]
        return subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)

    return run


def understood(ssh: Ssh, name: str) -> dict[str, str]:
    """How OpenSSH reads the configuration for that host."""
    shown = ssh("-G", name)
    assert shown.returncode == 0, shown.stderr
    return dict(line.split(" ", 1) for line in shown.stdout.decode().splitlines() if " " in line)


def test_ssh_runs_commands_by_name_and_by_id(login: Login, ssh: Ssh) -> None:
    openssh.write([login], [login.address], PLATFORM)
    for name in ("build", "aaaa-1111"):
        done = ssh(name, "cat; echo err >&2; exit 3", stdin=b"hello")
        assert (done.returncode, done.stdout, done.stderr) == (3, b"hello", b"err\n")


def test_much_goes_through_unchanged(login: Login, ssh: Ssh) -> None:
    openssh.write([login], [login.address], PLATFORM)
    data = os.urandom(1 << 20) * 40
    assert hashlib.sha256(ssh("build", "cat", stdin=data).stdout).digest() == hashlib.sha256(data).digest()


def test_a_host_key_that_is_not_the_pinned_one_is_refused(login: Login, ssh: Ssh) -> None:
    wrong = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    mistaken = Login(login.address, login.private_key, " ".join(wrong.split()[:2]))
    openssh.write([mistaken], [login.address], PLATFORM)
    done = ssh("build", "true")
    assert done.returncode == 255 and b"Host key verification failed." in done.stderr


def test_a_certificate_of_another_authority_is_refused_in_one_line(
    login: Login, ssh: Ssh, tmp_path: Path
) -> None:
    assert login.address.ca_file
    authority, _ = make_certificate(tmp_path, HOST)
    Path(login.address.ca_file).write_bytes(authority.read_bytes())
    openssh.write([login], [login.address], PLATFORM)
    done = ssh("build", "true")
    assert done.returncode == 255
    ours, *theirs = done.stderr.decode().splitlines()
    assert ours.startswith(f"Error: The TLS certificate of {HOST} is not trusted: ")
    assert all("closed by" in line for line in theirs)


def test_what_lies_in_the_folder_ssh_runs_in_is_not_imported(
    login: Login, ssh: Ssh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openssh.write([login], [login.address], PLATFORM)
    (tmp_path / "click.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    assert ssh("build", "true").returncode == 0


def test_keys_are_for_their_owner_alone(login: Login, home: Path) -> None:
    config = openssh.make([login])
    assert "PRIVATE" not in f"{config} {config!r} {login!r}"
    files = {path.name: path for path in (home / "state").rglob("*") if path.is_file()}
    assert {"key", "known_hosts"} <= set(files) and "entry" not in files and "config" not in files
    for path in (files["key"], files["known_hosts"]):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for folder in [files["key"].parent, *files["key"].parent.parents][:3]:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not (home / ".ssh").exists()


def test_the_users_own_configuration_is_kept_as_it_was(login: Login, ssh: Ssh, home: Path) -> None:
    mine = b"# mine \xff\r\nHost other\n\tPort 99\nUser me"
    (home / "dotfiles").mkdir()
    (home / "dotfiles" / "ssh").write_bytes(mine)
    (home / "dotfiles" / "ssh").chmod(0o640)
    (home / ".ssh").mkdir(mode=0o755)
    (home / ".ssh" / "config").symlink_to("../dotfiles/ssh")
    first = openssh.write([login], [login.address], PLATFORM)
    second = openssh.write([login], [login.address], PLATFORM)
    assert first.done[-1].endswith("includes it now, by a line at its top.")
    assert second.done[-1].endswith("includes it already.")
    assert (home / ".ssh" / "config").is_symlink()
    text = (home / "dotfiles" / "ssh").read_bytes()
    assert text.startswith(b"Include ") and text.endswith(b"\n" + mine) and text.count(b"Include") == 1
    assert stat.S_IMODE((home / "dotfiles" / "ssh").stat().st_mode) == 0o640
    assert (understood(ssh, "other")["port"], understood(ssh, "build")["hostname"]) == ("99", HOST)


def test_a_configuration_is_made_where_there_was_none(login: Login, home: Path) -> None:
    done = openssh.write([login], [login.address], PLATFORM).done
    assert done == (
        f"{home}/state/pi_v_jupyter/ssh/config has 1 VM.",
        f"{home}/.ssh/config includes it now, by a line at its top.",
    )
    assert stat.S_IMODE((home / ".ssh").stat().st_mode) == 0o700
    assert stat.S_IMODE((home / ".ssh" / "config").stat().st_mode) == 0o600


def test_a_configuration_that_cannot_be_changed_says_what_to_do(login: Login, home: Path) -> None:
    (home / ".ssh").mkdir()
    (home / ".ssh" / "config").symlink_to("../no/such/folder/config")
    with pytest.raises(SettingsError, match="cannot be changed: No such file") as caught:
        openssh.write([login], [login.address], PLATFORM)
    assert caught.value.hint.startswith("Put this line at its top yourself: Include ")


def test_entries_stay_while_their_vms_do_and_follow_their_names(login: Login, ssh: Ssh, home: Path) -> None:
    second, third = other(login, "bbbb-2222", "second"), other(login, "cccc-3333", "third")
    elsewhere = other(login, "dddd-4444", "far", OTHER)
    openssh.write([elsewhere], [elsewhere.address], OTHER)
    openssh.write([second, third], [one.address for one in (login, second, third)], PLATFORM)
    renamed = other(third, "cccc-3333", "renamed")
    config = openssh.write([login], [login.address, renamed.address], PLATFORM)
    assert config.done[:2] == (
        f"{home}/state/pi_v_jupyter/ssh/config has 3 VMs.",
        "1 VM is gone, and so is its key.",
    )
    assert not second.address.folder.exists()
    for name in ("build", "renamed", "far"):
        assert understood(ssh, name)["hostname"] == HOST
    for name in ("second", "third"):
        assert understood(ssh, name)["hostname"] == name


def test_a_vm_that_is_deleted_takes_its_key_and_its_entry_along(login: Login, ssh: Ssh) -> None:
    second = other(login, "bbbb-2222", "second")
    openssh.write([login, second], [login.address, second.address], PLATFORM)
    openssh.forget(PLATFORM, "bbbb-2222")
    openssh.forget(PLATFORM, "never-there")
    assert not second.address.folder.exists()
    assert understood(ssh, "second")["hostname"] == "second"
    assert understood(ssh, "build")["hostname"] == HOST


@pytest.mark.parametrize("name", ["*", "a b", "!build", "github.com", 'x"y', ""])
def test_a_name_that_would_catch_other_hosts_is_left_out(login: Login, name: str) -> None:
    assert other(login, "bbbb-2222", name).address.entry().startswith("Host bbbb-2222\n")


def test_a_folder_that_ssh_cannot_be_told_of_is_refused(
    login: Login, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "${USER}"))
    with pytest.raises(SettingsError, match="cannot be written in a configuration of OpenSSH"):
        openssh.make([login])


# The proxy alone.


@contextlib.contextmanager
def tls_server(folder: Path, serve: Callable[[ssl.SSLSocket], None]) -> Iterator[list[str]]:
    """A TLS server whose directions end one at a time; the words that reach it by the proxy."""
    certificate, key = make_certificate(folder, HOST)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with contextlib.suppress(OSError):
            plain, _ = listener.accept()
            with context.wrap_socket(plain, server_side=True) as connected:
                serve(connected)

    thread = threading.Thread(target=accept)
    thread.start()
    port = listener.getsockname()[1]
    try:
        yield [sys.executable, "-m", "pi_v_jupyter", "ssh-proxy", HOST, str(port), "--ca", str(certificate)]
    finally:
        thread.join(60)
        listener.close()


def run(command: list[str], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_the_end_of_stdin_is_told_and_the_answer_still_comes(tmp_path: Path, size: int) -> None:
    def serve(connected: ssl.SSLSocket) -> None:
        connected.sendall(b"ready ")
        got = hashlib.sha256()
        while data := connected.recv(1 << 16):
            got.update(data)
        connected.sendall(got.hexdigest().encode() + b"z" * 5_000_000)
        connected.unwrap()

    data = os.urandom(size)
    with tls_server(tmp_path, serve) as command:
        done = run(command, data)
    answer = b"ready " + hashlib.sha256(data).hexdigest().encode() + b"z" * 5_000_000
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == answer


def test_what_comes_along_with_the_handshake_is_not_lost(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, HOST)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # in which the server has the last word of it
    ours, theirs = socket.socketpair()

    def serve() -> None:
        arrived, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(arrived, leaving, server_side=True)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                theirs.sendall(leaving.read())
                arrived.write(theirs.recv(1 << 16))
        tls.write(b"SSH-2.0")
        theirs.sendall(leaving.read())

    thread = threading.Thread(target=serve)
    thread.start()
    with ours, theirs:
        ours.settimeout(30)
        assert Stream(ours, tls_context(str(certificate)), HOST).receive() == b"SSH-2.0"
    thread.join(30)


def test_the_end_of_the_answer_ends_it_whatever_stdin_does(tmp_path: Path) -> None:
    def serve(connected: ssl.SSLSocket) -> None:
        connected.sendall(b"bye")
        connected.unwrap()

    with tls_server(tmp_path, serve) as command:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout and process.stderr and process.stdin
        assert (process.stdout.read(), process.stderr.read()) == (b"bye", b"")
        assert process.wait(60) == 0
        for end in (process.stdin, process.stdout, process.stderr):
            end.close()


def test_an_answer_that_nobody_reads_is_held_up(tmp_path: Path) -> None:
    sent, stuck = 0, threading.Event()

    def serve(connected: ssl.SSLSocket) -> None:
        nonlocal sent
        connected.settimeout(2)
        try:
            while sent < 1 << 28:
                sent += connected.send(bytes(1 << 16))
        except TimeoutError:
            stuck.set()

    with tls_server(tmp_path, serve) as command:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert stuck.wait(60) and sent < 1 << 25
        assert process.stdin and process.stdout and process.stderr
        for end in (process.stdin, process.stdout):
            end.close()
        assert process.stderr.read() == b"", "a reader that is gone is nothing to complain of"
        process.stderr.close()
        process.wait(60)


def test_ctrl_c_ends_it_without_a_word(tmp_path: Path) -> None:
    def serve(connected: ssl.SSLSocket) -> None:
        connected.sendall(b"up")
        connected.recv(1)

    with tls_server(tmp_path, serve) as command:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdin and process.stdout and process.stderr
        assert process.stdout.read(2) == b"up"
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b""
        assert process.wait(60) == -signal.SIGINT
        for end in (process.stdin, process.stdout, process.stderr):
            end.close()


@pytest.mark.parametrize(
    ("host", "port", "said"),
    [
        (HOST, "1", f"Error: The VM at {HOST}:1 cannot be reached: Connection refused."),
        ("no-such-host.invalid", "443", "Error: The VM at no-such-host.invalid:443 cannot be reached: "),
        (".", "443", "Error: The VM at .:443 cannot be reached: "),
    ],
)
def test_what_cannot_be_reached_is_one_line(host: str, port: str, said: str) -> None:
    done = run([sys.executable, "-m", "pi_v_jupyter", "ssh-proxy", host, port])
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().startswith(said) and done.stderr.count(b"\n") == 1


def test_a_certificate_for_another_name_is_refused(server: Loopback) -> None:
    command = [sys.executable, "-m", "pi_v_jupyter", "ssh-proxy", "127.0.0.1", str(server.port)]
    done = run([*command, "--ca", str(server.certificate)])
    assert done.returncode == 1 and done.stderr.startswith(
        b"Error: The TLS certificate of 127.0.0.1 is not trusted"
    )
    assert run([*command, "--ca", "/no/such.pem"]).stderr.startswith(
        b"Error: The CA file /no/such.pem cannot be"
    )


def test_it_imports_nothing_slow() -> None:
    modules = "sys, pi_v_jupyter.cli, pi_v_jupyter.remote.proxy"
    code = f"import {modules}; print({{'asyncssh', 'httpx', 'IPython'}} & set(sys.modules))"
    assert run([sys.executable, "-c", code]).stdout == b"set()\n"
