"""The tree of errors: one sentence, the next step, and nothing a user's code could trip over."""

from __future__ import annotations

import inspect

from pi_v_jupyter import errors
from pi_v_jupyter.errors import (
    ApiError,
    AuthenticationError,
    CellInterrupted,
    NoKeyError,
    RemoteCommandError,
    RemoteTimeoutError,
    SettingsError,
    VersError,
)


def test_an_error_reads_as_its_sentence_and_the_next_step() -> None:
    assert str(VersError("No VM named 'bild'.", "%vers ls shows them all.")) == (
        "No VM named 'bild'.  %vers ls shows them all."
    )


def test_an_error_without_a_next_step_is_its_sentence_alone() -> None:
    assert str(VersError("The key is empty.")) == "The key is empty."


def test_ipython_shows_two_lines_in_place_of_a_traceback() -> None:
    assert SettingsError("No key.", "Set one.")._render_traceback_() == ["SettingsError: No key.", "Set one."]
    assert SettingsError("No key.")._render_traceback_() == ["SettingsError: No key."]


def test_everything_raised_on_purpose_is_a_vers_error_except_a_stop() -> None:
    classes = {
        member
        for _, member in inspect.getmembers(errors, inspect.isclass)
        if member.__module__ == errors.__name__
    }
    assert {member for member in classes if not issubclass(member, VersError)} == {CellInterrupted}


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    drawn = [line.split("─ ")[1].split()[0] for line in (errors.__doc__ or "").splitlines() if "─ " in line]
    written = [
        name
        for name, member in inspect.getmembers(errors, inspect.isclass)
        if member.__module__ == errors.__name__ and member is not VersError
    ]
    assert sorted(drawn) == sorted(written)


def test_an_api_error_carries_its_status() -> None:
    error: ApiError = AuthenticationError("The key was refused.", status=401)
    assert error.status == 401


def test_a_command_error_carries_code_signal_and_stderr() -> None:
    error = RemoteTimeoutError("Too slow.", signal="SIGKILL", stderr="half a line")
    assert isinstance(error, RemoteCommandError)
    assert (error.exit_code, error.signal, error.stderr) == (None, "SIGKILL", "half a line")


def test_a_missing_key_is_a_settings_error() -> None:
    assert issubclass(NoKeyError, SettingsError)


def test_a_stop_passes_through_code_that_catches_exceptions() -> None:
    assert issubclass(CellInterrupted, KeyboardInterrupt)
    assert not issubclass(CellInterrupted, Exception)


def test_a_stop_reads_as_what_became_of_the_command_and_the_next_step() -> None:
    stop = CellInterrupted("`make` was ended with SIGINT.", "Its shell lives on.")
    assert stop._render_traceback_() == ["Stopped: `make` was ended with SIGINT.", "Its shell lives on."]
    assert CellInterrupted("It was ended.")._render_traceback_() == ["Stopped: It was ended."]
