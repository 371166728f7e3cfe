"""The study's gates close for the faults they are there for."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from tests.vlm.conftest import Study, true_tags
from tests.vlm.unsplash import picture
from vibe_assets.records.tags import INSTRUCTION_DATASET, TAG_PREDICTIONS, TAGGED_PHOTOS
from vibe_assets.vlm import gates
from vibe_assets.vlm.diagnostics import diagnose, write_diagnosis
from vibe_assets.vlm.failures import VlmError
from vibe_assets.vlm.ingest import Order, ingest
from vibe_assets.vlm.instructions import build_dataset


def mixed(study: Study) -> None:
    """Ten photos: two broken, two with few tags, one a copy, one a near-duplicate."""
    from PIL import Image

    folder = study.folder / "mixed"
    folder.mkdir()
    lines = []
    for at in range(10):
        (folder / f"{at}.jpg").write_bytes(picture(at))
        tags = true_tags(at) if at > 1 else ["sky"]
        lines.append({"file_name": f"{at}.jpg", "tags": tags})
    (folder / "3.jpg").unlink()
    (folder / "4.jpg").write_bytes(b"no picture at all")
    (folder / "5.jpg").write_bytes(picture(6))
    Image.open(folder / "8.jpg").save(folder / "7.jpg", quality=50)
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    ingest(study.platform, "mixed", Order(file=folder))


def test_a_batch_s_faults_are_counted_and_shown(study: Study) -> None:
    mixed(study)
    found = diagnose(study.platform, "mixed")
    assert (found.photos, found.accepted) == (10, 7)
    assert found.tiers == {"10 or more": 0, "5 to 9": 5, "1 to 4": 2, "none": 0}
    assert found.duplicate_share == pytest.approx(0.2)
    assert {(Path(name).name, reason) for name, reason, _ in found.broken} == {("3.jpg", "unreachable"), ("4.jpg", "unsupported_format")}
    assert found.top[0][1] == max(count for _, count in found.top)
    assert 0 < found.diversity < 1
    assert 0 < found.evenness <= 1
    page = write_diagnosis(study.platform, found).read_text()
    assert "unsupported_format" in page
    assert "<script" not in page
    assert not gates.photos_reachable(study.platform, "mixed").passed
    assert not gates.few_duplicates(study.platform, "mixed").passed
    assert gates.enough_tags(study.platform, "mixed").passed


def test_a_sound_batch_passes(study: Study) -> None:
    study.batch("b1", range(6))
    for gate in (gates.photos_reachable, gates.few_duplicates, gates.enough_tags, gates.tags_diverse):
        assert gate(study.platform, "b1").passed, gate.__name__
        assert gate(study.platform, "nothing-new").passed, gate.__name__
    with pytest.raises(VlmError, match="holds no photo"):
        diagnose(study.platform, "nothing-new")


def test_a_cell_without_a_row_for_every_photo_is_not_sound(study: Study) -> None:
    study.batch("b1", range(3))
    photos = study.platform.lake.read(TAGGED_PHOTOS)
    rows = photos.select("batch", "image_id", "tags", cell=pl.lit("b1--m"), model=pl.lit("m")).head(2)
    rows = pl.DataFrame(rows.to_dicts(), schema=TAG_PREDICTIONS.polars_schema())
    study.platform.lake.replace(TAG_PREDICTIONS, rows, folder_key="b1--m")
    gate = gates.answers_sound(study.platform, "b1", "m")
    assert not gate.passed
    assert gate.facts["photos without a row"] == 1


def test_instruction_data_that_leaks_or_lies_is_caught(study: Study) -> None:
    study.batch("b1", range(24))
    made = build_dataset(study.platform)
    assert gates.records_valid(study.platform).passed
    assert gates.no_benchmark_photo(study.platform).passed
    tested = study.platform.lake.read(TAGGED_PHOTOS).filter(split="test")
    assert tested.height
    leaked = made.accepted.with_columns(
        group_id=pl.when(pl.int_range(pl.len()) == 0).then(pl.lit(tested["group_id"][0])).otherwise(pl.col("group_id"))
    )
    study.platform.lake.replace(INSTRUCTION_DATASET, leaked)
    assert not gates.no_benchmark_photo(study.platform).passed
    lying = made.accepted.with_columns(ground_truth_tags=pl.concat_list(pl.col("ground_truth_tags"), pl.lit("invented")))
    study.platform.lake.replace(INSTRUCTION_DATASET, lying)
    gate = gates.records_valid(study.platform)
    assert gate.facts["answer differs"] == made.accepted.height
    assert not gate.passed


def test_an_adapter_is_promoted_only_when_it_beats_its_base() -> None:
    import numpy as np

    from vibe_assets.evaluate.intervals import paired_randomisation
    from vibe_assets.records import Estimate
    from vibe_assets.vlm.adapters import verdict
    from vibe_assets.vlm.score import Difference

    better = Difference("base", Estimate(0.2, 0.1, 0.3, 40, 0.0), 1.0)
    assert "it beats its base" in verdict(better, 0.001)
    assert "stays on trial" in verdict(better, 0.2)
    assert "no better" in verdict(Difference("base", Estimate(-0.1, -0.2, 0.0, 40, 0.0), 0.1), 0.9)
    assert paired_randomisation(np.full(4, -1.0)) > 0.05  # four photos can never promote, however clear they are


def test_without_an_adapter_the_gate_says_how_to_train_one(study: Study) -> None:
    gate = gates.beats_base(study.platform)
    assert not gate.passed
    assert "vlm finetune" in gate.remedy
