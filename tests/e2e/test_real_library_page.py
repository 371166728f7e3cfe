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


def test_the_page_shows_the_figures_of_the_last_measurements(benchmark: ModuleType) -> None:
    page = benchmark.PAGE.read_text(encoding="utf-8")
    for name, marks in (("real_library.json", benchmark.MARKS), ("vectors_real_library.json", benchmark.MORE)):
        assert benchmark.with_figures(page, json.loads((benchmark.RESULT.parent / name).read_text(encoding="utf-8")), marks) == page


@pytest.mark.parametrize("name", ["real_library.json", "vectors_real_library.json"])
def test_every_figure_has_an_interval_and_its_number_of_photos(benchmark: ModuleType, name: str) -> None:
    rows = json.loads((benchmark.RESULT.parent / name).read_text(encoding="utf-8"))["rows"]
    wanted = {"the platform's split", "five folds of groups", "source held out", "collection held out, clean"}
    assert wanted <= {row["variant"] for row in rows}
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
    monkeypatch.setattr(benchmark, "FOLDS", 2)
    page = measured(benchmark, monkeypatch, tmp_path, "--data", str(tmp_path))
    result = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    forced = next(row for row in result["rows"] if row["variant"] == "source held out")
    assert (forced["n"], forced["value"]) == (60, 1.0)
    assert result["command"].endswith("--encoder handcrafted")
    assert benchmark.with_figures(page, result) == page


def test_stored_vectors_are_measured(benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Collections are held out whole, and what the classes only suggest is not scored in the clean part."""
    monkeypatch.setattr(benchmark, "RESAMPLES", 20)
    monkeypatch.setattr(benchmark, "FOLDS", 2)
    rng, n = np.random.default_rng(0), 240
    scene = np.array(["scene.food", "scene.landscape", "scene.snapshot"])[np.arange(n) % 3]
    x = np.eye(8)[np.arange(n) % 3] + 0.1 * rng.normal(size=(n, 8))
    source = np.array(["one_a", "one_b", "two_a", "three"])[np.arange(n) // 3 % 4]
    np.savez(tmp_path / "made.npz", X=x, path=[f"{at}.jpg" for at in range(n)], scene=scene, source=source, group=[""] * n)
    page = measured(benchmark, monkeypatch, tmp_path, "--features", str(tmp_path / "made.npz"))
    result = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    photos = {row["variant"]: row["n"] for row in result["rows"] if row["figure"] == benchmark.SCENE[0]}
    assert (photos["source held out"], photos["collection held out, clean"]) == (240, 160)
    assert (result["work"]["encoder"], result["work"]["dimensions"]) == ("made.npz", 8)
    assert benchmark.with_figures(page, result, benchmark.MORE) == page


def measured(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, folder: Path, *options: str) -> str:
    """The page that one run of the script wrote; its result is out.json."""
    page = folder / "page.md"
    page.write_text(benchmark.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["real_library.py", *options, "--out", str(folder / "out.json"), "--page", str(page)])
    benchmark.main()
    return page.read_text(encoding="utf-8")
