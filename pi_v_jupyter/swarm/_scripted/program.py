"""The server: POST /v1/messages, or /AGENT/v1/messages where several agents share one script.

    program [--port 7414] [--script FILE]

GET answers "scripted model", for whoever waits until it is up. It ends when it is told to (SIGTERM).
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .script import Cut, Script, ScriptError
from .stream import answer, failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PORT = 7414
PATH = "/v1/messages"
LARGEST = 64 << 20  # bytes of a request


class Server(ThreadingHTTPServer):
    """One for all agents of a machine."""

    daemon_threads = True

    def __init__(self, port: int, script: Script) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.script = script
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a request holds what a user wrote."""

    def do_GET(self) -> None:
        self.reply(200, {"scripted": "model"})

    def do_POST(self) -> None:
        agent, found, rest = self.path.partition("?")[0].partition(PATH)
        size = int(self.headers.get("Content-Length") or 0)
        if not found or rest or not 0 < size <= LARGEST:
            self.reply(404, failure("not_found_error", f"This model knows POST {PATH} only."))
            return
        try:
            request = json.loads(self.rfile.read(size))
            with self.server.lock:
                turn = self.server.script.turn(agent.strip("/"), request)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            why = str(error) if isinstance(error, ScriptError) else "No such request is understood."
            self.reply(400, failure("invalid_request_error", why))
            return
        time.sleep(turn.wait)
        if turn.status != 200:
            self.reply(turn.status, failure(turn.error, turn.message), turn.headers)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")  # its end is the end of the stream
        self.end_headers()
        self.close_connection = True
        try:
            for event in answer(turn, size):
                self.wfile.write(event)
                self.wfile.flush()
        except (Cut, ConnectionError):
            return

    def reply(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        """Answer with JSON."""
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main(arguments: list[str]) -> None:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(prog="scripted-model", description="A model that follows a script.")
    parser.add_argument("--port", type=int, default=PORT, help="on 127.0.0.1; 0: any (default: %(default)s)")
    parser.add_argument("--script", metavar="FILE", help="JSON, read again at each request")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server = Server(chosen.port, Script(chosen.script))
    except OSError as error:
        sys.exit(f"Port {chosen.port} of this machine is not free ({error}): choose another with --port.")
    print(f"scripted model on http://127.0.0.1:{server.server_address[1]}", flush=True)
    with server:
        server.serve_forever()
