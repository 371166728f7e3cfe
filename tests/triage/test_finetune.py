"""The last block of a tiny transformers encoder learns along, the rest stays, and the result loads like any other encoder."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from PIL import ImageEnhance

from tests.encoders.models import picture, save_siglip
from tests.stages.rows import table_rows
from vibe_assets.encoders.base import load_encoder
from vibe_assets.heads.series_data import Preference, series_set
from vibe_assets.records import PhotoRef
from vibe_assets.records.series import PHOTO_SERIES, SERIES_PREFERENCES
from vibe_assets.settings import EncoderSettings, LibrarySettings, Settings, TriageSettings
from vibe_assets.stages.platform import Platform
from vibe_assets.triage.finetune import last_blocks, trained_on, tune


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_siglip(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """Twelve series of a bright and a dark take; people prefer the bright one."""
    folder = tmp_path_factory.mktemp("photos")
    photos, members, preferences = {}, {}, {}
    for number in range(12):
        names = []
        for brightness in (1.0, 0.4):
            path = folder / f"{number}-{brightness}.png"
            ImageEnhance.Brightness(picture(number, (64, 48))).enhance(brightness).save(path)
            image_id = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
            photos[image_id] = PhotoRef(image_id, str(path).encode(), path.name)
            names.append(image_id)
        members[f"s{number}"] = names
        preferences[f"s{number}"] = [Preference(names[0], names[1], 1, 0)]
    splits = {name: "val" if at % 4 == 3 else "train" for at, name in enumerate(members)}
    features = {photo: np.zeros(1, np.float32) for photo in photos}
    return series_set(members, features, preferences, splits=splits, blocks={name: name for name in members}), photos


def test_only_the_last_block_moves_and_the_result_is_an_encoder_of_its_own(base, series, tmp_path):
    data, photos = series
    settings = TriageSettings(fine_tune_blocks=1, fine_tune_rate=1e-3, fine_tune_epochs=2)
    encoder = EncoderSettings(name=f"siglip:{base}", precision="fp32")
    told = tune(data, photos, encoder, settings, tmp_path / "tuned", limits=LibrarySettings())
    assert told["blocks"] == ["vision_model.encoder.layers.1"]
    assert 0 < told["tuned"] < told["frozen"]
    before, after = load_encoder(encoder), load_encoder(EncoderSettings(name=f"hf:{tmp_path / 'tuned'}", precision="fp32"))
    assert before.fingerprint != after.fingerprint
    from transformers import AutoModel

    old, new = (AutoModel.from_pretrained(folder).state_dict() for folder in (base, tmp_path / "tuned"))
    moved = {name for name in old if not torch.equal(old[name], new[name])}
    assert moved
    assert all(name.startswith("vision_model.encoder.layers.1.") for name in moved)


def test_series_that_changed_sides_or_photos_are_another_training(tmp_path):
    platform = Platform(Settings.model_validate({"library": {"root": tmp_path, "home": tmp_path / "data"}}), progress=False)
    compared = [{"series_id": f"s{at}", "image_a": f"{at}a", "image_b": f"{at}b", "votes_a": 1, "votes_b": 0} for at in range(3)]
    platform.lake.replace(SERIES_PREFERENCES, table_rows(SERIES_PREFERENCES, compared))
    takes = [
        {"series_id": f"s{at}", "image_id": f"{at}{take}", "position": place, "split": "train"}
        for at in range(4)
        for place, take in enumerate("ab")
    ]

    def version(rows):
        platform.lake.replace(PHOTO_SERIES, table_rows(PHOTO_SERIES, rows))
        return trained_on(platform)

    before = version(takes)
    assert version(takes[::-1]) == before, "the order of rows says nothing"
    assert version(takes[:-2]) == before, "nobody compared the fourth"
    assert version([{**take, "split": "test"} if take["series_id"] == "s1" else take for take in takes]) != before
    assert version(takes[1:]) != before


def test_an_encoder_without_blocks_says_so():
    with pytest.raises(RuntimeError, match="no blocks"):
        last_blocks(torch.nn.Linear(2, 2), 1)
