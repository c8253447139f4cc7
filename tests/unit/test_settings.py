"""Where a key, a URL and a time-out come from: the table under "Loading" of the user's contract."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import filelock
import pytest

from pi_v_jupyter.errors import NoKeyError, SettingsError
from pi_v_jupyter.settings import CLOUD_URL, EmbeddedPlatform, Settings, state_dir, write_private

Up = Callable[..., EmbeddedPlatform]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, and no setting in the environment."""
    for name in list(os.environ):
        if name.startswith(("VERS_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def up(home: Path) -> Iterator[Up]:
    """Describes an embedded platform that is up (this process stands in for its daemon)."""

    def describe(key: str = "embedded-key", **changes: Any) -> EmbeddedPlatform:
        key_file = home / "platform.key"
        write_private(key_file, key)
        told: dict[str, Any] = {
            "base_url": "http://127.0.0.1:7600/api/v1",
            "domain": "machines.localhost",
            "vm_port": 7643,
            "ca_file": "/somewhere/ca.pem",
            "key_file": str(key_file),
            "pid": os.getpid(),
            "accelerator": "tcg",
        } | changes
        platform = EmbeddedPlatform(**told)
        platform.save()
        lock.acquire()
        return platform

    lock = filelock.FileLock(EmbeddedPlatform.lock_file())
    yield describe
    lock.release()


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def keys_json(home: Path, content: Any) -> None:
    write(home / ".vers" / "keys.json", content)


def config_json(home: Path, content: Any) -> None:
    write(home / ".vers" / "config.json", content)


def refusal(ask: Callable[[], object], kind: type[SettingsError] = SettingsError) -> SettingsError:
    with pytest.raises(kind) as caught:
        ask()
    return caught.value


def assert_nowhere_in(secret: str, error: BaseException) -> None:
    """Neither in what is shown of the error nor in any exception behind it."""
    seen = ["".join(traceback.format_exception(error))]
    link: BaseException | None = error
    while link is not None:
        seen += [repr(link), repr(vars(link)), repr(link.args)]
        seen += [str(getattr(link, name, "")) for name in ("doc", "object")]  # what decoders keep
        link = link.__cause__ or link.__context__
    assert not [text for text in seen if secret in text]


# The key


def test_each_source_of_the_key_gives_way_to_the_one_before_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings()
    refusal(settings.api_key, NoKeyError)

    def origin() -> tuple[str, str]:
        return settings.api_key(), settings.endpoint().key_origin

    config_json(home, {"api_key": "second-name"})
    assert origin() == ("second-name", "~/.vers/config.json")
    config_json(home, {"api_key": "second-name", "versApiKey": "first-name"})
    assert origin() == ("first-name", "~/.vers/config.json")
    keys_json(home, {"keys": {"VERS_API_KEY": "from-keys"}})
    assert origin() == ("from-keys", "~/.vers/keys.json")
    monkeypatch.setenv("VERS_API_KEY", "from-environment")
    assert origin() == ("from-environment", "the environment's VERS_API_KEY")
    settings.traits = {"api_key": "from-traits"}
    assert origin() == ("from-traits", "`c.Vers.api_key`")
    settings.session["api_key"] = "from-session"
    assert origin() == ("from-session", "`%vers config`")


def test_the_key_is_looked_up_afresh_each_time(home: Path) -> None:
    settings = Settings()
    keys_json(home, {"keys": {"VERS_API_KEY": "old"}})
    assert settings.api_key() == "old"
    keys_json(home, {"keys": {"VERS_API_KEY": "new"}})
    assert settings.api_key() == "new"


@pytest.mark.parametrize("blank", ["", "  ", "\n"])
def test_a_blank_key_is_no_key_and_the_next_source_is_asked(home: Path, blank: str) -> None:
    keys_json(home, {"keys": {"VERS_API_KEY": blank}})
    config_json(home, {"versApiKey": blank, "api_key": "here"})
    assert Settings(
        session={"api_key": blank}, environ={"VERS_API_KEY": blank, "HOME": str(home)}
    ).api_key() == ("here")


@pytest.mark.parametrize(
    "content", [{}, {"keys": None}, {"keys": ["VERS_API_KEY"]}, {"keys": {}}, {"keys": {"VERS_API_KEY": 7}}]
)
def test_a_keys_file_without_our_key_is_passed_over(home: Path, content: Any) -> None:
    keys_json(home, content)
    refusal(Settings().api_key, NoKeyError)
    config_json(home, {"api_key": "here"})
    assert Settings().api_key() == "here"


def test_blanks_around_a_key_are_not_part_of_it(home: Path) -> None:
    assert Settings(environ={"VERS_API_KEY": " key-1\n"}).api_key() == "key-1"


@pytest.mark.parametrize("key", ["two words", "two\nlines", "schlüssel", "\x1b[31mkey"])
def test_what_could_not_travel_in_a_header_is_no_key(key: str) -> None:
    error = refusal(Settings(environ={"VERS_API_KEY": key}).api_key)
    assert "VERS_API_KEY" in error.message
    assert key not in str(error)


@pytest.mark.parametrize("write_file", [keys_json, config_json])
@pytest.mark.parametrize(
    "content", ['{"keys": {"VERS_API_KEY": "secret-key"', "secret-key", '["secret-key"]', "["]
)
def test_a_malformed_file_is_named_and_what_it_holds_is_not_shown(
    home: Path, write_file: Callable[[Path, Any], None], content: str
) -> None:
    write_file(home, content)
    error = refusal(Settings().api_key)
    assert "it is not a JSON object" in error.message and ".vers" in error.message and error.hint
    assert_nowhere_in("secret-key", error)


def test_a_file_that_is_no_text_is_named_and_not_shown(home: Path) -> None:
    keys_json(home, {})
    (home / ".vers" / "keys.json").write_bytes(b"secret-key \xff\xfe")
    error = refusal(Settings().api_key)
    assert "keys.json cannot be read: it is not text" in error.message
    assert_nowhere_in("secret-key", error)


def test_a_folder_in_a_files_place_is_one_sentence(home: Path) -> None:
    (home / ".vers" / "keys.json").mkdir(parents=True)
    assert "keys.json cannot be read: Is a directory" in refusal(Settings().api_key).message


def test_a_malformed_file_does_not_matter_to_one_who_sets_the_key_elsewhere(home: Path) -> None:
    keys_json(home, "{")
    assert Settings(environ={"VERS_API_KEY": "key-1", "HOME": str(home)}).api_key() == "key-1"


def test_no_key_and_no_platform_says_how_to_get_either(home: Path) -> None:
    error = refusal(Settings().api_key, NoKeyError)
    assert "%vers up" in error.hint and "VERS_API_KEY" in error.hint


def test_no_key_for_a_platform_of_ones_own_says_so_even_when_the_embedded_one_is_up(
    home: Path, up: Up
) -> None:
    up()
    settings = Settings(environ={"VERS_BASE_URL": "https://api.example.org", "HOME": str(home)})
    assert (
        "No Vers API key is set for https://api.example.org/api/v1"
        in refusal(settings.api_key, NoKeyError).message
    )


def test_no_key_is_in_a_repr(home: Path) -> None:
    settings = Settings(
        session={"api_key": "secret-1"},
        traits={"api_key": "secret-2"},
        environ={"VERS_API_KEY": "secret-3", "HOME": str(home)},
    )
    assert "secret" not in repr(settings) + repr(settings.endpoint())


# The URL


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://api.vers.sh/api/v1", "https://api.vers.sh/api/v1"),
        ("https://api.vers.sh/api/v1/", "https://api.vers.sh/api/v1"),
        ("https://api.vers.sh", "https://api.vers.sh/api/v1"),
        ("https://api.vers.sh/", "https://api.vers.sh/api/v1"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/api/v1"),
        ("https://gate.example.org/vers", "https://gate.example.org/vers/api/v1"),
        (" https://api.vers.sh\n", "https://api.vers.sh/api/v1"),
    ],
)
def test_a_base_url_is_taken_with_and_without_the_path_of_the_api(home: Path, given: str, used: str) -> None:
    assert Settings(environ={"VERS_BASE_URL": given, "HOME": str(home)}).base_url == used


def test_each_source_of_the_url_gives_way_to_the_one_before_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings()
    assert settings.base_url == CLOUD_URL
    monkeypatch.setenv("VERS_BASE_URL", "https://a.example")
    assert settings.base_url == "https://a.example/api/v1"
    settings.traits = {"base_url": "https://b.example"}
    assert settings.base_url == "https://b.example/api/v1"
    settings.session["base_url"] = "https://c.example"
    assert settings.base_url == "https://c.example/api/v1"


@pytest.mark.parametrize(
    "url",
    [
        "api.vers.sh",
        "ftp://api.vers.sh",
        "https://",
        "https://[::1",
        "https://h:99999",
        "https://h:0",
        "https://h:port",
        "https://a b",
        "https://h\x1b[31m",
        "https://h#top",
    ],
)
def test_what_is_no_http_url_is_shown_and_refused(home: Path, url: str) -> None:
    settings = Settings(environ={"VERS_BASE_URL": url, "VERS_API_KEY": "key-1", "HOME": str(home)})
    for ask in (lambda: settings.base_url, settings.endpoint):
        error = refusal(ask)
        assert repr(url) in error.message and "VERS_BASE_URL" in error.hint


@pytest.mark.parametrize("url", ["https://me:secret@h", "https://secret@h", "https://h/?key=secret"])
def test_a_url_with_a_secret_in_it_is_refused_and_not_shown(home: Path, url: str) -> None:
    error = refusal(lambda: Settings(environ={"VERS_BASE_URL": url, "HOME": str(home)}).base_url)
    assert "secret" not in str(error) and "VERS_API_KEY" in error.hint


# Host names of VMs


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({}, ("vm-1.vm.vers.sh", 443)),
        ({"VERS_BASE_URL": "https://api.staging.example.org"}, ("vm-1.vm.staging.example.org", 443)),
        ({"VERS_BASE_URL": "https://API.Example.org:8443"}, ("vm-1.vm.example.org", 443)),
        ({"VERS_BASE_URL": "https://vers.example.org"}, ("vm-1.vm.vers.example.org", 443)),
        ({"VERS_VM_DOMAIN": "machines.example"}, ("vm-1.machines.example", 443)),
        ({"VERS_VM_PORT": "8443"}, ("vm-1.vm.vers.sh", 8443)),
    ],
)
def test_a_vm_is_found_beside_its_api_unless_told_otherwise(
    home: Path, environ: dict[str, str], address: tuple[str, int]
) -> None:
    assert Settings(environ={**environ, "HOME": str(home)}).vm_address("vm-1") == address


@pytest.mark.parametrize("port", ["0", "65536", "-1", "https", "22.5", " "])
def test_what_is_no_port_is_refused(home: Path, port: str) -> None:
    settings = Settings(session={"vm_port": port}, environ={"HOME": str(home)})
    assert "port number" in refusal(lambda: settings.vm_address("vm-1")).message


def test_certificates_of_vms_are_the_systems_unless_a_file_is_named(home: Path) -> None:
    assert Settings(environ={"HOME": str(home)}).ca_file is None
    assert Settings(environ={"VERS_CA_FILE": "/ca.pem", "HOME": str(home)}).ca_file == "/ca.pem"


# The embedded platform


def test_the_embedded_platform_is_used_when_no_account_is_set(home: Path, up: Up) -> None:
    up()
    settings = Settings()
    endpoint = settings.endpoint()
    assert (endpoint.base_url, endpoint.api_key, endpoint.embedded) == (
        "http://127.0.0.1:7600/api/v1",
        "embedded-key",
        True,
    )
    assert settings.base_url == endpoint.base_url and settings.api_key() == "embedded-key"
    assert (
        settings.vm_address("vm-1") == ("vm-1.vm.localhost", 7643) or settings.vm_address("vm-1")[1] == 7643
    )
    assert settings.ca_file == "/somewhere/ca.pem"


def test_an_account_is_preferred_to_the_embedded_platform(home: Path, up: Up) -> None:
    up()
    keys_json(home, {"keys": {"VERS_API_KEY": "account-key"}})
    endpoint = Settings().endpoint()
    assert (endpoint.base_url, endpoint.api_key, endpoint.embedded) == (CLOUD_URL, "account-key", False)
    assert Settings().ca_file is None


def test_a_session_that_asked_for_the_embedded_platform_gets_it_in_spite_of_an_account(
    home: Path, up: Up
) -> None:
    up()
    keys_json(home, {"keys": {"VERS_API_KEY": "account-key"}})
    settings = Settings(session={"platform": "embedded", "base_url": "https://api.example.org"})
    assert settings.endpoint().api_key == "embedded-key"
    assert settings.base_url == "http://127.0.0.1:7600/api/v1"


def test_the_embedded_key_never_goes_to_the_cloud_nor_the_accounts_key_to_the_embedded_platform(
    home: Path, up: Up
) -> None:
    up()
    keys_json(home, {"keys": {"VERS_API_KEY": "account-key"}})
    for session in ({}, {"platform": "embedded"}):
        endpoint = Settings(session=session).endpoint()
        assert (endpoint.api_key == "embedded-key") == endpoint.base_url.startswith("http://127.0.0.1")


def test_a_platform_that_comes_up_is_seen_at_once_and_one_that_is_gone_is_too(home: Path, up: Up) -> None:
    settings = Settings()
    assert settings.embedded is None
    up()
    assert settings.embedded is not None
    EmbeddedPlatform.path().unlink()
    assert settings.embedded is None


def test_the_key_goes_to_no_port_of_a_dead_daemon_whoever_has_its_process_number_now(
    home: Path, up: Up
) -> None:
    up(pid=os.getpid())
    EmbeddedPlatform.lock_file().unlink()  # as a restart of the computer or a new daemon leaves it: not held
    assert EmbeddedPlatform.load() is None
    EmbeddedPlatform.lock_file().touch()
    assert EmbeddedPlatform.load() is None
    assert "has died" in refusal(Settings().api_key, NoKeyError).message


def test_whoever_asks_whether_the_platform_is_up_is_not_taken_for_its_daemon(home: Path, up: Up) -> None:
    up()
    EmbeddedPlatform.lock_file().unlink()
    with EmbeddedPlatform.lock_file().open("wb") as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        assert EmbeddedPlatform.load() is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": "1"}'])
def test_a_malformed_description_is_one_sentence(home: Path, up: Up, text: str) -> None:
    up()
    EmbeddedPlatform.path().write_text(text)
    error = refusal(EmbeddedPlatform.load)
    assert str(EmbeddedPlatform.path()) in error.message and "pi-v-jupyter up" in error.hint


def test_a_description_with_a_number_for_a_name_is_malformed(home: Path, up: Up) -> None:
    up(domain=7)
    assert "does not describe a platform" in refusal(EmbeddedPlatform.load).message


def test_a_description_written_by_a_later_release_is_read(home: Path, up: Up) -> None:
    told = asdict(up()) | {"colour": "blue"}
    EmbeddedPlatform.path().write_text(json.dumps(told))
    assert EmbeddedPlatform.load() is not None


def test_a_base_url_without_the_path_of_the_api_is_completed_for_the_embedded_platform_too(
    home: Path, up: Up
) -> None:
    up(base_url="http://127.0.0.1:7600/")
    assert Settings().base_url == Settings().endpoint().base_url == "http://127.0.0.1:7600/api/v1"


@pytest.mark.parametrize("key", ["", "two words"])
def test_a_key_file_without_a_key_says_how_to_get_one(home: Path, up: Up, key: str) -> None:
    up(key=key)
    error = refusal(Settings().api_key)
    assert "embedded platform's key file" in error.message and "pi-v-jupyter up" in error.hint


def test_an_absent_key_file_says_how_to_get_one(home: Path, up: Up) -> None:
    Path(up().key_file).unlink()
    assert "pi-v-jupyter up" in refusal(Settings().api_key).hint


# The time-out


@pytest.mark.parametrize(("text", "seconds"), [("", 120.0), ("0", 0.0), ("2.5", 2.5), ("600", 600.0)])
def test_a_command_may_take_two_minutes_unless_told_otherwise(text: str, seconds: float) -> None:
    assert Settings(environ={"VERS_SSH_TIMEOUT": text}).ssh_timeout == seconds


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "soon", "1 s"])
def test_what_is_no_time_is_refused(text: str) -> None:
    error = refusal(lambda: Settings(environ={"VERS_SSH_TIMEOUT": text}).ssh_timeout)
    assert repr(text) in error.message


# Files


def test_a_private_file_is_for_its_owner_alone_and_whole_or_not_at_all(home: Path) -> None:
    path = home / "deep" / "secret"
    write_private(path, "one")
    write_private(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_a_private_file_that_cannot_be_written_leaves_no_piece_behind(home: Path) -> None:
    (home / "taken").mkdir()
    with pytest.raises(OSError):
        write_private(home / "taken", "one")
    assert [entry.name for entry in home.iterdir()] == ["taken"]


def test_state_is_in_a_folder_for_the_user_alone(home: Path) -> None:
    assert state_dir().is_relative_to(home)
    assert state_dir().stat().st_mode & 0o777 == 0o700


def test_settings_load_nothing_heavy() -> None:
    heavy = ["httpx", "pydantic", "asyncssh", "tenacity", "IPython", "ipywidgets", "asyncio"]
    code = f"import sys, pi_v_jupyter.settings; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == "[]"
