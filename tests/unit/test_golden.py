"""The recipe of the golden image as it is written, and what a commit tells of having been made by it."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pi_v_jupyter import bundled, golden
from pi_v_jupyter.api.models import CommitInfo
from pi_v_jupyter.commits import Commit
from pi_v_jupyter.views import golden as views

TOOLS = {"pi": "0.87.1", "node": "22.23.3", "tmux": "3.3a"}


def commit(description: str | None) -> Commit:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    return Commit(CommitInfo(commit_id="3fa9" * 8, created_at=when, description=description), ("golden",))


@pytest.mark.parametrize("hot", [True, False])
def test_a_golden_image_is_read_from_what_its_commit_says(hot: bool) -> None:
    image = golden.read(commit(golden.described(TOOLS, hot=hot)))
    assert image is not None
    assert (image.hot, image.tools) == (hot, TOOLS)
    assert (
        views.golden_line(image) == f"golden  3fa93fa9  pi 0.87.1  node 22.23.3  {'hot' if hot else 'cold'}"
    )
    text, html = views.golden_text(image), views.golden_html(image)
    assert all(word in shown for shown in (text, html) for word in ("3fa93fa9", "2026-01-01", "tmux 3.3a"))


NPM = (
    "npm error code ETARGET",
    "npm error notarget No matching version found for @earendil-works/pi-coding-agent@99.9.9.",
    "npm error notarget In most cases you or one of your dependencies are requesting",
    "npm error A complete log of this run can be found in: /tmp/cache/_logs/debug-0.log",
)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (NPM, "No matching version found for @earendil-works/pi-coding-agent@99.9.9."),
        (["npm error code ENOTFOUND", "npm error network request failed", NPM[3]], "network request failed"),
        (["curl: (7) refused", "bootstrap.sh: npm 1 cannot be fetched"], "npm 1 cannot be fetched"),
        ([], "it said nothing"),
    ],
)
def test_of_what_a_recipe_said_the_line_that_tells_why_is_quoted(lines: list[str], why: str) -> None:
    assert golden.telling(list(lines)) == why


@pytest.mark.parametrize("description", [None, "", "hot", "a hot day; it rained", "cold; ", "warm; pi 1"])
def test_a_commit_that_says_something_else_is_no_golden_image(description: str | None) -> None:
    assert golden.read(commit(description)) is None


def test_the_recipe_is_found_in_a_checkout_and_in_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = bundled.golden()
    shutil.copytree(recipe, tmp_path / "_golden")
    monkeypatch.setattr(bundled, "PACKAGE", tmp_path)
    assert bundled.golden() == tmp_path / "_golden"


def test_keys_are_read_from_files_of_their_own_at_each_request_and_none_is_written_down() -> None:
    providers = json.loads((bundled.golden() / "models.json").read_text())["providers"]
    scripted = providers.pop("scripted")
    assert scripted["baseUrl"] == "http://127.0.0.1:7414" and scripted["api"] == "anthropic-messages"
    assert [model["id"] for model in scripted["models"]] == ["rehearsal"]
    assert providers["anthropic"] == {"apiKey": "!cat /root/.swarm/secrets/ANTHROPIC_API_KEY"}
    for about in providers.values():
        assert list(about) == ["apiKey"]
        assert re.fullmatch(r"!cat /root/\.swarm/secrets/[A-Z_]+", about["apiKey"])


class Registry(BaseHTTPRequestHandler):
    """An npm registry that has one thing to give, whatever it is asked for."""

    def do_GET(self) -> None:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            tar.addfile(tarfile.TarInfo("package/bin/node"))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(packed.getvalue())

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def registry() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://me:secret@127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def bootstrap(*words: str, registry: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(bundled.golden() / "bootstrap.sh"), *words],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "npm_config_registry": registry},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_package_that_is_another_than_it_was_is_not_installed(tmp_path: Path, registry: str) -> None:
    done = bootstrap("--root", str(tmp_path), registry=registry)
    assert done.returncode == 1 and "its checksum differs" in done.stderr
    assert not list(tmp_path.rglob("node"))
    assert "secret" not in done.stdout + done.stderr


def test_a_registry_that_is_not_there_is_told_and_its_address_is_not(tmp_path: Path) -> None:
    done = bootstrap("--root", str(tmp_path), registry="http://me:secret@127.0.0.1:9")
    assert done.returncode == 1 and "cannot be fetched from npm's registry" in done.stderr
    assert "secret" not in done.stdout + done.stderr


def test_an_option_that_the_recipe_does_not_have_is_refused(tmp_path: Path) -> None:
    done = bootstrap("--root", str(tmp_path), "--colour")
    assert done.returncode == 2 and "there is no option --colour" in done.stderr
    assert not list(tmp_path.iterdir())
