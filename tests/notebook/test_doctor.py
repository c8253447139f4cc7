"""`%vers doctor` looks at the whole way to a VM: real machines, and real ones that are broken."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import platformdirs
import pytest
from kernels import Kernel, started
from loopback import make_certificate
from platforms import Platform
from served import served

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def there() -> Iterator[dict[str, str]]:
    """What a kernel needs to have this machine as its one VM."""
    if os.geteuid() != 0:
        pytest.skip("a VM is logged in to as root")
    with served() as env:
        yield env


@pytest.fixture
def ours(kernel: Kernel) -> Kernel:
    """The module's kernel, which finds the image where the platform does."""
    kernel.run(f"import os; os.environ['XDG_CACHE_HOME'] = {str(platformdirs.user_cache_path())!r}")
    return kernel


def examined(kernel: Kernel) -> dict[str, tuple[bool, str, str]]:
    """What was looked at: is it well, what was found, what to do."""
    shown = kernel.run("report = %vers doctor\nreport", timeout=90)
    assert shown.error is None, shown.traceback
    assert "<table>" in shown.html[0]
    return {
        what: (ok, found, remedy)
        for what, ok, found, remedy in kernel.value("[(c.what, c.ok, c.found, c.remedy) for c in report]")
    }


def wrong(report: dict[str, tuple[bool, str, str]]) -> list[str]:
    """What is not well; each has a remedy."""
    found = [what for what, (ok, _, _) in report.items() if not ok]
    assert all(report[what][2] for what in found), report
    return found


def test_all_is_in_order(ours: Kernel) -> None:
    report = examined(ours)
    assert wrong(report) == []
    names = ["versions", "platform", "key", "embedded platform", "QEMU", "VM image", "accelerator", "API"]
    assert list(report)[: len(names)] == names
    on_the_way = [what for what in report if what not in names]
    assert [what.split()[0] for what in on_the_way] == ["clock", "TCP", "TLS", "SSH", "commands", "clock"]
    assert re.search(
        r"Python 3\.\d+\.\d+, pi-v-jupyter \S+, ipython 9\S+, ipykernel 7", report["versions"][1]
    )
    assert report["QEMU"][1].startswith("QEMU emulator version ")
    assert "Debian" in report["VM image"][1] and report["accelerator"][1].startswith(("tcg", "kvm"))
    assert "TLSv1" in next(found for what, (_, found, _) in report.items() if what.startswith("TLS "))
    assert "SHA256:" in report["SSH to build"][1]


def test_a_vm_that_hangs_does_not_hang_the_doctor(shared_platform: Platform, ours: Kernel) -> None:
    assert ours.run("stuck = %vers create --name stuck --use", timeout=60).error is None
    vm_id = ours.value("stuck.id")
    (emulator,) = [each for each in shared_platform.qemus() if vm_id in " ".join(each.cmdline())]
    emulator.suspend()
    try:
        report = examined(ours)
        assert wrong(report) == ["commands on stuck"]
        assert report["commands on stuck"][1] == "no answer within 10 s"
        assert "`%vers info stuck`" in report["commands on stuck"][2]
    finally:
        emulator.resume()
        assert ours.run("%vm echo back").stdout == "back\n"
        ours.run("%vers rm -f stuck")


def test_a_clock_that_is_wrong_is_found_and_the_remedy_sets_it(ours: Kernel) -> None:
    assert ours.run("late = %vers create --name late --use", timeout=60).error is None
    try:
        ours.run("%vm date -s '-1 hour'")
        report = examined(ours)
        assert wrong(report) == ["clock of late"]
        assert re.fullmatch(r"is 3\d\d\d s behind this computer's", report["clock of late"][1])
        (remedy,) = re.findall(r"`(.*)`", report["clock of late"][2])
        assert ours.run(remedy).error is None
        assert wrong(examined(ours)) == []
    finally:
        ours.run("%vers rm -f late")


def test_a_certificate_that_is_not_trusted(there: dict[str, str], tmp_path: Path) -> None:
    other, _ = make_certificate(tmp_path, "loopback.vm.pi-v.localhost")
    with started(there | {"VERS_CA_FILE": str(other)}) as kernel:
        kernel.run("%load_ext pi_v_jupyter")
        report = examined(kernel)
        assert wrong(report) == ["TLS to loopback.vm.pi-v.localhost"]
        assert "is not trusted" in report["TLS to loopback.vm.pi-v.localhost"][1]
        assert "VERS_CA_FILE" in report["TLS to loopback.vm.pi-v.localhost"][2]
        kernel.run("%vers config ca_file /nonesuch.pem")
        assert "cannot be used" in examined(kernel)["TLS to loopback.vm.pi-v.localhost"][1]


def test_a_host_key_that_is_not_the_one_before(there: dict[str, str]) -> None:
    with started(there) as kernel:
        kernel.run("%load_ext pi_v_jupyter")
        assert wrong(examined(kernel)) == []
        kernel.run(
            "from pi_v_jupyter import Vers\n"
            "vm = await Vers.notebook.vm('loopback')\n"
            "await vm.close()\n"
            "vm.pin(vm.id, 'SHA256:another')"
        )
        report = examined(kernel)
        assert wrong(report) == ["SSH to loopback"]
        assert "another SSH host key" in report["SSH to loopback"][1]
        assert "%vers forget-host-key" in report["SSH to loopback"][2]


def test_a_port_where_nobody_is_and_one_that_speaks_no_tls(there: dict[str, str]) -> None:
    with started(there) as kernel, socket.create_server(("127.0.0.1", 0)) as plain:
        kernel.run("%load_ext pi_v_jupyter\n%vers config vm_port 1")
        report = examined(kernel)
        assert wrong(report) == ["TCP to loopback.vm.pi-v.localhost:1"]
        assert "Is port 1 open" in report["TCP to loopback.vm.pi-v.localhost:1"][2]

        def answer() -> None:
            for _ in range(2):
                connection, _ = plain.accept()
                with connection, contextlib.suppress(ConnectionError):  # the first only knocks
                    connection.sendall(b"SSH-2.0-plain\r\n")
                    connection.recv(1 << 16)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        kernel.run(f"%vers config vm_port {plain.getsockname()[1]}")
        report = examined(kernel)
        assert wrong(report) == ["TLS to loopback.vm.pi-v.localhost"]
        assert "does not speak TLS" in report["TLS to loopback.vm.pi-v.localhost"][1]
        thread.join(10)


def test_a_computer_without_qemu_and_without_a_key(tmp_path: Path) -> None:
    home = {name: str(tmp_path) for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")}
    bare = {name: value for name, value in os.environ.items() if not name.startswith("VERS_")}
    with started(bare | home) as kernel:
        kernel.run("import os; os.environ['PATH'] = '/nonexistent'\n%load_ext pi_v_jupyter")
        report = examined(kernel)
        assert wrong(report) == ["key", "QEMU", "VM image", "embedded platform"]
        assert report["QEMU"][2].startswith("sudo apt-get install --no-install-recommends qemu-system")
        assert report["embedded platform"][1:] == ("down", "`%vers up` starts it.")
