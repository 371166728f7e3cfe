"""Tables of the names study: which faces there are for which name, their chips and vectors, the split, and what probes reached."""

from __future__ import annotations

from vibe_assets.records.table import IMAGE_ID, REASON, REL_PATH, Column, Table

SHARD = {"shard": Column("str", "partition: shard-NN, the bucket that the hash of the name falls into")}
NAME = {"name": Column("str", "first name, lower case")}

NAME_SHARDS = Table(
    "name_shards",
    "the plan: every name, the shard it falls into, and how many faces its index promises",
    {
        **NAME,
        **SHARD,
        "source": Column("str", "index file, or folder of the name"),
        "listed": Column("i64", "faces that the index lists as good, or files of the folder"),
        "set_aside": Column("i64", "files that the index lists as rejected, multi_face or not_found"),
        **REASON,
    },
)
NAME_INDEX = Table(
    "name_index",
    "one row per face of a name; what the quality filters, the detector or a missing file ruled out has a reason",
    {
        **SHARD,
        **NAME,
        **REL_PATH,
        "path": Column("str", "the file to read: a chip, or the photo the face is cut from"),
        "is_chip": Column("bool", "the file is cut out already and used as it is"),
        "score": Column("f64", "the detector's confidence, 0..1; null where nobody measured it"),
        "x0": Column("f64", "face box in pixels of the upright photo, left; null: the whole picture is the face"),
        "y0": Column("f64", "top"),
        "x1": Column("f64", "right"),
        "y1": Column("f64", "bottom"),
        "area_share": Column("f64", "area of the box over the area of its photo, 0..1"),
        "identity": Column("str", "hash of who it is, where the source says so: keeps a person on one side of the split, names nobody"),
        **REASON,
    },
    partitioned=True,
    key="shard",
)
FACE_CHIPS = Table(
    "face_chips",
    "the square picture of every accepted face",
    {
        **SHARD,
        **NAME,
        **IMAGE_ID,
        **REL_PATH,
        "path": Column("str", "the chip, a JPEG below data/names/chips, or the file that was a chip already"),
        "source_id": Column("str", "first 32 hex digits of the SHA-256 of the photo it was cut from"),
        "phash": Column("str", "64-bit perceptual hash of the chip, 16 hex digits"),
        "identity": Column("str", "as in name_index"),
        **REASON,
    },
    partitioned=True,
    key="shard",
)
NAME_EMBEDDINGS = Table(
    "name_embeddings",
    "every chip as a unit vector",
    {
        **SHARD,
        **NAME,
        **IMAGE_ID,
        "encoder": Column("str", "encoder fingerprint"),
        "embedding": Column("list[f32]", "unit vector"),
        **REASON,
    },
    partitioned=True,
    key="shard",
)
NAME_SPLITS = Table(
    "name_splits",
    "which side every face is on: drawn by group, so that no person and no near-duplicate is on two sides",
    {
        **IMAGE_ID,
        **NAME,
        **SHARD,
        "group_id": Column("str", "image_id of the first member of the group: same person, same photo, or near-duplicates"),
        "group_size": Column("i32", "faces in the group"),
        "identity": Column("str", "as in name_index"),
        "split": Column("str", "train | val | test"),
        **REASON,
    },
)
NAME_PROBES = Table(
    "name_probes",
    "what every probe and control of the last study reached on the test split",
    {
        "track": Column("str", "method, control or ablation"),
        "metric": Column("str", "name"),
        "value": Column("f64", "value"),
        "low": Column("f64", "95 % interval"),
        "high": Column("f64", "95 % interval"),
        "n": Column("i64", "faces judged"),
        "baseline": Column("f64", "what an answer that does not look at the face reaches"),
    },
)
FIRST_NAMES: tuple[Table, ...] = (NAME_SHARDS, NAME_INDEX, FACE_CHIPS, NAME_EMBEDDINGS, NAME_SPLITS, NAME_PROBES)
