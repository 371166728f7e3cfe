"""The page about the real library shows what was measured, and the measurement says how."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

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
