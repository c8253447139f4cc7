"""What is packed of a user's configuration of pi: what an agent works by, and nothing named as keys are."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from pi_v_jupyter.swarm import piconfig


def packed(root: Path) -> dict[str, bytes]:
    """The files that agents are given, by name."""
    config = piconfig.pack(root)
    if config is None:
        return {}
    with tarfile.open(fileobj=io.BytesIO(config.archive)) as archive:
        files = {member.name: archive.extractfile(member) for member in archive}
        return {name: file.read() for name, file in files.items() if file is not None}


@pytest.mark.parametrize(
    "name",
    [
        *(".env", ".env.local", ".ENV.production", ".envrc", "prod.env", ".netrc", ".npmrc", ".pypirc"),
        *("credentials", "credentials.json", "Credentials.yaml", "secrets.toml", ".git-credentials"),
        *("id_rsa", "id_ed25519", "server.pem", "tls.KEY", "cert.p12", "store.jks", ".pgpass", "auth.json"),
        *("client_secret_1.json", "service-account.json", ".aws/config", ".ssh/config", ".env.d/one"),
    ],
)
def test_files_named_as_keys_stay_here(tmp_path: Path, name: str) -> None:
    skill = tmp_path / "skills" / "deploy"
    (skill / name).parent.mkdir(parents=True)
    (skill / name).write_text("SECRET")
    (skill / "SKILL.md").write_text("Deploy.")
    assert packed(tmp_path) == {"skills/deploy/SKILL.md": b"Deploy."}


def test_a_link_to_a_file_named_as_keys_stays_here(tmp_path: Path) -> None:
    (tmp_path / "skills").mkdir()
    (tmp_path / ".env.local").write_text("SECRET")
    (tmp_path / "skills" / "notes.md").symlink_to(tmp_path / ".env.local")
    assert packed(tmp_path) == {}


@pytest.mark.parametrize(
    "name", ["environment.md", "keys.ts", "credentials.ts", "secrets.md", "id_token.py", "monkey", "key.md"]
)
def test_what_only_speaks_of_keys_goes(tmp_path: Path, name: str) -> None:
    (tmp_path / "extensions").mkdir()
    (tmp_path / "extensions" / name).write_text("How to.")
    assert packed(tmp_path) == {f"extensions/{name}": b"How to."}


def test_of_the_settings_go_those_that_an_agent_works_by(tmp_path: Path) -> None:
    works = {"steeringMode": "all", "followUpMode": "all", "retry": {"maxRetries": 7}, "theme": "dark"}
    works |= {"compaction": {"enabled": False}, "defaultThinkingLevel": "high", "skills": ["skills/deploy"]}
    stays = {"mcpServers": {"x": {"env": {"TOKEN": "SECRET"}}}, "apiToken": "SECRET", "someExtension": {}}
    stays |= {"defaultModel": "m", "packages": ["../p"], "shellPath": "/bin/zsh", "httpProxy": "http://u:p@h"}
    (tmp_path / "settings.json").write_text(json.dumps(works | stays))
    assert json.loads(packed(tmp_path)["settings.json"]) == works
    (tmp_path / "settings.json").write_text(json.dumps(stays))
    assert packed(tmp_path) == {}
