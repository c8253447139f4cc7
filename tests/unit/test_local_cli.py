"""The command line's manners, without any VM."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner

from pi_v_jupyter.cli import main
from pi_v_jupyter.local import launcher, readiness
from pi_v_jupyter.local.image import Image


@pytest.mark.parametrize(
    "domain", ["", ".", "a..b", "-a.b", "a-.b", "a b", "a/b", "é.test", "a.b\n", "a" * 64, "a." * 100 + "a"]
)
def test_a_domain_that_is_none_is_refused_before_anything_is_done(domain: str) -> None:
    done = CliRunner().invoke(main, ["up", "--domain", domain])
    assert done.exit_code == 2
    assert "is no domain name" in done.output


def test_a_domain_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def up(options: Any, *_: object) -> None:
        taken.append(options.domain)
        raise KeyboardInterrupt

    monkeypatch.setattr(launcher, "up", up)
    CliRunner().invoke(main, ["up", "--domain", "My-vms.example2.test"])
    assert taken == ["My-vms.example2.test"]


@pytest.mark.parametrize(
    ("count", "words"),
    [(1, "1 VM of a platform that died still runs"), (2, "2 VMs of a platform that died still run ")],
)
def test_what_a_dead_platform_left_is_told(monkeypatch: pytest.MonkeyPatch, count: int, words: str) -> None:
    monkeypatch.setattr(launcher, "status", lambda: {"up": False, "vms_left_running": count})
    assert words in CliRunner().invoke(main, ["status"]).output


def test_the_machine_in_the_making_is_no_vm_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(prefix: str, known: object) -> list[psutil.Process]:
        processes = []
        for name in ("base", "0123"):
            process = psutil.Process()
            process.info = {"cmdline": ["qemu-system-x86_64", "-name", prefix + name]}
            processes.append(process)
        return processes

    monkeypatch.setattr("pi_v_jupyter.local.processes.left_over", found)
    assert launcher.vms_that_run() == 1


BUILD = """
import os, signal, subprocess, sys
from pi_v_jupyter.cli import main
from pi_v_jupyter.local import image

def ensure(*_, **__):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    print(child.pid, flush=True)
    child.wait(30)

image.ensure = ensure
before = signal.getsignal(signal.SIGTERM)
try:
    main(["image", "build"])
finally:
    print(signal.getsignal(signal.SIGTERM) is before)
"""


def test_sigterm_ends_a_build_and_the_programs_it_started() -> None:
    # In a group of its own: it ends all children of its process that are in the same one.
    with subprocess.Popen(
        [sys.executable, "-c", BUILD],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as build:
        assert build.stdout is not None
        child = psutil.Process(int(build.stdout.readline()))
        build.terminate()
        output, errors = build.communicate(timeout=60)
    assert build.returncode == 1
    assert "Aborted!" in errors
    assert output == "True\n"
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_what_this_computer_lacks_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("pi_v_jupyter.local.tools.find", lambda _: None)
    told = CliRunner().invoke(main, ["doctor"])
    assert told.exit_code == 1
    assert "✗ QEMU: " in told.output and "✗ VM image: none" in told.output
    assert told.output.count("    sudo apt-get install ") == 2
    findings = json.loads(CliRunner().invoke(main, ["doctor", "--json"]).output)
    assert [(each["what"], each["ok"]) for each in findings] == [("QEMU", False), ("VM image", False)]


def test_kvm_that_is_not_ones_own_to_use_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(readiness, "KVM", tmp_path)
    monkeypatch.setattr("pi_v_jupyter.local.accelerator.choose", lambda *_: "tcg")
    monkeypatch.setattr("pi_v_jupyter.local.readiness.os.access", lambda *_: False)
    image = Image(tmp_path, "0" * 64, "recipe", "bookworm", "6.1", "2026-01-01")
    assert "usermod -aG kvm" in readiness._accelerator(image).remedy
    monkeypatch.setattr("pi_v_jupyter.local.accelerator.choose", lambda *_: "kvm")
    assert readiness._accelerator(image).remedy == ""
