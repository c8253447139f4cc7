"""Agents get the user's own configuration of pi, and none of the user's keys."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from farm import Farm
from kernels import Kernel, refused

Place = tuple[Farm, dict[str, str]]
THEIRS = {
    "settings.json": json.dumps(
        {
            **{"steeringMode": "all", "retry": {"maxRetries": 7}, "defaultProvider": "nosuch"},
            **{"packages": ["../mine"], "skills": ["~/elsewhere", "!skills/draft"], "apiToken": "theirs-1"},
        }
    ),
    "AGENTS.md": "Mine too.",
    "auth.json": "secret-of-auth",
    "models.json": "secret-of-models",
    "sessions/one.jsonl": "secret-of-sessions",
    "skills/tidy/SKILL.md": "---\nname: tidy\ndescription: tidies\n---\n",
    "skills/tidy/node_modules/x.js": "secret-of-modules",
    "extensions/hello.ts": "export default () => {};",
    "extensions/vers.ts": "secret-of-vers",
    "skills/vers/old/SKILL.md": "secret-of-skills",
    "prompts/greet.md": "Greet $1",
}
IMAGE = {
    "settings.json": '{"defaultProvider": "anthropic", "retry": {"enabled": true}}',
    "AGENTS.md": "The image's.\n",
    "models.json": "{}",
    "auth.json": "{}",
}


@pytest.fixture
def user(agents_farm: Place) -> Iterator[Path]:
    """The user's folder of pi's configuration."""
    farm, env = agents_farm
    folder = Path(env["PI_CODING_AGENT_DIR"])
    for name, text in THEIRS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "skills" / "round").symlink_to(folder / "skills")  # leads in a circle
    before, farm.config = farm.config, dict(IMAGE)
    yield folder
    farm.config = before
    shutil.rmtree(folder)


def test_agents_have_the_users_configuration_over_the_images(
    swarm: Kernel, agents_farm: Place, user: Path
) -> None:
    shown = swarm.run("%vers swarm spawn golden --labels c", timeout=60)
    assert shown.error is None, shown
    told = "With your pi's settings.json, AGENTS.md, skills/, extensions/, prompts/."
    assert told in shown.data[-1] and told in shown.html[-1].replace("&#x27;", "'")
    assert "theirs-1" not in shown.text
    home = agents_farm[0].of("c") / ".pi" / "agent"
    assert json.loads((home / "settings.json").read_text()) == {
        **{"defaultProvider": "anthropic", "retry": {"enabled": True, "maxRetries": 7}},
        **{"steeringMode": "all", "skills": ["!skills/draft"]},
    }
    assert (home / "AGENTS.md").read_text() == "The image's.\n\nMine too.\n"
    assert (home / "skills/tidy/SKILL.md").read_text() == THEIRS["skills/tidy/SKILL.md"]
    assert (home / "extensions/hello.ts").exists() and (home / "prompts/greet.md").exists()
    everything = [file.read_text() for file in home.rglob("*") if file.is_file()]
    assert not [text for text in everything if "secret-of" in text or "theirs-1" in text]
    assert (home / "models.json").read_text() == (home / "auth.json").read_text() == "{}"


def test_bare_agents_have_the_images_alone(swarm: Kernel, agents_farm: Place, user: Path) -> None:
    shown = swarm.run("%vers swarm spawn golden --labels c --bare", timeout=60)
    assert shown.error is None and "With your" not in shown.text
    home = agents_farm[0].of("c") / ".pi" / "agent"
    assert {file.name: file.read_text() for file in home.iterdir() if file.is_file()} == IMAGE
    assert [each.name for each in (home / "skills").iterdir()] == ["vers"], "which are no user's"


@pytest.mark.parametrize("what", ["large", "damaged"])
def test_what_cannot_be_brought_is_told_before_any_vm_is_made(
    swarm: Kernel, agents_farm: Place, user: Path, what: str
) -> None:
    before = set(agents_farm[0].vms)
    if what == "large":
        with (user / "skills/tidy/model.bin").open("wb") as file:
            file.truncate(21 * 1024 * 1024)
        words = "is more than 20 MB"
    else:
        (user / "settings.json").write_text("{'a'}")
        words = "settings.json is no JSON object"
    told = refused(swarm, "%vers swarm spawn golden", "UsageError", words)
    assert "--bare" in told.traceback
    assert set(agents_farm[0].vms) == before
