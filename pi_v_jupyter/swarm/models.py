"""Which model an agent has: chosen, or told that there is none such."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pi_v_jupyter import names
from pi_v_jupyter.errors import AgentError, AgentRefusedError, UsageError
from pi_v_jupyter.swarm import scripted

if TYPE_CHECKING:
    from pi_v_jupyter.swarm.agent import Agent

SHOWN = 30  # of a provider's models; some have hundreds


def named(model: str) -> tuple[str, str]:
    """PROVIDER/ID, taken apart.

    Raises:
        UsageError: it is no such thing, or the scripted provider has no such model.
    """
    provider, _, name = model.partition("/")
    if not provider or not name:
        raise UsageError(
            f"{model!r} names no model.",
            "`--model PROVIDER/ID`, such as scripted/rehearsal or anthropic/claude-opus-4-8.",
        )
    if provider == scripted.PROVIDER and name != scripted.MODEL:
        raise UsageError(
            f"There is no model {name!r} of {provider}.",
            f"`--model {provider}/{scripted.MODEL}` is the only one.",
        )
    return provider, name


async def choose(agent: Agent, provider: str, name: str) -> None:
    """Have its pi use that model from now on.

    Raises:
        AgentError: pi has none such, or refused for another reason.
    """
    try:
        await agent.command("set_model", provider=provider, modelId=name)
    except AgentRefusedError as refused:
        if "Model not found" not in refused.message:
            raise
        there = (await agent.command("get_available_models")).get("models", [])
        known = sorted(names.shown(str(each.get("id"))) for each in there if each.get("provider") == provider)
        more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
        raise AgentError(
            f"pi has no model {name!r} of {provider}.{names.nearest(name, known)}",
            f"It has {', '.join(known[:SHOWN])}{more}." if known else f"It has no model of {provider}.",
        ) from None
