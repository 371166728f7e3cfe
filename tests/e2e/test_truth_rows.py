"""What the figures claim holds on a few simulated libraries of every row, and the page shows the last full measurement."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARK = ROOT / "benchmarks" / "truth.py"
ROWS = sorted({file.stem for file in (ROOT / "benchmarks" / "truths").glob("*.py")} - {"__init__", "library", "result"})
pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("row", ROWS)
def test_the_claim_of_a_row_holds(row: str, tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, BENCHMARK, row, "--quick", "--out", tmp_path], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads((tmp_path / "truth.json").read_text(encoding="utf-8"))[row]
    assert found["results"]
    assert all(result["holds"] for result in found["results"])


def test_the_page_shows_every_row_of_the_last_measurement() -> None:
    page = (ROOT / "docs" / "truth.md").read_text(encoding="utf-8")
    found = json.loads((ROOT / "benchmarks" / "results" / "truth.json").read_text(encoding="utf-8"))
    assert sorted(found) == ROWS
    for name, row in found.items():
        assert f"| [{name}](#{name}) | {row['claim']} | {len(row['results'])} |" in page
        for result in row["results"]:
            assert f"| {result['setting']} |" in page
            assert result["holds"], f"{name}: {result['setting']}"
