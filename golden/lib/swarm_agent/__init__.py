"""What `swarm-agent` is made of, on an agent's VM: stdlib-only Python >= 3.8, beside the package `_resident`.

pi         the pi of this machine, as the background process it is
session    what it has said, from its session's file
registry   the swarm's registry, under its lock
program    the command line
"""

from __future__ import annotations

import os

HOME = os.environ.get("SWARM_HOME") or "/root/.swarm"
WORKSPACE = os.environ.get("SWARM_WORKSPACE") or "/root/workspace"


class Refused(Exception):
    """Not done; a sentence for whoever asked."""
