"""Limits that agents are told are numbers that they can keep to."""

from __future__ import annotations

import math

import pytest

from pi_v_jupyter import Vers
from pi_v_jupyter.errors import UsageError


@pytest.mark.parametrize("budget", [math.inf, -math.inf, math.nan, 0.0, -1.0])
async def test_a_budget_that_is_no_sum_of_dollars_is_refused_before_anything_is_made(budget: float) -> None:
    async with Vers() as vers:
        with pytest.raises(UsageError, match="no sum of US dollars above 0"):
            await vers.swarm.spawn("golden", budget=budget)


@pytest.mark.parametrize("max_vms", [0, -1, 1001])
async def test_more_vms_than_any_key_allows_are_refused_before_anything_is_made(max_vms: int) -> None:
    async with Vers() as vers:
        with pytest.raises(UsageError, match="no number of VMs from 1 to 1000"):
            await vers.swarm.spawn("golden", max_vms=max_vms)
