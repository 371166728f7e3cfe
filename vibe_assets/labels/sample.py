"""Automatic truth and photo groups become the audit sample: which photos people check, each with its exact chance of being drawn.

The unit is the group (near-duplicates and bursts count once), drawn with a chance proportional to its photos; one photo stands for it.
Strata cross the strategy with the test split, and every stratum gives at least one group, so that estimates weighted by
1 / inclusion_probability (Horvitz and Thompson, 1952) are unbiased whatever the strategy. Groups are ranked by Pareto sampling (Rosen,
1997) over a hash of seed and id (permanent random numbers; Ohlsson, 1995): new photos change as little of the sample as they can.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vibe_assets.labels.files import labels_to_json
from vibe_assets.lake import write_text
from vibe_assets.records import AUDIT_DRAWS, AUDIT_SAMPLE, Labels, Table

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from vibe_assets.questions import Questions
    from vibe_assets.settings import AuditSettings

    Floats = NDArray[np.float64]

DISAGREEMENT_RATE = 4.0  # groups where teacher and student differ are drawn this many times as often as the others
SCENE_POWER = 0.5  # a scene's share of the sample grows with the root of its size (Bankier 1988): rare scenes get enough photos
# Bands of the students' confidence, each with its rate: the standard deviation of right-or-wrong at the band's middle, and the greatest
# there is below one half. Places by size times deviation are the allocation of least variance (Neyman 1934) for a calibrated student;
# the surest band keeps a quarter of the greatest rate, for students are not always calibrated.
BANDS = (("below_50", 0.5, 0.5), ("50_to_70", 0.7, 0.49), ("70_to_90", 0.9, 0.40), ("90_to_97", 0.97, 0.25), ("above_97", 1.01, 0.12))
RATES = {name: rate for name, _, rate in BANDS}
PRIOR_CHECKS = 30.0  # by `doubt`, a band's share of wrong answers begins as that of all bands, worth so many checks
EVEN_PLACES = 0.3  # and of the places so many are given out evenly, whatever was seen: no photo may stand for too many others
EXACT_PLACES = 20  # up to so many places the chances are integrated; with more they are the targets to within a hundredth (Rosen 2000)
UNJUDGED = "unjudged"  # no student said anything of the group
DRAWN = ("image_id", "group_id", "group_size", "stratum", "inclusion_probability", "group_probability", "drawn")
MIXED = "mixed"  # small strata merged, because the sample has fewer places than there are strata


class _Group(NamedTuple):
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

    See `draw_record`, which says the same of the photos that are not drawn.
    """
    record = draw_record(truth_rows, groups_rows, paths=paths, settings=settings, predictions=predictions)
    return sample_rows(record, truth_rows, paths)


def draw_record(
    truth_rows: pl.DataFrame,
    groups_rows: pl.DataFrame,
    *,
    paths: pl.DataFrame,
    settings: AuditSettings,
    predictions: pl.DataFrame | None = None,
    checked: Mapping[str, tuple[float, float]] | None = None,
) -> pl.DataFrame:
    """The chance that a draw gives to every photo, and whether it drew it: AUDIT_DRAWS rows but for number and moment, by image_id.

    `paths` has image_id and rel_path; the population is the photos with truth and a path. `predictions` (image_id, and the scene
    for disagreement or scene_confidence for uncertainty) are the students'; before there are any, all groups count as not yet
    judged. A photo without a group is a group of its own, outside the test split. Same seed and same photos give the same sample,
    whatever the rows' order. `checked`: of the photos that people have settled, whether the teacher was wrong (0..1) and the weight; by
    `doubt` the students' bands get places by what was seen in them. `auto` is stratified here.
    """
    import polars as pl

    truth = dict(truth_rows.select("image_id", "scene").join(paths, on="image_id", how="semi").iter_rows())
    student = {} if predictions is None else _student(predictions, settings.strategy, truth)
    population = _population(truth, groups_rows, settings.strategy, student)
    rates = _seen_rates(population, checked or {}) if settings.strategy == "doubt" else RATES
    columns: dict[str, list[Any]] = {name: [] for name in DRAWN}
    for stratum, groups, places in _strata(population, settings, rates):
        sizes = np.array([len(group.members) for group in groups])
        chances, given, drawn = _pareto(sizes, places, np.array([_number(settings.seed, group.group_id) for group in groups]))
        members = [member for group in groups for member in group.members]
        standing = {min(groups[at].members, key=partial(_rank, settings.seed, "photo")) for at in np.flatnonzero(drawn).tolist()}
        of_group = ([group.group_id for group in groups], sizes, chances / sizes, given)  # as the photos of a group share it
        shared = [np.repeat(np.array(values), sizes).tolist() for values in of_group]
        told = [members, *shared[:2], [stratum] * len(members), *shared[2:], [member in standing for member in members]]
        for column, values in zip(columns.values(), told, strict=True):
            column += values
    return pl.DataFrame(columns, schema={name: AUDIT_DRAWS.polars_schema()[name] for name in DRAWN}).sort("image_id")


def sample_rows(record: pl.DataFrame, truth_rows: pl.DataFrame, paths: pl.DataFrame, table: Table = AUDIT_SAMPLE) -> pl.DataFrame:
    """The drawn photos of a record as rows of `table`, sorted by image_id; of a photo with several paths the first.

    `table`: AUDIT_SAMPLE with the columns of the library's questions.
    """
    import polars as pl

    drawn = record.filter(pl.col("drawn")).select("image_id", "group_id", "stratum", "inclusion_probability")
    first = paths.group_by("image_id").agg(pl.col("rel_path").min())
    schema = table.polars_schema()
    known = truth_rows.unique("image_id", keep="last").drop("group_id", "stratum", "inclusion_probability", "rel_path", strict=False)
    rows = drawn.join(first, on="image_id").join(known, on="image_id")
    return rows.select([pl.col(name).cast(dtype) for name, dtype in schema.items()]).sort("image_id")


# -- chances -----------------------------------------------------------------------------------------------------------
def _pareto(sizes: NDArray[np.int_], places: int, numbers: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Draw `places` of the groups: each group's chance, its chance given the other groups' numbers, and whether it is drawn.

    Chances are proportional to the sizes, 1 where that would be more. Ranks u / (1 - u) * (1 - p) / p: the smallest are drawn.
    """
    target = target_chances(sizes, places)
    drawn = target >= 1
    chance, given, left = target.copy(), drawn.astype(np.float64), places - int(drawn.sum())
    free = np.flatnonzero(~drawn)
    if left <= 0 or not len(free):
        return chance, given, drawn
    odds, number = target[free] / (1 - target[free]), numbers[free]
    ranks = number / (1 - number) / odds
    order = np.argsort(ranks, kind="stable")
    drawn[free[order[:left]]] = True
    bar = np.full(len(free), ranks[order[left - 1]])  # what a group had to stay below, were its own number unknown
    bar[order[:left]] = ranks[order[left]]
    given[free] = bar * odds / (1 + bar * odds)
    if left <= EXACT_PLACES:
        chance[free] = _exact_chances(odds, left)
    return chance, given, drawn


def target_chances(sizes: NDArray[np.int_], places: int) -> Floats:
    """Chances proportional to the sizes that add up to `places`, none above 1: what would be more is drawn for certain."""
    size, certain = np.asarray(sizes, dtype=np.float64), np.zeros(len(sizes), dtype=bool)
    if places >= len(size):
        return np.ones(len(size))
    while True:
        chance = np.where(certain, 1.0, (places - certain.sum()) * size / max(size[~certain].sum(), 1.0))
        more = ~certain & (chance >= 1 - 1e-12)
        if not more.any():
            return chance
        certain |= more


def _exact_chances(odds: Floats, places: int) -> Floats:
    """The chance of every group in a Pareto sample of odds p / (1 - p); equal groups share one integral."""
    kinds, kind_of, count = np.unique(odds, return_inverse=True, return_counts=True)
    if len(kinds) == 1:
        return np.full(len(odds), places / len(odds))
    return np.array(_integrated(tuple(kinds.tolist()), tuple(count.tolist()), places))[kind_of]


@lru_cache(maxsize=256)
def _integrated(kinds: tuple[float, ...], count: tuple[int, ...], places: int) -> tuple[float, ...]:
    """The chance that fewer than `places` other groups rank before one of each kind, integrated over its own, logistic log-rank."""
    from scipy.stats import binom

    at = np.linspace(-30.0, 30.0, 601)[:, None]  # log-ranks
    upto = np.arange(places)
    before = [1 / (1 + np.exp(-at) / kind) for kind in kinds]  # chance of one group to rank before
    fewer = [[binom.pmf(upto, n - own, share) for n, share in zip(count, before, strict=True)] for own in (0, 1)]
    found = np.empty(len(kinds))
    for k, share in enumerate(before):
        others = np.zeros((len(at), places))
        others[:, 0] = 1.0
        for other in range(len(kinds)):
            others = _added(others, fewer[int(other == k)][other])
        found[k] = np.trapezoid(others.sum(axis=1) * (share * (1 - share))[:, 0], at[:, 0])
    return tuple((found * (places / (found * np.array(count)).sum())).tolist())


def _added(a: Floats, b: Floats) -> Floats:
    """(points, places) probabilities of two independent counts -> of their sum, as far as it stays below `places`."""
    total = np.zeros_like(a)
    for k in range(a.shape[1]):
        total[:, k:] += a[:, k : k + 1] * b[:, : a.shape[1] - k]
    return total


def _seen_rates(population: Sequence[_Group], checked: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Band -> the deviation of right-or-wrong that was seen among its checked photos, EVEN_PLACES of it evened out; 1 before any check.

    Students that know nothing are found out: all bands then look alike, and the draw is an even one (robust active sampling, as in
    arXiv 2511.08991).
    """
    seen: dict[str, list[tuple[float, float]]] = {group.kind: [] for group in population}
    for group in population:
        seen[group.kind] += [checked[member] for member in group.members if member in checked]
    total = [pair for pairs in seen.values() for pair in pairs]
    if not total:
        return dict.fromkeys(seen, 1.0)
    mean = (sum(wrong * weight for wrong, weight in total) + 0.5) / (sum(weight for _, weight in total) + 1)
    deviations = {}
    for kind, pairs in seen.items():
        mass, square = sum(weight for _, weight in pairs), sum(weight**2 for _, weight in pairs)
        checks = mass**2 / square if square else 0.0  # that many of equal weight (Kish)
        wrong = sum(wrong * weight for wrong, weight in pairs) / mass if mass else mean
        share = min(max((wrong * checks + mean * PRIOR_CHECKS) / (checks + PRIOR_CHECKS), 0.0), 1.0)
        deviations[kind] = (share * (1 - share)) ** 0.5
    photos = {kind: sum(len(group.members) for group in population if group.kind == kind) for kind in seen}
    even = sum(deviations[kind] * n for kind, n in photos.items()) / sum(photos.values())
    return {kind: (1 - EVEN_PLACES) * one + EVEN_PLACES * even for kind, one in deviations.items()}


def _student(predictions: pl.DataFrame, strategy: str, truth: Mapping[str, str | None]) -> dict[str, Any]:
    """What the strategy asks of the student, by image_id: the scene, how sure it is of it, or of the teacher's (0..1)."""
    if strategy == "doubt":
        said = predictions.select("image_id", "scene", "scene_confidence").sort("image_id", "scene").iter_rows()
        return {
            image_id: sure if scene == truth[image_id] else 1 - sure
            for image_id, scene, sure in said
            if image_id in truth and scene is not None and sure is not None
        }
    column = "scene_confidence" if strategy == "uncertainty" else "scene"
    return dict(predictions.select("image_id", column).sort("image_id", column).iter_rows())


def write_sample(rows: pl.DataFrame, path: Path, questions: Questions) -> Path:
    """AUDIT_SAMPLE rows -> pretty JSON list, labels filled in from the teacher, for people to correct in place; unknown is null."""
    photos = []
    for row in rows.iter_rows(named=True):
        labels = labels_to_json(Labels.from_row(row, questions.columns), questions, with_unknown=True)
        photos.append({
            "image_id": labels.pop("image_id"), "rel_path": row["rel_path"], **labels,
            "inclusion_probability": row["inclusion_probability"], "stratum": row["stratum"],
        })  # fmt: skip
    return write_text(path, json.dumps(photos, ensure_ascii=False, indent=2) + "\n")


def _population(truth: Mapping[str, str | None], groups_rows: pl.DataFrame, strategy: str, student: Mapping[str, Any]) -> list[_Group]:
    """The groups, sorted by id. One with a member in the test split counts as test: it may not be drawn a second time as rest."""
    placed = {image_id: (group_id, split) for image_id, group_id, split in groups_rows.select("image_id", "group_id", "split").iter_rows()}
    members: dict[str, list[str]] = defaultdict(list)
    sides: dict[str, str] = {}
    for image_id in sorted(truth):
        group_id, split = placed.get(image_id, (image_id, None))
        members[group_id].append(image_id)
        sides[group_id] = "test" if split == "test" or sides.get(group_id) == "test" else "rest"
    return [
        _Group(group_id, tuple(ids), sides[group_id], _kind(strategy, ids, truth, student)) for group_id, ids in sorted(members.items())
    ]


def _kind(strategy: str, ids: Sequence[str], truth: Mapping[str, str | None], students: Mapping[str, Any]) -> str:
    """What the strategy stratifies by. It belongs to the group, not to the photo that will stand for it."""
    if strategy == "random":
        return "all"
    teacher, student = [truth[image_id] for image_id in ids], [students.get(image_id) for image_id in ids]
    if strategy in ("stratified", "auto"):
        scenes = Counter(scene or "unknown" for scene in teacher)
        return min(scenes, key=lambda scene: (-scenes[scene], scene))
    if strategy in ("uncertainty", "doubt"):
        return _band([sure for sure in student if sure is not None])
    pairs = [(a, b) for a, b in zip(teacher, student, strict=True) if a is not None and b is not None]
    if not pairs:
        return UNJUDGED
    return "differ" if any(a != b for a, b in pairs) else "agree"


def _band(confidences: Sequence[float]) -> str:
    """A group is as doubtful as its most doubtful photo."""
    known = [sure for sure in confidences if sure == sure]
    return next(name for name, below, _ in BANDS if min(known) < below) if known else UNJUDGED


def _strata(population: Sequence[_Group], settings: AuditSettings, rates: Mapping[str, float]) -> list[tuple[str, list[_Group], int]]:
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
        shares = _allocate(places[side], {kind: _weight(kind, found, settings.strategy, rates) for kind, found in by_kind.items()}, by_kind)
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


def _allocate(places: int, weights: Mapping[str, float], by_kind: Mapping[str, Sequence[_Group]]) -> dict[str, int]:
    """At least one place each, at most its size, the rest by weight (Webster's divisors, so that one place more takes none away)."""
    sizes = {kind: len(found) for kind, found in by_kind.items()}
    shares = dict.fromkeys(sizes, 1)
    heap = [(-weights[kind] / 3, kind) for kind in sizes if sizes[kind] > 1]
    heapq.heapify(heap)
    for _ in range(places - len(shares)):
        _, kind = heapq.heappop(heap)
        shares[kind] += 1
        if shares[kind] < sizes[kind]:
            heapq.heappush(heap, (-weights[kind] / (2 * shares[kind] + 1), kind))
    return shares


def _weight(kind: str, groups: Sequence[_Group], strategy: str, rates: Mapping[str, float]) -> float:
    size = len(groups)
    if strategy in ("stratified", "auto"):
        return float(size**SCENE_POWER)
    if strategy == "uncertainty":
        return size * rates.get(kind, max(rates.values()))
    if strategy == "doubt":  # by photos, as the chances within a band are
        return sum(len(group.members) for group in groups) * rates.get(kind, sum(rates.values()) / len(rates))
    return size * (DISAGREEMENT_RATE if kind == "differ" else 1.0)


def _number(seed: int, group_id: str) -> float:
    """The group's permanent random number, above 0 and below 1."""
    return (int.from_bytes(_rank(seed, "group", group_id)[:6]) + 0.5) / 2**48


def _rank(seed: int, purpose: str, identity: str) -> bytes:
    return hashlib.sha256(f"{seed}/{purpose}/{identity}".encode()).digest()
