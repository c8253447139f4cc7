"""Merges a user's configuration of pi, a gzipped tar on stdin, into the one of this machine.

Settings go key by key over the image's, instructions stand below the image's; so they do, too, on a machine
that was made of one where this was done before.
"""

from __future__ import annotations

import json
import os
import sys
import tarfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HOME = os.path.expanduser("~")
PLACE = os.path.join(HOME, ".pi", "agent")
BEFORE = os.path.join(HOME, ".swarm", "image")  # how files that are merged were in the image
MERGED = ("settings.json", "AGENTS.md")


def of_image(name: str) -> bytes:
    kept = os.path.join(BEFORE, name)
    if not os.path.exists(kept):
        try:
            with open(os.path.join(PLACE, name), "rb") as file:
                content = file.read()
        except FileNotFoundError:
            content = b""
        put(kept, content, 0o600)
    with open(kept, "rb") as file:
        return file.read()


def put(path: str, content: bytes, mode: int) -> None:
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    with open(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
    os.replace(path + ".new", path)


def merged(image: Any, user: Any) -> Any:
    if not isinstance(image, dict) or not isinstance(user, dict):
        return user
    return {**image, **{name: merged(image.get(name), value) for name, value in user.items()}}


def together(name: str, image: bytes, user: bytes) -> bytes:
    if name == "AGENTS.md":
        return b"\n\n".join(filter(None, (image.rstrip(), user.strip()))) + b"\n"
    return json.dumps(merged(json.loads(image or b"{}"), json.loads(user)), indent=1).encode()


def main() -> None:
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|gz") as archive:
        for member in archive:
            packed = archive.extractfile(member)
            content = packed.read() if packed else b""
            if member.name in MERGED:
                content = together(member.name, of_image(member.name), content)
            put(os.path.join(PLACE, member.name), content, member.mode)


if __name__ == "__main__":
    main()
