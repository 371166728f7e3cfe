"""The leaderboard says who finds more of people's tags, and how sure that is."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from tests.support.checkers import accessibility_faults, html_errors
from tests.vlm.conftest import Study, opened
from vibe_assets.questions import load
from vibe_assets.records.tags import INSTRUCTION_DATASET, LEADERBOARD
from vibe_assets.teacher.replay import ReplayTeacher, running_replay
from vibe_assets.vlm import board
from vibe_assets.vlm.board import Written, build_board, judge
from vibe_assets.vlm.diagnostics import diagnose, write_diagnosis
from vibe_assets.vlm.failures import VlmError
from vibe_assets.vlm.match import Meaning
from vibe_assets.vlm.predict import predict_cell
from vibe_assets.vlm.score import deciles, pareto, photo_figures

MEANING = Meaning(load())
HITS = {"good": 5, "fair": 4, "poor": 2}
BATCHES = {"b1": range(8), "b2": range(8, 14)}
NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Three models on two batches; `good` is listed a second time under another name."""
    study = opened(tmp_path_factory.mktemp("board"))
    for days, (batch, photos) in enumerate(BATCHES.items()):
        study.batch(batch, photos, days=days)
    answers = {name: study.answers(name, BATCHES, hits) for name, hits in HITS.items()}
    with running_replay(ReplayTeacher(answers, study.folder)) as base_url:
        for name in (*HITS, "good-again"):
            study.model(name, base_url=base_url, model=name.removesuffix("-again"))
            for batch in BATCHES:
                predict_cell(study.platform, batch, name)
    return study


@pytest.fixture(scope="module")
def written(asked: Study) -> Written:
    return build_board(asked.platform, now=NOW)


# -- figures -----------------------------------------------------------------------------------------------------------
def test_the_figures_of_one_photo_are_those_of_the_definitions() -> None:
    figures = photo_figures(["dog", "grass", "sky", "dog"], ["dog", "sky", "lake", "sun"], MEANING)
    assert figures == {"recall": 0.5, "semantic_recall": 0.5, "precision": 2 / 3, "f1": 4 / 7, "jaccard": 2 / 5}


def test_recall_never_exceeds_one_and_saying_nothing_costs_everything_but_precision() -> None:
    assert photo_figures(["a1", "b1", "c1"], ["a1"], MEANING)["recall"] == 1.0
    silent = photo_figures([], ["dog"], MEANING)
    assert (silent["recall"], silent["f1"], silent["jaccard"]) == (0.0, 0.0, 0.0)
    assert silent["precision"] != silent["precision"]
    with pytest.raises(ValueError, match="at least one true tag"):
        photo_figures(["dog"], [], MEANING)


@pytest.mark.parametrize(
    ("said", "true", "counts"),
    [("dogs", "dog", True), ("screen", "monitor", True), ("cake", "dessert", True), ("dessert", "cake", False), ("boat", "dog", False)],
)
def test_meaning_counts_synonyms_plurals_and_kinds_apart_from_recall(said: str, true: str, counts: bool) -> None:
    figures = photo_figures([said], [true], MEANING)
    assert figures["recall"] == 0.0
    assert figures["semantic_recall"] == float(counts)


def test_deciles_run_from_the_lowest_to_the_highest_and_equal_values_share_one() -> None:
    assert deciles([0.1 * at for at in range(11)])[0] == 0
    assert deciles([0.4, 0.6, 0.6]) == [0, 9, 9]
    assert deciles([0.3]) == [9]
    assert deciles([0.5, 0.5]) == [9, 9]
    assert deciles([]) == []


# -- the board ---------------------------------------------------------------------------------------------------------
def test_models_are_ranked_by_recall_over_all_photos_each_counted_once(written: Written) -> None:
    board = written.board
    assert [row.scores.name for row in board.rows] == ["good", "fair", "poor"]
    recalls = [row.figures["recall"].value for row in board.rows]
    assert recalls == pytest.approx([hits / 6 for hits in HITS.values()])
    assert {row.figures["recall"].n for row in board.rows} == {14}
    assert board.photos == 14
    assert [row.batches["b1"].n for row in board.rows] == [8, 8, 8]
    assert board.rows[0].figures["precision"].value == pytest.approx(5 / 6)


def test_the_payload_has_the_headers_and_rows_of_the_page(written: Written) -> None:
    payload = json.loads(written.payload.read_text())
    assert payload["headers"] == ["Provider", "Model", "Avg Latency", "Avg Recall", "b1 (11-20)", "b2 (11-21)"]
    first = payload["rows"][0]
    assert first[1] == "good"
    assert re.fullmatch(r"[\d,]+\u202fms", first[2])
    assert first[3:] == ["83\u202f% (14)", "83\u202f% (8)", "83\u202f% (6)"]
    assert payload["figures"][1]["behind"]["other"] == "good"


def test_the_page_shades_recall_by_decile_but_not_latency_and_runs_no_script(written: Written) -> None:
    page = written.page.read_text()
    assert "<script" not in page
    cells = re.findall(r'<td class="heat d(\d)"[^>]*>\s*([\d.]+)', page)
    assert len(cells) == 9
    assert {decile for decile, value in cells if float(value) > 80} == {"9"}
    assert {decile for decile, value in cells if float(value) < 40} == {"0"}
    assert "points behind good on the same 14 photos" in page
    assert "14 photos are few" in page
    assert "<svg" in page


@pytest.fixture(scope="module")
def pages(asked: Study, written: Written) -> list[Path]:
    """The leaderboard, and the diagnosis of a batch."""
    return [written.page, write_diagnosis(asked.platform, diagnose(asked.platform, "b1"))]


def test_the_pages_are_valid_html(pages: list[Path]) -> None:
    assert html_errors(*pages) == []


@pytest.mark.browser
@pytest.mark.slow
def test_the_pages_can_be_used_by_everybody(pages: list[Path]) -> None:
    assert accessibility_faults(*pages) == []


def test_the_figure_of_every_shade_can_be_read_on_it() -> None:
    template = (Path(board.__file__).parents[1] / "evaluate" / "templates" / "leaderboard.html").read_text(encoding="utf-8")
    shades = re.findall(r"--shade: (#\w{6}); --on: (#\w{6})", template)
    assert len(shades) == 2 * 10, "light and dark"
    assert [pair for pair in shades if contrast(*pair) < 4.5] == []


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, by WCAG 2.2."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_the_table_holds_every_figure_with_its_interval(asked: Study, written: Written) -> None:
    rows = asked.platform.lake.read(LEADERBOARD)
    recall = rows.filter(metric="recall", batch="", model="fair").row(0, named=True)
    assert recall["low"] <= recall["value"] <= recall["high"]
    assert set(rows["status"]) == {"vendor"}
    assert {"latency_p50_s", "latency_p95_s", "schema_failures", "semantic_recall", "jaccard"} <= set(rows["metric"])


def test_a_paired_difference_says_whether_it_may_be_chance(written: Written) -> None:
    rows = written.board.rows
    assert rows[0].behind is None
    assert rows[2].behind is not None
    assert rows[2].behind.delta.value == pytest.approx(-0.5)
    assert rows[2].behind.delta.high < 0
    assert rows[2].behind.p_worse < 0.01


def test_photos_that_are_instruction_data_or_their_near_duplicates_do_not_judge(asked: Study) -> None:
    from vibe_assets.records.tags import TAGGED_PHOTOS

    photos = asked.platform.lake.read(TAGGED_PHOTOS).sort("image_id")
    learnt = photos.head(2).select("image_id", "group_id", "split", reason=pl.lit(None, pl.String))
    rows = pl.DataFrame(learnt.to_dicts(), schema=INSTRUCTION_DATASET.polars_schema())
    asked.platform.lake.replace(INSTRUCTION_DATASET, rows)
    board = judge(asked.platform)
    asked.platform.lake.replace(INSTRUCTION_DATASET, rows.clear())
    assert (board.photos, board.held_out) == (12, 2)
    assert not set(rows["image_id"]) & {image for row in board.rows for image in row.scores.images}


def test_the_front_holds_what_no_other_model_beats_in_both(written: Written) -> None:
    rows = written.board.rows
    front = pareto(rows)
    assert rows[0] in front
    assert all(a.latency_p50_s < b.latency_p50_s for a, b in pairwise(front))


def test_nothing_to_rank_says_what_to_do(study: Study) -> None:
    with pytest.raises(VlmError, match="tags benchmark"):
        build_board(study.platform)
