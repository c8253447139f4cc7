"""The list of settings tells what is in effect, and of what cannot be used why."""

from __future__ import annotations

from pathlib import Path

import pytest

from pi_v_jupyter.configuration import Setting, change, configuration, forget, setting
from pi_v_jupyter.errors import SettingsError, UsageError
from pi_v_jupyter.keys import CLOUD_URL, KEYS
from pi_v_jupyter.magics.configurable import Traits, Vers, WrongSettingError
from pi_v_jupyter.settings import Settings


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for key in KEYS.values():
        monkeypatch.delenv(key.variable or "none", raising=False)
    return tmp_path


def test_with_nothing_set_all_are_defaults() -> None:
    values = {each.key: each.value for each in configuration(Settings())}
    assert values == {
        "api_key": "",
        "base_url": CLOUD_URL,
        "vm_domain": "vm.vers.sh",
        "vm_port": "443",
        "ca_file": "",
        "ssh_timeout": "120",
        "platform": "",
        "registry_url": "",
        "registry_token": "",
    }
    assert {each.origin for each in configuration(Settings())} == {"default"}


def test_a_token_is_told_to_be_set_and_no_more() -> None:
    environ = {"VERS_VM_REGISTRY_URL": "https://a.b/registry", "VERS_AUTH_TOKEN": "hush-hush"}
    told = {each.key: each for each in configuration(Settings(environ=environ))}
    assert told["registry_url"].value == "https://a.b/registry"
    assert told["registry_token"].value == "(set)" and "hush" not in str(told)


def test_the_domain_of_vms_follows_the_platform() -> None:
    settings = Settings(session={"base_url": "https://api.example.org:8443"})
    assert setting(settings, "vm_domain") == Setting("vm_domain", "vm.example.org", "default")


def test_a_platform_that_was_chosen_and_is_down_is_told() -> None:
    told = setting(Settings(session={"platform": "embedded"}), "platform")
    assert told.value == "embedded" and told.problem == "The embedded platform is no longer up."


def test_a_file_that_cannot_be_read_is_told_where_the_key_would_be(home: Path) -> None:
    (home / ".vers").mkdir()
    (home / ".vers" / "keys.json").write_text("hush-hush")
    told = configuration(Settings())
    assert "it is not a JSON object" in told[0].problem and "hush" not in str(told)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("base_url", "https://me:hush@a.b"),
        ("api_key", "hush hush"),
        ("vm_port", "hush?"),
        ("registry_url", "https://a.b/?hush"),
        ("registry_token", "hush hush"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(key: str, value: str) -> None:
    settings = Settings(session={"vm_port": "1"})
    with pytest.raises(SettingsError) as caught:
        change(settings, key, value)
    assert settings.session == {"vm_port": "1"} and caught.value.hint
    assert "hush" not in str(caught.value) or key == "vm_port"


def test_there_is_no_other_setting() -> None:
    for attempt in (lambda: change(Settings(), "no", "1"), lambda: forget(Settings(), "no")):
        with pytest.raises(UsageError, match="There is no setting 'no'"):
            attempt()


def test_a_trait_for_every_setting_and_no_other() -> None:
    assert set(Vers.class_trait_names(config=True)) == set(KEYS)


def test_traits_are_settings_for_as_long_as_they_are_set() -> None:
    configurable = Vers()
    settings = Settings(traits=Traits(configurable))
    configurable.ssh_timeout = "0.5"
    configurable.api_key = "hush-hush"
    assert settings.ssh_timeout == 0.5 and settings.endpoint().api_key == "hush-hush"
    assert dict(settings.traits) == {"api_key": "hush-hush", "ssh_timeout": "0.5"}
    assert "hush" not in Vers.class_get_help(configurable)
    with pytest.raises(WrongSettingError, match=r"c\.Vers\.ssh_timeout: 'inf' is not a number of seconds"):
        configurable.ssh_timeout = float("inf")
    with pytest.raises(WrongSettingError) as caught:
        configurable.api_key = ("hush", "hush")
    assert "hush" not in str(caught.value)
    configurable.ssh_timeout = None
    assert settings.ssh_timeout == 120 and settings.endpoint().api_key == "hush-hush"


@pytest.mark.parametrize("seconds", [86400.5, 1234567.0, 0.0])
def test_a_number_is_read_as_it_was_set(seconds: float) -> None:
    configurable = Vers()
    configurable.ssh_timeout = seconds
    assert Settings(traits=Traits(configurable)).ssh_timeout == seconds
