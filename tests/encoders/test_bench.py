"""`vibe bench embed`: figures that fit together, and errors for folders without photos."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.encoders.models import write_photos
from vibe_assets.encoders.base import EncoderError
from vibe_assets.encoders.bench import bench
from vibe_assets.settings import EncoderSettings


def test_rates_are_positive_and_the_ratio_is_theirs(siglip: Path, tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 6)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff junk")
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    result = bench(tmp_path / "photos", EncoderSettings(name=f"siglip:{siglip}", batch_size=4, device="cpu"), forward_s=0.1)
    assert (result.photos, result.failed) == (7, 1)
    assert min(result.decode_per_s, result.forward_per_s, result.end_to_end_per_s) > 0
    assert result.share_of_forward == pytest.approx(result.end_to_end_per_s / result.forward_per_s)
    assert "img/s" in str(result)
    assert 0.99 < result.cosine_min <= result.cosine_mean < 1.00001
    assert result.row()["photos"] == 7


def test_a_folder_without_photos_is_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="no photo to measure"):
        bench(tmp_path, EncoderSettings())
    with pytest.raises(EncoderError, match="no such folder"):
        bench(tmp_path / "absent", EncoderSettings())
