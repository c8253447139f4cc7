"""What commands are run on that `readonly.judge` has let pass: a bash that knows nothing of anybody's habits.

`SHELL` is an argv that takes the command as its last argument; `surroundings` is its environment. The judge
is right only of commands that are run like this, in any folder.
"""

from __future__ import annotations

from collections.abc import Mapping

FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

# Programs that a repository's own configuration names and no variable switches off; the command is refused
# where one is. Submodules have configurations of their own, so nothing is looked at within them.
_GIT = r"""
git() {
  local -a where=() rest=("$@")
  while [ "${rest[0]-}" = -C ] || [ "${rest[0]-}" = --no-pager ] || [ "${rest[0]-}" = -P ]; do
    if [ "${rest[0]}" = -C ]; then where+=(-C "${rest[1]-}"); rest=("${rest[@]:1}"); fi
    rest=("${rest[@]:1}")
  done
  local found
  found=$(command git "${where[@]}" config --includes --name-only --get-regexp \
    '^(filter\..*\.(clean|smudge|process)|diff\.external|diff\..*\.(command|textconv))$')
  case $? in
    0) printf 'git: not while one may only look: this repository names a program of its own (%s)\n' \
         "${found%%$'\n'*}" >&2
       return 126 ;;
    1) ;;
    *) return 128 ;;
  esac
  case ${rest[0]-} in
    status | diff | diff-index | diff-files)
      rest=("${rest[0]}" --ignore-submodules=dirty "${rest[@]:1}") ;;
  esac
  command git "${where[@]}" --no-pager "${rest[@]}"
}
"""
_RUN = 'eval "$1"; shift; eval "shift; $1"'  # in a line, so that errors are of the command's own lines

SHELL: tuple[str, ...] = ("bash", "--noprofile", "--norc", "-p", "-c", _RUN, "bash", _GIT)

_KEPT = frozenset({"HOME", "USER", "LOGNAME", "TERM", "COLUMNS", "LINES", "TZ"})
_GIT_SETTINGS = {
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "core.pager": "cat",
    "core.sshCommand": "false",
    "core.askPass": "false",
    "credential.helper": "",
    "diff.autoRefreshIndex": "false",
    "diff.submodule": "short",
    "log.diffMerges": "separate",  # a merge done again to show it would start the drivers of merges
    "log.showSignature": "false",
    "gpg.program": "false",
    "gpg.openpgp.program": "false",
    "gpg.ssh.program": "false",
    "gpg.x509.program": "false",
    "status.submoduleSummary": "false",
    "submodule.recurse": "false",
}
_FIXED = {
    "PATH": ":".join(FOLDERS),
    "LC_ALL": "C.UTF-8",
    "TMPDIR": "/tmp",  # noqa: S108 - what a large sort sets aside, as the judge says
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "MANPAGER": "cat",
    "SYSTEMD_PAGER": "cat",
    "SYSTEMD_PAGERSECURE": "1",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": "none",  # what a partial clone lacks is not fetched
    "GIT_NO_LAZY_FETCH": "1",
    "PIP_CONFIG_FILE": "/dev/null",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONNOUSERSITE": "1",
    "PYTHONSAFEPATH": "1",
}


def surroundings(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which commands are run, made from that of the machine or user, `environment`.

    Of that only who and where the user is remains, and the size and kind of the terminal.
    """
    kept = {name: value for name, value in environment.items() if name in _KEPT}
    settings = {"GIT_CONFIG_COUNT": str(len(_GIT_SETTINGS))}
    for number, (key, value) in enumerate(_GIT_SETTINGS.items()):
        settings |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return kept | settings | _FIXED
