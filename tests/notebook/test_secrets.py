"""No secret leaves memory, a 0600 file or a file descriptor; a session that used everything is searched."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import nbclient
import nbformat
import psutil
import pytest
from platforms import Platform

pytestmark = pytest.mark.vm

TOKEN = "tok-4f1c9ad07be2"
CELLS = [
    "%load_ext pi_v_jupyter",
    f"held = '{TOKEN}'",
    "%vers env set SECRET_TOKEN --from held",
    "%config Vers.ca_file = None", "%config Vers", "%vers env", "env = %vers env\nenv, [env]", "%vers whoami",
    "vm = %vers create --name secretive --use",
    f"%vm -e TOKEN={TOKEN} test -n \"$TOKEN\" && sleep 0.2",
    "%%vm python3\nprint(6 * 7)",
    f"%%vm sh -e TOKEN={TOKEN}\ntest -n \"$TOKEN\"",
    f"%vm --fresh -e TOKEN={TOKEN} cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' > /root/seen; true",
    "%vm --no-raise grep -c tok- /root/seen",
    "%vers ls", "%vers ls --json", "%vers doctor", "vm", "vm.info", "%vers config", "%vers use nosuch",
    "%vm nosuch", "%vm --cwd /nonesuch true", f"%vm -e 1X={TOKEN} true",
    "ext = get_ipython().magics_manager.registry['Extension']\n"
    "[ext, ext.vers, ext.vers.settings, ext.vers.client, ext.vers.settings.endpoint()]\n",
    "vm._connection().__dict__",
    "%vers rm -f secretive", "%vers env rm SECRET_TOKEN",
]  # fmt: skip


@pytest.fixture(scope="module")
def session(shared_platform: Platform) -> tuple[str, list[str]]:
    """An executed notebook's JSON, and the secrets that were in use."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in CELLS])
    keys = [Path(shared_platform.description.key_file).read_text().strip()]
    argvs: list[str] = []

    def look(cell: object, cell_index: int, **_: object) -> None:
        argvs.extend(" ".join(each.info["cmdline"] or []) for each in psutil.process_iter(["cmdline"]))
        with httpx.Client(
            base_url=shared_platform.description.base_url,
            headers={"Authorization": f"Bearer {keys[0]}"},
            trust_env=False,
        ) as api:
            for vm in api.get("/vm").json():
                key = api.get(f"/vm/{vm['vm_id']}/ssh_key").json()["ssh_private_key"]
                # The first line that differs from key to key.
                keys.append(key.splitlines()[3])

    client = nbclient.NotebookClient(
        notebook, timeout=120, allow_errors=True, kernel_name="python3", on_cell_executed=look
    )
    client.execute(env=shared_platform.env)
    return nbformat.writes(notebook) + "\n".join(argvs), keys


def readable(file: Path) -> str:
    """The text of a small file, if it is one."""
    try:
        if file.is_file() and not file.is_symlink() and file.stat().st_size < 1 << 20:
            return file.read_text(errors="replace")
    except OSError:
        pass  # it went away between the look and the read
    return ""


def test_the_session_did_what_it_should(session: tuple[str, list[str]]) -> None:
    assert "★ secretive" in session[0] and '"42\\n"' in session[0]
    assert len(session[1]) > 3, "the search knows the API key and private keys"


def test_no_key_is_in_the_saved_notebook_or_on_a_command_line(session: tuple[str, list[str]]) -> None:
    text, keys = session
    assert not [key for key in keys if key in text]


def test_a_value_given_to_one_cell_is_only_where_the_user_typed_it(session: tuple[str, list[str]]) -> None:
    text, _ = session
    typed = sum(cell.count(TOKEN) for cell in CELLS)
    assert text.count(TOKEN) == typed
    assert re.search(r'"0\\n"', text), "no process on the VM showed it"


def test_what_is_kept_on_disk_is_private(shared_platform: Platform, session: tuple[str, list[str]]) -> None:
    secrets = [*session[1], TOKEN]
    for file in shared_platform.folder.rglob("*"):
        text = readable(file)
        if any(secret in text for secret in secrets):
            history = file.suffix in (
                ".sqlite",
                ".sqlite-wal",
                ".sqlite-journal",
            )  # IPython's, of what was typed
            assert history or file.stat().st_mode & 0o077 == 0, f"{file} is readable by others"
            assert file.suffix != ".log", f"{file} holds a secret"
