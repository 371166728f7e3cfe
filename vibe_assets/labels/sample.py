"""Automatic truth and photo groups become the audit sample: which photos people check, each with its exact chance of being drawn.

The unit is the group (near-duplicates and bursts count once); one photo stands for it. Strata cross the strategy with the test
split, and every stratum gives at least one group, so that estimates weighted by 1 / inclusion_probability (Horvitz and Thompson,
1952) are unbiased whatever the strategy. Groups are ranked by a hash of seed and id (permanent random numbers; Ohlsson, 1995):
new photos change as little of the sample as they can.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_assets.labels.files import labels_to_json
from vibe_assets.lake import write_text
from vibe_assets.records import AUDIT_SAMPLE, Labels

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.settings import AuditSettings

DISAGREEMENT_RATE = 4.0  # groups where teacher and student differ are drawn this many times as often as the others
SCENE_POWER = 0.5  # a scene's share of the sample grows with the root of its size (Bankier 1988): rare scenes get enough photos
# Bands of the students' confidence, each with its rate: the standard deviation of right-or-wrong at the band's middle, and the greatest
# there is below one half. Places by size times deviation are the allocation of least variance (Neyman 1934) for a calibrated student;
# the surest band keeps a quarter of the greatest rate, for students are not always calibrated.
BANDS = (("below_50", 0.5, 0.5), ("50_to_70", 0.7, 0.49), ("70_to_90", 0.9, 0.40), ("90_to_97", 0.97, 0.25), ("above_97", 1.01, 0.12))
RATES = {name: rate for name, _, rate in BANDS}
UNJUDGED = "unjudged"  # no student said anything of the group
MIXED = "mixed"  # small strata merged, because the sample has fewer places than there are strata


@dataclass(frozen=True)
class _Group:
    """One unit of the population. `side` is test or rest, `kind` what the strategy stratifies by."""

    group_id: str
    members: tuple[str, ...]
    side: str
    kind: str


def draw_sample(
    truth_rows: pl.DataFrame,
    groups_rows: pl.DataFrame,
    *,
    paths: pl.DataFrame,
    settings: AuditSettings,
    predictions: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """AUTO_GROUND_TRUTH and PHOTO_GROUPS rows -> AUDIT_SAMPLE rows, sorted by image_id.

    `paths` has image_id and rel_path; the population is the photos with truth and a path. `predictions` (image_id, and the scene
    for disagreement or scene_confidence for uncertainty) are the students'; before there are any, all groups count as not yet
    judged. A photo without a group is a group of its own, outside the test split. Same seed and same photos give the same sample,
    whatever the rows' order.
    """
    import polars as pl

    path_of = dict(paths.select("image_id", "rel_path").sort("image_id", "rel_path", descending=True).iter_rows())
    truth = {row["image_id"]: row for row in truth_rows.iter_rows(named=True) if row["image_id"] in path_of}
    student = {} if predictions is None else _student(predictions, settings.strategy)
    drawn = []
    for stratum, groups, places in _strata(_population(truth, groups_rows, settings.strategy, student), settings):
        for group in sorted(groups, key=lambda group: _rank(settings.seed, "group", group.group_id))[:places]:
            image_id = min(group.members, key=lambda member: _rank(settings.seed, "photo", member))
            drawn.append({
                **Labels.from_row(truth[image_id]).row(), "rel_path": path_of[image_id], "group_id": group.group_id, "stratum": stratum,
                "inclusion_probability": places / len(groups) / len(group.members),
            })  # fmt: skip
    return pl.DataFrame(drawn, schema=AUDIT_SAMPLE.polars_schema()).sort("image_id")


def _student(predictions: pl.DataFrame, strategy: str) -> dict[str, Any]:
    """What the strategy asks of the student, by image_id: the scene, or how sure it is of it (0..1)."""
    column = "scene_confidence" if strategy == "uncertainty" else "scene"
    return dict(predictions.select("image_id", column).sort("image_id", column).iter_rows())


def write_sample(rows: pl.DataFrame, path: Path) -> Path:
    """AUDIT_SAMPLE rows -> pretty JSON list, labels filled in from the teacher, for people to correct in place; unknown is null."""
    photos = []
    for row in rows.iter_rows(named=True):
        labels = labels_to_json(Labels.from_row(row), with_unknown=True)
        photos.append({
            "image_id": labels.pop("image_id"), "rel_path": row["rel_path"], **labels,
            "inclusion_probability": row["inclusion_probability"], "stratum": row["stratum"],
        })  # fmt: skip
    return write_text(path, json.dumps(photos, ensure_ascii=False, indent=2) + "\n")


def _population(
    truth: Mapping[str, Mapping[str, Any]], groups_rows: pl.DataFrame, strategy: str, student: Mapping[str, Any]
) -> list[_Group]:
    """The groups, sorted by id. One with a member in the test split counts as test: it may not be drawn a second time as rest."""
    placed = {image_id: (group_id, split) for image_id, group_id, split in groups_rows.select("image_id", "group_id", "split").iter_rows()}
    members: dict[str, list[str]] = defaultdict(list)
    sides: dict[str, str] = {}
    for image_id in sorted(truth):
        group_id, split = placed.get(image_id, (image_id, None))
        members[group_id].append(image_id)
        sides[group_id] = "test" if split == "test" or sides.get(group_id) == "test" else "rest"
    return [
        _Group(group_id, tuple(ids), sides[group_id], _kind(strategy, [truth[i]["scene"] for i in ids], [student.get(i) for i in ids]))
        for group_id, ids in sorted(members.items())
    ]


def _kind(strategy: str, teacher: Sequence[str | None], student: Sequence[Any]) -> str:
    """What the strategy stratifies by. It belongs to the group, not to the photo that will stand for it."""
    if strategy == "random":
        return "all"
    if strategy == "stratified":
        scenes = Counter(scene or "unknown" for scene in teacher)
        return min(scenes, key=lambda scene: (-scenes[scene], scene))
    if strategy == "uncertainty":
        return _band([sure for sure in student if sure is not None])
    pairs = [(a, b) for a, b in zip(teacher, student, strict=True) if a is not None and b is not None]
    if not pairs:
        return UNJUDGED
    return "differ" if any(a != b for a, b in pairs) else "agree"


def _band(confidences: Sequence[float]) -> str:
    """A group is as doubtful as its most doubtful photo."""
    known = [sure for sure in confidences if sure == sure]
    return next(name for name, below, _ in BANDS if min(known) < below) if known else UNJUDGED


def _strata(population: Sequence[_Group], settings: AuditSettings) -> list[tuple[str, list[_Group], int]]:
    """Name, groups and number to draw of every stratum; together at most sample_size groups, all where there are no more."""
    total = min(settings.sample_size, len(population))
    sides = {side: [group for group in population if group.side == side] for side in ("test", "rest")}
    sides = {side: groups for side, groups in sides.items() if groups}
    if total < len(sides):
        sides = {MIXED: list(population)}
    places = _side_places({side: len(groups) for side, groups in sides.items()}, total, settings.test_share)
    strata = []
    for side, groups in sides.items():
        by_kind = _merged(groups, places[side])
        shares = _allocate(places[side], {kind: len(found) for kind, found in by_kind.items()}, settings.strategy)
        strata += [(f"{side}/{kind}", found, shares[kind]) for kind, found in by_kind.items()]
    return strata


def _side_places(sizes: Mapping[str, int], total: int, test_share: float) -> dict[str, int]:
    """Places of each side: the test share as far as both sides hold enough, and at least one for each."""
    if set(sizes) != {"test", "rest"}:
        return dict.fromkeys(sizes, total)
    wanted = min(max(round(total * test_share), 1), total - 1)
    test = max(min(wanted, sizes["test"]), total - sizes["rest"])
    return {"test": test, "rest": total - test}


def _merged(groups: Sequence[_Group], places: int) -> dict[str, list[_Group]]:
    """Groups by kind; the smallest kinds merged where there are more kinds than places, for none may have a chance of zero."""
    by_kind: dict[str, list[_Group]] = defaultdict(list)
    for group in groups:
        by_kind[group.kind].append(group)
    ranked = sorted(by_kind, key=lambda kind: (-len(by_kind[kind]), kind))
    if len(ranked) <= places:
        return {kind: by_kind[kind] for kind in sorted(ranked)}
    kept = ranked[: max(places - 1, 0)]
    rest = [group for kind in ranked[len(kept) :] for group in by_kind[kind]]
    return {**{kind: by_kind[kind] for kind in sorted(kept)}, **({MIXED: rest} if places else {})}


def _allocate(places: int, sizes: Mapping[str, int], strategy: str) -> dict[str, int]:
    """At least one place each, at most its size, the rest by weight (Webster's divisors, so that one place more takes none away)."""
    weights = {kind: _weight(kind, size, strategy) for kind, size in sizes.items()}
    shares = dict.fromkeys(sizes, 1)
    heap = [(-weights[kind] / 3, kind) for kind in sizes if sizes[kind] > 1]
    heapq.heapify(heap)
    for _ in range(places - len(shares)):
        _, kind = heapq.heappop(heap)
        shares[kind] += 1
        if shares[kind] < sizes[kind]:
            heapq.heappush(heap, (-weights[kind] / (2 * shares[kind] + 1), kind))
    return shares


def _weight(kind: str, size: int, strategy: str) -> float:
    if strategy == "stratified":
        return float(size**SCENE_POWER)
    if strategy == "uncertainty":
        return size * RATES.get(kind, max(RATES.values()))
    return size * (DISAGREEMENT_RATE if kind == "differ" else 1.0)


def _rank(seed: int, purpose: str, identity: str) -> bytes:
    return hashlib.sha256(f"{seed}/{purpose}/{identity}".encode()).digest()
