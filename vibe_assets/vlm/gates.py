"""Gates of the tag study: passed or not, the numbers that decided, and what to do."""

from __future__ import annotations

import json

from vibe_assets.records.tags import INSTRUCTION_DATASET, TAG_PREDICTIONS, TAGGED_PHOTOS
from vibe_assets.stages.gates import Gate
from vibe_assets.stages.platform import Platform
from vibe_assets.vlm.board import judge, trained_on
from vibe_assets.vlm.diagnostics import diagnose
from vibe_assets.vlm.instructions import LEARNT, benchmark_groups, reachable
from vibe_assets.vlm.registry import CARD, adapters_dir, read_card
from vibe_assets.vlm.tags import MIN_CHARS

MIN_ENOUGH_SHARE = 0.5
NOTHING_NEW = Gate(True, {"photos": 0})  # an empty batch was allowed, or its ingest would have failed
MIN_DIVERSITY = 0.05


def _empty(platform: Platform, batch: str) -> bool:
    return platform.lake.read(TAGGED_PHOTOS, folder_key=batch).is_empty()


def photos_reachable(platform: Platform, batch: str) -> Gate:
    """Enough of the batch's photos are there and can be opened."""
    if _empty(platform, batch):
        return NOTHING_NEW
    found = diagnose(platform, batch)
    most = platform.settings.vlm.max_broken_share
    facts = {"photos": found.photos, "broken": len(found.broken), "broken share": found.broken_share, "allowed at most": most}
    return Gate(
        found.broken_share <= most and found.accepted > 0,
        {**facts, "first": [f"{name}: {reason}" for name, reason, _ in found.broken[:5]]},
        "look at the batch's page (tag_diagnostics), bring the photos back and ingest again, or raise vlm.max_broken_share",
    )


def enough_tags(platform: Platform, batch: str) -> Gate:
    """At least half of the photos carry five tags or more, so that recall is not a coarse ruler."""
    if _empty(platform, batch):
        return NOTHING_NEW
    found = diagnose(platform, batch)
    return Gate(
        found.enough_share >= MIN_ENOUGH_SHARE,
        {
            "share with 5 or more": found.enough_share,
            "wanted at least": MIN_ENOUGH_SHARE,
            **{f"tags: {name}": n for name, n in found.tiers.items()},
        },
        "choose photos with more tags, or read this batch's recall with care",
    )


def few_duplicates(platform: Platform, batch: str) -> Gate:
    """Few photos of the batch are copies or near-duplicates of others."""
    if _empty(platform, batch):
        return NOTHING_NEW
    found, most = diagnose(platform, batch), platform.settings.vlm.max_duplicate_share
    return Gate(
        found.duplicate_share <= most,
        {"duplicate share": found.duplicate_share, "allowed at most": most},
        "intervals already draw whole groups; for more information per photo choose other search terms, or raise vlm.max_duplicate_share",
    )


def tags_diverse(platform: Platform, batch: str) -> Gate:
    """Tags differ from photo to photo: otherwise a model that always says the same scores well."""
    if _empty(platform, batch):
        return NOTHING_NEW
    found = diagnose(platform, batch)
    return Gate(
        found.diversity >= MIN_DIVERSITY,
        {
            "distinct over all": found.diversity,
            "wanted at least": MIN_DIVERSITY,
            "entropy bits": found.entropy_bits,
            "distinct": found.distinct,
        },
        "mix search terms or collections",
    )


def answers_sound(platform: Platform, batch: str, model: str) -> Gate:
    """One row per photo of the batch, answered ones with tags of the right shape."""
    import polars as pl

    rows = platform.lake.read(TAG_PREDICTIONS, folder_key=f"{batch}--{model}")
    photos = platform.lake.read(TAGGED_PHOTOS, folder_key=batch).filter(pl.col("reason").is_null())
    twice, missing = rows.height - rows["image_id"].n_unique(), len(set(photos["image_id"]) - set(rows["image_id"]))
    answered = rows.filter(pl.col("reason").is_null()).height
    return Gate(
        twice == 0 and missing == 0 and answered > 0,
        {"rows": rows.height, "listed twice": twice, "photos without a row": missing, "answered": answered},
        "`vibe tags benchmark` asks again: what came in is journalled and not asked again; reasons are in tag_predictions",
    )


def no_photo_learnt_from(platform: Platform) -> Gate:
    """No photo that judges was trained on, nor a near-duplicate of one."""
    board = judge(platform)
    images, groups = trained_on(platform)
    judging = {image for row in board.rows for image in row.scores.images}
    beside = {group for row in board.rows for group in row.scores.groups}
    facts = {"photos that judge": len(judging), "instruction photos": len(images), "shared": len(judging & set(images))}
    shared = len(beside & set(groups))
    return Gate(
        not judging & set(images) and not shared, {**facts, "shared groups": shared},
        "build instruction_dataset again, then the leaderboard",
    )  # fmt: skip


def records_valid(platform: Platform) -> Gate:
    """Every instruction record has an id, a photo that is there, tags of two characters and more, and an answer that says just those."""
    import polars as pl

    rows = platform.lake.read(INSTRUCTION_DATASET).filter(pl.col("reason").is_null())
    faults: dict[str, int] = dict.fromkeys(
        ("without id", "listed twice", "photo missing", "short tags", "answer differs", "wrong split"), 0
    )
    faults["without id"] = rows["image_id"].null_count()
    faults["listed twice"] = rows.height - rows["image_id"].n_unique()
    for row in rows.iter_rows(named=True):
        faults["photo missing"] += not reachable(row["path_bytes"], row["image_id"], thorough=False)
        faults["short tags"] += any(len(tag) < MIN_CHARS for tag in row["ground_truth_tags"])
        said = json.loads(row["messages"])[1]["content"][0]["text"]
        faults["answer differs"] += json.loads(said)["tags"] != row["ground_truth_tags"]
        faults["wrong split"] += row["split"] not in LEARNT
    return Gate(not any(faults.values()), {"records": rows.height, **faults}, "build it again with rebuild = true")


def no_benchmark_photo(platform: Platform) -> Gate:
    """No instruction record is in the test split, nor a near-duplicate of a photo there."""
    import polars as pl

    rows = platform.lake.read(INSTRUCTION_DATASET).filter(pl.col("reason").is_null())
    judging = benchmark_groups(platform)
    shared = rows.filter(pl.col("image_id").is_in(list(judging)) | pl.col("group_id").fill_null("").is_in(list(judging)))
    both = set(rows.filter(split="train")["group_id"].drop_nulls()) & set(rows.filter(split="val")["group_id"].drop_nulls())
    return Gate(
        shared.is_empty() and not both,
        {"records": rows.height, "benchmark photos": shared.height, "groups in train and val": len(both)},
        "a photo's group changed since: build it again with rebuild = true",
    )


def beats_base(platform: Platform) -> Gate:
    """The newest adapter finds more of the validation tags than its base (paired, p < 0.05); otherwise it stays on trial."""
    files = sorted(adapters_dir(platform).glob(f"*/{CARD}"), key=lambda file: file.stat().st_mtime_ns)
    if not files:
        return Gate(False, {"adapters": 0}, "train one: `vibe vlm finetune BASE`")
    card = read_card(files[-1])
    validation = card["validation"]
    facts = {"adapter": card["name"], "verdict": card["verdict"], "p": validation["p_better"], "photos": card["records"]["val"]}
    delta = validation["delta_recall"] or {}
    facts |= {f"recall gained ({name})": delta[name] for name in ("value", "low", "high") if name in delta}
    return Gate(
        bool(card["promoted"]), facts, "more or better instruction data, another learning rate or rank; it stays on trial meanwhile"
    )
