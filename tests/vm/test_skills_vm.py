"""Agents on real machines have the skills of whoever spawned them; what skills have them run works there."""

from __future__ import annotations

from pathlib import Path

import pytest
from platforms import Platform
from skillblocks import SKILLS, documents, script
from swarms import MODEL, follow, ready

from pi_v_jupyter import VM, Vers, bundled
from pi_v_jupyter.swarm import agentskills
from pi_v_jupyter.swarm.agent import Agent
from pi_v_jupyter.swarm.agentskills import DIGEST, FOLDER

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]
SLOW = 300  # seconds for what a document has agents do
PROJECT = """
git init --quiet --initial-branch main greeting && cd greeting
echo 'echo "Helo, $1."' > greeting.sh
git add . && git commit --quiet --message "A greeting"
"""


async def offered(agent: Agent) -> set[str]:
    """The skills that the agent's pi knows, by the commands that it has for them."""
    told = await agent.command("get_commands")
    names = {each["name"]: each.get("source") for each in told["commands"]}
    return {name.removeprefix("skill:") for name, source in names.items() if source == "skill"}


async def there(vm: VM) -> dict[str, bytes]:
    """The files of the skills on a machine that are not programs of this computer's Python."""
    names = (await vm.run(f"cd {FOLDER} && find . -type f -printf '%P\\n'")).stdout.split()
    return {name: await vm.read_bytes(f"{FOLDER}/{name}") for name in names}


def ours() -> dict[str, bytes]:
    """As they are here, with what tells them apart."""
    root, digest = bundled.skills(), agentskills.pack().digest.encode()
    files = [path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {str(path.relative_to(root)): path.read_bytes() for path in files} | {DIGEST: digest}


async def test_a_golden_image_has_the_skills_and_its_pi_offers_them(vers: Vers) -> None:
    image = await vers.golden.status()
    vm = await vers.restore(image.commit)
    assert await there(vm) == ours()
    assert not await agentskills.pack().give(vm), "what is the same is not sent again"
    await vers.delete(vm)
    (agent,) = ready(await vers.swarm.spawn("golden", 1, model=MODEL, bare=True))
    assert await offered(agent) >= set(SKILLS)


async def test_an_agent_of_an_image_with_other_skills_gets_those_of_its_notebook(
    vers: Vers, platform: Platform
) -> None:
    vm = await vers.restore("golden")
    await vm.run(
        f"cd {FOLDER} && echo older > {DIGEST} && rm -r vers-networking && mkdir gone ../own"
        " && echo older > contribute-fix/SKILL.md"
        " && printf -- '---\\nname: gone\\ndescription: Goes.\\n---\\n' > gone/SKILL.md"
        " && printf -- '---\\nname: own\\ndescription: Stays.\\n---\\n' > ../own/SKILL.md"
    )
    older = await vm.commit(name="older")
    await vers.delete(vm)
    (agent,) = ready(await vers.swarm.spawn(older, 1, model=MODEL, bare=True))
    assert await there(agent.vm) == ours()
    known = await offered(agent)
    assert {*SKILLS, "own"} <= known and "gone" not in known, "pi, which ran all the while, knows of it"


@pytest.mark.parametrize("name", SKILLS)
async def test_what_a_skill_has_an_agent_run_works_on_its_machine(vers: Vers, name: str) -> None:
    (agent,) = ready(await vers.swarm.spawn("golden", 1, labels=["ann"], model=MODEL, bare=True))
    await follow(agent, {"content": [{"call": "bash", "with": {"command": "true"}}]}, "Done.")
    await agent.task("Begin.")
    waited = await vers.swarm.wait(timeout=SLOW)
    assert waited.ending == "finished"
    await agent.vm.run(PROJECT, cwd="/srv")
    for document in documents(name):
        done = await agent.vm.run(
            script(document),
            cwd=f"/root/{FOLDER}/{name}",
            env={"REPOSITORY": "/srv/greeting"},
            timeout=SLOW,
            check=False,
        )
        assert done.exit_code == 0, f"{document.name}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    if name == "investigate-vers-issue":
        await no_key_was_told(agent.vm, "/tmp/investigation/evidence.md")


async def no_key_was_told(vm: VM, path: str) -> None:
    """What was collected on a machine has none of the keys in it, and is of that machine."""
    told = (await vm.read(path)).text
    assert "## GET /vm" in told and vm.id in told and "200 after" in told
    for name in await vm.listdir(".swarm/secrets"):
        value = (await vm.read_bytes(Path(".swarm/secrets") / name.name)).decode()
        assert name.name == "VERS_BASE_URL" or value not in told, name
