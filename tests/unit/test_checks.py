"""What `%vers doctor` makes of clocks and versions, on platforms that are said to have them."""

from __future__ import annotations

import time
from email.utils import formatdate
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest

from pi_v_jupyter import doctor
from pi_v_jupyter.api.client import VersClient
from pi_v_jupyter.doctor import Check, examine
from pi_v_jupyter.session import Vers
from pi_v_jupyter.settings import Settings


async def clock(
    monkeypatch: pytest.MonkeyPatch, home: Path, date: str | None, status: int = 200
) -> Check | None:
    """The check of the clocks, on a platform without VMs that says it is `date`."""

    def answer(request: httpx.Request) -> httpx.Response:
        said = {"Date": date} if date is not None else {}
        if request.url.path.endswith("/vm"):
            return httpx.Response(200, json=[], headers=said)
        return httpx.Response(status, json={}, headers=said)

    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    monkeypatch.setattr(
        "pi_v_jupyter.session.VersClient",
        lambda settings: VersClient(settings, transport=httpx.MockTransport(answer)),
    )
    async with Vers(Settings(session={"api_key": "k", "base_url": "http://127.0.0.1:9"})) as vers:
        report = await examine(vers)
    return next((check for check in report if check.what == "clock"), None)


@pytest.mark.parametrize("status", [200, 404])
async def test_clocks_that_agree_are_well(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int
) -> None:
    check = await clock(monkeypatch, tmp_path, formatdate(usegmt=True), status)
    assert check is not None and check.ok


@pytest.mark.parametrize(("offset", "how"), [(3600, "behind"), (-3600, "ahead of")])
async def test_clocks_apart_are_told_with_how_far_and_which_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, offset: int, how: str
) -> None:
    check = await clock(monkeypatch, tmp_path, formatdate(time.time() + offset, usegmt=True))
    assert check is not None and not check.ok and check.remedy
    assert f" s {how} the platform's" in check.found and " 3" in check.found


@pytest.mark.parametrize("date", [None, "", "yesterday"])
async def test_a_platform_that_tells_no_time_is_not_judged_by_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, date: str | None
) -> None:
    assert await clock(monkeypatch, tmp_path, date) is None


@pytest.mark.parametrize(
    ("file_mode", "folder_mode", "home_mode", "is_open"),
    [
        (0o644, 0o755, 0o755, True),
        (0o640, 0o750, 0o755, True),
        (0o600, 0o755, 0o755, False),
        (0o644, 0o700, 0o755, False),
        (0o644, 0o755, 0o700, False),
    ],
)
async def test_a_file_of_keys_that_others_may_read_is_told_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    file_mode: int,
    folder_mode: int,
    home_mode: int,
    is_open: bool,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    file = tmp_path / ".vers" / "keys.json"
    file.parent.mkdir()
    file.write_text("{}")
    for path, mode in ((file, file_mode), (file.parent, folder_mode), (tmp_path, home_mode)):
        path.chmod(mode)
    settings = Settings(environ={"HOME": str(tmp_path), "VERS_BASE_URL": "http://127.0.0.1:9"})
    async with Vers(settings) as vers:
        told = [check for check in await examine(vers) if check.what == "key file"]
    remedy = f"`chmod 600 {file}`."
    assert told == ([Check("key file", False, f"other users may read {file}", remedy)] if is_open else [])


async def test_a_release_that_is_too_old_is_told_with_how_to_get_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "version", lambda name: "4.2.5" if name == "jupyterlab" else version(name))
    check = doctor._versions()
    assert not check.ok and "jupyterlab 4.2.5" in check.found
    assert "`%pip install -U 'jupyterlab>=4.4'`" in check.remedy
