"""A small Binder: `binder/` is read as Binder reads it, and what it asks for is built and started alike.

A tree of a system of its own, an ordinary user in it who can become neither root nor several users, no
/dev/kvm, 2 GB of memory and one processor. Two things are other than there: the system is a Debian near
to Binder's Ubuntu, and a Python of that system is in the place of conda's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
from platforms import ROOT
from repo2docker import buildpacks

from pi_v_jupyter.local import rootfs

SUITE = "trixie"  # the C library of Ubuntu 24.04 is newer than that of the Debian before
MEMORY = 2 * 1024**3
PROCESSORS = 1
_USER, _UID, _HOME = "jovyan", 1000, "/home/jovyan"
_PYTHON = "/srv/conda/envs/notebook"
_PATH = f"{_HOME}/.local/bin:{_PYTHON}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Of what the base image of Binder has; and what makes the Python that conda makes there.
_BASE = ("ca-certificates", "curl", "git", "procps", "wget", "python3", "python3-venv")
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_V1 = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Wanted:
    """What `binder/` asks for."""

    pack: str
    python: str
    apt: list[str]
    requirements: str
    post_build: list[str]
    start: str


def wanted(repository: Path = ROOT) -> Wanted:
    """What repo2docker finds in the `binder/` of a repository."""
    before = Path.cwd()
    os.chdir(repository)  # which is where it looks
    try:
        pack = next(
            pack
            for kind in (buildpacks.CondaBuildPack, buildpacks.PythonBuildPack)
            if (pack := kind(base_image="docker.io/library/buildpack-deps:24.04")).detect()
        )
        (install,) = (
            line
            for user, line in pack.get_preassemble_scripts()
            if user == "root" and "apt-get install" in line
        )
        (packages,) = (line for line in install.splitlines() if "apt-get install" in line)
        return Wanted(
            pack=type(pack).__name__,
            python=pack.python_version,
            apt=packages.partition("--no-install-recommends")[2].replace("&& \\", "").split(),
            requirements=pack.binder_path("requirements.txt"),
            post_build=pack.get_post_build_scripts(),
            start=pack.get_start_script().replace("${REPO_DIR}", _HOME),
        )
    finally:
        os.chdir(before)


@dataclass(frozen=True)
class Binder:
    """What was built: a tree, and the bounds of what runs in it.

    `home`: what its user's folder had when it was built, paths and sizes in bytes.
    """

    tree: Path
    groups: tuple[Path, ...]
    home: Mapping[str, int] = field(default_factory=dict, repr=False)

    def command(self, command: Sequence[str], more: Mapping[str, str]) -> list[str]:
        """What runs that in the tree, as its user, in the repository."""
        environment = {
            "HOME": _HOME,
            "USER": _USER,
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            "PATH": _PATH,
            "REPO_DIR": _HOME,
            "PYTHONUNBUFFERED": "1",
            **more,
        }
        enter = "".join(f"echo $$ > {group}/cgroup.procs; " for group in self.groups)
        return [
            *("sh", "-c", f'set -e; {enter} exec "$@"', "enter"),
            *("bwrap", "--unshare-pid", "--unshare-ipc", "--unshare-cgroup", "--die-with-parent"),
            *("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"),
            *("--bind", str(self.tree), "/", "--dev", "/dev", "--proc", "/proc", "--ro-bind", "/sys", "/sys"),
            *self._bounds(),
            *("--clearenv", *(word for pair in environment.items() for word in ("--setenv", *pair))),
            *("--chdir", _HOME, "--"),
            *("setpriv", f"--reuid={_UID}", f"--regid={_UID}", "--clear-groups", "--no-new-privs", *command),
        ]

    def _bounds(self) -> Iterator[str]:
        """Those it can see, as in a container."""
        for group in self.groups:
            place = _V1 if group.parent == _V1 else _V1 / group.relative_to(_V1).parts[0]
            yield from ("--ro-bind", str(group), str(place))

    def run(self, *command: str) -> str:
        """A step of the build, to its end; what it said."""
        done = subprocess.run(
            self.command(command, {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=1500,
            check=False,
        )
        assert done.returncode == 0, f"{command} failed:\n{done.stdout[-5000:]}"
        return done.stdout

    @contextmanager
    def started(self, start: str, command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
        """The container, as it is started for somebody, `command` being what runs in it."""
        entry = ["/usr/local/bin/repo2docker-entrypoint", *command]
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.command(entry, {"R2D_ENTRYPOINT": start}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            try:
                yield process
            finally:
                _end(process, self.groups[0])


def can_bound() -> bool:
    """Whether control groups that bound memory and processors are this system's to make.

    A container that has groups of the newer kind to itself cannot, as long as it runs in the topmost of them.
    """
    if (_V1 / "cgroup.controllers").exists():
        return {"memory", "cpu"} <= set((_V1 / "cgroup.subtree_control").read_text().split())
    return all(os.access(_V1 / kind, os.W_OK) for kind in ("memory", "cpu"))


@contextmanager
def binder(folder: Path) -> Iterator[Binder]:
    """The repository as Binder has it when its image is built."""
    ask = wanted()
    tree = folder / "tree"
    with _groups() as groups:
        made = Binder(tree, groups)
        tree.mkdir()
        try:
            _lay(tree, ask)
            made.run("python3", "-m", "venv", _PYTHON)
            made.run(f"{_PYTHON}/bin/pip", "install", "--quiet", "jupyterlab==4.*", "notebook==7.*")
            made.run(f"{_PYTHON}/bin/pip", "install", "--quiet", "--no-cache-dir", "-r", ask.requirements)
            for script in ask.post_build:
                made.run(f"./{script}")
            yield replace(made, home=_files(tree / _HOME.lstrip("/")))
        finally:
            shutil.rmtree(tree)


def _files(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()
    }


def _lay(tree: Path, ask: Wanted) -> None:
    """What root does: the system with the packages that are asked for, and the repository."""
    archive = tree.with_suffix(".tar")
    release = rootfs.suite()
    sources = (line.split() for line in rootfs.sources(release))
    debian = next((site for _, site, suite, _ in sources if suite == release), None)
    packages = ",".join([*_BASE, *ask.apt])
    command = ["mmdebstrap", "--variant=minbase", f"--include={packages}", SUITE, str(archive)]
    command += [f"deb {debian} {SUITE} main"] if debian else []
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    subprocess.run(["tar", "-xpf", archive, "-C", tree, "--exclude=./dev/*"], check=True)
    archive.unlink()
    tree.chmod(0o755)
    for file in (Path("/etc/resolv.conf"), Path("/etc/hosts"), _CERTIFICATES):  # the network is the host's
        shutil.copyfile(file, tree / file.relative_to("/"))
    with (tree / "etc/passwd").open("a") as users:
        users.write(f"{_USER}:x:{_UID}:{_UID}::{_HOME}:/bin/bash\n")
    (tree / "etc/profile.d/python.sh").write_text(f"export PATH={_PATH}\n")  # as conda's activation does
    for script in ("python3-login", "repo2docker-entrypoint"):
        target = tree / "usr/local/bin" / script
        shutil.copyfile(Path(buildpacks.__file__).with_name(script), target)
        target.chmod(0o755)
    home = tree / _HOME.lstrip("/")
    copy(ROOT, home)
    (tree / "srv/conda/envs").mkdir(parents=True)
    subprocess.run(["chown", "-R", f"{_UID}:{_UID}", str(home), str(tree / "srv/conda")], check=True)


def copy(repository: Path, to: Path) -> None:
    """Clone a repository of this computer, whoever's it is: git keeps root from those of others."""
    trust = to.with_name(f"{to.name}.gitconfig")  # what the command line says does not reach its other end
    trust.write_text("[safe]\n\tdirectory = *\n")
    subprocess.run(
        ["git", "clone", "--quiet", "--no-hardlinks", str(repository), str(to)],
        env={**os.environ, "GIT_CONFIG_GLOBAL": str(trust)},
        check=True,
    )
    trust.unlink()


@contextmanager
def _groups() -> Iterator[tuple[Path, ...]]:
    """Control groups that bound memory, the first, and processors."""
    name = f"pi-v-binder-{os.getpid()}"
    if (_V1 / "cgroup.controllers").exists():
        groups: tuple[Path, ...] = (_V1 / name,)
        bounds = {"memory.max": MEMORY, "memory.swap.max": 0, "cpu.max": f"{PROCESSORS}00000 100000"}
    else:
        groups = (_V1 / "memory" / name, _V1 / "cpu" / name)
        bounds = {"memory.limit_in_bytes": MEMORY, "cpu.cfs_quota_us": f"{PROCESSORS}00000"}
    try:
        for group in groups:
            group.mkdir()
        for file, bound in bounds.items():
            (place,) = (group / file for group in groups if (group / file).exists())
            place.write_text(str(bound))
        yield groups
    finally:
        for group in groups:
            _remove(group)


def _remove(group: Path) -> None:
    """Once the last that was in it is gone, which the kernel may take a moment for."""
    deadline = time.monotonic() + 60
    while group.exists():
        try:
            group.rmdir()
        except OSError:
            assert time.monotonic() < deadline, f"{group} is not empty"
            time.sleep(0.1)


def _end(process: subprocess.Popen[bytes], group: Path) -> None:
    """End all that runs in the container, as the end of a container does."""
    process.kill()
    process.wait(30)
    left = []
    for pid in map(int, (group / "cgroup.procs").read_text().split()):
        with suppress(psutil.NoSuchProcess):  # it has just ended
            left.append(psutil.Process(pid))
    _, alive = psutil.wait_procs(left, timeout=60)
    assert not alive, alive
