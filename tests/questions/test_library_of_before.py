"""A library written before labels were data: read, brought up and given a further question, without a request too many.

`tests/fixtures/library_before.zip` was written by the version before: six drawn photos in two folders, all tables but those of heads, the
journal, a sample and what a person said of it, and beside them `expected.json`, the labels that the version before read from its tables.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.questions import with_style
from vibe_assets.records import AUDITED_GROUND_TRUTH, AUTO_GROUND_TRUTH, PREDICTIONS, TABLES
from vibe_assets.settings import Settings
from vibe_assets.stages.embeddings import embed_folder
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.runtime import predict_folder
from vibe_assets.stages.status import library_status
from vibe_assets.stages.teacher import annotate_folder, unanswered_folders
from vibe_assets.stages.truth import convert_library, draw_audit_sample, settle_audit
from vibe_assets.stages.warehouse import rebuild_warehouse
from vibe_assets.teacher.replay import ReplayTeacher, running_replay

BEFORE = Path(__file__).parent.parent / "fixtures" / "library_before.zip"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QWEN_BASE_URL", "QWEN_MODEL", "VIBE_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    with zipfile.ZipFile(BEFORE) as packed:
        packed.extractall(tmp_path)
    return tmp_path


def opened(home: Path, url: str = "", taxonomy: Path | None = None) -> Platform:
    sections: dict[str, Any] = {
        "library": {"root": home / "photos", "home": home / "data"}, "teacher": {"base_url": url, "timeout_s": 5.0, "retries": 0},
        "audit": {"sample_size": 4}, "labels": {"taxonomy": taxonomy} if taxonomy else {},
    }  # fmt: skip
    return Platform(Settings.model_validate(sections), progress=False)


class Style:
    """Answers the further question, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, image: bytes, request: Mapping[str, Any]) -> Any:
        self.asked.append(list(request["response_format"]["json_schema"]["schema"]["properties"]))
        return {"style": "drone"}


def labels(platform: Platform) -> dict[str, Any]:
    """The labels of the tables, as `expected.json` has them."""
    expected = _expected(platform)
    tables = {table.name: table for table in (AUTO_GROUND_TRUTH, AUDITED_GROUND_TRUTH, PREDICTIONS)}
    return {name: platform.lake.read(tables[name]).sort("image_id").select(list(rows[0])).to_dicts() for name, rows in expected.items()}


def _expected(platform: Platform) -> Any:
    return json.loads((Path(str(platform.settings.home)).parent / "expected.json").read_text())


def brought_up(platform: Platform) -> None:
    for key in platform.lake.live_folders():
        annotate_folder(platform, key)
    convert_library(platform)
    settle_audit(platform)
    for key in platform.lake.live_folders():
        embed_folder(platform, key)
        predict_folder(platform, key)
    draw_audit_sample(platform)
    rebuild_warehouse(platform)


def test_its_tables_are_read_as_they_lie(home: Path) -> None:
    platform = opened(home)
    assert labels(platform) == _expected(platform)
    for table in TABLES.values():
        rows = platform.lake.read(table)
        assert rows.columns == list(platform.lake.of(table).columns), table.name
    status = library_status(platform)
    assert (status.photos, status.answered, status.checked) == (6, 6, 4)
    assert unanswered_folders(platform) == {}
    rebuild_warehouse(platform)


def test_it_is_brought_up_without_asking_and_its_labels_stay(home: Path) -> None:
    style = Style()
    with running_replay(ReplayTeacher(style)) as url:
        platform = opened(home, url)
        brought_up(platform)
    assert style.asked == []
    assert labels(platform) == _expected(platform)
    assert unanswered_folders(platform) == {}


def test_a_further_question_is_asked_alone_and_the_rest_stays(home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    style, taxonomy = Style(), with_style(tmp_path_factory.mktemp("labels"))
    platform = opened(home, taxonomy=taxonomy)
    assert labels(platform) == _expected(platform), "before anything is asked"
    assert sum(unanswered_folders(platform).values()) == 6
    with running_replay(ReplayTeacher(style)) as url:
        platform = opened(home, url, taxonomy)
        brought_up(platform)
    assert style.asked == [["style"]] * 6
    assert labels(platform) == _expected(platform)
    assert platform.lake.read(AUTO_GROUND_TRUTH)["style"].to_list() == ["style.drone"] * 6
    assert platform.lake.read(PREDICTIONS)["style"].to_list() == ["style.drone"] * 6, "as the teacher says while there is no head"


def test_a_label_that_is_taken_out_of_the_packaged_file_asks_nobody(home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    from vibe_assets.questions import packaged

    file = tmp_path_factory.mktemp("labels") / "labels.yaml"
    text = packaged()
    at = text.index("      product:\n")
    file.write_text(text[:at].replace("example: product", "example: food") + text[text.index("      document:\n", at) :], encoding="utf-8")
    style = Style()
    with running_replay(ReplayTeacher(style)) as url:
        platform = opened(home, url, file)
        assert "scene.product" not in platform.questions.labels
        brought_up(platform)
    assert style.asked == []
