"""The label file in force, and what another one would change: which questions are asked again, of how many photos, at what cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vibe_assets.questions import Questions, load
from vibe_assets.records import ANNOTATIONS
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.platform import Platform
from vibe_assets.teacher.kept import FIRST, asked_before


@dataclass(frozen=True)
class Difference:
    """What moves from the label file in force to another; `tokens` and `usd` are of all requests together, None where no answer tells."""

    added: tuple[str, ...]  # questions
    removed: tuple[str, ...]
    asked_anew: tuple[str, ...]  # what is asked differs, so that earlier answers are none
    converted: tuple[str, ...]  # only labels, words or rules differ: answers are read anew, nobody is asked
    photos: int  # that would be asked something
    tokens: int | None
    usd: float | None = None  # None where [teacher] has no prices

    @property
    def lines(self) -> list[str]:
        """For people."""
        told = [
            *(f"{key}: new" for key in self.added),
            *(f"{key}: removed; its columns go with the next write of each table" for key in self.removed),
            *(f"{key}: asked in other words, so that it is asked again" for key in self.asked_anew),
            *(f"{key}: answers are read anew, nobody is asked" for key in self.converted),
        ]
        if not told:
            return ["nothing moves"]
        tokens = "" if self.tokens is None else f", about {self.tokens:,} tokens"
        tokens += "" if self.usd is None else f", {self.usd:,.2f} US dollars"
        asked = f"{self.photos:,} photos would be asked{tokens}" if self.photos else "the teacher would be asked nothing"
        return [*told, asked]


def label_difference(platform: Platform, file: Path | None) -> Difference:
    """The label file in force beside another (None: the packaged one); nothing is changed or asked. Raises LabelFileError."""
    now = platform.questions
    then = load(file).after([*asked_before(platform.settings.asked_dir), *now.asked_in_full.values()])
    known, wanted = {question.key: question for question in now}, {question.key: question for question in then}
    before, after = now.asked_fingerprints, then.asked_fingerprints
    shared = [key for key in wanted if key in known]
    anew = tuple(key for key in shared if key in after and before.get(key) not in then.accepted[key])
    converted = tuple(key for key in shared if key not in anew and (known[key] != wanted[key] or _rules(now, key) != _rules(then, key)))
    bill = _to_ask(platform, then)
    added, removed = tuple(key for key in wanted if key not in known), tuple(key for key in known if key not in wanted)
    return Difference(added, removed, anew, converted, bill.photos, bill.tokens, bill.usd)


def _rules(questions: Questions, key: str) -> list[object]:
    return [rule for rule in questions.rules if any(questions.owner[column].key == key for column in rule.decides)]


@dataclass(frozen=True)
class _Bill:
    """What asking would take; tokens None where no answer so far tells."""

    photos: int
    tokens: int | None = None
    usd: float | None = None


def _to_ask(platform: Platform, then: Questions) -> _Bill:
    """Photos with a question open under `then`, and what asking them would take, by what answers took so far."""
    import polars as pl

    from vibe_assets.stages.teacher import half_answered

    photos = accepted_photos(platform).select("image_id").unique()
    rows = platform.lake.read_live(ANNOTATIONS).join(photos, on="image_id", how="semi").filter(pl.col("annotation").is_not_null())
    partly = rows.filter(half_answered(then)).unique("image_id")
    fresh = photos.join(rows, on="image_id", how="anti").height
    waiting, answered = fresh + partly.height, rows.filter(pl.col("prompt_tokens").is_not_null())
    if answered.is_empty() or not waiting:
        return _Bill(waiting, None if waiting else 0)
    share = _share(then, [json.loads(noted) if noted else None for noted in partly["questions"]])
    question, answer = answered.select(pl.col("prompt_tokens").mean(), pl.col("completion_tokens").fill_null(0).mean()).row(0)
    asked, said = waiting * question, (fresh + share * partly.height) * answer
    prices = platform.settings.teacher.input_price, platform.settings.teacher.output_price
    usd = None if prices == (None, None) else (asked * (prices[0] or 0) + said * (prices[1] or 0)) / 1e6
    return _Bill(waiting, round(asked + said), usd)


def _share(then: Questions, noted: list[Mapping[str, str] | None]) -> float:
    """Share of an answer's members that photos with some answers are still to give, on average."""
    sizes = {question.key: len(question.schema) for question in then.asked}
    shares = [
        sum(sizes[key] for key, marks in then.accepted.items() if (FIRST if one is None else one).get(key) not in marks)
        / sum(sizes.values())
        for one in noted
    ]
    return sum(shares) / len(shares) if shares else 0.0
