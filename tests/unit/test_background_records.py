"""What is told of a background process while its minder ends, at whatever moment that is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pi_v_jupyter.remote._resident import background

ABOUT: dict[str, Any] = {
    **{"id": "web", "run": "1", "command": "true", "cwd": "/", "pid": 0, "pid_began": ""},
    **{"minder": 1, "minder_began": "", "started": 1.0, "begin": 0, "end": 0, "state": "running"},
}


@pytest.mark.parametrize("moment", [1, 2, 3, None])
def test_one_that_ends_while_it_is_looked_at_is_never_called_lost(
    moment: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    file = tmp_path / "pi-v" / "background" / "web" / "about.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(ABOUT))
    looks = 0

    def minded(about: dict[str, Any]) -> bool:
        nonlocal looks
        looks += 1
        if looks == moment:  # its last words, and then it is gone
            file.write_text(json.dumps({**ABOUT, "state": "ended", "code": 0}))
        return moment is not None and looks < moment

    monkeypatch.setattr(background, "minded", minded)
    told = background.known("web", None)
    assert told["state"] == {1: "ended", None: "lost"}.get(moment, "running")
