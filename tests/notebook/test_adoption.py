"""Agents that pi-v has spawned: the real pi of its time, run as it does, found and taken over."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from farm import Farm, farm, until
from kernels import Kernel, started
from pis import OLD, installed, scripted_model
from test_swarm import good, table

from pi_v_jupyter.swarm.scripted import MODEL, PROVIDER, provider

HOOK = "import pi_v_jupyter.swarm.bridge as bridge; bridge.PLACE = {!r}"


@dataclass
class PiV:
    """A VM on which pi-v has an agent, `old`, that has done a task; and others that are none's."""

    farm: Farm
    env: dict[str, str]
    place: Path
    script: Path
    vm_id: str

    def follow(self, *turns: object) -> None:
        """Give its model another script."""
        self.script.write_text(json.dumps({"turns": turns}))

    def say(self, **command: str) -> None:
        """As pi-v does."""
        (self.place / "in").write_text(json.dumps(command) + "\n")

    @property
    def out(self) -> str:
        return (self.place / "out").read_text()


def spawned(pi_v: PiV, words: list[str], sock: Path) -> None:
    """As pi-v starts one; `words` start its pi."""
    home, place = pi_v.farm.home(pi_v.vm_id), pi_v.place
    place.mkdir()
    os.mkfifo(place / "in")
    (place / "out").touch()
    (place / "err").touch()
    (home / ".swarm").mkdir(exist_ok=True)
    identity = {"vmId": pi_v.vm_id, "agentId": "old", "rootVmId": "", "parentVmId": "local", "depth": 1}
    (home / ".swarm" / "identity.json").write_text(json.dumps(identity))
    env = {"HOME": str(home), "PATH": f"{home}/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
    tmux = ["tmux", "-S", str(sock), "-f", "/dev/null", "new-session", "-d", "-s"]
    subprocess.run([*tmux, "pi-keeper", f"sleep infinity > {place}/in"], env=env, check=True)
    run = (
        f"export SOME_API_KEY='a-key-of-pi'; cd {home}/workspace; {shlex.join(words)} --mode rpc --no-session"
    )
    run += f" < {place}/in >> {place}/out 2>> {place}/err"
    subprocess.run([*tmux, "pi-rpc", run], env=env, check=True)


@pytest.fixture
def pi_v() -> Iterator[PiV]:
    if os.geteuid() != 0:
        pytest.skip("a VM is logged in to as root")
    words = ["env", "PI_OFFLINE=1", *installed(OLD), "--model", f"{PROVIDER}/{MODEL}"]
    with tempfile.TemporaryDirectory(prefix="pv-") as name:
        folder, script = Path(name), Path(name) / "script.json"
        with scripted_model(folder, script) as url, farm(folder, shlex.join(words)) as (made, env):
            made.config["models.json"] = json.dumps({"providers": {PROVIDER: provider(url)}})
            made.config["settings.json"] = json.dumps({"retry": {"provider": {"maxRetries": 0}}})
            pi_v = PiV(made, env, folder / "pi-rpc", script, made.make())
            pi_v.follow("Long ago I said „à bientôt“.")
            try:
                spawned(pi_v, [str(made.home(pi_v.vm_id) / "bin" / "pi")], folder / "tmux")
                pi_v.say(type="prompt", message="Before.")
                until(lambda: '"type":"agent_end"' in pi_v.out, 60)
                yield pi_v
            finally:
                subprocess.run(["tmux", "-S", str(folder / "tmux"), "kill-server"], check=False)
                shutil.rmtree(pi_v.place, ignore_errors=True)


def loaded(kernel: Kernel, pi_v: PiV) -> Kernel:
    kernel.run("%load_ext pi_v_jupyter")
    good(kernel, HOOK.format(str(pi_v.place)))
    return kernel


def test_it_is_found_with_its_history_works_on_and_is_found_again(pi_v: PiV) -> None:
    plain, paused = pi_v.farm.make(), pi_v.farm.make()
    branch = pi_v.farm.make()
    for vm_id, whose in ((paused, paused), (branch, pi_v.vm_id)):
        folder = pi_v.farm.home(vm_id) / ".swarm"
        folder.mkdir(exist_ok=True)
        (folder / "identity.json").write_text(json.dumps({"vmId": whose, "agentId": "other"}))
    pi_v.farm.vms[paused]["state"] = "paused"
    untouched = {vm_id: sorted(pi_v.farm.home(vm_id).rglob("*")) for vm_id in (plain, paused, branch)}
    with started(pi_v.env) as kernel:
        loaded(kernel, pi_v)
        assert good(kernel, "%vers swarm status").data[0].startswith("No agents.")  # nobody has looked
        shown = good(kernel, "%vers swarm discover")
        assert shown.stdout == "1 agent found.\n", shown
        assert table(shown)["old"].startswith("done Before. Long ago I said „à bientôt“.")
        for vm_id, files in untouched.items():
            assert sorted(pi_v.farm.home(vm_id).rglob("*")) == files and not pi_v.farm.vms[vm_id]["labels"]
        call = {"call": "write", "with": {"path": "new.txt", "content": "neu\n"}}
        pi_v.follow({"content": [call]}, "I did.")
        text = "é" * 3000  # more than a FIFO takes at once
        assert "I did." in good(kernel, f"%%task old --wait\nAfter. {text}").stdout
        assert (pi_v.farm.home(pi_v.vm_id) / "workspace" / "new.txt").read_text() == "neu\n"
    with started(pi_v.env) as other:
        loaded(other, pi_v)
        assert table(good(other, "%vers swarm status"))["old"].startswith("done After.")
        prompts = other.value(
            "[run.prompt[:7] for run in get_ipython().run_line_magic('vers', 'swarm status')[0].story.runs]"
        )
        assert prompts == ["Before.", "After. "]
        good(other, "%vers swarm teardown -f old")
    assert pi_v.vm_id not in pi_v.farm.vms and plain in pi_v.farm.vms


def test_one_that_was_killed_is_told_and_another_takes_its_place(pi_v: PiV) -> None:
    with started(pi_v.env) as kernel:
        loaded(kernel, pi_v)
        assert table(good(kernel, "%vers swarm discover"))["old"].startswith("done")
        with (pi_v.place / "err").open("a") as file:
            file.write("out of luck\n")
        kill(pi_v)
        agent = "get_ipython().run_line_magic('vers', 'swarm status')[0]"
        until(lambda: kernel.value(f"{agent}.state") == "lost")
        assert "The pi that pi-v had started has ended." in kernel.value(f"{agent}.story.error")
        assert "out of luck\n" in kernel.value(f"{agent}.story.death.stderr")
        told = good(kernel, "%vers swarm restart old").stdout
        assert "kept no session: a new one has its place" in told
        pid = kernel.value(f"{agent}.process.status.pid")
        assert b"SOME_API_KEY=a-key-of-pi\0" in Path(f"/proc/{pid}/environ").read_bytes()
        assert not (pi_v.place / "in").exists()
        pi_v.follow("I am new.")
        assert "I am new." in good(kernel, "%%task old --wait\nWho?").stdout
        pi_v.follow("I go on.")
        assert "kept no session" not in good(kernel, "%vers swarm restart old").stdout
        key = pi_v.farm.home(pi_v.vm_id) / ".swarm" / "secrets" / "SOME_API_KEY"
        assert key.read_text() == "a-key-of-pi" and key.stat().st_mode & 0o777 == 0o600
        assert "a-key-of-pi" not in good(kernel, "%bg logs pi --on old --last 1000").text


def kill(pi_v: PiV) -> None:
    """The pi that reads the FIFO."""
    there = (pi_v.place / "in").stat().st_ino
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            own = (folder / "fd" / "0").stat().st_ino == there
        except OSError:
            continue
        if own:
            os.kill(int(folder.name), signal.SIGKILL)
