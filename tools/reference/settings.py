"""The page of settings, from the table of keys."""

from __future__ import annotations

from pathlib import Path

from pi_v_jupyter.configuration import configuration
from pi_v_jupyter.keys import KEYS
from pi_v_jupyter.settings import Settings
from tools.reference.markdown import begin, code, finished, prose, table

ABOUT = """\
Of each, the first that is there: `%vers config KEY VALUE`, for this session; `c.Vers.KEY` in
`ipython_config.py`, `ipython --Vers.KEY=…` (not for secrets), or `%config Vers.KEY = …`; the
environment; files, for the API key: `~/.vers/keys.json` as `{"keys": {"VERS_API_KEY": "…"}}`, then
`~/.vers/config.json` as `versApiKey` or `api_key`. The key is looked up anew at each request. With no
account, an embedded platform that is up tells where it is.

`%vers config` shows what is in effect, and where each comes from. What cannot be used is refused where
it is set."""


class _Nowhere(Settings):
    """Settings of somebody who has set nothing."""

    embedded = None

    def get(self, name: str) -> None:
        """Nothing."""

    def found(self, name: str) -> tuple[None, str]:
        """Nothing, nowhere."""
        return None, ""


def page() -> str:
    """All of it."""
    nobody = _Nowhere(environ={"HOME": str(Path(__file__).parent)})
    defaults = {each.key: each.value for each in configuration(nobody)}
    rows = [
        (
            code(key.name),
            code(key.variable) if key.variable else "",
            key.about + (" Secret: never shown." if key.secret else ""),
            prose(key.parse.__doc__) if key.parse is not str else "A path.",
            code(defaults[key.name]) if defaults[key.name] else "",
        )
        for key in KEYS.values()
    ]
    heading = ["setting", "in the environment", "is", "may be", "default"]
    return finished([*begin("Settings", ABOUT), *table(heading, rows)])
