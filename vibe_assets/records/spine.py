"""Tables of the main job: folders, photos, groups, answers, truth, vectors, predictions, metrics."""

from __future__ import annotations

from vibe_assets.records.table import CONFIDENCES, FOLDER_KEY, IMAGE_ID, LABELS, REASON, REL_PATH, TEACHERS, Column, Table

FOLDER_SET = Table(
    "folder_set",
    "the folders that hold photos, gone ones kept as tombstones",
    {
        **FOLDER_KEY,
        **REL_PATH,
        "path_bytes": Column("bytes", "the relative path as the file system spells it"),
        "files": Column("i64", "files seen"),
        "listing": Column("str", "hash of names, sizes and times of the files"),
        "gone_at": Column("time", "null while the folder exists"),
    },
)
RAW_PHOTOS = Table(
    "raw_photos",
    "one row per file of the library, rejected files included with a reason",
    {
        **FOLDER_KEY,
        **IMAGE_ID,
        **REL_PATH,
        "path_bytes": Column("bytes", "relative path as the file system spells it"),
        "bytes": Column("i64", "file size"),
        "mtime_ns": Column("i64", "modification time, ns since 1970; one that this cannot hold is the nearest that it can (1677, 2262)"),
        "format": Column("str", "JPEG, PNG, ... as decoded"),
        "width": Column("i32", "pixels after EXIF rotation"),
        "height": Column("i32", "pixels after EXIF rotation"),
        "frames": Column("i32", "1 for stills; the first frame is used"),
        "orientation": Column("i32", "EXIF orientation 1..8"),
        "taken_at": Column("wall", "EXIF DateTimeOriginal, local wall clock"),
        "offset_min": Column("i32", "minutes east of UTC, null where EXIF has none"),
        "latitude": Column("f64", "degrees north, WGS 84"),
        "longitude": Column("f64", "degrees east, WGS 84"),
        "camera": Column("str", "maker and model"),
        "sharpness": Column("f32", "variance of the Laplacian of luma (0..255) at 512 px"),
        "exposure": Column("f32", "mean luma, 0..1"),
        "contrast": Column("f32", "RMS contrast of luma, 0..1"),
        "colourfulness": Column("f32", "Hasler-Suesstrunk M3"),
        "phash": Column("str", "64-bit perceptual hash, 16 hex digits"),
        **REASON,
        "stored_share": Column("f32", "share of the picture that the file holds: 1, less for a progressive JPEG that was cut"),
        "measured_by": Column("str", "version of the code that measured the photo; of code, decoder and limits that rejected it"),
        "tries": Column("i32", "looks in a row that ended with a reason that may pass; null for other rows"),
        "tried_at": Column("time", "when the last of them was"),
    },
    partitioned=True,
)
PHOTO_GROUPS = Table(
    "photo_groups",
    "near-duplicates and bursts as groups, and the split that every student shares",
    {
        **IMAGE_ID,
        "group_id": Column("str", "image_id of the group's first member"),
        "split": Column("str", "train | val | test, or aside: a new photo that links groups of different splits"),
        "link": Column("str", "why the photo is in the group: single | near_duplicate | burst | gone (no longer in the library)"),
        "group_size": Column("i32", "photos in the group"),
    },
    of_library=True,
)
ANNOTATIONS = Table(
    "annotations",
    "the teacher's answer to every photo, failures included with a reason",
    {
        **FOLDER_KEY,
        **IMAGE_ID,
        **REL_PATH,
        "annotation": Column("str", "the validated answer as JSON, null after a failure"),
        "teacher": Column("str", "teacher fingerprint"),
        "model": Column("str", "model name"),
        "latency_s": Column("f64", "seconds of the successful request"),
        "prompt_tokens": Column("i64", "as the server counted"),
        "completion_tokens": Column("i64", "as the server counted"),
        **REASON,
        "questions": Column("str", "JSON: question that is answered -> fingerprint of what was asked; null after a failure"),
    },
    partitioned=True,
    of_library=True,
)
AUTO_GROUND_TRUTH = Table(
    "auto_ground_truth",
    "the teacher's answers as labels",
    {
        **IMAGE_ID,
        **LABELS,
        "teacher": Column("str", "teacher fingerprint"),
        "mapping": Column("str", "fingerprint of label file and conversion"),
        "overruled": Column("list[str]", "COLUMN=VALUE by COLUMNS: what the teacher said of each label that a rule decided"),
    },
    of_library=True,
)
AUDIT_SAMPLE = Table(
    "audit_sample",
    "the photos that people are asked to check",
    {
        **IMAGE_ID,
        **REL_PATH,
        "group_id": Column("str", "group"),
        "stratum": Column("str", "stratum it was drawn from"),
        "inclusion_probability": Column("f64", "chance of this photo to be in the sample, 0..1"),
        **LABELS,
    },
    of_library=True,
)
AUDIT_DRAWS = Table(
    "audit_draws",
    "every draw of an audit sample: which photos the library had then, and the chance it gave to each",
    {
        "draw": Column("i64", "1, 2, ..; numbered as they were made"),
        "at": Column("time", "when it was made, UTC"),
        "seed": Column("i64", "draws of one seed share their random numbers"),
        **IMAGE_ID,
        "group_id": Column("str", "group"),
        "group_size": Column("i32", "photos in the group, as far as they could be drawn"),
        "stratum": Column("str", "stratum it was drawn from"),
        "inclusion_probability": Column("f64", "chance of this photo to be in this sample, 0..1"),
        "group_probability": Column("f64", "chance of its group, given the random numbers of all other groups, 0..1"),
        "drawn": Column("bool", "whether the photo is in this sample"),
    },
    of_library=True,
)
AUDITED_GROUND_TRUTH = Table(
    "audited_ground_truth",
    "what people say, settled",
    {
        **IMAGE_ID,
        **LABELS,
        "inclusion_probability": Column("f64", "chance of this photo to be in the sample; null where unknown, weight 1"),
        "annotator": Column("str", "who"),
        "unasked": Column("list[str]", "columns of labels that nobody was asked for, null for none; in the others null means: cannot tell"),
    },
    of_library=True,
)
IMAGE_EMBEDDINGS = Table(
    "image_embeddings",
    "every photo as a unit vector",
    {**FOLDER_KEY, **IMAGE_ID, "encoder": Column("str", "encoder fingerprint"), "embedding": Column("list[f32]", "unit vector"), **REASON},
    partitioned=True,
    of_library=True,
)
PROMPT_EMBEDDINGS = Table(
    "prompt_embeddings",
    "label prompts as unit vectors of the same space; empty where the encoder has no text tower",
    {
        "label": Column("str", "label key"),
        "prompt": Column("str", "text"),
        "encoder": Column("str", "encoder fingerprint"),
        "embedding": Column("list[f32]", "unit vector"),
        "logit_scale": Column("f64", "factor on the cosine"),
        "logit_bias": Column("f64", "offset after scaling"),
    },
)
PREDICTIONS = Table(
    "predictions",
    "the deployed students' labels for every photo, what no head answers from prompts or the teacher; the teacher's beside them",
    {
        **FOLDER_KEY,
        **IMAGE_ID,
        **REL_PATH,
        **LABELS,
        **CONFIDENCES,
        "abstained": Column("list[str]", "what was left open: columns"),
        "source": Column("str", "student | zero_shot | teacher | none; where questions differ QUESTION=SOURCE of each, blanks between"),
        "heads": Column("str", "versions of the heads used"),
        "encoder": Column("str", "encoder fingerprint"),
        **TEACHERS,
        "overruled": Column("list[str]", "COLUMN=VALUE@PROBABILITY by COLUMNS: what was said of each label that a rule decided"),
        "margins": Column("list[str]", "KEY=MARGIN of labels told by prompts: cosine to the label less that to its opposite or rival"),
    },
    partitioned=True,
    of_library=True,
)
METRICS = Table(
    "metrics",
    "history of every headline figure",
    {
        "at": Column("time", "when it was computed"),
        "run_id": Column("str", "Dagster run, or 'cli'"),
        "subject": Column("str", "teacher | student | trial"),
        "version": Column("str", "version of what was judged"),
        "metric": Column("str", "name"),
        "label": Column("str", "label, '' for the whole"),
        "value": Column("f64", "value"),
        "low": Column("f64", "95 % interval"),
        "high": Column("f64", "95 % interval"),
        "n": Column("i64", "photos"),
        "baseline": Column("f64", "majority or prior"),
        "truth": Column("str", "human | auto"),
    },
)
SPINE = (
    FOLDER_SET,
    RAW_PHOTOS,
    PHOTO_GROUPS,
    ANNOTATIONS,
    AUTO_GROUND_TRUTH,
    AUDIT_SAMPLE,
    AUDIT_DRAWS,
    AUDITED_GROUND_TRUTH,
    IMAGE_EMBEDDINGS,
    PROMPT_EMBEDDINGS,
    PREDICTIONS,
    METRICS,
)
