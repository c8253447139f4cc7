"""Commands made up by chance that the judge lets pass, run on a real VM: nothing changes, nothing is sent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import readonly_runner
from platforms import Platform
from readonly_grammar import PLAYGROUND, commands, together

from pi_v_jupyter import Vers
from pi_v_jupyter.plan.ground import SHELL, surroundings
from pi_v_jupyter.plan.readonly import judge
from pi_v_jupyter.plan.rules import rules
from pi_v_jupyter.vm import VM

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

SEED = 20_240_609
MANY = 2000
AT_ONCE = 8  # commands for which one bash is started
SLOW = ["pip list", "pip show -f pip", "pip check", "pip freeze --exclude-editable"]
RUNNER = "/opt/readonly_runner.py"
FOLDER = "/srv/playground"
HASHED = ["/etc", "/root", "/home", "/srv", "/usr/local", "/var"]
# The commands' /tmp is their own, and the system's log goes on by itself.
LEFT_OUT = ["/proc", "/sys", "/dev/pts", "/tmp", "/run/log/journal", "/var/log/journal"]


@pytest.fixture
async def vm(platform: Platform) -> AsyncIterator[VM]:
    """One with a playground and the runner."""
    async with Vers(platform.settings) as session:
        vm = await session.create(name="looked-at")
        await vm.write(RUNNER, Path(readonly_runner.__file__).read_bytes())
        await vm.run(["mkdir", FOLDER])
        await vm.run(PLAYGROUND, cwd=FOLDER, env={"HOME": "/root"})
        yield vm
        await session.delete(vm)


async def found(vm: VM, chosen: list[str]) -> dict[str, Any]:
    """What the runner found after it ran `chosen` on `vm`."""
    task = {
        "shell": SHELL,
        "environment": surroundings({"HOME": "/root", "USER": "root"}),
        "folder": FOLDER,
        "commands": chosen,
        "seconds": 15,
        "roots": ["/"],
        "hashed": HASHED,
        "left_out": LEFT_OUT,
    }
    ran = await vm.run(["python3", RUNNER], stdin=json.dumps(task), env={"PYTHONDONTWRITEBYTECODE": "1"})
    told: dict[str, Any] = json.loads(ran.stdout)
    assert told["kept_from"] == "network and /tmp"
    return told


async def installed(vm: VM) -> list[str]:
    """The commands of the tables that this VM has."""
    names = " ".join(f"'{name}'" for name in rules())
    ran = await vm.run(f"for name in {names}; do type $name >/dev/null 2>&1 && echo $name; done; true")
    return ran.stdout.split()


async def test_two_thousand_commands_that_pass_change_nothing_on_a_vm(vm: VM) -> None:
    programs = await installed(vm)
    assert len(programs) > 80
    passing = (command for command in commands(SEED, programs) if judge(command) is None)
    chosen = [*SLOW, *islice(passing, MANY - len(SLOW))]
    told = await found(vm, [together(chosen[at : at + AT_ONCE]) for at in range(0, MANY, AT_ONCE)])
    why = f"seed {SEED}: {told['culprits'][:3]}"
    assert sum(told["codes"].values()) == MANY / AT_ONCE
    assert told["codes"]["0"] > MANY / AT_ONCE / 4, "most of them do nothing"
    assert told["changed"] == [], why
    assert told["sent"] == {}, why


async def test_what_does_change_or_send_something_on_a_vm_is_seen(vm: VM) -> None:
    told = await found(
        vm, ["echo one > /srv/trace", "chmod 700 /etc/hostname", "echo a > /dev/udp/10.9.8.7/9"]
    )
    assert told["changed"] == ["/etc/hostname", "/srv", "/srv/trace"]
    assert told["sent"] != {}
