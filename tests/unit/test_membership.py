"""Which VMs are agents' is on record before anything else is done, and labels may say anything."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from pi_v_jupyter.errors import SettingsError, UsageError
from pi_v_jupyter.state import State
from pi_v_jupyter.swarm import secrets
from pi_v_jupyter.swarm.membership import Membership, Records, distinct, lifetime

URL = "http://127.0.0.1:1/api/v1"
ANN = Membership("ann", "root-id", "commit-id", 1_800_000_000)


def test_a_membership_goes_to_labels_and_back() -> None:
    assert Membership.of_labels(ANN.labels()) == ANN
    assert Membership.of_labels({"name": "build"}) is None
    assert Membership.of_labels({"agent": "ann"}) is None, "labels of that name are anyone's"


@pytest.mark.parametrize("agent", ["", ".", "../evil", "a/b", "a b", "a\n", "é\u0301", "x" * 65])
def test_a_label_that_is_no_name_makes_no_agent(agent: str) -> None:
    assert Membership.of_labels({"pi-v-agent": agent}) is None


def test_of_several_with_one_label_the_one_on_record_keeps_it() -> None:
    claims = [("1234-5", ANN), ("1234-6", ANN), ("1234-7", Membership("ann-1234")), ("9", Membership("bob"))]

    def called(*recorded: str) -> list[str]:
        return [member.agent for member in distinct(claims, recorded)]

    assert called("1234-6") == ["ann-1234-", "ann", "ann-1234", "bob"]
    assert called() == ["ann-1234-", "ann-1234-6", "ann-1234", "bob"]
    assert distinct(claims, ["1234-6"])[0].swarm == ANN.swarm


@pytest.mark.parametrize("expires", ["", "soon", "-1", "²", "9" * 40, "1.5"])
def test_a_time_that_is_none_never_comes(expires: str) -> None:
    member = Membership.of_labels({"pi-v-agent": "ann", "pi-v-expires": expires})
    assert member is not None
    assert member.expires == 0 and not member.overdue(1e12)


def test_its_time_is_up_when_that_has_come() -> None:
    assert Membership("ann", expires=10).overdue(10)
    assert not Membership("ann", expires=11).overdue(10) and not Membership("ann").overdue(10)


def test_a_spawn_that_was_cut_off_makes_an_agent_ready_no_more_when_its_time_is_up() -> None:
    member = Membership("ann", ready_by=10)
    assert member.at(9) == member
    assert member.at(10) == Membership("ann")


def test_records_outlive_a_session_until_the_vm_is_surely_gone(tmp_path: Path) -> None:
    records = Records(State(tmp_path / "state.json"), URL)
    records.keep("vm-1", ANN)
    records.leave("vm-2", ANN)
    later = Records(State(tmp_path / "state.json"), URL)
    assert later.all() == {
        "vm-1": ANN,
        "vm-2": Membership("ann", "root-id", "commit-id", 1_800_000_000, leaving=True),
    }
    later.forget("vm-1")
    assert set(records.all()) == {"vm-2"}


def test_a_damaged_record_hides_no_other(tmp_path: Path) -> None:
    state = State(tmp_path / "state.json")
    for vm_id, text in (("a", "{"), ("b", '{"colour": 1}'), ("c", "[]"), ("d", "null")):
        state.set(URL, "agents", vm_id, text)
    records = Records(state, URL)
    records.keep("vm-1", ANN)
    assert records.all() == {"vm-1": ANN}


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("90m", timedelta(minutes=90)),
        ("4h", timedelta(hours=4)),
        ("1.5 d", timedelta(days=1.5)),
        ("30", timedelta(seconds=30)),
    ],
)
def test_a_lifetime_is_read(text: str, span: timedelta) -> None:
    assert lifetime(text) == span


@pytest.mark.parametrize("text", ["", "0h", "-1h", "4 weeks", "h", "1e3s"])
def test_what_is_no_lifetime_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no span of time"):
        lifetime(text)


@pytest.mark.parametrize("text", ["99999999999999d", "4000000d", "9" * 400, "3651d"])
def test_what_is_longer_than_anything_lives_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is over ten years"):
        lifetime(text)


def test_a_key_comes_from_the_environment_and_shows_nowhere() -> None:
    found = secrets.of_provider("openai", environment={"OPENAI_API_KEY": " sk-42\n"})
    assert found == {"OPENAI_API_KEY": "sk-42"}
    assert "42" not in repr(found) and "42" not in f"{found}"
    assert secrets.of_provider("anthropic", "MY_KEY", {"MY_KEY": "k"}) == {"ANTHROPIC_API_KEY": "k"}
    assert secrets.of_provider("scripted", environment={}) == {}


def test_a_key_that_is_not_there_is_asked_for_by_the_name_of_its_variable() -> None:
    with pytest.raises(SettingsError, match="ANTHROPIC_API_KEY is not set"):
        secrets.of_provider("anthropic", environment={"ANTHROPIC_API_KEY": " "})
    with pytest.raises(SettingsError, match="MY_KEY is not set"):
        secrets.of_provider("anthropic", "MY_KEY", {})
    with pytest.raises(UsageError, match="There are: scripted, ant-ling, anthropic, "):
        secrets.of_provider("nobody", environment={})
