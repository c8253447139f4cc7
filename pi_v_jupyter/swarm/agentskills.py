"""The skill documents on the machines of agents, where their pi looks for skills.

They are packed once and given to each machine that has others. Which a machine has is told by a digest in a
file beside them, so that a look costs one small read. They are in a folder of their own: what else a machine
has of skills, its image's or the user's, stays.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import dataclass, field

from pi_v_jupyter import bundled, skills
from pi_v_jupyter.errors import RemoteFileError
from pi_v_jupyter.machine import Machine

FOLDER = ".pi/agent/skills/vers"  # of the home there
DIGEST = ".digest"
TIMEOUT = 120.0  # seconds to put them in place
# Unpacked beside and moved, so that a pi that looks meanwhile finds all or none of them.
_PUT = f"""set -eu
cd
rm -rf .pi/agent/.skills.new
mkdir -p .pi/agent/.skills.new {FOLDER}
tar --extract --gzip --no-same-owner --touch --directory .pi/agent/.skills.new
rm -rf {FOLDER}
mv .pi/agent/.skills.new {FOLDER}
"""


@dataclass(frozen=True)
class AgentSkills:
    """What agents are given: `archive` is a gzipped tar, `digest` tells it from others."""

    archive: bytes = field(repr=False)
    digest: str

    async def give(self, machine: Machine) -> bool:
        """Have them on a machine; whether it had others. A new session of its pi knows them.

        Raises:
            VersError: they cannot be put there.
        """
        if await self._there(machine):
            return False
        await machine.run(_PUT, stdin=self.archive, timeout=TIMEOUT)
        return True

    async def _there(self, machine: Machine) -> bool:
        try:
            return await machine.read_bytes(f"{FOLDER}/{DIGEST}") == self.digest.encode()
        except RemoteFileError:  # there are none, or nobody can tell which
            return False


def pack() -> AgentSkills:
    """All skill documents as they are now.

    Raises:
        PlatformError: they are not installed.
    """
    root, digest, packed = bundled.skills(), hashlib.sha256(), io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in skills.files(root):
            content = (root / name).read_bytes()
            program = name.split("/")[1:2] == ["scripts"]
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
            _add(archive, name, content, 0o755 if program else 0o644)
        _add(archive, DIGEST, digest.hexdigest().encode(), 0o644)
    return AgentSkills(packed.getvalue(), digest.hexdigest())


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    about = tarfile.TarInfo(name)
    about.size, about.mode = len(content), mode
    archive.addfile(about, io.BytesIO(content))
