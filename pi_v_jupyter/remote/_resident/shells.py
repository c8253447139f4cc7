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

from .processes import exit_of, ignores_interrupts, launch, memory_file, programs, signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from .clients import Client
    from .jobs import Job
    from .program import Program

LATE = (0.03, 0.1, 0.3)  # seconds after an interrupt at which those it missed are looked for
MOST_REPEATS = 100  # of a line it may be in no state to read: its pipe must not fill, and stop us

# An interactive bash without a terminal: it alone survives SIGINT with its state, dropping the whole cell.
# A cell is evaluated outside any function, or what it declares would be local to that. All descriptors are
# opened by path: one that was inherited could be closed by a cell. A cell that closes the descriptor which
# bash itself keeps its input on while the cell runs has ended the shell, and is told so.
PRELUDE = """\
unset PROMPT_COMMAND TMOUT MAILCHECK; PS1= PS2=; set +o history +H; shopt -u checkwinsize
__pi_v_load() {
  { IFS= builtin read -r -d '' __pi_v_setup; IFS= builtin read -r -d '' __pi_v_code; } <"/proc/%(pid)d/fd/$1"
}
__pi_v_end() {
  __pi_v_status=$?
  builtin unset -v __pi_v_setup __pi_v_code
  builtin [ -p /dev/stdin ] || builtin exit "$__pi_v_status"
  builtin printf '%%d %%d\\n' "$1" "$__pi_v_status" >|"/proc/%(pid)d/fd/%(control)d"
}
__pi_v_end 0
"""
# One line, because an interrupt drops one line: the undoing of the cell before; then setup and code, each a
# simple command, which `set -x` shows before its streams are redirected, so not to the user. The backslashes
# keep the user's aliases out.
CELL = (
    '\\__pi_v_load %(script)d; \\builtin eval -- "${__pi_v_undo-}"; __pi_v_undo=; '
    '\\builtin eval -- "${__pi_v_setup-}" %(streams)s && \\builtin eval -- "${__pi_v_code-}" %(streams)s\n'
)
END = "\\__pi_v_end %d\n"
STREAMS = '<"{source}" >|"/proc/{pid}/fd/{out}" 2>|"/proc/{pid}/fd/{err}"'
UNDO = """\
__pi_v_back=$PWD __pi_v_kept=$(\\builtin declare -p %(names)s 2>/dev/null) || :
__pi_v_undo='\\builtin unset -v %(names)s; \\builtin eval "$__pi_v_kept"; \\builtin cd -- "$__pi_v_back"'
"""
# On one line, so that bash's messages count the lines of the command.
SINGLE = (
    "read -r __pi_v_script __pi_v_in __pi_v_out __pi_v_err || exit; "
    'exec <"$__pi_v_in" >|"/proc/%(pid)d/fd/$__pi_v_out" 2>|"/proc/%(pid)d/fd/$__pi_v_err"; '
    "{ IFS= read -r -d '' __pi_v_setup; IFS= read -r -d '' __pi_v_code; } "
    '<"/proc/%(pid)d/fd/$__pi_v_script"; '
    'echo >&%(ready)d; exec %(ready)d>&-; eval -- "$__pi_v_setup"; '
    'eval -- "unset __pi_v_script __pi_v_in __pi_v_out __pi_v_err __pi_v_setup __pi_v_code; $__pi_v_code"'
)


def quote(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def script(setup: str, code: str) -> int:
    return memory_file((setup + "\0" + code + "\0").encode("utf-8", "surrogateescape"))


def exports(env: Mapping[str, str]) -> str:
    return "".join(f"\\builtin export {name}={quote(value)}\n" for name, value in env.items())


def start_bash(
    arguments: Sequence[str],
    env: Mapping[str, str],
    inherited: Sequence[int],
    stderr: int = subprocess.DEVNULL,
) -> Any:
    return launch(
        ["bash", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        cwd=env["HOME"],
        env=env,
        pass_fds=inherited,
        bufsize=0,
    )


def identity() -> str:
    """What a bash that was started elsewhere, and cloned, must not share with its siblings."""
    return f"HOSTNAME={quote(os.uname().nodename)} RANDOM={int.from_bytes(os.urandom(2), 'big')}\n"


class Single:
    """A bash that runs one command: `bash -c`, but started before the command is known."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.env = program.environment()
        ready, inherited = os.pipe()
        arguments = ["--noprofile", "--norc", "-c", SINGLE % {"pid": os.getpid(), "ready": inherited}, "bash"]
        try:
            self.process = start_bash(arguments, self.env, [inherited])
        except BaseException:
            os.close(ready)
            raise
        finally:
            os.close(inherited)
        self.ready: int | None = ready
        self.job: Job | None = None
        self.given: list[int] = []  # our ends of what it opens
        program.children[self.process.pid] = self.ended

    def run(self, job: Job) -> None:
        self.job, request = job, job.request
        setup = identity() + exports(request.get("env") or {})
        setup += f"cd -- {quote(job.directory() or '')} || exit\n"
        code = script(setup, request["command"])
        self.given.append(code)
        source = "/dev/null"
        reader = job.open_stdin()
        if reader is not None:
            self.given.append(reader)
            source = f"/proc/{os.getpid()}/fd/{reader}"
        if self.ready is not None:
            self.program.watch(self.ready, selectors.EVENT_READ, self.opened)
        out, err = job.streams
        self.process.stdin.write(f"{code} {source} {out.writer} {err.writer}\n".encode())
        self.process.stdin.close()
        job.started(self.process.pid)

    def opened(self, _events: int) -> None:
        """It has opened all it was told of: our own ends would only hide the end of output."""
        if self.ready is not None:
            self.program.unwatch(self.ready)
            os.close(self.ready)
            self.ready = None
        while self.given:
            os.close(self.given.pop())
        if self.job is not None:
            for stream in self.job.streams:
                stream.close_writer()

    def ended(self, status: int) -> None:
        self.opened(0)
        if self.job is None:
            self.process.stdin.close()
            self.program.singles = [single for single in self.program.singles if single is not self]
        else:
            self.job.end(**exit_of(status))

    def discard(self) -> None:
        self.process.stdin.close()  # it reads the end and exits


class Shell:
    """A bash that lasts from cell to cell; one cell at a time, the others wait their turn."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.client: Client | None = None
        self.name = ""
        self.current: Job | None = None
        self.script: int | None = None
        self.repeats = 0
        self.queue: collections.deque[Job] = collections.deque()
        self.env = program.environment()
        self.ready = False  # a signal before it is would hit the login scripts, or drop the prelude
        self.reports = b""
        self.control, self.reporter = os.pipe()
        # bash puts a terminal in order after a job that a signal ended, and complains when stderr is none.
        self.terminal, terminal = os.openpty()
        try:
            self.process = start_bash(["--login", "--noediting", "-i"], self.env, [], stderr=terminal)
        except BaseException:
            for fd in (self.control, self.reporter, self.terminal):
                os.close(fd)
            raise
        finally:
            os.close(terminal)
        self.write(PRELUDE % {"pid": os.getpid(), "control": self.reporter})
        program.children[self.process.pid] = self.ended
        program.watch(self.control, selectors.EVENT_READ, self.reported)
        program.watch(self.terminal, selectors.EVENT_READ, self.dropped)

    def dropped(self, _events: int) -> None:
        """Prompts, and what bash says of jobs between cells."""
        try:
            os.read(self.terminal, 4096)
        except OSError:  # nobody has the other side open any more
            self.program.unwatch(self.terminal)

    def serve(self, client: Client, name: str) -> None:
        self.client, self.name = client, name

    def write(self, text: str) -> None:
        try:
            self.process.stdin.write(text.encode())
        except BrokenPipeError:
            return  # it is ending; `ended` tells the cell

    def enqueue(self, job: Job) -> None:
        self.queue.append(job)
        if not self.ready:
            job.start_clock()  # a login script may never end
        self.next()

    def next(self) -> None:
        while self.ready and self.current is None and self.queue:
            job = self.queue.popleft()
            try:
                self.run(job)
            except (OSError, ValueError) as error:
                job.fail(error, "bash")

    def run(self, job: Job) -> None:
        request = job.request
        env, cwd = request.get("env") or {}, request.get("cwd")
        setup = identity() if self.client is not None and self.client.fresh(self) else ""
        if env or cwd:
            setup += UNDO % {"names": " ".join(env) or "__pi_v"} + exports(env)
        if cwd:
            setup += f"\\builtin cd -- {quote(cwd)}"
        self.script = script(setup, request["code"])
        self.current, self.repeats = job, 0
        source = "/dev/null" if job.reader is None else f"/proc/{os.getpid()}/fd/{job.reader}"
        out, err = job.streams
        streams = STREAMS.format(pid=os.getpid(), source=source, out=out.writer, err=err.writer)
        self.write(CELL % {"script": self.script, "streams": streams})
        self.write(END % job.number)
        job.started(self.process.pid)

    def reported(self, _events: int) -> None:
        *lines, self.reports = (self.reports + os.read(self.control, 4096)).split(b"\n")
        for line in lines:
            self.ready = True
            number, status = line.split()
            if self.current is not None and self.current.number == int(number):
                self.over(code=int(status))
        self.next()

    def over(self, **how: Any) -> None:
        job, self.current = self.current, None
        if self.script is not None:
            os.close(self.script)
            self.script = None
        if job is not None:
            job.end(**how)

    def ended(self, status: int) -> None:
        for fd in (self.control, self.reporter, self.terminal):
            self.program.unwatch(fd)
            os.close(fd)
        self.process.stdin.close()
        if self.client is None:
            if self.program.spare_shell is self:
                self.program.spare_shell = None
            return
        if self.client.shells.get(self.name) is self:
            del self.client.shells[self.name]
        self.over(shell_ended=True, **exit_of(status))
        while self.queue:
            self.queue.popleft().launch()  # in the fresh shell that takes this one's place

    def kill(self, job: Job, number: int) -> None:
        if job is not self.current:
            self.queue.remove(job)
            job.end(signal=signal_name(number))
            if not self.ready:
                self.discard()  # what holds it up would hold up the next cell
            return
        group = self.process.pid
        try:
            reached = programs(group) if number == signal.SIGINT else set()
            os.killpg(group, number)
        except OSError:
            return  # it ended just now; `ended` is on the way
        for seconds in LATE if number == signal.SIGINT else ():
            self.program.later(seconds, lambda: self.interrupt_late(job, reached))
        if number == signal.SIGINT:
            self.program.later(LATE[-1], lambda: self.interrupt_again(job))
        self.repeat_end(job)

    def repeat_end(self, job: Job) -> None:
        # An interrupt between the cell and its end drops the line that reports the end: say it again.
        if self.repeats < MOST_REPEATS:
            self.repeats += 1
            self.write(END % job.number)

    def interrupt_late(self, job: Job, reached: set[int]) -> None:
        """A process that was forked, but not yet its program, took the interrupt for nothing."""
        if self.current is not job:
            return
        try:
            missed = programs(self.process.pid) - reached
            for pid in missed:
                os.kill(pid, signal.SIGINT)
        except OSError:
            return  # it ended; so it was interrupted after all
        reached |= missed

    def interrupt_again(self, job: Job) -> None:
        """An interrupt between bash's last look for one and its `wait` leaves it waiting for what is deaf."""
        group = self.process.pid
        if self.current is job and (others := programs(group)) and all(map(ignores_interrupts, others)):
            try:
                os.kill(group, signal.SIGINT)
            except ProcessLookupError:
                return  # it ended; so it was interrupted after all
            self.repeat_end(job)

    def leave(self) -> None:
        """End when the cell under way has."""
        self.write("\\builtin exit\n")

    def discard(self) -> None:
        try:
            os.kill(self.process.pid, signal.SIGKILL)  # what it started with & stays, as at a logout
        except ProcessLookupError:
            return
