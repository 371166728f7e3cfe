"""A file of human comparisons (CSV or JSON lines, PhotoTriage's columns) goes in; settled comparisons, rejects with a reason, come out.

Chang et al., Automatic Triage for a Photo Series (SIGGRAPH 2016), asked people which of two photos of a series they would keep.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vibe_assets.errors import UserError
from vibe_assets.settings import TriageSettings
from vibe_assets.strangers import json_value

FILE_NAME = re.compile(r"(\d{1,18})-(\d{1,18})\.([A-Za-z]+)")
MAX_VOTES = 1_000_000
COLUMNS = {  # our name -> names in files
    "series": ("series_id", "series"),
    "file_a": ("compareFile1", "file_a", "image_a"),
    "file_b": ("compareFile2", "file_b", "image_b"),
    "votes_a": ("LEFT", "votes_a"),
    "votes_b": ("RIGHT", "votes_b"),
}


class PairFileError(UserError, ValueError):
    """A file of comparisons cannot be read; the message names file, line and remedy."""


@dataclass(frozen=True)
class Comparison:
    """One row of the file. `reason` is null where it counts."""

    series: str
    file_a: str  # normalised
    file_b: str
    votes_a: int
    votes_b: int
    reason: str | None = None
    detail: str | None = None

    @property
    def reviewers(self) -> int:
        return self.votes_a + self.votes_b

    @property
    def agreement(self) -> float:
        """Share of the votes for the side with more; 0.5 is a tie, which neither side wins."""
        return max(self.votes_a, self.votes_b) / self.reviewers if self.reviewers else 0.5


def normalised(name: str) -> str:
    """PhotoTriage's photos are stored under other names than its votes use: `1-1.JPG` -> `000001-01.JPG`. Other names stay."""
    found = FILE_NAME.fullmatch(name.strip())
    return f"{int(found[1]):06d}-{int(found[2]):02d}.{found[3].upper()}" if found else name.strip()


def read_pairs(path: Path, *, settings: TriageSettings) -> list[Comparison]:
    """Every comparison of the file, in order; those that do not count carry low_agreement, few_reviewers, same_photo or twice.

    Raises PairFileError for a file without the columns, or with a line that is none of its kind.
    """
    seen: set[tuple[str, str, str]] = set()
    found = []
    for line, row in _rows(path):
        comparison = judged(_comparison(row, path, line), settings)
        key = (comparison.series, comparison.file_a, comparison.file_b)
        if key in seen:
            comparison = _with(comparison, "twice", f"line {line} repeats these two photos in this order")
        seen.add(key)
        found.append(comparison)
    if not found:
        raise PairFileError(
            f"{path}: no comparison in it; give a CSV or JSON lines with {', '.join(names[0] for names in COLUMNS.values())}"
        )
    return found


def judged(comparison: Comparison, settings: TriageSettings) -> Comparison:
    """The comparison with the reason why it does not count, if one applies."""
    if comparison.file_a == comparison.file_b:
        return _with(comparison, "same_photo", "a photo compared with itself")
    if comparison.reviewers < settings.min_reviewers:
        return _with(comparison, "few_reviewers", f"{comparison.reviewers} of at least {settings.min_reviewers}")
    if comparison.agreement < settings.min_agreement:
        return _with(comparison, "low_agreement", f"{comparison.agreement:.2f}, at least {settings.min_agreement:g} wanted")
    return comparison


def series_of(comparisons: Iterable[Comparison]) -> dict[str, tuple[str, ...]]:
    """series -> files in the order of their names, from the comparisons that count."""
    members: dict[str, set[str]] = {}
    for one in comparisons:
        if one.reason is None:
            members.setdefault(one.series, set()).update((one.file_a, one.file_b))
    return {series: tuple(sorted(files)) for series, files in members.items()}


def to_lines(comparisons: Iterable[Comparison]) -> str:
    """JSON lines that read_pairs reads back (the reasons are found anew, under the settings of then)."""
    return "".join(json.dumps({name: getattr(one, name) for name in COLUMNS}, ensure_ascii=False) + "\n" for one in comparisons)


def _with(comparison: Comparison, reason: str, detail: str) -> Comparison:
    return replace(comparison, reason=reason, detail=detail)


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(line, row) of a CSV with a header, or of JSON lines."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise PairFileError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from error
    if text.lstrip().startswith("{"):
        for line, content in enumerate(text.splitlines(), 1):
            if content.strip():
                try:
                    row = json_value(content)
                except ValueError as error:
                    raise PairFileError(f"{path}, line {line}: not JSON ({error}); one object a line is expected") from error
                yield line, row if isinstance(row, dict) else {}
        return
    reader = csv.DictReader(text.splitlines())
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise PairFileError(f"{path}, line {reader.line_num + 1}: not CSV ({error})") from error


def _comparison(row: Mapping[str, Any], path: Path, line: int) -> Comparison:
    values: dict[str, Any] = {}
    for name, candidates in COLUMNS.items():
        found = next((row[candidate] for candidate in candidates if row.get(candidate) not in (None, "")), None)
        if found is None:
            raise PairFileError(
                f"{path}, line {line}: no {' or '.join(candidates)}; a comparison names its series, two files and their votes"
            )
        values[name] = found
    try:
        votes = int(values["votes_a"]), int(values["votes_b"])
    except (ValueError, TypeError, OverflowError) as error:
        raise PairFileError(
            f"{path}, line {line}: votes must be whole numbers, got {values['votes_a']!r} and {values['votes_b']!r}"
        ) from error
    if min(votes) < 0:
        raise PairFileError(f"{path}, line {line}: votes cannot be negative, got {votes[0]} and {votes[1]}")
    if max(votes) > MAX_VOTES:
        raise PairFileError(f"{path}, line {line}: at most {MAX_VOTES} votes count for one photo")
    return Comparison(str(values["series"]), normalised(str(values["file_a"])), normalised(str(values["file_b"])), *votes)
