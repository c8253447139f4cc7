"""The data of the API: both vintages read alike, and nothing private is shown."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import BaseModel, ValidationError

from pi_v_jupyter.api.models import (
    BranchAnswer,
    CommitInfo,
    EnvVars,
    EnvVarsRequest,
    ErrorBody,
    FromCommitRequest,
    NewRootRequest,
    ParentCommit,
    SSHKey,
    TagChange,
    VMConfig,
    VMInfo,
    VMRef,
    VMState,
    WhoAmI,
)

PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE\n-----END OPENSSH PRIVATE KEY-----\n"


def vm(**fields: object) -> VMInfo:
    return VMInfo.model_validate({"vm_id": "vm-1", "created_at": "2026-11-22T09:00:00Z", **fields})


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("booting", VMState.BOOTING),
        ("running", VMState.RUNNING),
        ("paused", VMState.PAUSED),
        ("sleeping", VMState.PAUSED),
        ("Sleeping", VMState.PAUSED),
        ("dead", VMState.DEAD),
        ("hibernating", VMState.UNKNOWN),
    ],
)
def test_a_state_of_either_vintage_or_of_a_later_one_is_read(word: str, state: VMState) -> None:
    assert vm(state=word).state is state


def test_a_state_that_is_no_word_is_refused() -> None:
    with pytest.raises(ValidationError):
        vm(state={"now": "running"})


def test_a_vm_needs_no_more_than_an_id_and_a_birthday() -> None:
    assert vm().labels == {} and vm().state is VMState.UNKNOWN and vm().mem_size_mib is None


def test_labels_may_be_null() -> None:
    assert vm(labels=None).labels == {}
    assert vm(labels={"team": "blue"}).labels == {"team": "blue"}


@pytest.mark.parametrize("text", ["2026-11-22T09:00:00Z", "2026-11-22T09:00:00", "2026-11-22T10:00:00+01:00"])
def test_times_with_and_without_a_zone_compare(text: str) -> None:
    assert vm(created_at=text).created_at == datetime(2026, 11, 22, 9, tzinfo=UTC)
    assert vm(deleted_at=text).deleted_at == datetime(2026, 11, 22, 9, tzinfo=UTC)


def test_fields_of_a_later_release_are_dropped() -> None:
    assert "region" not in vm(region="north").model_dump()


@pytest.mark.parametrize("vm_id", ["", "..", "../keys", "a/b", "a b", "-rf", "vm\x1b[31m", "x" * 101, "vm\n"])
def test_an_id_that_could_mean_another_path_or_host_is_refused(vm_id: str) -> None:
    with pytest.raises(ValidationError):
        VMRef(vm_id=vm_id)
    with pytest.raises(ValidationError):
        vm(vm_id=vm_id)


@pytest.mark.parametrize("vm_id", ["9b2f6a3e-1d0c-4c39-8a52-0d3a6f7f1c11", "vm-1", "vm_1", "b3f1c0de"])
def test_ordinary_ids_pass(vm_id: str) -> None:
    assert VMRef(vm_id=vm_id).vm_id == vm_id


def test_an_answer_that_makes_vms_is_read_in_both_vintages_and_given_in_both() -> None:
    for answer in ({"vm_id": "a"}, {"vms": [{"vm_id": "a"}]}, {"vm_id": "a", "vms": []}):
        assert BranchAnswer.model_validate(answer).vm_ids == ["a"]
    assert BranchAnswer.of(["a", "b"]).model_dump() == {
        "vm_id": "a",
        "vms": [{"vm_id": "a"}, {"vm_id": "b"}],
    }
    with pytest.raises(ValidationError):
        BranchAnswer.model_validate({"vms": []})


def test_a_commit_goes_by_either_name_of_its_id() -> None:
    born = "2026-11-22T09:00:00Z"
    assert CommitInfo.model_validate({"id": "c-1", "created_at": born, "name": None}).commit_id == "c-1"
    told = ParentCommit.model_validate({"commit_id": "c-1", "created_at": born}).model_dump()
    assert told["id"] == told["commit_id"] == "c-1"


@pytest.mark.parametrize("body", [{}, {"commit_id": "c-1", "tag_name": "v1"}, {"commit_id": "../x"}])
def test_a_restore_names_exactly_one_commit(body: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        FromCommitRequest.model_validate(body)


def test_a_change_tells_what_is_absent_from_what_is_taken_away() -> None:
    assert TagChange.model_validate({}).model_fields_set == set()
    assert TagChange.model_validate({"description": None}).model_fields_set == {"description"}


@pytest.mark.parametrize("key", ["", "1A", "A-B", "A B", "A=B", "x" * 257, "ä"])
def test_an_environment_variable_has_a_name_that_a_shell_takes(key: str) -> None:
    with pytest.raises(ValidationError):
        EnvVarsRequest.model_validate({"vars": {key: "1"}})


def test_the_value_of_an_environment_variable_is_in_no_repr() -> None:
    assert "s3cr3t" not in repr(EnvVars(vars={"A": "s3cr3t"})) + repr(EnvVarsRequest(vars={"A": "s3cr3t"}))
    with pytest.raises(ValidationError) as caught:
        EnvVarsRequest.model_validate({"vars": {"A": "s3cr3t" * 9999}})
    assert "s3cr3t" not in str(caught.value)


def test_a_size_below_one_is_refused() -> None:
    with pytest.raises(ValidationError):
        VMConfig(vcpu_count=0)


def test_a_request_holds_only_what_was_asked_for() -> None:
    request = NewRootRequest(vm_config=VMConfig(mem_size_mib=512, labels={"name": "build"}))
    assert request.model_dump(exclude_none=True) == {
        "vm_config": {"mem_size_mib": 512, "labels": {"name": "build"}}
    }


@pytest.mark.parametrize("show", [repr, str])
def test_a_private_key_is_in_no_repr(show: object) -> None:
    assert callable(show)
    key = SSHKey(ssh_port=22, ssh_private_key=PRIVATE)
    for line in PRIVATE.splitlines():
        assert line not in show(key) and line not in show([key])


def test_a_private_key_is_in_no_validation_error() -> None:
    for answer in ({"ssh_private_key": PRIVATE}, {"ssh_port": 22, "ssh_private_key": [PRIVATE]}):
        with pytest.raises(ValidationError) as caught:
            SSHKey.model_validate(answer)
        assert "b3Blbn" not in str(caught.value) and "b3Blbn" not in repr(caught.value)


def test_models_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        vm().vm_id = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('{"error": "no such VM", "success": false}', "no such VM"),
        ('{"message": "no such VM"}', "no such VM"),
        ('{"error": null, "message": "no such VM"}', "no such VM"),
        ('{"error": {"code": 7}}', ""),
        ("{}", ""),
    ],
)
def test_the_platforms_sentence_is_found_wherever_its_services_put_it(body: str, text: str) -> None:
    assert ErrorBody.model_validate_json(body).text == text


def test_who_am_i_reads_the_parts_as_they_come() -> None:
    who = WhoAmI.model_validate({"user": {"id": "u1"}, "org": {"name": "lab"}, "api_key": {"id": "k1"}})
    assert who.user == {"id": "u1"} and who.org == {"name": "lab"}


def test_every_model_keeps_what_it_was_given_out_of_its_errors() -> None:
    def below(model: type[BaseModel]) -> set[type[BaseModel]]:
        return {model}.union(*(below(child) for child in model.__subclasses__()))

    ours = {model for model in below(BaseModel) if model.__module__ == VMInfo.__module__}
    assert SSHKey in ours
    assert all(model.model_config.get("hide_input_in_errors") for model in ours)
