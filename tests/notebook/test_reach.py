"""Tunnels and plain ssh, as a notebook opens them, on a real VM."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import httpx
import pytest
from farm import until
from kernels import Kernel, Outputs, explained, refused, started
from platforms import Platform

pytestmark = pytest.mark.vm

SERVER = """%%vm
mkdir -p /srv/web; cd /srv/web; echo 'a page' >page
setsid python3 -m http.server 8000 >/dev/null 2>&1 &
until (exec 3<>/dev/tcp/127.0.0.1/8000) 2>/dev/null; do sleep 0.1; done"""


def good(kernel: Kernel, code: str) -> str:
    """What a cell that works has printed."""
    shown = kernel.run(code, timeout=90)
    assert shown.error is None, shown.traceback
    return shown.stdout


@pytest.fixture
def web(kernel: Kernel) -> Iterator[Kernel]:
    """The module's kernel, a web server on its VM; no tunnel is left open."""
    good(kernel, SERVER)
    yield kernel
    good(kernel, "%vm pkill -f http.server; while pgrep -f http.server >/dev/null; do sleep 0.1; done")
    good(kernel, "%vers tunnel close --all")


def page(url: str) -> str:
    return httpx.get(f"{url}/page", trust_env=False, timeout=30).text


def idle(kernel: Kernel, url: str) -> Outputs:
    """The table of tunnels, once none of the connections through that one is open."""
    row = re.compile(rf"^{re.escape(url)} +build +8000 +(\d+)$", re.MULTILINE)
    shown = [kernel.run("%vers tunnel")]

    def ended() -> bool:
        found = row.search(shown[-1].data[0])
        assert found, shown[-1].data
        if found[1] != "0":
            shown.append(kernel.run("%vers tunnel"))
        return found[1] == "0"

    until(ended)
    return shown[-1]


def test_a_web_server_on_the_vm_is_reached_through_a_tunnel(web: Kernel) -> None:
    line = good(web, "t = %vers tunnel :8000")
    told = re.fullmatch(r"(http://127\.0\.0\.1:(\d+)) → port 8000 of build\n", line)
    assert told, line
    url, port = told.groups()
    assert page(url) == "a page\n"
    assert web.value("(t.url, t.local_port, t.remote_port)") == (url, int(port), 8000)
    listed = idle(web, url)
    assert f'<a href="{url}"' in listed.html[0]
    assert web.run("%vers tunnel ls").data == listed.data
    assert good(web, f"%vers tunnel close {port}") == f"{url} → port 8000 of build  closed\n"
    with pytest.raises(httpx.ConnectError):
        page(url)
    assert "No tunnels." in web.run("%vers tunnel ls").data[0]


def test_a_kernel_that_computes_keeps_no_tunnel_waiting(web: Kernel) -> None:
    good(web, "t = %vers tunnel 0:8000 --on build")
    url = web.value("t.url")
    cell = web.start("print('computing'); import time; time.sleep(5)")
    cell.wait_for("computing")
    assert page(url) == "a page\n"
    cell.finish()


def test_the_same_port_on_both_sides(web: Kernel) -> None:
    opened = web.run("%vers tunnel 8000")
    if opened.error is None:
        assert opened.stdout == "http://127.0.0.1:8000 → port 8000 of build\n"
        assert page("http://127.0.0.1:8000") == "a page\n"
    else:  # somebody else's, on this computer
        assert opened.message.startswith("Port 8000 of this computer is taken")


def test_a_port_nobody_listens_on_is_told_in_the_next_cell(web: Kernel) -> None:
    good(web, "t = %vers tunnel :9")
    url = web.value("t.url")
    for _ in range(2):
        with pytest.raises((httpx.ReadError, httpx.WriteError)):  # by then it may not have asked yet
            page(url)
    told = good(web, "%vm true") + good(web, "%vm true")
    assert told.count("nothing listens on port 9 of build.") == 1


def test_several_are_closed_by_their_ports_or_all_at_once(web: Kernel) -> None:
    good(web, "a = %vers tunnel :8000\nb = %vers tunnel :8001\nc = %vers tunnel :8002")
    assert web.run("%vers tunnel close").message.startswith("There are 3 tunnels.")
    good(web, "get_ipython().run_line_magic('vers', f'tunnel close {a.local_port}')")
    assert web.value("[t.closed for t in (a, b, c)]") == [True, False, False]
    good(web, "%vers tunnel close --all")
    assert web.value("[t.closed for t in (a, b, c)]") == [True, True, True]
    assert good(web, "%vers tunnel close") == "No tunnel is open.\n"


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("%vers tunnel eighty", "UsageError", "'eighty' names no ports."),
        ("%vers tunnel 80:", "UsageError", "'80:' names no ports."),
        ("%vers tunnel 1:2:3", "UsageError", "'1:2:3' names no ports."),
        ("%vers tunnel 70000:80", "UsageError", "70000 is no port."),
        ("%vers tunnel :0", "UsageError", "0 is no port."),
        ("%vers tunnel 0", "UsageError", "0 is no port."),
        ("%vers tunnel :80 --on bild", "UnknownVMError", "Did you mean 'build'?"),
        ("%vers tunnel :80 --onn x", "UsageError", "Did you mean --on?"),
        ("%vers tunnel close 1", "UsageError", "There is no tunnel at port 1."),
        ("%vers tunnel close 1 --all", "UsageError", "--all takes no ports."),
        ("%vers ssh-config bild", "UnknownVMError", "Did you mean 'build'?"),
    ],
)  # fmt: skip
def test_wrong_use_is_one_line_and_the_next_step(kernel: Kernel, code: str, error: str, message: str) -> None:
    refused(kernel, code, error, message)


def test_every_sub_command_explains_itself(kernel: Kernel) -> None:
    assert "LOCAL:REMOTE [--on VM]" in kernel.run("%vers tunnel --help").stdout
    explained(kernel, "tunnel open", "tunnel ls", "tunnel close", "ssh-config")


def test_plain_ssh_by_the_configuration_that_was_written(kernel: Kernel, shared_platform: Platform) -> None:
    shown = kernel.run("config = %vers ssh-config\nconfig").data[0]
    assert shown.startswith("Host build ") and "PRIVATE KEY" not in shown
    told = good(kernel, "%vers ssh-config build --write")
    assert "has 1 VM." in told and "/.ssh/config includes it now" in told
    done = subprocess.run(
        ["ssh", f"-F{shared_platform.folder}/.ssh/config", "build", "hostname"],
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
        env=shared_platform.env,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "build\n", "")


def test_unloading_ends_tunnels(shared_platform: Platform) -> None:
    with started(shared_platform.env) as kernel:
        good(kernel, "%load_ext pi_v_jupyter\nvm = %vers create --name other --use\nt = %vers tunnel :80")
        url = kernel.value("t.url")
        assert good(kernel, "%unload_ext pi_v_jupyter") == ""
        with pytest.raises(httpx.ConnectError):
            page(url)
        good(kernel, "%load_ext pi_v_jupyter\n%vers rm -f other")
