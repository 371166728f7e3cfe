"""docs/reliability.md goes in; its rows come out, with the tests that each names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
_ROW = re.compile(r"^\| `([a-z0-9-]+)` \|(.*)\|$")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    fault: str
    promise: str
    tests: tuple[str, ...]  # node ids
    without: str  # what the mutation takes away
    shown: str  # what the tests did then


def rows(page: Path = PAGE) -> list[Row]:
    """Rows in the order of the page. Raises ValueError for one without five cells after its name."""
    found = []
    for line in page.read_text(encoding="utf-8").splitlines():
        if match := _ROW.match(line):
            cells = [cell.strip() for cell in match[2].split(" | ")]
            if len(cells) != 5:
                raise ValueError(f"{page}: row {match[1]} has {len(cells)} cells after its name instead of 5")
            fault, promise, tests, without, shown = cells
            found.append(Row(match[1], fault, promise, tuple(re.findall(r"`(tests/[^`]+)`", tests)), without, shown))
    return found
