"""What a magic cannot use: one sentence, the next step, no traceback, and nothing has changed."""

from __future__ import annotations

import pytest
from kernels import Kernel

pytestmark = pytest.mark.vm

# All that a magic could change: the session and files of the VM, what the platform has, variables, settings.
LOOK = r"""%%local
_commits = %vers commits
_tags = %vers tag
_tunnels = %vers tunnel
_seen = get_ipython().run_cell_magic('vm', '--silent', 'declare -p; pwd; echo /srv/* /tmp/*')
_varies = ('RANDOM', 'SECONDS', 'BASH', 'EPOCH', 'SRANDOM', 'LINENO', ' _=', '__pi_v')
_processes = %bg list --on .
print(*(line for line in _seen.stdout.splitlines() if not any(word in line for word in _varies)), sep='\n')
print([commit.id for commit in _commits], len(_tags), len(_tunnels), len(_processes))
print(sorted(name for name in globals() if not name.startswith('_')))
%vers ls --json
%vers config"""

UNKNOWN = "UnknownVMError"
USAGE = "UsageError"
CASES = [
    # no such thing
    ("%vers lss", USAGE, "No such command: %vers lss. Did you mean ls?"),
    ("%vers --jsn", USAGE, "No such option: --jsn."),
    ("%vers ls --tre", USAGE, "No such option: --tre. Did you mean --tree?"),
    ("%vers use bild", UNKNOWN, "No VM named 'bild'. Did you mean 'build'?"),
    ("%vers use ''", UNKNOWN, "No VM"),
    ("%vers rm -f build nosuch", UNKNOWN, "No VM named 'nosuch'."),
    ("%vers branch nosuch -n 3", UNKNOWN, "No VM named 'nosuch'."),
    ("%vers pause nosuch", UNKNOWN, "No VM named 'nosuch'."),
    ("%vers rename nosuch other", UNKNOWN, "No VM named 'nosuch'."),
    ("%vers restore nosuch", "UnknownCommitError", "nosuch"),
    ("%vers commits -f -d nosuch", "UnknownCommitError", "nosuch"),
    ("%vers tag stable nosuch", "UnknownCommitError", "nosuch"),
    ("%vers tag -d nosuch", "UnknownCommitError", "nosuch"),
    ("%vers info nosuch", UNKNOWN, "nosuch"),
    ("%vers shell nosuch", UNKNOWN, "No VM named 'nosuch'."),
    ("%vers ssh-config nosuch --write", UNKNOWN, "No VM named 'nosuch'."),
    ("%vers forget-host-key nosuch", UNKNOWN, "No VM named 'nosuch'."),
    ("%vers tunnel close 1", USAGE, "There is no tunnel at port 1."),
    ("%vers push nosuch", USAGE, "There is no variable nosuch here."),
    ("%vers pull nosuch", USAGE, "There is no variable nosuch in the kernel python on build."),
    ("%vers config colour blue", USAGE, "There is no setting 'colour'."),
    ("%%vm --on build,nosuch\ntouch /srv/ran", UNKNOWN, "No VM named 'nosuch'."),
    ("%%vm wirte f\nx", USAGE, "No such kind of cell: wirte. Did you mean write?"),
    ("%%vm edit /srv/nosuch\n<<<<<<<\na\n=======\nb\n>>>>>>>", "RemoteFileError", "/srv/nosuch"),
    ("%bg stop nosuch", "UnknownProcessError", "There is no background process nosuch on build."),
    ("%bg start web --cwd /nosuch -- touch /srv/ran", "RemoteFileError", "/nosuch on build."),
    ("%vm --attach 99", USAGE, "No command 99 was left running."),
    # what cannot be
    ("%vers create --name 'a b' --use", USAGE, "'a b' cannot name a VM."),
    ("%vers create --name build", USAGE, "There is a VM named 'build' already."),
    ("%vers create --vcpu 0", USAGE, "0 is not in the range x>=1."),
    ("%vers create --mem lots", USAGE, "'lots' is no whole number."),
    ("%vers create --use --no-wait", USAGE, "--use needs a VM that runs."),
    ("%vers branch -n 0", USAGE, "0 is not in the range"),
    ("%vers branch -n 2 --use", USAGE, "--use needs one VM, not several."),
    ("%vers restore ready -n 2 --use", USAGE, "--use needs one VM, not several."),
    ("%vers commit --tag 'a b'", USAGE, "'a b' cannot name"),
    ("%vers rename build 'a/b'", USAGE, "cannot name a VM."),
    ("%vers tunnel 80:99999", USAGE, "99999"),
    ("%vers tunnel http:80", USAGE, "'http:80' names no ports."),
    ("%vers kernels restart a/b", USAGE, "'a/b' cannot name a kernel."),
    ("%vers config ssh_timeout soon", "SettingsError", "'soon' is not a number of seconds."),
    ("%vers config vm_port 99999", "SettingsError", "'99999' is not a port number."),
    ("%vers up --port http", USAGE, "'http' is no whole number."),
    ("%vers route sideways", USAGE, "'sideways' is not one of 'on', 'off'."),
    ("%vers push 1x", USAGE, "'1x' cannot name a variable."),
    ("%bg start a/b -- touch /srv/ran", USAGE, "a/b cannot name a background process."),
    ("%bg stop web --signal NOSUCH", USAGE, "There is no signal NOSUCH."),
    ("%%vm --bg web --out x\ntouch /srv/ran", USAGE, "--out does not go with --bg."),
    ("%%vm --timeout soon\ntouch /srv/ran", USAGE, "'soon' is no number."),
    ("%%vm --timeout nan\ntouch /srv/ran", USAGE, "'nan' is not a number of seconds"),
    ("%%vm -e 1A=b\ntouch /srv/ran", USAGE, "'1A' does not begin K=V."),
    ("%%vm --out class\ntouch /srv/ran", USAGE, "'class' cannot name a variable."),
    ("%%vm\ntouch /srv/ran\0", USAGE, "NUL"),
    ("%%vm --kernel x\ntouch /srv/ran", USAGE, "--kernel is for `%%vm python`."),
    ("%%vm python --cwd /srv\nopen('/srv/ran', 'w')", USAGE, "--cwd is for shells, not for Python."),
    ("%%vm write --mode 999 /srv/ran\nx", USAGE, "'999' is no mode; 755 or 600 is one."),
    ("%%vm write /proc/ran\nx", "RemoteFileError", "/proc/ran"),
    ("%%vm write /srv\nx", "RemoteFileError", "/srv"),
    ("%%vm edit /etc/hostname\nno blocks", USAGE, "Line 1 is outside of any block"),
    ("%vers read /srv", "RemoteFileError", "/srv"),
    ("%vers read --offset 0 /etc/hostname", USAGE, "0 is not in the range x>=1."),
    ("%vers cp /nosuch :/srv", "RemoteFileError", "/nosuch"),
    ("%vers cp nosuch:/etc/hostname :/srv", UNKNOWN, "No VM named 'nosuch'."),
    ("%%local and more\nran = True", USAGE, "%%local takes no options."),
    # something is missing, or too much
    ("%vers use", USAGE, "Missing argument 'VM'."),
    ("%vers use build build", USAGE, "unexpected extra argument"),
    ("%vers restore", USAGE, "Missing argument 'COMMIT'."),
    ("%vers cp :/etc/hostname", USAGE, "What is to be copied, and where to?"),
    ("%vers tag -d", USAGE, "-d needs the name of a tag."),
    ("%vers rm build", USAGE, "Nobody can be asked here."),
    ("%vers read", USAGE, "Missing argument 'PATH'."),
    ("%vers 'ls", USAGE, "A quote in the line does not end."),
    ("%%vm --on ,\ntouch /srv/ran", USAGE, "--on names no VM."),
    ("%%vm --timeout\ntouch /srv/ran", USAGE, "Option '--timeout' requires an argument."),
    ("%%vm write\nx", USAGE, "Missing argument 'PATH'."),
    ("%%vm 'bash\ntouch /srv/ran", USAGE, "A quote in the line does not end."),
    ("%vm", USAGE, "There is no command to run."),
    ("%bg start web", USAGE, "There is no command to run."),
]


@pytest.fixture(scope="module")
def before(_with_vm: Kernel) -> str:
    """What there is to be changed, as it was."""
    return _with_vm.run(LOOK).stdout


@pytest.mark.parametrize(("code", "error", "said"), CASES, ids=[case[0].split("\n")[0] for case in CASES])
def test_it_is_one_sentence_and_nothing_has_changed(
    before: str, kernel: Kernel, code: str, error: str, said: str
) -> None:
    failed = kernel.run(code)
    assert failed.error == error and said in failed.message, failed
    assert len(failed.traceback.splitlines()) <= 2 and "pi_v_jupyter/" not in failed.traceback
    message = failed.message.partition("  ")[0]
    assert message[-1] in ".?" and "\n" not in message, message
    assert kernel.run(LOOK).stdout.splitlines() == before.splitlines()


def test_there_are_forty() -> None:
    assert len({case[0] for case in CASES}) >= 40
