"""A library of labelled photos from several sources goes in; how well students label photos they never saw comes out, source by source.

    python benchmarks/real_library.py --data FOLDER   (holds library/ and labels.jsonl: path, scene, objects, attributes, source)
    python benchmarks/real_library.py --encoder siglip:NAME --out FILE   any encoder of the settings; the page shows the handcrafted one's
    python benchmarks/real_library.py --features FILE.npz   vectors made elsewhere (X (n, d), path, scene, source, group), instead of photos

The platform's own stages scan, group and embed the photos; `train_head` trains; `classify` answers. Only what is held out differs:
the platform's split (groups of near-duplicates stay together), five folds of groups, five folds of photos drawn at random, and one
source at a time. A held-out source is scored on the scenes that another source shows too: what nobody taught cannot be known. The clean
part of it holds out whole collections (sources whose names begin alike) and leaves out scenes that the collections' classes only suggest.
"""

from __future__ import annotations

import argparse
import json
import os
import platform as machine
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GroupKFold, KFold
from tqdm import tqdm

from vibe_assets.evaluate.intervals import cluster_bootstrap, percentile_estimate, wilson
from vibe_assets.heads.classifier import classify
from vibe_assets.heads.dataset import head_labels, training_set
from vibe_assets.heads.models import HeadError, TrainedHead
from vibe_assets.heads.train import train_head
from vibe_assets.questions import load
from vibe_assets.records import PHOTO_GROUPS, Estimate
from vibe_assets.settings import load_settings
from vibe_assets.stages.embeddings import embed_folder
from vibe_assets.stages.library import accepted_photos, group_library, look_at_folders, scan_folder
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.students import library_vectors, question_of

SEED = 42
FOLDS = 5
QUESTIONS = load()
ATTRIBUTES = tuple(field.name for field in QUESTIONS["attributes"].fields)
PER_SCENE = 300  # stored vectors of a source and scene
WEAK = ("scene.snapshot",)  # streets and buildings: nothing says that their photographers meant a snapshot
RESAMPLES = 2000
DATA = Path(os.environ.get("VIBE_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
RESULT = Path(__file__).parent / "results" / "real_library.json"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "real-library.md"


# -- the library ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Library:
    """Vectors and known labels of the photos, one row each; `sources`, `splits` and `groups` in the same order."""

    platform: Platform
    encoder: str  # of the settings, or the file of vectors
    vectors: pl.DataFrame
    truth: pl.DataFrame
    sources: np.ndarray
    splits: np.ndarray
    groups: np.ndarray


def read_library(data: Path, home: Path, encoder: str = "handcrafted") -> Library:
    """Scan, group and embed with the platform's stages; labels from labels.jsonl, the last line per path."""
    config = home / "vibe.toml"
    config.write_text(
        f'[library]\nroot = {json.dumps(str(data / "library"))}\nhome = "data"\n[encoder]\nname = {json.dumps(encoder)}\n', encoding="utf-8"
    )
    platform = Platform(load_settings(config), run_id="benchmark", progress=False)
    folders = look_at_folders(platform).folders["folder_key"].to_list()
    for key in tqdm(folders, desc="scan and embed", unit="folder"):
        scan_folder(platform, key)
        embed_folder(platform, key)
    group_library(platform)
    photos = accepted_photos(platform).select("image_id", "rel_path")
    known = (
        photos.join(_labels(data / "labels.jsonl"), on="rel_path").join(platform.lake.read(PHOTO_GROUPS), on="image_id").sort("image_id")
    )
    vectors = known.select("image_id").join(library_vectors(platform), on="image_id", how="left", maintain_order="left")
    return Library(platform, encoder, vectors, known, *(known[name].to_numpy().astype(str) for name in ("source", "split", "group_id")))


def _labels(file: Path) -> pl.DataFrame:
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    by_path = {line["path"].removeprefix("library/"): line for line in lines if line["path"].startswith("library/")}
    rows = []
    for path, line in by_path.items():
        attributes = json.loads(line["attributes"])
        objects = [name for name in str(line["objects"] or "").split(",") if name]
        rows.append(
            {"rel_path": path, "scene": line["scene"], "objects": objects, "source": line["source"]}
            | {name: attributes.get(f"attr.{name}") for name in ATTRIBUTES}
        )
    schema: dict[str, Any] = {"rel_path": pl.String, "scene": pl.String, "objects": pl.List(pl.String), "source": pl.String}
    return pl.DataFrame(rows, schema=schema | dict.fromkeys(ATTRIBUTES, pl.Boolean))


def read_features(file: Path, home: Path) -> Library:
    """Stored vectors with scenes; of every source and scene at most PER_SCENE photos; split by group as the platform would."""
    with np.load(file) as stored:
        x, paths, scenes, sources = (stored[name] for name in ("X", "path", "scene", "source"))
        groups = np.where(stored["group"] == "", paths, stored["group"])
    rng, cells = np.random.default_rng(SEED), np.unique(np.char.add(sources, scenes), return_inverse=True)[1]
    kept = np.sort(np.concatenate([rng.permutation(np.flatnonzero(cells == cell))[:PER_SCENE] for cell in range(cells.max() + 1)]))
    vectors = x[kept].astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    of_group = np.unique(groups[kept], return_inverse=True)[1]
    side = rng.choice(["train", "val", "test"], of_group.max() + 1, p=[0.6, 0.15, 0.25])[of_group]
    truth = pl.DataFrame({"image_id": paths[kept], "scene": scenes[kept], "source": sources[kept], "split": side, "group_id": groups[kept]})
    nothing: dict[str, Any] = {**dict.fromkeys(ATTRIBUTES, pl.Boolean), "objects": pl.List(pl.String)}
    truth = truth.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in nothing.items())
    rows = pl.DataFrame({"image_id": truth["image_id"], "embedding": vectors.tolist(), "encoder": [file.stem] * len(kept)})
    (home / "vibe.toml").write_text('[library]\nroot = "."\nhome = "data"\n', encoding="utf-8")
    platform = Platform(load_settings(home / "vibe.toml"), run_id="benchmark", progress=False)
    return Library(platform, file.name, rows, truth, *(truth[name].to_numpy().astype(str) for name in ("source", "split", "group_id")))


# -- what is held out ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Fold:
    """Sides of one training: `sides` (n,) train | val | test | aside, and the positions to score."""

    name: str
    sides: np.ndarray
    scored: np.ndarray


def own_split(library: Library) -> Iterator[Fold]:
    yield Fold("", library.splits, np.flatnonzero(library.splits == "test"))


def folds_of(library: Library, *, by_group: bool) -> Iterator[Fold]:
    """Five folds; within the other four, about a sixth (whole groups, or photos) chooses."""
    n = len(library.splits)
    splitter = GroupKFold(FOLDS, shuffle=True, random_state=SEED) if by_group else KFold(FOLDS, shuffle=True, random_state=SEED)
    units = np.unique(library.groups if by_group else np.arange(n), return_inverse=True)[1]
    chooses = np.random.default_rng(SEED).random(units.max() + 1)[units] < 1 / 6
    for at, (_, test) in enumerate(splitter.split(np.zeros(n), groups=library.groups if by_group else None)):
        sides = np.where(chooses, "val", "train").astype("<U5")
        sides[test] = "test"
        yield Fold(str(at), sides, test)


def sources_held_out(library: Library, *, clean: bool = False) -> Iterator[Fold]:
    """Every source (clean: every collection) once: trained on the others, scored where another one shows the same scene."""
    scenes = library.truth["scene"].to_numpy().astype(str)
    units = np.array([source.partition("_")[0] for source in library.sources.tolist()]) if clean else library.sources
    sure = ~np.isin(scenes, WEAK if clean else ())
    for unit in sorted(set(units.tolist())):
        held = units == unit
        sides = np.where(held, "test", np.where(library.splits == "val", "val", "train")).astype("<U5")
        sides[~sure] = "aside"
        yield Fold(unit, sides, np.flatnonzero(held & sure & np.isin(scenes, np.unique(scenes[~held & sure]))))


# -- training and answers ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Answers:
    """What heads said of the scored photos of all folds; `at` are positions in the library, a photo once."""

    at: np.ndarray
    forced: np.ndarray  # best scene
    given: np.ndarray  # scene, or "" where the head abstained
    attributes: dict[str, np.ndarray]  # name -> probability, nan where nobody taught it
    objects: np.ndarray  # surest object, "" where none was named


def answers(library: Library, folds: Sequence[Fold], what: str) -> Answers:
    parts = [_answer(library, fold) for fold in tqdm(folds, desc=what, unit="fold") if len(fold.scored)]
    join = np.concatenate
    return Answers(
        join([part.at for part in parts]), join([part.forced for part in parts]), join([part.given for part in parts]),
        {name: join([part.attributes[name] for part in parts]) for name in ATTRIBUTES}, join([part.objects for part in parts]),
    )  # fmt: skip


def _answer(library: Library, fold: Fold) -> Answers:
    heads = {kind: head for kind in ("scene", "attribute", "object") if (head := _train(library, kind, fold.sides)) is not None}
    rows = library.vectors[fold.scored]
    said = classify(rows, heads, questions=QUESTIONS)
    scene = heads["scene"]
    p = scene.probabilities(np.stack(rows["embedding"].to_list()).astype(np.float32))
    return Answers(
        fold.scored,
        np.array(scene.labels)[p.argmax(axis=1)],
        said["scene"].fill_null("").to_numpy().astype(str),
        {name: said[f"{name}_confidence"].fill_null(np.nan).to_numpy() for name in ATTRIBUTES},
        np.array([(found or [""])[0] for found in said["objects"].to_list()]),
    )


def _train(library: Library, kind: str, sides: np.ndarray) -> TrainedHead | None:
    """A head of the platform on these sides; None where there is nothing to learn (no label with both outcomes)."""
    question = question_of(library.platform, kind)
    groups = pl.DataFrame({"image_id": library.truth["image_id"], "group_id": library.groups, "split": sides, "source": library.sources})
    truth = library.truth.select("image_id", *QUESTIONS.columns)
    data = training_set(question, library.vectors, truth, groups)
    side = dict(zip(library.truth["image_id"], sides.tolist(), strict=True))
    if data.splits.tolist() != [side[image_id] for image_id in data.image_ids.tolist()]:
        raise AssertionError(f"{kind}: the sides that the head trains on are not those of the fold")
    settings = library.platform.settings.students.model_copy(update={"seed": SEED})
    try:
        return train_head(
            kind, data, labels=head_labels(question), settings=settings, provenance={"encoder": library.vectors["encoder"][0]}
        )
    except HeadError:
        if kind == "scene":
            raise
        return None


# -- figures -------------------------------------------------------------------------------------------------------------
def share(marks: np.ndarray, clusters: np.ndarray, *, baseline: float | None = None) -> Estimate:
    """A share with its cluster-bootstrap interval; where all or none are right there is nothing to resample: Wilson's, over clusters."""
    found = cluster_bootstrap(marks.astype(float), clusters, resamples=RESAMPLES, seed=SEED, baseline=baseline)
    if found.low < found.high:
        return found
    low, high = wilson(found.value * len(set(clusters)), len(set(clusters)))
    return Estimate(found.value, low, high, found.n, baseline)


def figures(library: Library, said: Answers, variant: str, *, clusters: np.ndarray | None = None) -> list[dict[str, Any]]:
    """Scene accuracy with every photo answered, then share answered and accuracy of the answered."""
    truth, groups = library.truth["scene"].to_numpy().astype(str)[said.at], (library.groups if clusters is None else clusters)[said.at]
    kinds, counts = np.unique(truth, return_counts=True)
    majority = counts.max() / len(truth) if len(kinds) > 1 else None  # photos of one scene only: a constant answer says nothing
    answered = said.given != ""
    rows = [
        _row(variant, "scene accuracy, every photo answered", share(said.forced == truth, groups, baseline=majority), groups),
        _row(variant, "share answered", share(answered, groups), groups),
    ]
    if answered.any():
        kept = share((said.given == truth)[answered], groups[answered], baseline=majority)
        rows.append(_row(variant, "scene accuracy of the answered", kept, groups[answered]))
    return rows


def attribute_figures(library: Library, said: Answers, variant: str, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Average precision over the photos whose truth is known and which some fold could judge."""
    for name in names:
        known, p = library.truth[name].is_not_null().to_numpy()[said.at], said.attributes[name]
        at = np.flatnonzero(known & np.isfinite(p))
        truth, groups = library.truth[name].fill_null(False).to_numpy()[said.at[at]], library.groups[said.at[at]]
        if truth.any() and not truth.all():
            yield _row(variant, f"{name}, average precision", _average_precision(truth, p[at], groups), groups)


def _average_precision(truth: np.ndarray, p: np.ndarray, groups: np.ndarray) -> Estimate:
    codes = np.unique(groups, return_inverse=True)[1]
    members = [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]
    rng = np.random.default_rng(SEED)
    draws = [np.arange(len(truth))]
    draws += [np.concatenate([members[k] for k in rng.integers(len(members), size=len(members))]) for _ in range(500)]
    values = np.array([average_precision_score(truth[at], p[at]) if truth[at].any() else np.nan for at in draws])
    estimate = percentile_estimate(values, n=len(truth), baseline=float(truth.mean()), share_of=int(truth.sum()))
    assert estimate is not None
    return estimate


def object_figure(library: Library, said: Answers, variant: str) -> dict[str, Any]:
    """Whether the surest object is one of the photo's, or a parent of one, over photos with known objects."""
    truth = [set(QUESTIONS.closure(objects)) for objects in library.truth["objects"].to_list()]
    at = np.array([k for k, place in enumerate(said.at) if truth[place]])
    sets, groups = [truth[said.at[k]] for k in at], library.groups[said.at[at]]
    constant = max(sorted(set().union(*sets)), key=lambda label: sum(label in found for found in sets))
    baseline = float(np.mean([constant in found for found in sets]))
    right = np.array([said.objects[k] in found for k, found in zip(at, sets, strict=True)])
    return _row(variant, "main object found", share(right, groups, baseline=baseline), groups)


def _row(variant: str, what: str, estimate: Estimate, clusters: np.ndarray) -> dict[str, Any]:
    figure = {"value": estimate.value, "min": estimate.low, "max": estimate.high, "baseline": estimate.baseline}
    rounded = {name: None if value is None else round(value, 4) for name, value in figure.items()}
    return {"variant": variant, "figure": what, "unit": "share", **rounded, "n": estimate.n, "clusters": len(set(clusters)), "runs": 1}


def measure(library: Library) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All rows, and what was left out of the source-wise part."""
    plans = {
        "the platform's split": list(own_split(library)),
        "five folds of groups": list(folds_of(library, by_group=True)),
        "five folds of single photos": list(folds_of(library, by_group=False)),
        "source held out": list(sources_held_out(library)),
        "collection held out, clean": list(sources_held_out(library, clean=True)),
    }
    said = {name: answers(library, folds, name) for name, folds in plans.items()}
    rows = [row for name in plans for row in figures(library, said[name], name)]
    across = said["source held out"]
    rows += figures(library, across, "source held out, sources drawn", clusters=library.sources)[:1]
    for fold in plans["source held out"]:
        own = np.flatnonzero(np.isin(across.at, fold.scored))
        if len(own):
            part = Answers(across.at[own], across.forced[own], across.given[own], {}, across.objects[own])
            rows += figures(library, part, f"held out: {fold.name}")
    rows += attribute_figures(library, said["five folds of groups"], "five folds of groups", ATTRIBUTES)
    rows += attribute_figures(library, across, "source held out", ["has_person"])
    if (library.truth["objects"].list.len().fill_null(0) > 0).any():
        rows.append(object_figure(library, said["five folds of groups"], "five folds of groups"))
    return rows, _left_out(library, plans["source held out"])


def _left_out(library: Library, folds: Sequence[Fold]) -> dict[str, Any]:
    """Source -> scenes that no other source shows, with their photos."""
    scored = set(np.concatenate([fold.scored for fold in folds]).tolist())
    out = library.truth.with_row_index("at").filter(~pl.col("at").is_in(sorted(scored)))
    counts = out.group_by("source", "scene").len().sort("source", "scene")
    return {f"{source}: {scene}": photos for source, scene, photos in counts.iter_rows()}


# -- what is written -------------------------------------------------------------------------------------------------------
def report(library: Library, rows: list[dict[str, Any]], left_out: dict[str, Any], seconds: float) -> dict[str, Any]:
    import sklearn
    import torch

    sources = dict(library.truth["source"].value_counts(sort=True).sort("source").iter_rows())
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    return {
        "name": "real_library",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "hardware": {"cpu": _cpu(), "cores": os.cpu_count()},
        "versions": {
            "python": machine.python_version(), "torch": torch.__version__, "numpy": np.__version__, "scikit-learn": sklearn.__version__,
            "polars": pl.__version__,
        },
        "command": f"python benchmarks/real_library.py --{'features' if library.encoder.endswith('.npz') else 'encoder'} {library.encoder}",
        "seed": SEED,
        "work": {
            "photos": library.truth.height,
            "groups": len(set(library.groups.tolist())),
            "encoder": library.encoder,
            "encoder_fingerprint": library.vectors["encoder"][0],
            "dimensions": len(library.vectors["embedding"][0]),
            "sources": sources,
            "left_out_of_source_wise": left_out,
            "interval": f"95 %, percentile bootstrap of {RESAMPLES} draws of whole groups (average precision: 500)",
            "seconds": round(seconds, 1),
        },
        "rows": rows,
        "ratios": {},
    }  # fmt: skip


MORE = ("<!-- vectors: written by benchmarks/real_library.py --features -->", "<!-- end of vectors -->")
SCENE = ("scene accuracy, every photo answered", "share answered", "scene accuracy of the answered")
MARKS = ("<!-- figures: written by benchmarks/real_library.py -->", "<!-- end of figures -->")


def tables(result: dict[str, Any]) -> str:
    """The figures as Markdown: scenes by what was held out, then attributes and objects, then how they were made."""
    by_variant: dict[str, dict[str, dict[str, Any]]] = {}
    for row in result["rows"]:
        by_variant.setdefault(row["variant"], {})[row["figure"]] = row
    lines = [
        "| held out | photos | clusters | right, every photo answered | most frequent scene | share answered | right of the answered |",
        "|---|---:|---:|---|---:|---|---|",
    ]
    for variant, found in by_variant.items():
        if forced := found.get(SCENE[0]):
            right, share_answered, right_answered = (_cell(found.get(figure)) for figure in SCENE)
            counts, most = f"{forced['n']} | {forced['clusters']}", _plain(forced["baseline"])
            lines.append(f"| {variant} | {counts} | {right} | {most} | {share_answered} | {right_answered} |")
    if more := [row for row in result["rows"] if row["figure"] not in SCENE]:
        lines += ["", "| held out | figure | photos | value | constant answer |", "|---|---|---:|---|---:|"]
        lines += [f"| {row['variant']} | {row['figure']} | {row['n']} | {_cell(row)} | {_plain(row['baseline'])} |" for row in more]
    work, hardware, versions = result["work"], result["hardware"], result["versions"]
    left_out = ", ".join(f"{name.replace(': scene.', ' ')} ({photos})" for name, photos in work["left_out_of_source_wise"].items())
    lines += [
        "",
        f"Not scored when a source is held out, because no other source shows the scene: {left_out}.",
        "",
        f"{work['photos']} photos in {work['groups']} groups; encoder `{work['encoder']}`, {work['dimensions']} dimensions; "
        f"seed {result['seed']}; {hardware['cpu']}, {hardware['cores']} cores; "
        f"{', '.join(f'{name} {version}' for name, version in versions.items())}; {result['date'][:10]}, {work['seconds']:.0f} s.",
    ]
    return "\n".join(lines)


def _cell(row: dict[str, Any] | None) -> str:
    return "" if row is None else f"**{row['value']:.3f}** ({row['min']:.3f} to {row['max']:.3f})"


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def with_figures(page: str, result: dict[str, Any], marks: tuple[str, str] = MARKS) -> str:
    """The page with the figures between its two marks replaced."""
    before, after = page.split(marks[0])[0], page.split(marks[1])[1]
    return f"{before}{marks[0]}\n\n{tables(result)}\n\n{marks[1]}{after}"


def _cpu() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), machine.processor())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--encoder", default="handcrafted", help="as in [encoder] name (default: %(default)s)")
    parser.add_argument("--features", type=Path, help="an .npz file of vectors, instead of photos")
    parser.add_argument("--out", type=Path, help=f"default: {RESULT.name} in {RESULT.parent.name}/, with --features vectors_{RESULT.name}")
    parser.add_argument("--page", type=Path, default=PAGE, help="its figures are written anew")
    options = parser.parse_args()
    if options.encoder != "handcrafted" and options.out is None:
        parser.error("--encoder: name a file with --out; the page and its result are the handcrafted encoder's")
    needed = options.features or options.data / "labels.jsonl"
    if not needed.is_file():
        parser.error(f"{needed}: no such file; --data names the folder that holds library/ and labels.jsonl, --features a file of vectors")
    out = options.out or (RESULT if options.features is None else RESULT.with_name(f"vectors_{RESULT.name}"))
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as home:
        read = read_library(options.data, Path(home), options.encoder) if options.features is None else read_features(needed, Path(home))
        rows, left_out = measure(read)
        result = report(read, rows, left_out, time.perf_counter() - started)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if options.encoder == "handcrafted":
        page = options.page.read_text(encoding="utf-8")
        options.page.write_text(with_figures(page, result, MARKS if options.features is None else MORE), encoding="utf-8")
    print(tables(result))
    print(out)


if __name__ == "__main__":
    main()
