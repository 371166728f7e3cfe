"""Tagged photos and labels become instruction records: a question with its picture, the tags as answer. Nothing is padded or made up.

Train and val are the groups' splits of the whole platform; what lies in test, or in a batch kept for the benchmark, never enters.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vibe_assets.engine import LocalEngine, Lost, Task, Work, in_order
from vibe_assets.lake import write_text
from vibe_assets.records import PHOTO_GROUPS, fingerprint
from vibe_assets.records.tags import INSTRUCTION_DATASET, TAGGED_PHOTOS
from vibe_assets.stages.platform import Platform
from vibe_assets.vlm.failures import VlmError
from vibe_assets.vlm.lora import Record
from vibe_assets.vlm.registry import prompt_of
from vibe_assets.vlm.sources import library_photos
from vibe_assets.vlm.tags import MIN_CHARS, answer_text, normalise_tags

if TYPE_CHECKING:
    import polars as pl

Origin = Literal["tagged", "auto", "both"]
LEARNT = ("train", "val")
REASONS = {
    "few_tags": "fewer tags than min_tags",
    "benchmark": "in the test split or in a batch kept for the benchmark, or a near-duplicate of such a photo",
    "aside": "links groups of different splits",
    "unreachable": "the file is not there, not readable, or no longer the photo it was",
    "short_tag": f"a tag of fewer than {MIN_CHARS} characters",
    "duplicate": "in the data already, from another batch",
    "over_limit": "beyond max_samples",
}


@dataclass(frozen=True)
class DatasetKnobs:
    """What becomes instruction data."""

    origin: Origin = "tagged"
    min_tags: int | None = None  # None: vlm.min_tags
    max_samples: int | None = None
    benchmark_batches: tuple[str, ...] = ()  # kept for judging, whatever the split of their photos
    rebuild: bool = False  # False: what is in the data stays in it, new photos are added
    seed: int = 42


@dataclass(frozen=True)
class Dataset:
    """The rows and the files written from them."""

    rows: pl.DataFrame  # INSTRUCTION_DATASET rows, left-out photos included
    train: Path
    val: Path
    added: int

    @property
    def accepted(self) -> pl.DataFrame:
        import polars as pl

        return self.rows.filter(pl.col("reason").is_null())

    @property
    def statistics(self) -> dict[str, Any]:
        """Counts by split, val share, tags per record, distinct tags, and why photos were left out."""
        accepted = self.accepted
        splits = Counter(accepted["split"])
        tags = [tag for tags in accepted["ground_truth_tags"] for tag in tags]
        return {
            "records": accepted.height, "train": splits["train"], "val": splits["val"],
            "val_share": round(splits["val"] / max(1, accepted.height), 3), "groups": accepted["group_id"].n_unique(),
            "tags_per_record": round(len(tags) / max(1, accepted.height), 2), "distinct_tags": len(set(tags)), "added": self.added,
            "origins": dict(Counter(accepted["origin"])), "left_out": dict(Counter(self.rows["reason"].drop_nulls())),
        }  # fmt: skip


def build_dataset(platform: Platform, knobs: DatasetKnobs | None = None) -> Dataset:
    """Choose, check and write the records. Raises VlmError when train or val would be empty."""
    import polars as pl

    knobs = knobs or DatasetKnobs()
    lake = platform.lake
    before = lake.read(INSTRUCTION_DATASET).filter(pl.col("reason").is_null())
    kept = set() if knobs.rebuild else set(before["image_id"])
    candidates = _candidates(platform, knobs.origin)
    if not candidates:
        raise VlmError("no tagged photos yet: `vibe tags ingest` brings some, or use origin = auto to learn from the teacher's labels")
    rows = _judged(platform, candidates, knobs, kept)
    accepted = Counter(row["split"] for row in rows if row["reason"] is None)
    if not accepted["train"] or not accepted["val"]:
        why = ", ".join(f"{count} {reason}" for reason, count in Counter(row["reason"] for row in rows if row["reason"]).most_common())
        raise VlmError(
            f"{accepted['train']} records to train on and {accepted['val']} to validate with: at least one of each is needed "
            f"(left out: {why or 'none'}); ingest more photos, or lower vlm.min_tags"
        )
    frame = pl.DataFrame(rows, schema=INSTRUCTION_DATASET.polars_schema(), orient="row")
    lake.replace(INSTRUCTION_DATASET, frame, commit=platform.commit)
    train, val = (_write(platform, frame, split) for split in LEARNT)
    return Dataset(frame, train, val, len({row["image_id"] for row in rows if row["reason"] is None} - kept))


def _candidates(platform: Platform, origin: Origin) -> list[dict[str, Any]]:
    """Photos with tags, group and split; people's tags before the teacher's."""
    import polars as pl

    found: list[dict[str, Any]] = []
    if origin in ("tagged", "both"):
        rows = platform.lake.read(TAGGED_PHOTOS).filter(pl.col("reason").is_null()).sort("ingested_at", "batch", "image_id")
        columns = ("image_id", "path_bytes", "tags", "batch", "group_id", "split")
        found += [{**row, "origin": "tagged"} for row in rows.select(columns).iter_rows(named=True)]
    if origin in ("auto", "both"):
        sides = {
            image: (group, split) for image, group, split in platform.lake.read(PHOTO_GROUPS)["image_id", "group_id", "split"].iter_rows()
        }
        for one in library_photos(platform, "auto"):
            group, split = sides.get(one.image_id or "", (None, None))
            row = {"image_id": one.image_id, "path_bytes": one.path, "tags": normalise_tags(one.raw_tags), "batch": None}
            found.append({**row, "group_id": group, "split": split, "origin": "auto"})
    return found


def _judged(platform: Platform, candidates: list[dict[str, Any]], knobs: DatasetKnobs, kept: set[str]) -> list[dict[str, Any]]:
    """Every candidate as a row: accepted with its messages, or left out with a reason. Photos already in the data come first."""
    prompt, least = prompt_of(platform), knobs.min_tags or platform.settings.vlm.min_tags
    reserved = benchmark_groups(platform, knobs.benchmark_batches)
    ordered = sorted(candidates, key=lambda one: (one["image_id"] not in kept, one["origin"] == "auto", _lot(knobs.seed, one["image_id"])))
    wanted = [(one["path_bytes"], one["image_id"], one["tags"], one["image_id"] not in kept) for one in ordered]
    chosen = [at for at, one in enumerate(ordered) if _reason(one, least, reserved, set(), None) is None]
    built = _built(platform, WriteRecords(prompt), wanted, chosen)
    rows: list[dict[str, Any]] = []
    taken: set[str] = set()
    for at, one in enumerate(ordered):
        reason = _reason(one, least, reserved, taken, knobs.max_samples)
        said = built(at) if reason is None else None
        if reason is None and said is None:
            reason = "unreachable"
        if reason is None:
            taken.add(one["image_id"])
        tags = one.pop("tags")
        rows.append(
            {
                **one, "ground_truth_tags": tags, "messages": said, "reason": reason,
                "detail": None if reason is None else REASONS[reason],
            }
        )  # fmt: skip
    return rows


Wanted = tuple[bytes | None, str | None, list[str], bool]  # path, image_id, tags, whether the file's bytes are to be checked


@dataclass(frozen=True)
class WriteRecords:
    """For an engine: candidates -> their messages, None where the photo is not there any more."""

    prompt: str

    def __call__(self) -> Task:
        return lambda candidates, tries: map(self.write, candidates)

    def write(self, candidate: Wanted) -> str | None:
        path, image_id, tags, thorough = candidate
        if path is None or not reachable(path, image_id, thorough=thorough):
            return None
        return messages(self.prompt, path, tags)


def _built(platform: Platform, write: WriteRecords, wanted: Sequence[Wanted], chosen: Sequence[int]) -> Callable[[int], str | None]:
    """What gives a candidate's messages by its place: in this process one by one as they are needed, elsewhere all `chosen` beforehand."""
    if isinstance(platform.engine, LocalEngine):
        return lambda at: write.write(wanted[at])
    said = in_order(platform.engine.arrivals(Work(write, [wanted[at] for at in chosen])))
    known = {at: None if isinstance(one, Lost) else one for at, one in zip(chosen, said, strict=True)}
    return known.__getitem__


def _reason(one: Mapping[str, Any], least: int, reserved: set[str], taken: set[str], most: int | None) -> str | None:
    checks = {
        "benchmark": one["split"] == "test" or one["image_id"] in reserved or one["group_id"] in reserved,
        "aside": one["split"] not in LEARNT and one["split"] != "test",
        "duplicate": one["image_id"] in taken,
        "short_tag": any(len(tag) < MIN_CHARS for tag in one["tags"]),
        "few_tags": len(one["tags"]) < least,
        "over_limit": most is not None and len(taken) >= most,
    }
    return next((reason for reason, holds in checks.items() if holds), None)


def benchmark_groups(platform: Platform, batches: tuple[str, ...] = ()) -> set[str]:
    """image_ids and groups of the photos that judge: those of the test split, and all of the batches named. Raises VlmError."""
    import polars as pl

    photos = platform.lake.read(TAGGED_PHOTOS).filter(pl.col("reason").is_null())
    if unknown := set(batches) - set(photos["batch"]):
        raise VlmError(f"benchmark_batches: no batch {sorted(unknown)[0]!r}; there are {', '.join(sorted(set(photos['batch'])))}")
    judging = photos.filter((pl.col("split") == "test") | pl.col("batch").is_in(batches))
    return {value for column in ("image_id", "group_id") for value in judging[column].drop_nulls()}


def reachable(path: bytes | None, image_id: str | None, *, thorough: bool) -> bool:
    """Whether the photo is there; `thorough`: and still has the bytes it is known by."""
    if path is None or not image_id:
        return False
    try:
        if not thorough:
            return os.stat(path).st_size > 0  # noqa: PTH116 - bytes: names need not be UTF-8
        with open(path, "rb") as handle:  # noqa: PTH123
            return hashlib.file_digest(handle, "sha256").hexdigest().startswith(image_id)
    except (OSError, ValueError):
        return False


def messages(prompt: str, path: bytes, tags: list[str]) -> str:
    """The record's messages as JSON, in the form that chat templates take."""
    user = [{"type": "image", "image": os.fsdecode(path)}, {"type": "text", "text": prompt}]
    said = [{"role": "user", "content": user}, {"role": "assistant", "content": [{"type": "text", "text": answer_text(tags)}]}]
    return json.dumps(said, ensure_ascii=False).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _write(platform: Platform, rows: pl.DataFrame, split: str) -> Path:
    import polars as pl

    chosen = rows.filter(pl.col("reason").is_null() & (pl.col("split") == split)).sort("image_id")
    lines = [
        json.dumps(
            {"image_id": row["image_id"], "messages": json.loads(row["messages"]), "ground_truth_tags": row["ground_truth_tags"]},
            ensure_ascii=False,
        )
        for row in chosen.iter_rows(named=True)
    ]
    return write_text(platform.settings.vlm_dir / "instructions" / f"{split}.jsonl", "".join(f"{line}\n" for line in lines))


def records(platform: Platform, split: str) -> tuple[list[Record], list[dict[str, Any]]]:
    """Training records of one split, and their rows (image_id, group_id, ground_truth_tags), in the same order."""
    import polars as pl

    rows = platform.lake.read(INSTRUCTION_DATASET).filter(pl.col("reason").is_null() & (pl.col("split") == split)).sort("image_id")
    prompt = prompt_of(platform)
    found = list(rows.iter_rows(named=True))
    return [Record(row["image_id"], row["path_bytes"], prompt, answer_text(row["ground_truth_tags"])) for row in found], found


def data_version(platform: Platform) -> str:
    """Hash of what the records say, whatever order or run they came from."""
    found = [records(platform, split)[1] for split in LEARNT]
    return fingerprint(
        {
            "prompt": prompt_of(platform),
            "records": [[row["image_id"], row["ground_truth_tags"], row["split"]] for rows in found for row in rows],
        }
    )


def _lot(seed: int, image_id: str | None) -> str:
    """Place in the queue: a seeded hash, so that neither batch nor name decides who is in."""
    return hashlib.sha256(f"{seed}/{image_id}".encode()).hexdigest()
