from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from vibe_assets.heads.deployments import Deployments
from vibe_assets.heads.models import HeadError

AT = "2026-01-01T00:00:00Z"


@pytest.fixture
def log(tmp_path) -> Deployments:
    for version in ("scene-1", "scene-2", "scene-3", "object-1"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "card.json").write_text("{}")
    return Deployments(tmp_path)


def test_the_last_deployment_of_each_kind_is_in_force(log):
    assert log.current() == {}
    log.deploy("scene", "scene-1", at=AT, reason="first")
    log.deploy("object", "object-1", at=AT)
    log.deploy("scene", "scene-2", at=AT, reason="better", by="gate")
    assert log.current() == {"scene": "scene-2", "object": "object-1"}
    assert [(entry.version, entry.reason) for entry in log.history("scene")] == [("scene-1", "first"), ("scene-2", "better")]
    assert Deployments(log.heads_dir).history() == log.history()


def test_deploying_what_is_in_force_adds_no_line(log):
    first = log.deploy("scene", "scene-1", at=AT, reason="first")
    assert log.deploy("scene", "scene-1", at="2027", reason="again") == first
    assert len(log.history()) == 1


def test_roll_back_goes_to_the_one_before_and_then_further_back(log):
    for version in ("scene-1", "scene-2", "scene-3"):
        log.deploy("scene", version, at=AT)
    assert log.rollback("scene", at=AT).version == "scene-2"
    assert log.rollback("scene", at=AT).version == "scene-1"
    assert log.current() == {"scene": "scene-1"}


def test_rolling_back_the_first_head_leaves_none_in_force_and_then_there_is_nothing_to_go_back_from(log):
    log.deploy("scene", "scene-1", at=AT)
    assert log.rollback("scene", at=AT).version == ""
    assert log.current() == {}
    assert log.withdrawn("scene") == {"scene-1"}
    with pytest.raises(HeadError, match="no scene head is in force"):
        log.rollback("scene", at=AT)
    log.deploy("scene", "scene-1", at=AT)
    assert log.current() == {"scene": "scene-1"}


def test_a_withdrawn_head_is_out_of_force_and_may_be_deployed_again_by_itself(log):
    log.deploy("scene", "scene-1", at=AT)
    log.withdraw("scene", at=AT, reason="another encoder")
    assert (log.current(), log.withdrawn("scene")) == ({}, set())
    with pytest.raises(HeadError, match="scene-1 was the last and is out of force"):
        log.rollback("scene", at=AT)
    assert log.deploy("scene", "scene-1", at=AT).action == "deploy"
    assert log.current() == {"scene": "scene-1"}


def test_after_a_roll_back_a_new_deployment_lies_on_what_was_restored(log):
    for version in ("scene-1", "scene-2"):
        log.deploy("scene", version, at=AT)
    log.rollback("scene", at=AT, reason="bad photos", by="me")
    log.deploy("scene", "scene-3", at=AT)
    assert log.rollback("scene", at=AT).version == "scene-1"
    assert [entry.action for entry in log.history()] == ["deploy", "deploy", "rollback", "deploy", "rollback"]


def test_what_was_rolled_back_is_withdrawn_until_somebody_deploys_it_again(log):
    for version in ("scene-1", "scene-2"):
        log.deploy("scene", version, at=AT)
    assert log.withdrawn("scene") == set()
    log.rollback("scene", at=AT)
    assert log.withdrawn("scene") == {"scene-2"}
    log.deploy("scene", "scene-2", at=AT)
    assert log.withdrawn("scene") == set()


def test_nothing_to_roll_back_to_is_said(log):
    with pytest.raises(HeadError, match="none was ever deployed"):
        log.rollback("scene", at=AT)


def test_only_saved_heads_of_the_kind_are_deployed(log):
    with pytest.raises(HeadError, match=r"scene-9.*no such head"):
        log.deploy("scene", "scene-9", at=AT)
    with pytest.raises(ValueError, match="expected a version"):
        log.deploy("scene", "object-1", at=AT)
    assert log.history() == []


def test_a_torn_last_line_is_ignored_and_does_not_spoil_the_next(log):
    log.deploy("scene", "scene-1", at=AT)
    whole = log.path.read_bytes()
    for torn in (b'{"kind": "scene", "ver', whole.rstrip(b"\n"), b"\xff"):
        log.path.write_bytes(whole + torn)
        assert log.current() == {"scene": "scene-1"}
    log.deploy("scene", "scene-2", at=AT)
    assert [entry.version for entry in log.history()] == ["scene-1", "scene-2"]


def test_a_complete_line_that_is_no_entry_is_named(log):
    log.deploy("scene", "scene-1", at=AT)
    log.path.write_bytes(b"nonsense\n" + log.path.read_bytes())
    with pytest.raises(HeadError, match=r"deployments\.jsonl, line 1"):
        log.current()


def _deploy_many(folder: str, kind: str) -> None:
    for at in range(20):
        Deployments(Path(folder)).deploy(kind, f"{kind}-{at % 2}", at=str(at))


def test_two_writers_lose_no_line(tmp_path):
    for version in ("scene-0", "scene-1", "object-0", "object-1"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "card.json").write_text("{}")
    context = multiprocessing.get_context("fork" if not _threads() else "spawn")
    writers = [context.Process(target=_deploy_many, args=(str(tmp_path), kind)) for kind in ("scene", "object")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    log = Deployments(tmp_path)
    assert {kind: len(log.history(kind)) for kind in ("scene", "object")} == {"scene": 20, "object": 20}


def _threads() -> bool:
    import threading

    return threading.active_count() > 1
