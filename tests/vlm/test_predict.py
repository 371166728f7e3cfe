"""Models are asked through one door, endpoint or local weights, and every answer is paid for once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vlm.conftest import Study, true_tags
from vibe_assets.records.tags import TAG_PREDICTIONS
from vibe_assets.teacher.pace import Pace
from vibe_assets.teacher.replay import ReplayFaults, ReplayTeacher, running_replay
from vibe_assets.vlm.failures import VlmError
from vibe_assets.vlm.predict import cell_key, predict_cell
from vibe_assets.vlm.registry import models

QUICK = Pace(first_wait_s=0.001, longest_wait_s=0.002)
PHOTOS = range(6)


@pytest.fixture
def replay(study: Study) -> ReplayTeacher:
    study.batch("b1", PHOTOS)
    return ReplayTeacher({"good": study.answers("good", {"b1": PHOTOS}, 4)}, study.folder)


def ask(study: Study, base_url: str, **settings: object):  # type: ignore[no-untyped-def]
    study.model("good", base_url=base_url, model="good", input_price=2.0, output_price=8.0, **settings)
    return predict_cell(study.platform, "b1", "good", pace=QUICK)


def test_an_endpoint_is_asked_and_what_it_cost_is_kept(study: Study, replay: ReplayTeacher) -> None:
    with running_replay(replay) as base_url:
        rows = ask(study, base_url)
    row = rows.row(2, named=True)
    assert row["tags"] == [*true_tags(2)[:4], "nonsense"]
    assert row["valid"] is True
    assert row["latency_s"] > 0
    assert row["cost_usd"] == pytest.approx((row["prompt_tokens"] * 2.0 + row["completion_tokens"] * 8.0) / 1e6)
    assert study.platform.lake.read(TAG_PREDICTIONS, folder_key=cell_key("b1", "good")).height == 6


def test_nothing_is_asked_twice_and_another_prompt_is_another_question(study: Study, replay: ReplayTeacher) -> None:
    with running_replay(replay) as base_url:
        first = ask(study, base_url)
        ask(study, base_url)
        assert replay.counts()["requests"] == 6
        (study.folder / "short.md").write_text("Tags, as JSON.")
        study.values["vlm"]["prompt"] = str(study.folder / "short.md")
        again = ask(study, base_url)
        assert replay.counts()["requests"] == 12
    assert set(first["prompt"]) != set(again["prompt"])
    assert set(first["identity"]) == set(again["identity"])


@pytest.mark.parametrize("faults", [{"no_json_schema": True}, {"no_response_format": True}, {"p_fenced": 1.0}])
def test_servers_without_schemas_and_talkative_answers_are_read(study: Study, replay: ReplayTeacher, faults: dict[str, object]) -> None:
    replay.faults = ReplayFaults(**faults)  # type: ignore[arg-type]
    with running_replay(replay) as base_url:
        assert all(ask(study, base_url)["valid"])


def test_an_invalid_answer_is_a_row_with_its_price_and_is_not_asked_again(study: Study, replay: ReplayTeacher) -> None:
    replay.faults = ReplayFaults(script=("ok", "invalid_json"))
    with running_replay(replay) as base_url:
        rows = ask(study, base_url, concurrency=1)
        assert replay.counts()["requests"] == 6
    broken = rows.filter(valid=False).row(0, named=True)
    assert broken["tags"] == []
    assert broken["answer"].startswith('{"tags"')
    assert broken["cost_usd"] > 0


def test_a_refusal_is_a_reason_and_tried_again_by_the_next_run(study: Study, replay: ReplayTeacher) -> None:
    replay.faults = ReplayFaults(script=("refusal",))
    with running_replay(replay) as base_url:
        assert ask(study, base_url)["reason"].drop_nulls().to_list() == ["teacher_refused"]
        assert ask(study, base_url)["reason"].null_count() == 6


def test_errors_name_the_model_s_own_settings(study: Study, replay: ReplayTeacher) -> None:
    with pytest.raises(VlmError, match=r"\[vlm.models.good\] cannot reach the model .* vlm.models.good.base_url"):
        ask(study, "http://127.0.0.1:9/v1")
    with pytest.raises(VlmError, match="known are good"):
        predict_cell(study.platform, "b1", "bad")
    with pytest.raises(VlmError, match="holds no photo"):
        predict_cell(study.platform, "b9", "good")


def test_a_local_model_answers_and_is_loaded_only_where_an_answer_is_missing(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.vlm.discs import tiny
    from vibe_assets.vlm import local

    study.batch("b1", range(2))
    tiny(study.folder / "tiny-vl")
    study.model("tiny", local=str(study.folder / "tiny-vl"), max_tokens=8)
    rows = predict_cell(study.platform, "b1", "tiny")
    assert rows["valid"].to_list() == [False, False]  # it knows nothing
    assert rows["cost_usd"].to_list() == [0.0, 0.0]
    assert rows["completion_tokens"].max() <= 8
    monkeypatch.setattr(local, "load_local", None)
    assert predict_cell(study.platform, "b1", "tiny").equals(rows)


def test_one_model_under_two_names_has_one_identity(study: Study, tmp_path: Path) -> None:
    study.model("one", base_url="http://127.0.0.1:1/v1", model="m")
    study.model("two", base_url="http://127.0.0.1:1/v1", model="m", concurrency=9)
    study.model("other", base_url="http://127.0.0.1:1/v1", model="n")
    found = models(study.platform)
    assert found["one"].identity == found["two"].identity != found["other"].identity
