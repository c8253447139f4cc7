"""The bash behind a cell, which lasts, and the bash behind a command, which does not.

Both are told what to run through descriptors of this process that they open by path, so that code is in no
argument list and each run has pipes of its own. Starting bash takes longer than most commands: both kinds can
wait, started, for what they will run.
"""

from __future__ import annotations

import collections
import os
import selectors
import signal
import subprocess

from .jobs import environment, exit_of, memory_file, signal_name

# An interactive bash without a terminal: it alone survives SIGINT with its state, dropping the whole cell.
PRELUDE = """\
unset PROMPT_COMMAND TMOUT MAILCHECK; PS1= PS2=; set +o history +H; shopt -u checkwinsize
__pi_v_cell() {
  local __pi_v_setup __pi_v_code
  { IFS= builtin read -r -d '' __pi_v_setup; IFS= builtin read -r -d '' __pi_v_code; } <"/proc/%(pid)d/fd/$1"
  { builtin eval "$__pi_v_setup" && builtin eval "$__pi_v_code"; } \\
    </dev/null >|"/proc/%(pid)d/fd/$2" 2>|"/proc/%(pid)d/fd/$3" %(control)d>&-
}
__pi_v_end() {
  local __pi_v_status=$?
  [ -z "${__pi_v_back-}" ] || builtin cd -- "$__pi_v_back"
  unset __pi_v_back
  builtin printf '%%d %%d\\n' "$1" "$__pi_v_status" >&%(control)d
}
"""
SINGLE = """\
read -r __pi_v_script __pi_v_in __pi_v_out __pi_v_err || exit
exec <"$__pi_v_in" >|"/proc/%(pid)d/fd/$__pi_v_out" 2>|"/proc/%(pid)d/fd/$__pi_v_err"
{ IFS= read -r -d '' __pi_v_setup; IFS= read -r -d '' __pi_v_code; } <"/proc/%(pid)d/fd/$__pi_v_script"
echo >&%(ready)d; exec %(ready)d>&-
eval "$__pi_v_setup"
eval "unset __pi_v_script __pi_v_in __pi_v_out __pi_v_err __pi_v_setup __pi_v_code; $__pi_v_code"
"""


def quote(word):
    return "'" + word.replace("'", "'\\''") + "'"


def script(setup, code):
    return memory_file((setup + "\0" + code + "\0").encode("utf-8", "surrogateescape"))


def assignments(keyword, env):
    return "".join("%s %s=%s\n" % (keyword, name, quote(value)) for name, value in env.items())


def start_bash(arguments, env, inherited):
    process = subprocess.Popen(
        ["bash", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=env["HOME"],
        env=env,
        start_new_session=True,
        pass_fds=[inherited],
        bufsize=0,
    )
    process.returncode = 0  # reaped by the loop, not by Popen
    return process


def identity():
    """What a bash that was started elsewhere, and cloned, must not share with its siblings."""
    return "HOSTNAME=%s RANDOM=%d\n" % (quote(os.uname().nodename), int.from_bytes(os.urandom(2), "big"))


class Single:
    """A bash that runs one command: `bash -c`, but started before the command is known."""

    def __init__(self, program):
        self.program = program
        self.env = environment()
        self.ready, ready = os.pipe()
        arguments = ["--noprofile", "--norc", "-c", SINGLE % {"pid": os.getpid(), "ready": ready}, "bash"]
        try:
            self.process = start_bash(arguments, self.env, ready)
        except BaseException:
            os.close(self.ready)
            raise
        finally:
            os.close(ready)
        self.job = None
        program.children[self.process.pid] = self.ended

    def run(self, job):
        self.job, request = job, job.request
        setup = identity() + assignments("export", request.get("env") or {})
        if request.get("cwd"):
            setup += "cd -- %s || exit\n" % quote(request["cwd"])
        self.script = script(setup, request["command"])
        self.stdin = job.open_stdin()
        out, err = job.streams
        source = "/dev/null" if self.stdin is None else "/proc/%d/fd/%d" % (os.getpid(), self.stdin)
        self.program.watch(self.ready, selectors.EVENT_READ, self.opened)
        self.process.stdin.write(b"%d %s %d %d\n" % (self.script, source.encode(), out.writer, err.writer))
        self.process.stdin.close()
        job.started(self.process.pid)

    def opened(self, _events):
        """It has opened all it was told of: our own ends would only hide the end of output."""
        self.program.unwatch(self.ready)
        os.close(self.ready)
        os.close(self.script)
        self.ready = None
        if self.stdin is not None:
            os.close(self.stdin)
        for stream in self.job.streams:
            stream.close_writer()

    def ended(self, status):
        if self.ready is not None and self.job is not None:
            self.opened(0)
        elif self.ready is not None:
            os.close(self.ready)
            self.process.stdin.close()
            self.program.singles = [single for single in self.program.singles if single is not self]
        if self.job is not None:
            self.job.end(**exit_of(status))
            self.program.later(
                0, self.program.refill
            )  # once the end is told: nobody waits for the next one yet

    def discard(self):
        self.process.stdin.close()  # it reads the end and exits


class Shell:
    """A bash that lasts from cell to cell; one cell at a time, the others wait their turn."""

    def __init__(self, program):
        self.program = program
        self.client = self.name = self.current = None
        self.queue = collections.deque()
        self.env = environment()
        self.reports = b""
        control, inner = os.pipe()
        try:
            self.process = start_bash(["--login", "--noediting", "-i"], self.env, inner)
        except BaseException:
            os.close(control)
            raise
        finally:
            os.close(inner)
        self.control = control
        self.write(PRELUDE % {"pid": os.getpid(), "control": inner})
        program.children[self.process.pid] = self.ended
        program.watch(control, selectors.EVENT_READ, self.reported)

    def serve(self, client, name):
        self.client, self.name = client, name

    def write(self, text):
        try:
            self.process.stdin.write(text.encode())
        except BrokenPipeError:
            return  # it is ending; `ended` tells the cell

    def enqueue(self, job):
        self.queue.append(job)
        self.next()

    def next(self):
        while self.current is None and self.queue:
            self.run(self.queue.popleft())

    def run(self, job):
        request = job.request
        setup = identity() if self.client.fresh(self) else ""
        setup += assignments("local -x", request.get("env") or {})
        if request.get("cwd"):
            setup += "__pi_v_back=$PWD; builtin cd -- %s" % quote(request["cwd"])
        self.script = script(setup, request["code"])
        self.current = job
        out, err = job.streams
        self.write("__pi_v_cell %d %d %d\n" % (self.script, out.writer, err.writer))
        self.write("__pi_v_end %d\n" % job.number)
        job.started(self.process.pid)

    def reported(self, _events):
        data = os.read(self.control, 4096)
        if not data:  # the shell is gone, or a cell closed it; `ended` says which
            self.program.unwatch(self.control)
        *lines, self.reports = (self.reports + data).split(b"\n")
        for line in lines:
            number, status = line.split()
            if self.current is not None and self.current.number == int(number):
                self.over(code=int(status))
        self.next()

    def over(self, **how):
        job, self.current = self.current, None
        os.close(self.script)
        job.end(**how)

    def ended(self, status):
        self.program.unwatch(self.control)
        os.close(self.control)
        self.process.stdin.close()
        if self.client is None:
            if self.program.spare_shell is self:
                self.program.spare_shell = None
            return
        self.client.shells.pop(self.name, None)
        if self.current is not None:
            self.over(shell_ended=True, **exit_of(status))
        for job in list(self.queue):
            job.start()  # in the fresh shell that takes this one's place

    def kill(self, job, number):
        if job is not self.current:
            self.queue.remove(job)
            job.end(signal=signal_name(number))
            return
        self.signal(number)
        # An interrupt between the cell and its end drops the line that reports the end: say it again.
        self.write("__pi_v_end %d\n" % job.number)

    def signal(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return  # it ended just now; `ended` is on the way

    def discard(self):
        try:
            os.kill(self.process.pid, signal.SIGKILL)  # what it started with & stays, as at a logout
        except ProcessLookupError:
            return
