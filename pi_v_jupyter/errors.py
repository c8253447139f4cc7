"""One tree of exceptions: what happened, to what, and what to do about it.

    VersError
    ├── SettingsError              a key, URL or file of ours that cannot be used
    │   └── NoKeyError             no account configured and no embedded platform up
    ├── UsageError                 a magic or a call used wrongly
    ├── PlanModeError              plan mode refuses it
    ├── UnknownVMError             no VM of that id or name
    ├── AmbiguousVMError           more than one
    ├── UnknownProcessError        no background process of that id
    ├── UnknownAgentError          no agent of that label
    ├── UnknownCommitError         no commit, or no tag, of that id or name
    ├── UnknownSkillError          no skill document of that name
    ├── AmbiguousCommitError       more than one
    ├── ApiError                   the platform answered with an error
    │   ├── AuthenticationError    401, 403
    │   ├── NotFoundError          404
    │   ├── ConflictError          409
    │   └── UnsupportedError       501: this platform does not have it (yet)
    ├── PlatformUnreachableError   the platform did not answer
    ├── ConnectError               a VM cannot be reached
    │   ├── HostKeyError           it answered with another host key than before
    │   ├── CertificateError       its TLS certificate is not trusted
    │   ├── ConnectionLostError    the connection broke and did not come back
    │   ├── VMPausedError          the VM is paused
    │   └── VMGoneError            the VM was deleted, or died
    ├── RemoteError                what was asked of the VM could not be done there
    │   ├── RemoteCommandError     a command ended with another code than 0
    │   │   └── RemoteTimeoutError it was ended because its time was up
    │   ├── RemoteFileError        a file cannot be read, written, moved … (an OSError too)
    │   ├── EditError              an edit does not apply, and nothing was changed
    │   ├── NotReadyError          a background process was not ready in time, and goes on
    │   ├── StdinError             what was written to a background process did not go in, or not all of it
    │   ├── AgentError             an agent does not do what it is told
    │   │   ├── AgentRefusedError  it said so
    │   │   ├── AgentTimeoutError  it did not answer in time
    │   │   └── AgentEndedError    it runs no more
    │   ├── KernelError            a kernel cannot be started there, or ended
    │   └── RemoteCellError        a Python cell raised; its class is named as what it raised there
    ├── SpawnError                 an agent could not be made
    ├── PatchError                 what an agent changed does not fit a repository
    └── PlatformError              the embedded platform
        ├── MissingToolError       a program it needs is not installed
        ├── ImageError             the VM image cannot be built or used
        └── ConflictingPlatformError  the port, or another daemon, is in the way

    KeyboardInterrupt
    └── CellInterrupted            the user stopped a cell; outside our tree, so that `except Exception`
                                   in a user's code lets it pass, as it does an ordinary stop

`str(error)` is one sentence, with the next step after it. No error ever carries a secret.
"""

from __future__ import annotations

from collections.abc import Sequence


class VersError(Exception):
    """Anything this package raises on purpose.

    `message` is one sentence; `hint` says what to do next and may be empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}  {self.hint}" if self.hint else self.message

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback: the user caused it, the stack would not help."""
        lines = [f"{type(self).__name__}: {self.message}"]
        if self.hint:
            lines.append(self.hint)
        return lines


class SettingsError(VersError):
    """A key, URL or file of ours cannot be used."""


class NoKeyError(SettingsError):
    """Neither an account nor an embedded platform is there to talk to."""


class UsageError(VersError):
    """A magic or a call was used wrongly."""


class PlanModeError(VersError):
    """Plan mode is on, and `part` of what was to run may do more than look: the `rule` says why."""

    def __init__(self, part: str, rule: str, hint: str = "`%plan off` ends plan mode.") -> None:
        super().__init__(f"Plan mode: `{part}` is refused: {rule.rstrip('.')}.", hint)
        self.part, self.rule = part, rule


class UnknownVMError(VersError):
    """No VM has that id or name."""


class AmbiguousVMError(VersError):
    """More than one VM has that id prefix or name."""


class UnknownProcessError(VersError):
    """No background process of the machine has that id."""


class UnknownAgentError(VersError):
    """No agent has that label."""


class UnknownCommitError(VersError):
    """No commit has that id, name or tag; or no tag that name."""


class UnknownSkillError(VersError):
    """No skill document has that name."""


class AmbiguousCommitError(VersError):
    """More than one commit has that id prefix or name."""


class ApiError(VersError):
    """The platform answered with an error; `status` is the HTTP status."""

    def __init__(self, message: str, hint: str = "", *, status: int) -> None:
        super().__init__(message, hint)
        self.status = status


class AuthenticationError(ApiError):
    """The key was refused."""


class NotFoundError(ApiError):
    """The platform does not know what was named."""


class ConflictError(ApiError):
    """The thing is in a state that does not allow this."""


class UnsupportedError(ApiError):
    """This platform does not have it."""


class PlatformUnreachableError(VersError):
    """The platform did not answer, or not in HTTP."""


class ConnectError(VersError):
    """A VM cannot be reached."""


class HostKeyError(ConnectError):
    """The VM answered with another host key than the one pinned for it."""


class CertificateError(ConnectError):
    """The TLS certificate in front of the VM is not trusted."""


class ConnectionLostError(ConnectError):
    """The connection broke and could not be made again."""


class VMPausedError(ConnectError):
    """The VM is paused, and answers when it goes on."""


class VMGoneError(ConnectError):
    """The VM was deleted, or died."""


class RemoteError(VersError):
    """What was asked of the VM could not be done there."""


class RemoteCommandError(RemoteError):
    """A command ended with another code than 0.

    `exit_code` is None when a signal ended it; `signal` is then its name, such as "SIGKILL".
    `stderr` is the tail of what it wrote there, at most 4 KB.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        exit_code: int | None = None,
        signal: str | None = None,
        stderr: str = "",
    ) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code
        self.signal = signal
        self.stderr = stderr


class RemoteTimeoutError(RemoteCommandError):
    """The command was ended because its time was up."""


class RemoteFileError(RemoteError, OSError):
    """A file cannot be read, written, moved …: `path`. `errno` as in OSError, None for a reason of ours."""

    def __init__(self, message: str, hint: str = "", *, number: int | None = None, path: str = "") -> None:
        super().__init__(message, hint)
        self.errno = number
        self.path = path


class EditError(RemoteError):
    """An edit does not apply, and nothing was changed. `edit`: the number of the wrong one, from 1."""

    def __init__(self, message: str, hint: str = "", *, edit: int | None = None) -> None:
        super().__init__(message, hint)
        self.edit = edit


class NotReadyError(RemoteError):
    """A background process was not ready in time; it goes on."""


class StdinError(RemoteError):
    """What was written to a background process did not go in; `written` bytes of it did, None: unknown."""

    def __init__(self, message: str, hint: str = "", *, written: int | None = 0) -> None:
        super().__init__(message, hint)
        self.written = written


class AgentError(RemoteError):
    """An agent does not do what it is told."""


class AgentRefusedError(AgentError):
    """It said that it does not, in the words of this."""


class AgentTimeoutError(AgentError):
    """It did not answer in time, and may do it all the same."""


class AgentEndedError(AgentError):
    """It runs no more: how its process ended, and the last lines of its `stderr`."""

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        exit_code: int | None = None,
        signal: str | None = None,
        stderr: str = "",
    ) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code
        self.signal = signal
        self.stderr = stderr


class KernelError(RemoteError):
    """A Jupyter kernel cannot be started on the VM, or ended."""


class RemoteCellError(RemoteError):
    """A Python cell raised an exception on the VM: `ename`, `evalue`, and `traceback`, lines for a terminal.

    What is raised is of a class named `ename`, so that a notebook shows what it would show of its own.
    """

    def __init__(self, ename: str, evalue: str, traceback: list[str]) -> None:
        super().__init__(evalue)
        self.ename, self.evalue, self.traceback = ename, evalue, traceback

    @classmethod
    def named(cls, ename: str, evalue: str, traceback: list[str]) -> RemoteCellError:
        """The error, of a class with that name."""
        kind: type[RemoteCellError] = type(ename if ename.isidentifier() else cls.__name__, (cls,), {})
        return kind(ename, evalue, traceback)

    def _render_traceback_(self) -> list[str]:
        return self.traceback


class SpawnError(VersError):
    """An agent could not be made."""


class PatchError(VersError):
    """What an agent changed does not fit a repository; `files` are those that it does not fit."""

    def __init__(self, message: str, hint: str = "", *, files: Sequence[str] = ()) -> None:
        super().__init__(message, hint)
        self.files = list(files)


class PlatformError(VersError):
    """The embedded platform cannot do what was asked."""


class MissingToolError(PlatformError):
    """A program the embedded platform needs is not installed."""


class ImageError(PlatformError):
    """The VM image cannot be built or used."""


class ConflictingPlatformError(PlatformError):
    """A port, or another daemon, is in the way."""


class CellInterrupted(KeyboardInterrupt):
    """The user stopped a cell; the message says what became of the remote command."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def _render_traceback_(self) -> list[str]:
        return [line for line in (f"Stopped: {self.message}", self.hint) if line]
