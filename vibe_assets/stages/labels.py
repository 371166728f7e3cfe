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
    """What moves from the label file in force to another; `tokens` are those of all requests together, None where no answer tells."""

    added: tuple[str, ...]  # questions
    removed: tuple[str, ...]
    asked_anew: tuple[str, ...]  # what is asked differs, so that earlier answers are none
    converted: tuple[str, ...]  # only labels, words or rules differ: answers are read anew, nobody is asked
    photos: int  # that would be asked something
    tokens: int | None

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
    photos, tokens = _to_ask(platform, then)
    return Difference(
        tuple(key for key in wanted if key not in known), tuple(key for key in known if key not in wanted), anew, converted, photos, tokens
    )


def _rules(questions: Questions, key: str) -> list[object]:
    return [rule for rule in questions.rules if any(questions.owner[column].key == key for column in rule.decides)]


def _to_ask(platform: Platform, then: Questions) -> tuple[int, int | None]:
    """Photos with a question open under `then`, and the tokens that asking them would take, by those that answers took so far."""
    import polars as pl

    from vibe_assets.stages.teacher import half_answered

    photos = accepted_photos(platform).select("image_id").unique()
    rows = platform.lake.read_live(ANNOTATIONS).join(photos, on="image_id", how="semi").unique("image_id")
    whole = rows.filter(pl.col("annotation").is_not_null() & ~half_answered(then))
    waiting = photos.height - whole.height
    answered = rows.filter(pl.col("prompt_tokens").is_not_null())
    if answered.is_empty() or not waiting:
        return waiting, None if waiting else 0
    partly = rows.filter(half_answered(then))
    share = _share(then, [json.loads(noted) if noted else None for noted in partly["questions"]])
    spent = answered.select(pl.col("prompt_tokens").mean(), pl.col("completion_tokens").fill_null(0).mean()).row(0)
    fresh = waiting - partly.height
    return waiting, round(fresh * sum(spent) + partly.height * (spent[0] + share * spent[1]))


def _share(then: Questions, noted: list[Mapping[str, str] | None]) -> float:
    """Share of an answer's members that photos with some answers are still to give, on average."""
    sizes = {question.key: len(question.schema) for question in then.asked}
    shares = [
        sum(sizes[key] for key, marks in then.accepted.items() if (FIRST if one is None else one).get(key) not in marks)
        / sum(sizes.values())
        for one in noted
    ]
    return sum(shares) / len(shares) if shares else 0.0
