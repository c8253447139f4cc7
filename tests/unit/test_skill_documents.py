"""Skill documents keep to the Agent Skills specification; their programs do what they say."""

from __future__ import annotations

import base64
import json
import os
import shlex
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from loopback import make_certificate
from skillblocks import COMMANDS, SKILLS, TEXTS, blocks, documents, tokens

from pi_v_jupyter import bundled, skills
from pi_v_jupyter.errors import PlatformError, UnknownSkillError
from pi_v_jupyter.swarm import agentskills

FIELDS = {"name", "description", "license", "compatibility", "metadata", "allowed-tools"}
LETTERS = set("abcdefghijklmnopqrstuvwxyz0123456789-")
EVIDENCE = "investigate-vers-issue/scripts/collect_evidence.py"
REACH = "vers-networking/scripts/reach.py"


def test_there_are_five_and_each_is_found_by_name() -> None:
    wanted = {"contribute-fix", "investigate-vers-issue", "vers-golden-vm"}
    wanted |= {"vers-networking", "vers-platform-development"}
    assert {skill.name for skill in skills.every()} == wanted
    found = skills.find("vers-networking")
    assert found.text.startswith("# ") and found.description and found.folder.name == "vers-networking"
    assert found.files == ("references/symptoms.md", "scripts/reach.py")


def test_a_name_that_none_has_is_told_with_the_nearest() -> None:
    with pytest.raises(UnknownSkillError, match=r"Did you mean 'vers-networking'\?") as failed:
        skills.find("vers-network")
    assert "`%vers skills`" in failed.value.hint


def test_they_are_found_in_an_installed_package_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(bundled.skills(), tmp_path / "package" / "_skills")
    monkeypatch.setattr(bundled, "PACKAGE", tmp_path / "package")
    assert bundled.skills() == tmp_path / "package" / "_skills"
    monkeypatch.setattr(bundled, "PACKAGE", tmp_path / "nowhere" / "package")
    with pytest.raises(PlatformError, match="not installed"):
        bundled.skills()


@pytest.mark.parametrize("name", SKILLS)
def test_front_matter_is_as_the_specification_has_it(name: str) -> None:
    text = (bundled.skills() / name / "SKILL.md").read_text()
    assert text.startswith("---\n")
    about = yaml.safe_load(text.split("---\n")[1])
    assert set(about) <= FIELDS
    assert about["name"] == name and 1 <= len(name) <= 64 and set(name) <= LETTERS
    assert not name.startswith("-") and not name.endswith("-") and "--" not in name
    assert isinstance(about["description"], str) and 1 <= len(about["description"].strip()) <= 1024
    assert "Use when" in about["description"], "it is by this that an agent chooses"
    assert len(about.get("compatibility", "-")) in range(1, 501)
    assert len(text.splitlines()) < 500, "what is longer belongs in references"


@pytest.mark.parametrize("name", SKILLS)
def test_what_a_document_links_to_or_names_is_there_and_nothing_is_left_unnamed(name: str) -> None:
    folder = bundled.skills() / name
    links = [
        (document, str(child.attrs["href"]))
        for document in documents(name)
        for token in tokens(document)
        for child in token.children or ()
        if child.type == "link_open"
    ]
    for document, link in links:
        assert "://" in link or (document.parent / link).is_file(), f"{document.name} links to {link}"
    text = "".join(document.read_text() for document in documents(name))
    for file in skills.find(name).files:
        assert file in text, f"no document of {name} says what {file} is for"
    for each in (skill for skill in SKILLS if skill != name):
        assert f"skill `{each}`" not in text or (folder.parent / each).is_dir()


@pytest.mark.parametrize("name", SKILLS)
def test_every_block_of_commands_says_where_it_runs(name: str) -> None:
    found = [block for document in documents(name) for block in blocks(document)]
    for block in found:
        if block.language in COMMANDS:
            assert block.place in COMMANDS[block.language], f"{block.where}: {block.place!r} is no place"
        else:
            assert block.language in TEXTS and not block.place, f"{block.where}: what is {block.language!r}?"
    assert any(block.place in ("vm", "notebook") for block in found), "of each, tests run something"


@pytest.mark.parametrize("name", SKILLS)
def test_what_tests_cannot_run_is_shell_all_the_same(name: str) -> None:
    texts = [block.text for each in documents(name) for block in blocks(each) if block.language == "bash"]
    texts += [file.read_text() for file in (bundled.skills() / name).glob("scripts/*.sh")]
    for text in texts:
        done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_fork_is_made_in_the_checkout_that_it_becomes_a_remote_of() -> None:
    lines = [line for block in blocks(documents("contribute-fix")[0]) for line in block.text.splitlines()]
    (fork,) = [shlex.split(line) for line in lines if line.startswith("gh repo fork")]
    assert fork[3:] == ["--remote", "--remote-name", "fork"], "gh refuses `--remote` where one is named"


def test_what_agents_are_given_is_told_apart_by_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(bundled.skills(), tmp_path / "skills")
    (copy / "vers-networking" / "scripts" / "__pycache__").mkdir()
    (copy / "vers-networking" / "scripts" / "__pycache__" / "reach.pyc").write_bytes(b"anything")
    before = agentskills.pack().digest
    monkeypatch.setattr(bundled, "skills", lambda: copy)
    assert agentskills.pack().digest == before, "where they are, and what Python leaves there, counts nothing"
    (copy / "vers-networking" / "SKILL.md").write_text("other")
    assert agentskills.pack().digest != before


def run(program: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A program of a skill, in a small environment."""
    return subprocess.run(
        [sys.executable, str(bundled.skills() / program), *words],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class Echo(BaseHTTPRequestHandler):
    """A platform that says again what it was told, key included, in three ways."""

    def do_GET(self) -> None:
        sent = self.headers["Authorization"] or ""
        key = sent.removeprefix("Bearer ").encode("latin-1").decode()
        encoded = base64.b64encode(key.encode()).decode()
        told = json.dumps({"error": f"{self.path}: bad {key}", "again": encoded}, ensure_ascii=False)
        body = f"{told}{' ' * 3000}{key * 100}".encode()  # what is shown ends within one
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of such a platform on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def test_evidence_has_no_key_in_it_whoever_repeats_it(tmp_path: Path) -> None:
    swarm, home = tmp_path / "swarm", tmp_path / "home"
    (swarm / "secrets").mkdir(parents=True)
    (home / ".vers").mkdir(parents=True)
    (home / ".pi" / "agent").mkdir(parents=True)
    key, model, stored, login = "sk-vers-0123/+abc", "sk-ant-4567", "key-stored-89", "oauth-refresh-10"
    (swarm / "secrets" / "VERS_API_KEY").write_text(f"{key}\n")
    (swarm / "secrets" / "ANTHROPIC_API_KEY").write_text(model)
    (home / ".vers" / "keys.json").write_text(json.dumps({"keys": {"VERS_API_KEY": stored}}))
    (home / ".pi" / "agent" / "auth.json").write_text(json.dumps({"anthropic": {"refresh": login}}))
    identity = {"vmId": "b3f1", "agentId": "ann", "unknown": "left out"}
    (swarm / "identity.json").write_text(json.dumps(identity))
    log = tmp_path / "agent.log"
    log.write_text(f"asked with {model}\nand {stored}, {login}, hunter22\nthe last line\n")
    with serving() as port:
        (swarm / "secrets" / "VERS_BASE_URL").write_text(f"http://127.0.0.1:{port}/api/v1")
        env = {"SWARM_HOME": str(swarm), "HOME": str(home), "DB_PASSWORD": "hunter22"}
        done = run(EVIDENCE, "--vm", "b3f1", "--log", str(log), **env)
    assert done.returncode == 0, done.stderr
    told = done.stdout + done.stderr
    for value in (key, model, stored, login, "hunter22", base64.b64encode(key.encode()).decode().rstrip("=")):
        assert value not in told
        assert value[:8] not in told, "nor half of one, where a long answer was cut"
    assert "<VERS_API_KEY>" in told and "<ANTHROPIC_API_KEY>" in told, (
        "and that something stood there is told"
    )
    assert "403 after" in told and "/api/v1/vm/b3f1/metadata" in told and "the last line" in told
    assert '"agentId": "ann"' in told and "left out" not in told
    assert f"API: http://127.0.0.1:{port}/api/v1" in told and "the platform's clock is" in told


def test_evidence_is_there_without_a_platform_too(tmp_path: Path) -> None:
    done = run(EVIDENCE, SWARM_HOME=str(tmp_path), VERS_BASE_URL="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert "no answer after" in done.stdout and "API key: none" in done.stdout


def test_reach_tells_the_layer_that_fails(tmp_path: Path) -> None:
    with serving() as port:
        done = run(REACH, f"http://127.0.0.1:{port}/")
        assert done.returncode == 0 and "it answered 403" in done.stdout
        done = run(REACH, f"https://127.0.0.1:{port}/")
        assert done.returncode == 1 and "works  TCP" in done.stdout and "fails  TLS" in done.stdout
    done = run(REACH, f"http://127.0.0.1:{port}/")
    assert done.returncode == 1 and "fails  TCP" in done.stdout
    certificate, key = make_certificate(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(context) as port:
        done = run(REACH, f"https://127.0.0.1:{port}/")
        assert done.returncode == 1 and "self-signed" in done.stdout.replace("self signed", "self-signed")
    done = run(REACH, "127.0.0.1")
    assert done.returncode == 2 and done.stderr.startswith("usage: ")
