"""`%vers whoami`, `%vers env` and settings, through a real kernel and its platform."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from kernels import Kernel, started
from platforms import Platform

pytestmark = pytest.mark.vm

SECRET = "hush-7b1d93"


@pytest.fixture
def tidy(loaded: Kernel) -> Iterator[Kernel]:
    """A kernel whose settings and variables are taken back afterwards."""
    yield loaded
    loaded.run(
        "%config Vers.ssh_timeout = None\n"
        "%config Vers.api_key = None\n"
        "from pi_v_jupyter import Vers\n"
        "Vers.notebook.settings.session.clear()\n"
        "left = await Vers.notebook.env()\n"
        "await Vers.notebook.unset_env(*left)"
    )


# Whose key it is


def test_whoami_tells_user_and_organisation(loaded: Kernel) -> None:
    shown = loaded.run("who = %vers whoami\nwho")
    assert shown.error is None, shown.traceback
    user, organisation = shown.data[0].splitlines()
    assert user.startswith("user  you, on this computer  ")
    assert organisation.startswith("organisation  you, on this computer  ")
    assert "<table>" in shown.html[0] and ">organisation</td>" in shown.html[0]
    assert loaded.value("who.user['user_name']") == "you, on this computer"


# Environment variables


def test_a_new_vm_has_the_variables_and_one_that_is_there_does_not(tidy: Kernel) -> None:
    made = tidy.run("%vers create --name older")
    assert made.error is None, made.traceback
    try:
        shown = tidy.run("%vers env set GREETING='hello there' MODE=test=1")
        assert shown.stdout == "New VMs have GREETING, MODE in their environment.\n", shown.traceback
        assert tidy.run("%vers create --name newer").error is None
        assert tidy.run("%vm --on newer echo $GREETING, $MODE").stdout == "hello there, test=1\n"
        assert tidy.run("%vm --on older echo [$GREETING]").stdout == "[]\n"
        assert tidy.run("%vers env rm MODE").stdout == "New VMs do not have MODE.\n"
        assert tidy.run("%vers env").data == ["GREETING"]
    finally:
        tidy.run("%vers rm -f older newer")


def test_values_are_not_shown_unless_that_is_said(tidy: Kernel) -> None:
    assert tidy.run("%vers env").data[0].startswith("No environment variables.")
    tidy.run(f"%vers env set TOKEN={SECRET}")
    listed = tidy.run("env = %vers env\nprint(env)\nenv")
    assert listed.data == ["TOKEN"] and "TOKEN" in listed.html[0] and SECRET not in listed.text
    assert tidy.value("env['TOKEN']") == SECRET
    shown = tidy.run("%vers env --show")
    assert shown.stdout == f"TOKEN={SECRET}\n" and shown.data == []


def test_a_secret_comes_from_a_prompt_a_variable_or_the_environment(tidy: Kernel) -> None:
    asked = tidy.run("%vers env set TOKEN", answer=SECRET)
    assert asked.error is None and "TOKEN: " in asked.stdout and SECRET not in asked.text
    assert tidy.run("%vers env --show").stdout == f"TOKEN={SECRET}\n"
    tidy.run("import os; os.environ['OTHER'], held = 'of the kernel', 'of a variable'")
    assert tidy.run("%vers env set TOKEN --from-env OTHER").error is None
    assert tidy.run("%vers env --show").stdout == "TOKEN=of the kernel\n"
    assert tidy.run("%vers env set TOKEN --from held").error is None
    assert tidy.run("%vers env --show").stdout == "TOKEN=of a variable\n"


def test_the_same_from_python(tidy: Kernel) -> None:
    tidy.run(
        "from pi_v_jupyter import Vers\n"
        "async with Vers() as vers:\n"
        "    await vers.set_env({'A': '1', 'B': ''})\n"
        "    await vers.unset_env('A')\n"
        "    there = await vers.env()"
    )
    assert tidy.value("(dict(there), repr(there))") == ({"B": ""}, "<Environment: B>")


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("env set", "UsageError", "Missing argument 'K[=V]…'."),
        (f"env set 1X={SECRET}", "UsageError", "That cannot name an environment variable."),
        (f"env set X={SECRET}{'x' * 8192}", "UsageError", "The value of X is no text of at most 8192"),
        ("env set TOKEN", "UsageError", "Nobody can be asked for the value of TOKEN here."),
        ("env set TOKEN --from nosuch", "UsageError", "There is no variable nosuch here."),
        ("env set TOKEN --from number", "UsageError", "The variable number holds no text."),
        (
            "env set TOKEN --from-env NOSUCH_",
            "UsageError",
            "NOSUCH_ is not set in this kernel's environment.",
        ),
        (f"env set A={SECRET} --from held", "UsageError", "One name takes one value from one place."),
        ("env set A B --from held", "UsageError", "One name takes one value from one place."),
        ("env set A --from held --from-env B", "UsageError", "One name takes one value from one place."),
        ("env rm NOSUCH", "NotFoundError", "There is no environment variable NOSUCH"),
        ("env rm ../vm", "UsageError", "That cannot name an environment variable."),
        ("env --show set A=1", "UsageError", "--show is for the list."),
        ("env st", "UsageError", "No such command"),
        ("config ssh_timeoot 1", "UsageError", "Did you mean 'ssh_timeout'?"),
        ("config nonsense", "UsageError", "There is no setting 'nonsense'."),
        ("config --unset nonsense", "UsageError", "There is no setting 'nonsense'."),
        ("config ssh_timeout soon", "SettingsError", "'soon' is not a number of seconds."),
        ("config ssh_timeout -- -1", "SettingsError", "'-1' is not a number of seconds."),
        ("config ssh_timeout nan", "SettingsError", "'nan' is not a number of seconds."),
        ("config vm_port 70000", "SettingsError", "'70000' is not a port number."),
        ("config base_url api.vers.sh", "SettingsError", "The base URL is not a plain http(s) URL"),
        (f"config base_url https://me:{SECRET}@a.b", "SettingsError", "is not a plain http(s) URL."),
        (f"config api_key '{SECRET} {SECRET}'", "SettingsError", "That is no key"),
        ("config vm_domain a..b", "SettingsError", "'a..b' is no domain name."),
        ("config platform cloud", "SettingsError", "'cloud' is no platform to prefer."),
        ("config ca_file ''", "SettingsError", "ca_file cannot be empty.  `%vers config --unset ca_file`"),
        ("config a b c", "UsageError", "unexpected extra argument"),
    ],
)
def test_wrong_use_is_one_sentence_and_changes_nothing(
    tidy: Kernel, line: str, error: str, message: str
) -> None:
    tidy.run("from pi_v_jupyter import Vers\nnumber, held = 7, 'text'")
    shown = tidy.run(f"%vers {line}")
    assert shown.error == error and message in shown.message, shown
    assert len(shown.traceback.splitlines()) <= 2 and SECRET not in shown.text
    assert tidy.value("dict(Vers.notebook.settings.session)") == {}
    assert tidy.run("%vers env").data[0].startswith("No environment variables.")


# Settings


def test_every_setting_is_listed_with_where_it_comes_from(tidy: Kernel) -> None:
    tidy.run("%vers config ssh_timeout 7")
    shown = tidy.run("settings = %vers config\nsettings")
    rows = {line.split()[0]: line for line in shown.data[0].splitlines()}
    assert list(rows) == [
        *("setting", "api_key", "base_url", "vm_domain", "vm_port", "ca_file", "ssh_timeout", "platform"),
        *("registry_url", "registry_token"),
    ]
    assert "(set)" in rows["api_key"] and "the embedded platform's key file" in rows["api_key"]
    assert "http://127.0.0.1:" in rows["base_url"] and "the embedded platform" in rows["base_url"]
    assert rows["ssh_timeout"].split(maxsplit=2)[1:] == ["7", "`%vers config`"]
    assert "<table>" in shown.html[0]
    assert tidy.value("[s.value for s in settings if s.key == 'ssh_timeout']") == ["7"]


def test_a_setting_is_shown_set_and_forgotten(tidy: Kernel) -> None:
    assert tidy.run("%vers config ssh_timeout").data == ["ssh_timeout = 120  (default)"]
    tidy.run("%vers config ssh_timeout 1")
    assert tidy.run("%vers config ssh_timeout").data == ["ssh_timeout = 1  (`%vers config`)"]
    late = tidy.run("%vm sleep 30")
    assert late.error == "RemoteTimeoutError", late
    assert tidy.run("%vers config --unset ssh_timeout").error is None
    assert tidy.run("%vers config ssh_timeout").data == ["ssh_timeout = 120  (default)"]


def test_a_key_is_never_shown(tidy: Kernel) -> None:
    tidy.run(
        f"from pi_v_jupyter import Vers\n%vers config api_key {SECRET}\n%config Vers.api_key = '{SECRET}2'"
    )
    shown = [tidy.run(code) for code in ("%vers config", "%vers config api_key", "%config Vers")]
    shown += [tidy.run("%config Vers.api_key"), tidy.run("Vers.notebook.settings")]
    assert all(each.error is None for each in shown)
    assert not [each for each in shown if SECRET in each.text]
    assert "(set)" in shown[0].data[0] and "(set)" in shown[1].data[0] and "Current: (set)" in shown[2].stdout


def test_a_trait_takes_effect_at_once_and_gives_way_to_the_session(tidy: Kernel) -> None:
    assert tidy.run("%config Vers.ssh_timeout = 1").error is None
    assert tidy.run("%vers config ssh_timeout").data == ["ssh_timeout = 1  (`c.Vers.ssh_timeout`)"]
    assert tidy.run("%vm sleep 30").error == "RemoteTimeoutError"
    tidy.run("%vers config ssh_timeout 9")
    assert tidy.run("%vers config ssh_timeout").data == ["ssh_timeout = 9  (`%vers config`)"]
    tidy.run("%vers config --unset ssh_timeout")
    assert "Vers.ssh_timeout" in tidy.run("%config Vers").stdout
    assert tidy.value("get_ipython().run_line_magic('config', 'Vers.ssh_timeout')") == 1.0
    refused = tidy.run("%config Vers.ssh_timeout = 'soon'")
    assert "c.Vers.ssh_timeout: 'soon' is not a number of seconds." in refused.text
    assert tidy.value("get_ipython().run_line_magic('config', 'Vers.ssh_timeout')") == 1.0


def test_what_was_set_wrong_elsewhere_is_told_by_the_list(shared_platform: Platform) -> None:
    wrong = {"VERS_SSH_TIMEOUT": "soon", "VERS_VM_PORT": "99999", "VERS_API_KEY": "k", "VERS_CA_FILE": ""}
    with started(shared_platform.env | wrong) as kernel:
        kernel.run("%load_ext pi_v_jupyter")
        shown = kernel.run("%vers config")
        assert shown.error is None and shown.data, shown
        rows = {line.split()[0]: line for line in shown.data[-1].splitlines()}
        assert "the environment's VERS_SSH_TIMEOUT  'soon' is not a number of seconds." in rows["ssh_timeout"]
        assert "'99999' is not a port number." in rows["vm_port"]
        assert "the environment's VERS_API_KEY" in rows["api_key"] and "default" in rows["base_url"]


def ipython(platform: Platform, *arguments: str, code: str) -> str:
    """What IPython in a terminal says, started with those arguments."""
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--no-banner", "--colors=nocolor", *arguments, "-c", code],
        env=platform.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr


def test_settings_come_from_a_file_and_the_command_line(shared_platform: Platform) -> None:
    code = "%load_ext pi_v_jupyter\nprint(get_ipython().run_line_magic('vers', 'config ssh_timeout'))"
    assert "value='5', origin='`c.Vers.ssh_timeout`'" in ipython(
        shared_platform, "--Vers.ssh_timeout=5", code=code
    )
    refused = ipython(shared_platform, f"--Vers.api_key={SECRET}", code=code)
    assert "is no place for api_key." in refused and SECRET not in refused
    folder = shared_platform.folder / "ipython" / "profile_default"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "ipython_config.py"
    given = f"--ipython-dir={folder.parent}"
    file.write_text("c.Vers.ssh_timeout = 6\n")
    assert "value='6', origin='`c.Vers.ssh_timeout`'" in ipython(shared_platform, given, code=code)
    file.write_text("c.Vers.ssh_timeout = 'soon'\n")
    refused = ipython(shared_platform, given, code=code)
    assert "WrongSettingError: c.Vers.ssh_timeout: 'soon' is not a number of seconds." in refused
    assert "Traceback" not in refused


def test_unloading_takes_the_traits_away(shared_platform: Platform) -> None:
    with started(shared_platform.env) as kernel:
        assert "Vers" not in kernel.run("%config").stdout
        kernel.run("%load_ext pi_v_jupyter")
        assert "    Vers\n" in kernel.run("%config").stdout
        kernel.run("%unload_ext pi_v_jupyter")
        assert "Vers" not in kernel.run("%config").stdout
