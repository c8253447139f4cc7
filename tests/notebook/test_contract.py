"""Options and errors of the magics that no other test of this folder has; and that none is left out."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from kernels import Kernel, started
from platforms import Platform, new_platform
from test_branches import good, tidy  # noqa: F401  the fixture that removes what a test has made

from pi_v_jupyter.magics import background, cells, plan, tasks
from pi_v_jupyter.magics.vers import vers

HERE = Path(__file__).parent


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """A command and all below it, each with what is typed for it."""
    yield path, command
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from commands(each, f"{path} {name}")


def test_every_command_and_every_option_is_used_by_a_test_in_a_real_kernel() -> None:
    text = "\n".join(file.read_text() for file in HERE.glob("test_*.py"))
    lines = re.findall(r"%(?:v|bg|task|plan)[^\n\\\"]*", text)
    unused = []
    magics = (cells, background, plan, tasks)
    for root, start in (("%vers", vers), *(pair for each in magics for pair in each.COMMANDS.items())):
        for path, command in commands(start, root):
            used = [line for line in lines if re.search(rf"{re.escape(path.lstrip('%'))}\b", line)]
            options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
            unused += [path] if not used else []
            unused += [
                f"{path} {option.opts[-1]}"
                for option in options
                if not any(word in line.split() for word in option.opts for line in used)
            ]
    assert not unused


@pytest.mark.vm
def test_a_commit_may_leave_its_vm_paused(tidy: Kernel) -> None:  # noqa: F811
    good(tidy, "saved = %vers commit --keep-paused --name still")
    try:
        assert tidy.run("%vm true").error == "VMPausedError"
    finally:
        good(tidy, "%vers resume build")
    assert good(tidy, "%vm echo on") == "on\n"


@pytest.mark.vm
def test_a_commit_whose_name_two_have_is_not_guessed(tidy: Kernel) -> None:  # noqa: F811
    good(tidy, "one = %vers commit --name twice")
    good(tidy, "two = %vers commit --name twice")
    unclear = tidy.run("%vers restore twice")
    assert unclear.error == "AmbiguousCommitError" and "twice" in unclear.message
    assert all(tidy.value(f"{each}.id")[:8] in unclear.message for each in ("one", "two"))


@pytest.mark.vm
def test_a_vm_whose_name_two_have_is_not_guessed(tidy: Kernel) -> None:  # noqa: F811
    good(tidy, "child = %vers branch --name child")
    # Another client may do what this one refuses to.
    good(tidy, "extension = get_ipython().find_line_magic('vers').__self__")
    label = "extension.wait(extension.vers.client.label_vm(child.id, {{'name': {!r}}}))"
    good(tidy, label.format("build"))
    try:
        unclear = tidy.run("%vers use build")
        assert unclear.error == "AmbiguousVMError" and "Give more of the id." in unclear.message
        assert tidy.value("child.id")[:8] in unclear.message
    finally:
        good(tidy, label.format("child"))


@pytest.mark.vm
def test_files_tunnels_and_kernels_of_another_vm_than_the_active_one(tidy: Kernel) -> None:  # noqa: F811
    good(tidy, "%vers branch --name child")
    good(tidy, "%%vm write --on child /srv/note\nold text\n")
    good(tidy, "%%vm edit --on child /srv/note\n<<<<<<<\nold\n=======\nnew\n>>>>>>>\n")
    assert tidy.run("%vers read --on child /srv/note").data[0].endswith("new text")
    assert tidy.run("%vers read /srv/note").error == "RemoteFileError"
    assert "of child" in good(tidy, "%vers tunnel open --on child :22")
    good(tidy, "%vers tunnel close")
    tidy.run("%%vm python --on child --kernel second\nx = 1", timeout=120)
    listed = tidy.run("%vers kernels ls --on child", timeout=60).data[0]
    assert re.search(r"^second +child", listed, re.MULTILINE)
    assert not re.search(r"^second", tidy.run("%vers kernels ls", timeout=60).data[0], re.MULTILINE)
    tidy.run("x, odd = 2, {1, 2}")
    good(tidy, "%vers push --on child --kernel second x")
    assert tidy.run("%%vm python --on child --kernel second\nx").data == ["2"]
    assert "odd is a set" in tidy.run("%vers push --on child --kernel second odd").message
    good(tidy, "%vers push --on child --kernel second --pickle odd")
    tidy.run("%%vm python --on child --kernel second\nodd.add(3); x = 4")
    good(tidy, "%vers pull --on child --kernel second x")
    good(tidy, "%vers pull --on child --kernel second --pickle odd")
    assert tidy.value("(x, odd)") == (4, {1, 2, 3})
    assert "second on child begins afresh." in good(tidy, "%vers kernels restart --on child second")
    assert "Ended second on child." in good(tidy, "%vers kernels rm --on child -f second")


@pytest.mark.vm
def test_a_kernel_that_dies_says_how_and_the_next_cell_has_a_new_one(kernel: Kernel) -> None:
    died = kernel.run("%%vm python\nimport os\nos.kill(os.getpid(), 9)", timeout=60)
    assert died.error == "KernelError" and "died (SIGKILL, as when memory runs out)" in died.message
    assert "`%vers kernels restart" in died.message and len(died.traceback.splitlines()) <= 2
    assert kernel.run("%%vm python\n6 * 7", timeout=120).data[-1] == "42"  # behind the wait for it


@pytest.mark.vm
def test_another_host_key_than_before_is_refused_until_it_is_accepted(kernel: Kernel) -> None:
    good(kernel, "changed = %vers create --name changed")
    try:
        kernel.run("changed.pin(changed.id, 'SHA256:another')")
        refused = kernel.run("%vers use changed")
        assert refused.error == "HostKeyError" and "`%vers forget-host-key " in refused.message
        assert kernel.run("%vm hostname").stdout == "build\n", "the active VM is what it was"
        good(kernel, "%vers forget-host-key changed")
        good(kernel, "%vers use changed")
        assert kernel.run("%vm hostname").stdout == "changed\n"
    finally:
        kernel.run("%vers rm -f changed")


@pytest.mark.vm
def test_a_certificate_that_nobody_trusts_is_told(shared_platform: Platform) -> None:
    told = shared_platform.description
    account = {
        "VERS_BASE_URL": told.base_url,
        "VERS_API_KEY": Path(told.key_file).read_text().strip(),
        "VERS_VM_DOMAIN": f"vm.{told.domain}",
        "VERS_VM_PORT": str(told.vm_port),
    }
    with started(shared_platform.env | account) as kernel:
        kernel.run("%load_ext pi_v_jupyter")
        good(kernel, "vm = %vers create --name strange")
        try:
            refused = kernel.run("%vers use strange")
            assert refused.error == "CertificateError" and "VERS_CA_FILE names" in refused.message, refused
            good(kernel, f"%vers config ca_file {told.ca_file}")
            good(kernel, "%vers use strange")
        finally:
            kernel.run("%vers rm -f strange")


@pytest.mark.vm
def test_a_platform_of_ones_own_choosing_and_its_end() -> None:
    platform = new_platform()
    try:
        with started(platform.env) as kernel:
            kernel.run("%load_ext pi_v_jupyter")
            with socket.create_server(("127.0.0.1", 0)) as taken:
                port = taken.getsockname()[1]
                refused = kernel.run(f"%vers up --port {port} --gateway-port 0", timeout=300)
            assert refused.error == "PlatformError" and str(port) in refused.message
            assert "`--port PORT`" in refused.message and len(refused.traceback.splitlines()) <= 2
            up = kernel.run("%vers up --port 0 --gateway-port 0 --domain our.localhost", timeout=300)
            assert up.error is None, up.traceback
            assert "\nvers: 0 VMs · embedded platform" in up.stdout, "it was away before"
            assert platform.description.domain == "our.localhost"
            good(kernel, "vm = %vers create --use --disk 3000", timeout=300)
            assert kernel.run("%vm echo up").stdout == "up\n"
            gone = kernel.run("%vers down --purge -f", timeout=60)
            assert gone.error is None, gone.traceback
            assert not platform.qemus() and not list((platform.state / "vms").glob("*"))
    finally:
        platform.end()


@pytest.mark.vm
def test_what_the_platform_needs_and_is_not_there_is_named() -> None:
    platform = new_platform()
    try:
        with started({**platform.env, "PATH": str(Path(sys.executable).parent)}) as kernel:
            kernel.run("%load_ext pi_v_jupyter")
            missing = kernel.run("%vers up --port 0 --gateway-port 0", timeout=60)
            assert missing.error == "PlatformError" and "apt-get install" in missing.message, missing
    finally:
        platform.end()
