"""The page about the real library shows what was measured, and the measurement says how."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("real_library", ROOT / "benchmarks" / "real_library.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["real_library"] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_the_figures_of_the_last_measurement(benchmark: ModuleType) -> None:
    result = json.loads(benchmark.RESULT.read_text(encoding="utf-8"))
    page = benchmark.PAGE.read_text(encoding="utf-8")
    assert benchmark.with_figures(page, result) == page


def test_every_figure_has_an_interval_and_its_number_of_photos(benchmark: ModuleType) -> None:
    rows = json.loads(benchmark.RESULT.read_text(encoding="utf-8"))["rows"]
    assert {"the platform's split", "five folds of groups", "source held out"} <= {row["variant"] for row in rows}
    for row in rows:
        assert 0 <= row["min"] <= row["value"] <= row["max"] <= 1, row
        assert 0 < row["clusters"] <= row["n"], row


def test_a_small_library_of_three_sources_is_measured(benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "RESAMPLES", 20)
    rng, lines = np.random.default_rng(0), []
    for source in ("one", "two", "three"):
        (tmp_path / "library" / source).mkdir(parents=True)
        for at in range(20):
            scene, red = ("scene.food", 200) if at % 2 else ("scene.landscape", 40)
            pixels = rng.integers(0, 60, (48, 64, 3), dtype=np.uint8) + np.array([red, 20, 60], np.uint8)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "library" / source / f"{at}.png")
            attributes = json.dumps({"attr.has_person": bool(at % 2)})
            lines.append({"path": f"library/{source}/{at}.png", "scene": scene, "objects": "", "attributes": attributes, "source": source})
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    library = benchmark.read_library(tmp_path, tmp_path)
    folds = list(benchmark.sources_held_out(library))
    said = benchmark.answers(library, folds, "source held out")
    (forced, *_) = benchmark.figures(library, said, "source held out")
    assert (forced["n"], forced["value"]) == (60, 1.0)
