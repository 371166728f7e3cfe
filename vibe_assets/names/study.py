"""The names study stage by stage, from lake to lake: plan, index, chips, vectors, split, probes, report."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_assets.names.metrics import Scores
from vibe_assets.names.results import Track, find_tracks, read_track, write_track
from vibe_assets.records import PhotoRef
from vibe_assets.records.first_names import FACE_CHIPS, NAME_EMBEDDINGS, NAME_INDEX, NAME_PROBES, NAME_SHARDS, NAME_SPLITS
from vibe_assets.stages.platform import Platform, StageError

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.names.questions import FaceFile
    from vibe_assets.names.vlm_tracks import HeadKnobs, Tools

REPLACED = ("probe", "control", "ablation")  # kinds of tracks that a new study writes anew; others stay
PRIMARY = "linear"  # the track that is reported first and gated on, named before any result was seen


@dataclass(frozen=True)
class NamesReport:
    """The page that was written, its Markdown headline and the version of what it reports on."""

    path: Path
    markdown: str
    picture: str  # Markdown with an inline PNG of the skew
    version: str


def plan_study(platform: Platform) -> pl.DataFrame:
    """Which names there are, and in which shard each lies."""
    from vibe_assets.names.index import plan

    rows = plan(platform.settings.names_root, platform.settings.names)
    platform.lake.replace(NAME_SHARDS, rows, commit=platform.commit)
    return rows


def planned_shards(platform: Platform) -> list[str]:
    """Shards that hold a name, sorted. Raises StageError before the first plan."""
    shards = platform.lake.read(NAME_SHARDS)["shard"].unique().sort().to_list()
    if not shards:
        raise StageError("no names planned: run `vibe names index`")
    return shards


def index_faces(platform: Platform, shard: str) -> pl.DataFrame:
    """The faces of the shard's names."""
    from vibe_assets.names.index import index_shard

    rows = index_shard(platform.settings.names_root, shard, platform.settings.names)
    platform.lake.replace(NAME_INDEX, rows, folder_key=shard, commit=platform.commit)
    return rows


def cut_faces(platform: Platform, shard: str) -> pl.DataFrame:
    """The chips of the shard's accepted faces; what lies on disk already is not cut again."""
    from vibe_assets.names.chips import cut_chips

    settings = platform.settings
    rows = cut_chips(
        platform.lake.read(NAME_INDEX, folder_key=shard), settings.names_dir / "chips", settings.names, limits=settings.library,
        workers=settings.encoder.decode_workers, progress=platform.progress,
    )  # fmt: skip
    platform.lake.replace(FACE_CHIPS, rows, folder_key=shard, commit=platform.commit)
    return rows


def embed_faces(platform: Platform, shard: str) -> pl.DataFrame:
    """The vectors of the shard's chips, by the library's encoder and its cache."""
    import polars as pl

    from vibe_assets.encoders.base import load_encoder
    from vibe_assets.encoders.engine import embed_photos

    settings = platform.settings
    chips = platform.lake.read(FACE_CHIPS, folder_key=shard).filter(pl.col("reason").is_null())
    refs = [
        PhotoRef(image_id, path.encode(), rel_path) for image_id, path, rel_path in chips.select("image_id", "path", "rel_path").iter_rows()
    ]
    vectors = embed_photos(
        refs, load_encoder(settings.encoder), settings=settings.encoder, cache_dir=settings.cache_dir, progress=platform.progress,
        limits=settings.library,
    )  # fmt: skip
    rows = vectors.with_columns(chips["name"], shard=pl.lit(shard)).unique(["image_id", "name"], keep="first", maintain_order=True)
    rows = rows.select(list(NAME_EMBEDDINGS.columns))
    platform.lake.replace(NAME_EMBEDDINGS, rows, folder_key=shard, commit=platform.commit)
    return rows


def split_names(platform: Platform) -> pl.DataFrame:
    """Groups and sides of every chip of the shards that are planned."""
    import polars as pl

    from vibe_assets.names.splits import split_faces

    chips = platform.lake.scan(FACE_CHIPS).filter(pl.col("shard").is_in(planned_shards(platform))).collect()
    rows = split_faces(chips, platform.settings.names)
    platform.lake.replace(NAME_SPLITS, rows, commit=platform.commit)
    return rows


def results_dir(platform: Platform) -> Path:
    return platform.settings.names_dir / "results"


def probe_names(platform: Platform, methods: Sequence[str] | None = None) -> list[Track]:
    """Train and judge every method, control and ablation; one results folder each, and their figures as a table."""
    import polars as pl

    from vibe_assets.names.dataset import load_names
    from vibe_assets.names.probes import METHODS, run_probes

    data = load_names(platform)
    versions = {table.name: platform.lake.version(table) for table in (NAME_EMBEDDINGS, NAME_SPLITS)}
    provenance = {"encoder": platform.settings.encoder.name, "data_versions": versions, "run_id": platform.run_id}
    folder = results_dir(platform)
    tracks = []
    for track in run_probes(data, platform.settings.names, methods=methods or METHODS, provenance=provenance, progress=platform.progress):
        write_track(folder / track.name, track)
        tracks.append(track)
    _remove_stale(folder, {track.name for track in tracks})
    rows = [
        {"track": track.name, "metric": name, "value": one.value, "low": one.low, "high": one.high, "n": one.n, "baseline": one.baseline}
        for track in tracks
        for name, one in track.scores.headline.items()
    ] + [
        {"track": track.name, "metric": "chance", "value": track.chance, "low": None, "high": None, "n": track.scores.n, "baseline": None}
        for track in tracks
    ]  # fmt: skip
    platform.lake.replace(NAME_PROBES, pl.DataFrame(rows, schema=NAME_PROBES.polars_schema()), commit=platform.commit)
    return tracks


def _remove_stale(folder: Path, written: set[str]) -> None:
    """Folders of an earlier study whose tracks the new one does not have; what another kind of study put beside them stays."""
    for inner in folder.iterdir():
        if inner.name not in written and (inner / "config.json").is_file() and read_track(inner).config.get("kind") in REPLACED:
            shutil.rmtree(inner)


def study_tracks(platform: Platform) -> list[Track]:
    """The results on disk, the primary probe first, then methods, controls and ablations by name. Raises StageError before the first."""
    folder = results_dir(platform)
    if not (folder / PRIMARY / "config.json").is_file():
        raise StageError("no results of the names study: run `vibe names probe`")
    order = {"probe": 0, "vlm": 1, "control": 2, "ablation": 3}
    return sorted(find_tracks(folder), key=lambda track: (track.name != PRIMARY, order.get(track.kind, 9), track.name))


def report_names(platform: Platform) -> NamesReport:
    """Write the page `names_report.html` and its card for the index of reports."""
    from vibe_assets.names.report import write_report

    return write_report(platform, study_tracks(platform))


def primary_scores(platform: Platform) -> Scores:
    return next(track for track in study_tracks(platform) if track.name == PRIMARY).scores


def study_faces(platform: Platform, *, most: int = 0) -> tuple[list[FaceFile], list[str]]:
    """The chips under study and the names, the most frequent in training first; `most` keeps that many of each side, drawn by the seed."""
    import numpy as np
    import polars as pl

    from vibe_assets.names.dataset import names_under_study
    from vibe_assets.names.questions import FaceFile

    splits = platform.lake.read(NAME_SPLITS).filter(pl.col("reason").is_null()).unique("image_id", keep="first")
    names = names_under_study(splits, platform.settings.names.top_names)
    chips = platform.lake.scan(FACE_CHIPS).select("image_id", "path").filter(pl.col("path").is_not_null()).collect()
    rows = splits.filter(pl.col("name").is_in(names)).join(chips.unique("image_id", keep="first"), on="image_id").sort("image_id")
    if rows.is_empty():
        raise StageError("no faces with a split: run `vibe names index`")
    number = {name: at for at, name in enumerate(names)}
    groups = np.unique(rows["group_id"].to_numpy().astype(str), return_inverse=True)[1]
    columns = rows.select("image_id", "path", "name", "split").iter_rows()
    faces = [FaceFile(i, path, number[name], int(group), split) for (i, path, name, split), group in zip(columns, groups, strict=True)]
    if not most:
        return faces, names
    order = np.random.default_rng(platform.settings.names.seed).permutation(len(faces))
    kept = [[faces[at] for at in order if faces[at].split == split][:most] for split in ("train", "val", "test")]
    return [face for side in kept for face in side], names


def ask_model(
    platform: Platform, modes: Sequence[str], tools: Tools, *, knobs: HeadKnobs, options: int, tune: bool, most: int
) -> list[Track]:
    """One results folder per mode, beside those of the probes: a new study of probes leaves them alone."""
    from vibe_assets.names.vlm_tracks import run_mode

    faces, names = study_faces(platform, most=most)
    if len(names) < 2:
        raise StageError(f"one name only ({', '.join(names)}) is under study: there is nothing to choose between; add faces of others")
    tracks = []
    for mode in modes:
        adapters = platform.settings.names_dir / "adapters" / mode
        track = run_mode(
            mode, faces, names, tools, adapters, knobs=knobs, options=min(options, len(names)), tune=tune, facts={"run_id": platform.run_id}
        )
        write_track(results_dir(platform) / track.name, track)
        tracks.append(track)
    return tracks
