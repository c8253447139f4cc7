"""How our objects show as the value of a cell: HTML where there is a browser, text everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.display import display

from pi_v_jupyter.api.models import WhoAmI
from pi_v_jupyter.commits import Commit, Commits, Tags
from pi_v_jupyter.configuration import Configuration, Setting
from pi_v_jupyter.doctor import Report
from pi_v_jupyter.environment import Environment
from pi_v_jupyter.golden import GoldenImage
from pi_v_jupyter.lineage import Facts, Lineage
from pi_v_jupyter.machine import Result, Results
from pi_v_jupyter.plan.mode import Status
from pi_v_jupyter.remote.background import BackgroundProcess, BackgroundProcesses
from pi_v_jupyter.remote.copying import Copied
from pi_v_jupyter.remote.files import Excerpt
from pi_v_jupyter.remote.kernel import Kernel, Kernels
from pi_v_jupyter.remote.openssh import SSHConfig
from pi_v_jupyter.remote.tunnel import Tunnel, Tunnels
from pi_v_jupyter.roster import VMs
from pi_v_jupyter.skills import Skill, Skills
from pi_v_jupyter.views import (
    account,
    background,
    files,
    golden,
    history,
    kernels,
    patches,
    planmode,
    plans,
    reach,
    skills,
    swarm,
    tables,
    transcripts,
)
from pi_v_jupyter.views.transcripts import Log
from pi_v_jupyter.vm import VM

if TYPE_CHECKING:
    from collections.abc import Callable

    from pi_v_jupyter.magics.extension import Extension


def register(extension: Extension) -> Callable[[], None]:
    """Teach this IPython our types; returns what undoes that."""
    formatter = extension.shell.display_formatter
    if formatter is None:  # an IPython made to show nothing
        return lambda: None

    def active() -> str | None:
        vm = extension.vers.fleet.current
        return vm.vm_id if vm else None

    texts: dict[type, tuple[Callable[[Any], str], Callable[[Any], str] | None]] = {
        VMs: (tables.vms_text, tables.vms_html),
        VM: (lambda vm: tables.vm_line(vm, active()), lambda vm: tables.vm_html(vm, active())),
        Result: (tables.result_text, None),
        Results: (tables.results_text, None),
        Report: (tables.report_text, tables.report_html),
        Commit: (history.commit_text, history.commit_html),
        Commits: (history.commits_text, history.commits_html),
        Tags: (history.tags_text, history.tags_html),
        Lineage: (history.tree_text, history.tree_html),
        Facts: (history.facts_text, history.facts_html),
        GoldenImage: (golden.golden_text, golden.golden_html),
        Skill: (skills.skill_markdown, None),
        Skills: (skills.skills_text, skills.skills_html),
        Copied: (files.copied_text, None),
        Excerpt: (files.excerpt_text, None),
        Tunnel: (reach.tunnel_text, reach.tunnel_html),
        Tunnels: (reach.tunnels_text, reach.tunnels_html),
        SSHConfig: (str, None),
        WhoAmI: (account.whoami_text, account.whoami_html),
        Environment: (account.environment_text, account.environment_html),
        Setting: (account.setting_text, None),
        Configuration: (account.configuration_text, account.configuration_html),
        Status: (planmode.status_text, planmode.status_html),
        Kernel: (kernels.kernel_text, None),
        Kernels: (kernels.kernels_text, kernels.kernels_html),
        BackgroundProcess: (background.process_text, None),
        BackgroundProcesses: (background.processes_text, background.processes_html),
        swarm.Answer: (swarm.answer_text, None),
        Log: (transcripts.log_text, transcripts.log_html),
    }
    markdown: dict[type, Callable[[Any], str]] = {Skill: skills.skill_markdown}
    # By their names, for who has no agents need not import them.
    later: dict[str, tuple[Callable[[Any], str], Callable[[Any], str] | None]] = {
        "pi_v_jupyter.swarm.agent.Agent": (swarm.agent_text, None),
        "pi_v_jupyter.swarm.agent.Result": (swarm.result_text, None),
        "pi_v_jupyter.swarm.planning.Progress": (plans.progress_text, plans.progress_html),
        "pi_v_jupyter.swarm.planning.Progresses": (plans.progresses_text, plans.progresses_html),
        "pi_v_jupyter.swarm.swarm.Agents": (swarm.agents_text, swarm.agents_html),
        "pi_v_jupyter.swarm.swarm.Spawns": (swarm.spawns_text, swarm.spawns_html),
        "pi_v_jupyter.swarm.swarm.Waited": (swarm.waited_text, swarm.waited_html),
        "pi_v_jupyter.swarm.totals.TotalsTable": (swarm.totals_text, swarm.totals_html),
        "pi_v_jupyter.swarm.workspace.Patch": (patches.patch_text, patches.patch_html),
    }

    def show(value: Any) -> None:
        text, html = texts.get(type(value)) or later[_path(type(value))]
        bundle = {"text/plain": text(value)}
        if html is not None:
            bundle["text/html"] = html(value)
        if type(value) in markdown:
            bundle["text/markdown"] = markdown[type(value)](value)
        display(bundle, raw=True)

    shows = formatter.ipython_display_formatter
    for kind in texts:
        shows.for_type(kind, show)
    for path in later:
        shows.for_type_by_name(*path.rsplit(".", 1), show)

    def undo() -> None:
        for kind in (*texts, *later):
            shows.pop(kind, None)

    return undo


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def keep_quiet(extension: Extension) -> Callable[[], None]:
    """Have a cell not repeat a value that its magic has shown; returns what undoes that.

    A formatter comes too late for it: a terminal has printed "Out[1]: " by then.
    """
    hook = extension.shell.displayhook
    kind = type(hook)

    class Quiet(kind):  # type: ignore[misc, valid-type]
        def __call__(self, result: Any = None) -> None:
            if extension.shown_already(result):
                self.update_user_ns(result)
            else:
                super().__call__(result)

    def undo() -> None:
        hook.__class__ = kind

    hook.__class__ = Quiet
    return undo
