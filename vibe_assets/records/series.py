"""Tables of the triage study: series, preferences, quality, picks."""

from __future__ import annotations

from vibe_assets.records.table import IMAGE_ID, REASON, REL_PATH, Column, Table

SERIES_ID = {"series_id": Column("str", "image_id of the first member when the series was formed, or IMPORT:NUMBER for an imported one")}
PHOTO_SERIES = Table(
    "photo_series",
    "photos of one moment, taken within seconds of each other and alike: series of the library, and imported ones",
    {
        **SERIES_ID,
        **IMAGE_ID,
        **REL_PATH,
        "path_bytes": Column("bytes", "path below the photo root, absolute for imported photos, as the file system spells it"),
        "folder_key": Column("str", "the library's folder, null for imported photos"),
        "taken_at": Column("wall", "EXIF DateTimeOriginal, local wall clock"),
        "position": Column("i32", "0-based place in the series, by time and name"),
        "series_size": Column("i32", "photos in the series, at least 2"),
        "source": Column("str", "library, or the name of the import"),
        "block": Column("str", "series that share a photo or a group of near-duplicates have one block: splits and bootstraps draw blocks"),
        "split": Column("str", "train | val | test, or aside: a new series that links blocks of different splits"),
    },
)
SERIES_MEMBERS = Table(
    "series_members",
    "every series there ever was with its photos and its split, so that one that vanished returns to its side",
    {
        **SERIES_ID,
        **IMAGE_ID,
        "source": Column("str", "library, or the name of the import"),
        "split": Column("str", "train | val | test | aside, drawn once"),
    },
)
SERIES_PREFERENCES = Table(
    "series_preferences",
    "which of two photos of a series people prefer; comparisons that do not count have a reason",
    {
        **SERIES_ID,
        "image_a": Column("str", "image_id; null where the photo was not found"),
        "image_b": Column("str", "image_id; null where the photo was not found"),
        "file_a": Column("str", "name as compared, normalised"),
        "file_b": Column("str", "name as compared, normalised"),
        "votes_a": Column("f64", "votes for a; a tied vote is half a vote for each"),
        "votes_b": Column("f64", "votes for b"),
        "agreement": Column("f64", "share of the votes for the side with more, 0.5..1"),
        "reviewers": Column("i32", "people who compared the two"),
        "source": Column("str", "review (the page), or the name of the import"),
        **REASON,
    },
)
IMAGE_QUALITY = Table(
    "image_quality",
    "what can be measured of the takes of a series without any label, on the upright photo at 512 px on its longest side",
    {
        **IMAGE_ID,
        "sharpness": Column("f32", "variance of the Laplacian of luma (0..255); Pech-Pacheco 2000"),
        "exposure": Column("f32", "well-exposedness, 0..1: mean over pixels of exp(-(luma - 0.5)^2 / 0.08); Mertens 2007"),
        "brightness": Column("f32", "mean luma, 0..1"),
        "clipped_shadows": Column("f32", "share of pixels with luma at most 2 of 255"),
        "clipped_highlights": Column("f32", "share of pixels with luma at least 253 of 255"),
        "colourfulness": Column("f32", "Hasler-Suesstrunk M3; 0 is grey, above 100 is vivid"),
        "contrast": Column("f32", "RMS contrast: standard deviation of luma, 0..1"),
        "noise": Column("f32", "standard deviation of noise in grey levels of 0..255; Immerkaer 1996"),
        "measure": Column("str", "version of the measures"),
        **REASON,
    },
)
BEST_OF_SERIES = Table(
    "best_of_series",
    "every take of the library's series with its score; the pick, unless it is too close to call",
    {
        **SERIES_ID,
        **IMAGE_ID,
        **REL_PATH,
        "rank": Column("i32", "1 is the best of the series"),
        "score": Column("f64", "the model's score, comparable within a series only"),
        "probability": Column("f64", "calibrated chance to be the one that people would pick, sums to 1 over the series"),
        "pick": Column("bool", "true for the one photo to keep; false for all where the series is left open"),
        "verdict": Column("str", "picked | too close to call"),
        "model": Column("str", "version of the series head, or rules"),
    },
    of_library=True,
)
SERIES: tuple[Table, ...] = (PHOTO_SERIES, SERIES_MEMBERS, SERIES_PREFERENCES, IMAGE_QUALITY, BEST_OF_SERIES)
