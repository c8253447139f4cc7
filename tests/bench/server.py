"""An ordinary OpenSSH server in TLS, and a platform's answers for it, in a process of their own.

Prints one line of JSON, serves until its standard input ends. Root only: a VM is logged in to as root.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

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


def main() -> None:
    if os.getuid() != 0:
        sys.exit("These rows need root: a VM is logged in to as root, and here the VM is this machine.")
    with tempfile.TemporaryDirectory() as name, loopback_sshd(Path(name)) as loopback:
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


if __name__ == "__main__":
    main()
