"""How large a machine is, in words."""

from __future__ import annotations

import pytest

from pi_v_jupyter import sizes


@pytest.mark.parametrize(
    ("mebibytes", "words"),
    [(512, "512 MB"), (1023, "1023 MB"), (1024, "1 GB"), (1536, "1.5 GB"), (3000, "3000 MB"), (8192, "8 GB")],
)
def test_whole_and_half_gigabytes_are_said_as_such_and_no_number_is_rounded(
    mebibytes: int, words: str
) -> None:
    assert sizes.mebibytes(mebibytes) == words


def test_what_the_platform_has_not_said_of_a_machine_is_left_out() -> None:
    assert sizes.machine(2, 4096) == "2 vCPU · 4 GB"
    assert (sizes.machine(None, 512), sizes.machine(1, None), sizes.machine(0, 0)) == ("512 MB", "1 vCPU", "")
