"""The pipeline's memory does not depend on how many photos there are, except for the matrix of their vectors."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.encoders.models import picture

FEW, MANY = 3_000, 12_000
RUN = """
import json, os, sys
from pathlib import Path
import numpy as np
from tests.encoders.models import reference
from vibe_assets.encoders.handcrafted import HandcraftedEncoder
from vibe_assets.encoders.engine import PhotoEncoder, embed_photos
from vibe_assets.settings import EncoderSettings

class Cheap(HandcraftedEncoder):  # as wide as a SigLIP, as fast as possible
    def __init__(self):
        self.dim, self.draft_px, self.fingerprint = 768, None, "0" * 16

    def preprocess(self, image):
        return np.asarray(image.resize((16, 16)), np.uint8)

    def encode(self, batch):
        rows = np.stack(batch).reshape(len(batch), 768).astype(np.float32) + 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def watched(chunks):
    for outcomes in PhotoEncoder(settings, encoder=encoder).stream(chunks):
        sizes.append(resident())
        yield outcomes

photos = [reference(path) for path in sorted(Path(sys.argv[1]).iterdir())[: int(sys.argv[2])]]
settings, sizes = EncoderSettings(batch_size=32), []
encoder = Cheap()
embed_photos(photos[:64], encoder, settings=settings, cache_dir=Path(sys.argv[3], "warm"), progress=False)
before = resident()
rows = embed_photos(photos, encoder, settings=settings, cache_dir=Path(sys.argv[3]), progress=False, compute=watched)
peak = int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")).split()[1]) * 1024
matrix = len(photos) * encoder.dim * 4
print(json.dumps({"rows": rows["reason"].null_count(), "during": max(sizes) - before, "peak": peak - before, "matrix": matrix}))
"""


@pytest.mark.scale
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_four_times_the_photos_take_no_more_memory_than_their_vectors(tmp_path: Path) -> None:
    folder, file = tmp_path / "photos", io.BytesIO()
    folder.mkdir()
    picture(1, (48, 36)).save(file, "JPEG")
    for at in range(MANY):  # other bytes after the picture: another photo
        (folder / f"{at:05}.jpg").write_bytes(file.getvalue() + at.to_bytes(4))
    few, many = (measured(folder, count, tmp_path / str(count)) for count in (FEW, MANY))
    assert (few["rows"], many["rows"]) == (FEW, MANY)
    matrix = many["matrix"] - few["matrix"]
    spare = 24_000_000  # shards being written, the allocator's slack
    assert many["during"] - few["during"] < matrix + spare
    assert many["peak"] - few["peak"] < 2 * matrix + spare, "one more copy at most while rows are made"


def measured(folder: Path, count: int, cache: Path) -> dict[str, int]:
    command = [sys.executable, "-c", RUN, str(folder), str(count), str(cache)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    return json.loads(done.stdout)
