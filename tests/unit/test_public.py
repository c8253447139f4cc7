"""What `from pi_v_jupyter import …` gives, and how little a notebook pays for it before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pi_v_jupyter

PUBLIC = {
    "VM",
    "RemoteCommandError",
    "Result",
    "Vers",
    "VersError",
    "load_ipython_extension",
    "unload_ipython_extension",
}


def test_the_public_names_are_these() -> None:
    assert set(pi_v_jupyter.__all__) == PUBLIC
    assert all(getattr(pi_v_jupyter, name) is not None for name in PUBLIC)
    assert pi_v_jupyter.__version__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = pi_v_jupyter.nonsense


def test_importing_the_package_imports_none_of_its_parts() -> None:
    code = "import sys, pi_v_jupyter; print([m for m in sys.modules if m.startswith('pi_v_jupyter.')])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"
