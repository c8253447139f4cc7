"""`mark` remembers how the workspace is, unless that was done; `patch FOLDER` tells what has changed since.

It is a tree in a repository of our own beside the workspace: whatever the agent commits, rebases or clones,
the start stays. What a repository in the workspace ignores is left out.
"""

from __future__ import annotations

import os
import subprocess
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

HOME = os.path.expanduser("~")
WORKSPACE = os.path.join(HOME, "workspace")
STORE = os.path.join(HOME, ".swarm", "base.git")
START = os.path.join(STORE, "start")
NO_FOLDER = 3  # the exit code that tells of it
PLAIN = {
    **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
    **{"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C"},
}


def git(*words: str, env: dict[str, str], cwd: bytes | str = WORKSPACE, stdin: bytes = b"") -> bytes:
    done = subprocess.run(("git", *words), env=env, cwd=cwd, input=stdin, stdout=subprocess.PIPE, check=True)
    return done.stdout


def files(folder: bytes, ours: dict[str, str]) -> Iterator[bytes]:
    """Paths from the workspace on, those of repositories within it included."""
    own = os.path.exists(os.path.join(folder, b".git"))
    env = PLAIN if own else {**ours, "GIT_WORK_TREE": os.fsdecode(folder)}
    listed = git("ls-files", "-co", "--exclude-standard", "-z", env=env, cwd=folder)
    for name in sorted(set(listed.split(b"\0")) - {b""}):
        path = os.path.join(folder, name.rstrip(b"/"))
        if os.path.isdir(path) and not os.path.islink(path):
            yield from files(path, ours)
        elif os.path.lexists(path):
            yield os.path.relpath(path, os.fsencode(WORKSPACE))


def tree(what: str) -> str:
    """The workspace as it is now, as a tree of our repository."""
    index = os.path.join(STORE, what)
    if os.path.exists(index):
        os.unlink(index)
    ours = {**PLAIN, "GIT_DIR": STORE, "GIT_WORK_TREE": WORKSPACE, "GIT_INDEX_FILE": index}
    names = b"".join(name + b"\0" for name in files(os.fsencode(WORKSPACE), ours))
    git("update-index", "-z", "--add", "--stdin", env=ours, stdin=names)
    return git("write-tree", env=ours).decode().strip()


def mark() -> None:
    os.makedirs(WORKSPACE, exist_ok=True)
    if os.path.exists(START):
        return
    git("init", "-q", "--bare", STORE, env=PLAIN)
    with open(os.path.join(STORE, "info", "attributes"), "w") as file:
        file.write("* -text -filter -ident -working-tree-encoding\n")  # every file as it is
    now = tree("mark")
    with open(START + ".new", "w") as file:
        file.write(now)
    os.replace(START + ".new", START)


def is_folder(path: str, start: str) -> bool:
    """Is it one within the workspace, or was it at the start?"""
    if path.split(os.sep)[0] == os.pardir:
        return False
    asked = ("git", "cat-file", "-t", f"{start}:{path}")
    told = subprocess.run(
        asked, env={**PLAIN, "GIT_DIR": STORE}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
    )
    return os.path.isdir(os.path.join(WORKSPACE, path)) or told.stdout.strip() == b"tree"


def patch(folder: str) -> bytes:
    if not os.path.exists(START):
        sys.exit("How the workspace was at its start is not known: its machine is of no golden image.")
    with open(START) as file:
        start = file.read()
    folder = os.path.normpath(folder.strip("/") or ".")
    relative = [f"--relative={folder}/"] if folder != "." else []
    if relative and not is_folder(folder, start):
        sys.exit(NO_FOLDER)
    words = ("--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv")
    return git("diff", *words, *relative, start, tree("patch"), env={**PLAIN, "GIT_DIR": STORE})


if __name__ == "__main__":
    if sys.argv[1] == "mark":
        mark()
    else:
        sys.stdout.buffer.write(patch(sys.argv[2]))
