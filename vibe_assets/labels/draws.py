"""The record of every draw becomes the chance of each photo to be among those that people checked, whatever was drawn, and how often.

Draws of one seed share their random numbers: a group is drawn when its number lies below a bar. So it is in one of several such samples
when its number lies below the highest bar, given the numbers of all other groups, which set the bars (Duffield, Lund and Thorup 2007;
Cohen and Kaplan 2009 for several samples). Draws of different seeds are independent. Estimates weighted by 1 / this chance (Horvitz and
Thompson 1952) are unbiased.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


def counted_draws(draws: pl.DataFrame, audited: Collection[str]) -> dict[int, float]:
    """Number of each draw that people worked on -> the share of its photos that they checked; AUDIT_DRAWS rows and checked photos.

    What a draw has in common with another one says nothing: a sample that was drawn and never looked at does not count. A draw whose
    sample lies in that of another draw from the same photos is left out: a larger sample of the same kind takes its place.
    """
    import polars as pl

    drawn = {number: set(ids) for number, ids in draws.filter(pl.col("drawn")).group_by("draw").agg("image_id").iter_rows()}
    seeds = dict(draws.group_by("draw").agg(pl.col("seed").first()).iter_rows())
    sizes = dict(draws.group_by("draw").len().iter_rows())
    done, found = set(audited), {}
    for number, ids in sorted(drawn.items()):
        alone = ids.difference(*(others for other, others in drawn.items() if other != number)) or ids
        if share := len(alone & done) / len(alone):
            found[number] = share
    within = {
        one
        for one in found
        for other in found
        if one != other and seeds[one] == seeds[other] and sizes[one] == sizes[other] and found[one] <= found[other]
        and (drawn[one] < drawn[other] or (drawn[one] == drawn[other] and one < other))
    }  # fmt: skip
    return {number: share for number, share in found.items() if number not in within}


def audited_chances(draws: pl.DataFrame, audited: Collection[str]) -> dict[str, float]:
    """image_id of a checked photo -> its chance to be checked, 0..1; photos that were in no sample are left out."""
    import polars as pl

    shares = counted_draws(draws, audited)
    of_draws = draws.filter(pl.col("draw").is_in(list(shares)))
    sampled = set(audited).intersection(of_draws.filter(pl.col("drawn"))["image_id"])
    rows = of_draws.filter(pl.col("image_id").is_in(list(sampled)))
    if len(shares) == 1:
        share = next(iter(shares.values()))
        return {image_id: chance * share for image_id, chance in rows.select("image_id", "inclusion_probability").iter_rows()}
    bars: dict[str, dict[tuple[int, str], list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    names = ("draw", "seed", "image_id", "group_id", "group_size", "group_probability")
    for number, seed, image_id, group_id, size, chance in rows.select(names).iter_rows():
        bars[image_id][seed, group_id].append((chance, shares[number] / size))
    return {image_id: _either(_area(found) for found in of_photo.values()) for image_id, of_photo in bars.items()}


def _area(corners: Iterable[tuple[float, float]]) -> float:
    """Area of the union of rectangles from (0, 0): a group below any of the bars, and the photo that stands for it there."""
    area, height, highest = 0.0, 0.0, sorted(corners, reverse=True)
    for at, (right, top) in enumerate(highest):
        height = max(height, top)
        area += height * (right - (highest[at + 1][0] if at + 1 < len(highest) else 0.0))
    return area


def _either(chances: Iterable[float]) -> float:
    """The chance of at least one of independent events."""
    none = 1.0
    for chance in chances:
        none *= 1 - chance
    return 1 - none


def record_of_older(sample: pl.DataFrame, now: pl.DataFrame) -> pl.DataFrame:
    """The record of a sample from before records were kept, groups evenly within strata; of AUDIT_SAMPLE rows and `draw_record` rows.

    `now` has today's photos in the strata of the sample's strategy. A stratum's rate is that of its photos in the sample; strata without
    any, of photos that changed or came since, get the mean rate.
    """
    import polars as pl

    mine = sample.select("image_id", "stratum", chance="inclusion_probability")
    sizes = now.select("image_id", "group_size")
    rates = mine.join(sizes, on="image_id").with_columns(rate=(pl.col("chance") * pl.col("group_size")).clip(0, 1))
    by_stratum = rates.group_by("stratum").agg(pl.col("rate").mean())
    rate = pl.coalesce("rate", pl.lit(rates["rate"].mean()), pl.lit(1.0))
    found = now.drop("drawn").join(by_stratum, on="stratum", how="left").with_columns(group_probability=rate)
    drawn = pl.col("image_id").is_in(mine["image_id"].to_list())
    return found.with_columns(inclusion_probability=pl.col("group_probability") / pl.col("group_size"), drawn=drawn).drop("rate")


def strategy_of(strata: Iterable[str]) -> str:
    """The strategy that a sample's strata come from; where they do not tell, random."""
    kinds = {stratum.rpartition("/")[2] for stratum in strata}
    if kinds & {"differ", "agree"}:
        return "disagreement"
    if any(kind.startswith(("below_", "above_")) or "_to_" in kind for kind in kinds):
        return "uncertainty"
    return "stratified" if any("." in kind for kind in kinds) else "random"  # keys of the main question's labels
