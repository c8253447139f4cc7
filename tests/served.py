"""An ordinary OpenSSH server in TLS, and a platform's answers for it, in a process of their own.

Prints one line of JSON, serves until its standard input ends. With `--clean` the login has an empty home,
else that of who runs it: a ~/.bashrc may take its time. Root only: a VM is logged in to as root.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
from leftovers import end_background
from loopback import Loopback, loopback_sshd

VM = {"vm_id": "loopback", "owner_id": "me", "state": "running", "created_at": "2026-01-01T00:00:00Z"}


def handler(loopback: Loopback) -> type[BaseHTTPRequestHandler]:
    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path.endswith("/ssh_key"):
                answer: object = {"ssh_port": 22, "ssh_private_key": loopback.key}
            else:
                answer = [VM] if self.path.endswith("/vm") else VM
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    return Answers


def clean(home: Path) -> str:
    """What has sshd give its user `home`, and as python3 the one that runs this, packages and all."""
    (home / "bin").mkdir()
    (home / "bin" / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (home / "bin" / "python3").chmod(0o755)
    return f"SetEnv HOME={home} PATH={home}/bin:/usr/bin:/bin"


@contextlib.contextmanager
def served() -> Iterator[dict[str, str]]:
    """What a kernel needs in its environment to have this machine as its one VM, named "loopback"."""
    with (
        tempfile.TemporaryDirectory() as state,
        subprocess.Popen(
            [sys.executable, __file__, "--clean"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None
        told = json.loads(process.stdout.readline())
        try:
            yield {**os.environ, **told["env"], "XDG_STATE_HOME": state, "XDG_CACHE_HOME": state}
        finally:
            process.stdin.close()


def main() -> None:
    if os.getuid() != 0:
        sys.exit("This needs root: a VM is logged in to as root, and here the VM is this machine.")
    with (
        tempfile.TemporaryDirectory(prefix="pv-") as name,
        loopback_sshd(Path(name), extra=clean(Path(name)) if "--clean" in sys.argv else "") as loopback,
    ):
        api = ThreadingHTTPServer(("127.0.0.1", 0), handler(loopback))
        threading.Thread(target=api.serve_forever, daemon=True).start()
        environment = {
            "VERS_BASE_URL": f"http://127.0.0.1:{api.server_port}",
            "VERS_API_KEY": "bench",
            "VERS_VM_DOMAIN": "vm.pi-v.localhost",
            "VERS_VM_PORT": str(loopback.port),
            "VERS_CA_FILE": str(loopback.certificate),
        }
        print(json.dumps({"env": environment, "folder": name, "port": loopback.port}), flush=True)
        sys.stdin.read()
        api.shutdown()
        for lock in Path(name).glob(".local/share/pi-v/kernels/*.lock"):  # kernels outlive their clients
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(lock.read_text()), signal.SIGKILL)
        end_background(Path(name) / ".local" / "share")
        for process in psutil.process_iter():  # resident programs wait ten minutes for their clients
            with contextlib.suppress(psutil.Error):
                if process.environ().get("HOME") == name:
                    process.kill()


if __name__ == "__main__":
    main()
