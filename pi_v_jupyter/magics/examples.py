"""What people type: the examples that open every `--help`, by the command they show.

A line that begins with `%%` has its cell below it. The tests have the commands read every one.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator

import click

from pi_v_jupyter.magics import swarmexamples

LONGEST = 300  # characters of a first sentence
EXAMPLES = {
    **swarmexamples.EXAMPLES,
    "%vers": """
        %vers
        %vers up
        vm = %vers create --name build --use
        a, b = %vers branch build -n 2
        """,
    "%vers ls": """
        %vers ls
        %vers ls --tree
        vms = %vers ls
        """,
    "%vers dashboard": """
        %vers dashboard
        board = %vers dashboard
        """,
    "%vers create": """
        %vers create --name build --use
        %vers create --vcpu 2 --mem 2048 --disk 8192
        vm = %vers create
        """,
    "%vers use": """
        %vers use build
        %vers use b3f1
        """,
    "%vers local": """
        %vers local
        """,
    "%vers route": """
        %vers route on
        %vers route off
        """,
    "%vers rm": """
        %vers rm build
        %vers rm -f build-1 build-2
        %vers rm -r build
        """,
    "%vers doctor": """
        %vers doctor
        report = %vers doctor
        """,
    "%vers up": """
        %vers up
        %vers up --port 0 --gateway-port 0
        """,
    "%vers down": """
        %vers down
        %vers down --purge
        """,
    "%vers forget-host-key": """
        %vers forget-host-key build
        """,
    "%vers whoami": """
        %vers whoami
        who = %vers whoami
        """,
    "%vers env": """
        %vers env
        %vers env set TOKEN
        %vers env rm TOKEN
        """,
    "%vers env set": """
        %vers env set MODE=test REGION=eu
        %vers env set TOKEN
        %vers env set TOKEN --from-env GITHUB_TOKEN
        """,
    "%vers env rm": """
        %vers env rm TOKEN
        """,
    "%vers config": """
        %vers config
        %vers config ssh_timeout 600
        %vers config --unset ssh_timeout
        """,
    "%vers branch": """
        %vers branch --use
        a, b = %vers branch build -n 2
        %vers branch build --name experiment
        """,
    "%vers commit": """
        %vers commit --tag ready
        ready = %vers commit build --name "after the tests"
        """,
    "%vers restore": """
        %vers restore ready --use
        vm = %vers restore 5c1f --name again
        a, b, c = %vers restore ready -n 3
        """,
    "%vers pause": """
        %vers pause
        %vers pause build
        """,
    "%vers resume": """
        %vers resume
        %vers resume build
        """,
    "%vers commits": """
        %vers commits
        %vers commits -d 5c1f
        """,
    "%vers tag": """
        %vers tag ready
        %vers tag ready 5c1f
        %vers tag -d ready
        """,
    "%vers info": """
        %vers info
        %vers info build
        %vers info ready
        """,
    "%vers rename": """
        %vers rename build old-build
        """,
    "%vers skills": """
        %vers skills
        %vers skills vers-networking
        """,
    "%vers golden": """
        %vers golden build
        %vers golden status
        """,
    "%vers golden build": """
        %vers golden build
        %vers golden build --from build --tag golden-build
        image = %vers golden build --cold --pi 0.87.1
        """,
    "%vers golden status": """
        %vers golden status
        """,
    "%vers read": """
        %vers read /etc/os-release
        %vers read build.log --offset 200 --limit 50
        """,
    "%vers cp": """
        %vers cp -r notebooks :/srv/notebooks
        %vers cp build:/srv/demo/out.txt .
        %vers cp a:/srv/data.csv b:/srv/
        """,
    "%vers kernels": """
        %vers kernels
        %vers kernels restart
        """,
    "%vers kernels ls": """
        %vers kernels ls --on build
        """,
    "%vers kernels restart": """
        %vers kernels restart
        %vers kernels restart training --on build
        """,
    "%vers kernels rm": """
        %vers kernels rm training
        %vers kernels rm -f
        """,
    "%vers tunnel": """
        %vers tunnel 8080:80
        %vers tunnel
        %vers tunnel close 8080
        """,
    "%vers tunnel open": """
        %vers tunnel 8080:80
        %vers tunnel open :80 --on build
        """,
    "%vers tunnel ls": """
        %vers tunnel ls
        """,
    "%vers tunnel close": """
        %vers tunnel close
        %vers tunnel close 8080 8081
        %vers tunnel close --all
        """,
    "%vers ssh-config": """
        %vers ssh-config build
        %vers ssh-config --write
        """,
    "%vers shell": """
        %vers shell
        t = %vers shell build
        %vers shell -- top
        """,
    "%vers push": """
        %vers push table model
        %vers push table --on a,b
        """,
    "%vers pull": """
        %vers pull result
        %vers pull result --on a,b
        """,
    "%vm": """
        %vm pwd
        %vm --on build,second uname -a
        %vm --timeout 600 make -C /srv/demo
        """,
    "%%vm": """
        %%vm
        cd /srv && git init -q demo
        %%vm python --out mean
        sum(range(10)) / 10
        %%vm node --on build --timeout 600
        console.log(6 * 7)
        %%vm python --bg training
        print(sum(range(10**8)))
        """,
    "%bg": """
        %bg start web --ready 8000 --tunnel 8000 -- python3 -m http.server
        %bg
        %bg stop web
        """,
    "%bg start": """
        %bg start web --ready 8000 --tunnel 8000 -- python3 -m http.server
        %bg start dev --cwd /srv/app --ready "ready in" -- npm run dev
        build = %bg start build --local make -j4
        """,
    "%bg list": """
        %bg list
        %bg list --on build
        running = %bg list --local
        """,
    "%bg stop": """
        %bg stop web
        %bg stop web dev --signal SIGINT
        %bg stop --all --local
        """,
    "%bg logs": """
        %bg logs web
        %bg logs web --last 200 --stream stderr
        %bg logs web --follow
        """,
    "%bg rm": """
        %bg rm web
        %bg rm -f web dev
        """,
    "%%bg": """
        %%bg counter
        for i in $(seq 100); do echo $i; sleep 1; done
        %%bg web --restart --ready "listening on"
        cd /srv/app && exec ./server --port 8000
        """,
    "%%vm write": """
        %%vm write /srv/app/config.toml
        debug = true
        %%vm write run.sh --mode 755
        make && ./demo
        """,
    "%%vm edit": """
        %%vm edit Makefile
        <<<<<<<
        CFLAGS = -O0
        =======
        CFLAGS = -O2
        >>>>>>>
        """,
}


def commands(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """`command` and all below it, by what one types to reach them."""
    yield path, command
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from commands(f"{path} {name}", each)


def of(path: str) -> str:
    """The examples of one command, a line each but for the bodies of cells."""
    return textwrap.dedent(EXAMPLES[path]).strip()


def open_help(path: str, command: click.Command) -> None:
    """Have the help of `command` and all below it show examples before options, and list whole sentences."""
    for name, each in commands(path, command):
        each.short_help = each.get_short_help_str(LONGEST)  # click cuts what is not given as such
        shown = textwrap.indent(of(name), "  ").replace("\n  %%", "\n\n\b\n  %%")
        first, _, more = inspect.cleandoc(each.help or "").partition("\n\n")
        # After \b lines are left as they are.
        each.help = f"{first}\n\n\b\nExamples:\n{shown}\n\n{more}".rstrip()
