"""Takes the platform's word to the machine it runs on.

A restored machine wakes up as an exact copy of another: same clock, same random numbers, same keys.
This program, part of the saved memory, makes it itself. It reads one JSON object per line from a
virtio-serial port and answers each with one: `{"id", "ok": true, ...}` or `{"id", "error"}`.

Only the standard library, and of that only what Debian's `python3-minimal` has; Python 3.9 and later.
It is trusted by the host with nothing: what it answers is data.
"""

import base64
import fcntl
import glob
import json
import os
import select
import signal
import socket
import struct
import subprocess
import threading
import time

PORT_NAME = "org.pi-v.agent"
PROGRAM_FOLDER = "/usr/local/lib/pi-v"
HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
ENVIRONMENT = {
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/bash",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}
# From <linux/random.h>; neither is in any Python module.
RNDADDENTROPY = 0x40085203
RNDRESEEDCRNG = 0x5207
LISTEN_TIMEOUT = 20.0


def write_file(path, data, mode=0o644):
    """Replace the file `path` by one that holds `data`, whole or not at all."""
    raw = data.encode() if isinstance(data, str) else data
    temporary = path + ".pi-v"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(fd, "wb") as file:
        os.fchmod(fd, mode)
        file.write(raw)
    os.replace(temporary, path)


def reseed(seed):
    """Make the kernel's random numbers differ from those of every other copy of this machine."""
    pool = struct.pack("ii", len(seed) * 8, len(seed)) + seed
    with open("/dev/urandom", "wb", buffering=0) as device:
        fcntl.ioctl(device, RNDADDENTROPY, pool)
        fcntl.ioctl(device, RNDRESEEDCRNG)


class SSHServer:
    """Keeps OpenSSH's server running once there is a host key for it."""

    def __init__(self):
        self._wanted = threading.Event()
        self._process = None
        threading.Thread(target=self._keep, daemon=True).start()
        if os.path.exists(HOST_KEY):
            self._wanted.set()

    def start(self):
        """Start it and wait until it listens."""
        self._wanted.set()
        deadline = time.monotonic() + LISTEN_TIMEOUT
        while not listens(22):
            if time.monotonic() > deadline:
                raise TimeoutError("sshd does not listen")
            time.sleep(0.01)

    def stop(self):
        """End it and forget the host key."""
        self._wanted.clear()
        if self._process is not None:
            self._process.terminate()

    def _keep(self):
        while True:
            self._wanted.wait()
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
            self._process = subprocess.Popen(
                ["/usr/sbin/sshd", "-D", "-e"],
                stdin=subprocess.DEVNULL,
                env=ENVIRONMENT,
                start_new_session=True,
            )
            self._process.wait()
            if self._wanted.is_set():
                time.sleep(1)


def listens(port):
    """Whether anything on this machine listens on TCP `port`, asked without connecting to it."""
    wanted = ":%04X" % port
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table) as lines:
            for line in lines:
                fields = line.split()
                if fields[3] == "0A" and fields[1].endswith(wanted):
                    return True
    return False


class Agent:
    """The requests, one method each; a request's fields are the method's arguments."""

    def __init__(self):
        self._ssh = SSHServer()

    def ping(self):
        """Say that the machine is up."""
        return {}

    def configure(self, name, machine_id, seed, now, authorized_key, host_key, host_public_key):
        """Become the machine `name`, reachable with `authorized_key`. `now` is in Unix seconds."""
        time.clock_settime(time.CLOCK_REALTIME, now)
        reseed(base64.b64decode(seed))
        socket.sethostname(name)
        write_file("/etc/hostname", name + "\n")
        write_file("/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 %s\n::1 localhost\n" % name)
        write_file("/etc/machine-id", machine_id + "\n", 0o444)
        write_file("/root/.ssh/authorized_keys", authorized_key + "\n", 0o600)
        write_file(HOST_KEY + ".pub", host_public_key + "\n")
        write_file(HOST_KEY, host_key, 0o600)
        self._ssh.start()
        return {}

    def settle(self, seconds):
        """Wait until the machine has started all it starts."""
        state = subprocess.run(
            ["systemctl", "is-system-running", "--wait"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=seconds, check=False,
        ).stdout.decode().strip()
        return {"state": state}

    def grow_disk(self):
        """Let the file system fill the disk."""
        subprocess.run(
            ["resize2fs", "/dev/vda"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True, timeout=300
        )
        return {}

    def start_resident(self, program, socket_path, seconds):
        """Keep `program` (base64, Python) running; it serves `socket_path`."""
        path = PROGRAM_FOLDER + "/resident.py"
        write_file(path, base64.b64decode(program))
        subprocess.Popen(
            ["/usr/bin/python3", path, "--listen", socket_path],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=ENVIRONMENT, cwd="/root", start_new_session=True,
        )
        deadline = time.monotonic() + seconds
        while not os.path.exists(socket_path):
            if time.monotonic() > deadline:
                raise TimeoutError("the resident program does not listen")
            time.sleep(0.05)
        return {}

    def rehearse_login(self, private_key):
        """Log in once, so that what a login reads is in memory."""
        key = "/run/pi-v-rehearsal"
        write_file(key, private_key, 0o600)
        try:
            subprocess.run(
                ["ssh", "-i", key, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                 "-o", "BatchMode=yes", "127.0.0.1", "true"],
                env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                timeout=50, check=True,
            )  # fmt: skip
        finally:
            os.unlink(key)
        return {}

    def forget(self):
        """Drop what is this machine's own, so that it can be copied; leave nothing unwritten."""
        self._ssh.stop()
        for path in [*glob.glob("/etc/ssh/ssh_host_*"), "/root/.ssh/authorized_keys", "/root/.ssh/known_hosts"]:
            if os.path.exists(path):
                os.unlink(path)
        os.sync()
        return {}

    def answer(self, line):
        """The answer to one request line, as a line."""
        reply = {}
        try:
            request = json.loads(line)
            reply["id"] = request.pop("id")
            method = {
                "ping": self.ping,
                "configure": self.configure,
                "settle": self.settle,
                "grow_disk": self.grow_disk,
                "start_resident": self.start_resident,
                "rehearse_login": self.rehearse_login,
                "forget": self.forget,
            }[request.pop("op")]
            reply.update(method(**request), ok=True)
        except Exception as error:  # noqa: BLE001 - a bad request must not end the agent
            reply["error"] = "%s: %s" % (type(error).__name__, error)
        return json.dumps(reply).encode() + b"\n"


def find_port():
    """Device file of our virtio-serial port. There is no udev here that would name it."""
    for path in glob.glob("/sys/class/virtio-ports/*/name"):
        with open(path) as file:
            if file.read().strip() == PORT_NAME:
                return "/dev/" + path.split("/")[-2]
    raise FileNotFoundError("no virtio-serial port named " + PORT_NAME)


def serve(fd, agent):
    """Answer requests for ever."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    pending = b""
    while True:
        events = poll.poll()
        if not events[0][1] & select.POLLIN:
            # Nobody is at the other end; the port has no event for his coming.
            time.sleep(0.1)
            continue
        pending += os.read(fd, 65536)
        *lines, pending = pending.split(b"\n")
        for line in lines:
            answer = agent.answer(line)
            while answer:
                answer = answer[os.write(fd, answer):]


def main():
    """Serve the port of this machine."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    serve(os.open(find_port(), os.O_RDWR), Agent())


if __name__ == "__main__":
    main()
