"""Plain ssh, scp, sftp, rsync and git reach a real VM by the configuration we write."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest
from platforms import Platform

from pi_v_jupyter import VM, Vers
from pi_v_jupyter.errors import HostKeyError, UnknownVMError, VMPausedError

pytestmark = pytest.mark.vm


@pytest.fixture
async def vers(platform: Platform) -> AsyncIterator[Vers]:
    """A user of the platform, with a home that is this test's alone."""
    async with Vers(platform.settings) as session:
        yield session
    shutil.rmtree(platform.folder / ".ssh", ignore_errors=True)


@pytest.fixture
async def vm(vers: Vers) -> AsyncIterator[VM]:
    """A VM named build, in ~/.ssh/config."""
    made = await vers.create(name="build")
    try:
        await vers.ssh_config(made, write=True)
        yield made
    finally:
        await vers.delete(made)


async def run(platform: Platform, *words: str, stdin: bytes = b"") -> bytes:
    """What a program that succeeds prints; ssh looks for its configuration where no $HOME leads it."""
    config = f"-F{platform.folder}/.ssh/config"
    program, *rest = words
    before = [config] if program in ("ssh", "scp", "sftp") else []
    env = {**os.environ, "GIT_SSH_COMMAND": f"ssh {config}", "RSYNC_RSH": f"ssh {config}"}
    process = await asyncio.create_subprocess_exec(
        program,
        *before,
        *rest,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(stdin), 120)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode or 0, words, out, err)
    assert b"arning" not in err and b"rror" not in err, err
    return out


def tree(folder: Path) -> dict[str, tuple[int, bytes | str]]:
    """All that is in a folder: modes, contents, where links lead."""
    return {
        str(path.relative_to(folder)): (
            stat.S_IMODE(path.lstat().st_mode),
            str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else "folder",
        )
        for path in folder.rglob("*")
    }


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A tree with what trees can have."""
    folder = tmp_path / "here"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "data").write_bytes(os.urandom(300_000))
    (folder / "name with blanks é").write_text("text\n")
    (folder / "run").write_text("#!/bin/sh\n")
    (folder / "run").chmod(0o750)
    (folder / "link").symlink_to("deep/er/data")
    (folder / "empty").mkdir()
    return folder


async def test_ssh_scp_and_sftp(platform: Platform, vm: VM, here: Path, tmp_path: Path) -> None:
    assert await run(platform, "ssh", "build", "cat; hostname", stdin=b"hello\n") == b"hello\nbuild\n"
    assert await run(platform, "ssh", vm.id, "id -un") == b"root\n"
    await run(platform, "scp", "-rp", str(here / "deep"), "build:/root/")
    await run(platform, "scp", "-rp", "build:/root/deep", str(tmp_path / "back"))
    assert tree(tmp_path / "back") == tree(here / "deep")
    batch = f"put {here}/run /root/run\nget /root/run {tmp_path}/run\n"
    await run(platform, "sftp", "-b", "-", "build", stdin=batch.encode())
    assert (tmp_path / "run").read_text() == "#!/bin/sh\n"


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed here")
async def test_rsync_of_a_tree_both_ways(platform: Platform, vm: VM, here: Path, tmp_path: Path) -> None:
    await run(platform, "rsync", "-a", f"{here}/", "build:/root/there")
    await run(platform, "rsync", "-a", "build:/root/there/", str(tmp_path / "back"))
    assert tree(tmp_path / "back") == tree(here)
    assert (await run(platform, "rsync", "-ai", f"{here}/", "build:/root/there")) == b"", (
        "nothing is left to do"
    )


async def test_git_clones_from_the_vm_and_pushes_to_it(platform: Platform, vm: VM, tmp_path: Path) -> None:
    await vm.run(
        "git init -q -b main /srv/repo; git -C /srv/repo config receive.denyCurrentBranch updateInstead"
    )
    await vm.run(
        "echo one >file && git add . && git -c user.name=x -c user.email=x@y commit -qm one", cwd="/srv/repo"
    )
    clone = tmp_path / "clone"
    await run(platform, "git", "clone", "-q", "build:/srv/repo", str(clone))
    assert (clone / "file").read_text() == "one\n"
    (clone / "file").write_text("two\n")
    git = ("git", "-C", str(clone), "-c", "user.name=x", "-c", "user.email=x@y")
    await run(platform, *git, "commit", "-qam", "two")
    await run(platform, *git, "push", "-q")
    assert (await vm.run("cat /srv/repo/file")).stdout == "two\n"


async def test_another_host_key_than_the_pinned_one_is_refused(
    platform: Platform, vers: Vers, vm: VM
) -> None:
    (known,) = (platform.folder / "state").glob(f"*/ssh/*/{vm.id}/known_hosts")
    wrong = asyncssh.generate_private_key("ssh-ed25519")
    known.write_text(f"{vm.id} {wrong.export_public_key().decode()}")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        await run(platform, "ssh", "build", "true")
    assert b"Host key verification failed." in caught.value.stderr
    pinned = vm.pinned(vm.id)
    assert pinned is not None
    vm.pin(vm.id, wrong.get_fingerprint())
    with pytest.raises(HostKeyError, match="another SSH host key"):
        await vers.ssh_config(vm)
    vm.pin(vm.id, pinned)
    await vers.ssh_config(vm)
    assert await run(platform, "ssh", "build", "echo again") == b"again\n"


async def test_a_certificate_of_another_authority_is_refused(
    platform: Platform, vm: VM, tmp_path: Path
) -> None:
    from loopback import make_certificate

    authority, _ = make_certificate(tmp_path, f"{vm.id}.vm.{platform.description.domain}")
    (entry,) = (platform.folder / "state").glob("*/ssh/config")
    entry.write_text(entry.read_text().replace(platform.description.ca_file, str(authority)))
    with pytest.raises(subprocess.CalledProcessError) as caught:
        await run(platform, "ssh", "build", "true")
    assert caught.value.returncode == 255
    assert b"is not trusted" in caught.value.stderr.splitlines()[0]


async def test_a_deleted_vm_leaves_neither_key_nor_entry(platform: Platform, vers: Vers) -> None:
    one, two, three = [await vers.create(name=name) for name in ("one", "two", "three")]
    await vers.ssh_config("one", "two", write=True)
    shown = await vers.ssh_config(three)
    assert str(shown).startswith(f"Host three {three.id}\n") and shown.done == ()
    ssh = platform.folder / "state" / "pi_v_jupyter" / "ssh"
    assert len(list(ssh.rglob("key"))) == 3
    assert "Host three" not in (ssh / "config").read_text()
    await vers.delete(one)
    assert "Host one" not in (ssh / "config").read_text()
    await platform.delete(two.id)  # by somebody else
    await two.close()
    done = (await vers.ssh_config(three, write=True)).done
    assert done[1] == "1 VM is gone, and so is its key."
    assert [path.parent.name for path in ssh.rglob("key")] == [three.id]
    assert (ssh / "config").read_text().count("Host ") == 1
    await vers.delete(three)
    assert not list(ssh.rglob("key"))


async def test_the_active_vm_is_meant_when_none_is_named(vers: Vers, vm: VM) -> None:
    with pytest.raises(UnknownVMError, match="No VM is active"):
        await vers.ssh_config()
    await vers.use(vm)
    assert str(await vers.ssh_config()).startswith("Host build ")
    await vm.pause()
    with pytest.raises(VMPausedError, match="VM build is paused"):
        await vers.ssh_config()
    await vm.resume()


async def test_a_tunnel_ends_with_its_vm_and_sleeps_with_it(vers: Vers) -> None:
    vm = await vers.create(name="web")
    await vm.run("mkdir /srv/web && echo page >/srv/web/page")
    await vm.run("cd /srv/web && setsid python3 -m http.server 8000 >/dev/null 2>&1 &")
    await vm.run("until (exec 3<>/dev/tcp/127.0.0.1/8000) 2>/dev/null; do sleep 0.1; done", timeout=60)
    tunnel = await vm.tunnel(8000)
    assert vers.tunnels() == [tunnel]

    async def page() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", tunnel.local_port)
        try:
            writer.write(b"GET /page HTTP/1.0\r\n\r\n")
            return await reader.read()
        finally:
            writer.close()

    assert (await page()).endswith(b"page\n")
    await vm.pause()
    with pytest.raises(ConnectionResetError):
        await page()
    await vm.resume()
    assert (await page()).endswith(b"page\n")
    await vers.delete(vm)
    assert tunnel.closed and vers.tunnels() == []
    with pytest.raises(ConnectionRefusedError):
        await page()
