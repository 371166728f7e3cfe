"""One track of the study becomes one folder, and a folder becomes a track again; the original study's folders are read as well."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vibe_assets.errors import UserError
from vibe_assets.lake import atomic_file, write_text
from vibe_assets.names.metrics import HEADLINE, NOT_SHARES, NameScore, Scores, chance_accuracy, judge
from vibe_assets.records import Estimate
from vibe_assets.strangers import json_value, markdown_cell, spreadsheet_cell

if TYPE_CHECKING:
    from numpy.typing import NDArray

OLDER_UNUSABLE = "(another answer)"  # the last name of folders of earlier versions: what is none of the names, len(names) today
PER_NAME = ("results.csv", "precision_recall_metrics.csv")
COMPARED = (
    "track",
    "faces",
    "names",
    "accuracy",
    "balanced",
    "macro-F1",
    "top 30",
    "prediction CV",
    "highest recall",
    "chance",
    "unusable",
)
COLUMNS = ("name", "precision", "recall", "f1", "support", "predicted_count", "true_positives")


class ResultsError(UserError, ValueError):
    """A results folder cannot be read; the message names the file and what is wrong with it."""


@dataclass(frozen=True, eq=False)
class Track:
    """What one method said of the faces it was judged on; an answer len(names) is none of the names.

    `config` says how it came about; its `kind` is probe, control or ablation.
    """

    name: str
    names: tuple[str, ...]
    predictions: NDArray[np.int64]
    truth: NDArray[np.int64]
    config: Mapping[str, Any] = field(default_factory=dict)
    groups: NDArray[np.int64] | None = None
    ranks: NDArray[np.float64] | None = None  # rank of the true name
    log: Sequence[Mapping[str, Any]] = ()
    embeddings: NDArray[np.float32] | None = None

    @property
    def kind(self) -> str:
        return str(self.config.get("kind", "control" if "permuted" in self.name else "probe"))

    @cached_property
    def chance(self) -> float:
        """Accuracy of these answers dealt out at random; where names were offered, one out of those."""
        if options := self.config.get("options"):
            return 1 / int(options)
        return chance_accuracy(self.predictions, self.truth, len(self.names))

    @cached_property
    def scores(self) -> Scores:
        return judge(
            self.predictions, self.truth, self.names, groups=self.groups, ranks=self.ranks,
            most_frequent=self.config.get("most_frequent"), majority=self.config.get("majority"),
        )  # fmt: skip


def write_track(folder: Path, track: Track) -> Path:
    """Write config.json, predictions.npy, true_labels.npy, names.json, results.csv, training_log.json and summary.md, the config last.

    groups.npy, ranks.npy and val_embeddings.npy are added where the track has them: with the first two, what is read back has the same
    intervals and choice figures.
    """
    arrays = {
        "predictions": track.predictions, "true_labels": track.truth, "groups": track.groups, "ranks": track.ranks,
        "val_embeddings": track.embeddings,
    }  # fmt: skip
    for name, array in arrays.items():
        if array is None:
            (folder / f"{name}.npy").unlink(missing_ok=True)
            continue
        with atomic_file(folder / f"{name}.npy") as temporary, temporary.open("wb") as file:
            np.save(file, array)
    write_text(folder / "names.json", _json(list(track.names)))
    write_text(folder / "results.csv", per_name_csv(track.scores.ranked()))
    write_text(folder / "training_log.json", _json(list(track.log)))
    write_text(folder / "summary.md", summary(track))
    return write_text(folder / "config.json", _json(dict(track.config)))


def read_track(folder: Path) -> Track:
    """Read a folder of this layout, or one that holds predictions.npy and true_labels.npy with a per-name table.

    Without names.json, names are found by matching the table's counts to the classes; a class that stays ambiguous is "class 17".
    Raises ResultsError naming the file.
    """
    predictions, truth = (_array(folder / f"{name}.npy") for name in ("predictions", "true_labels"))
    if predictions is None or truth is None or predictions.shape != truth.shape or predictions.ndim != 1 or not len(truth):
        raise ResultsError(f"{folder}: expected predictions.npy and true_labels.npy of one length, both (n,) and not empty")
    predictions, truth = predictions.astype(np.int64), truth.astype(np.int64)
    if min(predictions.min(), truth.min()) < 0:
        raise ResultsError(f"{folder}: expected class numbers from 0, got {min(predictions.min(), truth.min())}")
    classes = int(max(predictions.max(), truth.max())) + 1
    listed = _read_json(folder / "names.json", list)
    names = tuple(map(str, listed)) if listed is not None else _matched_names(folder, predictions, truth, classes)
    if names[-1:] == (OLDER_UNUSABLE,) and truth.max() < len(names) - 1:
        names = names[:-1]
    if truth.max() >= len(names) or predictions.max() > len(names):
        raise ResultsError(f"{folder / 'names.json'}: {len(names)} names, but classes up to {classes - 1}")
    groups, ranks = _array(folder / "groups.npy"), _array(folder / "ranks.npy")
    for name, array in (("groups", groups), ("ranks", ranks)):
        if array is not None and array.shape != truth.shape:
            raise ResultsError(f"{folder / name}.npy: expected shape {truth.shape}, got {array.shape}")
    config = _read_json(folder / "config.json", dict) or {}
    return Track(folder.name, names, predictions, truth, config, groups, ranks, _read_json(folder / "training_log.json", list) or ())


def is_track(folder: Path) -> bool:
    return (folder / "predictions.npy").is_file() and (folder / "true_labels.npy").is_file()


def find_tracks(folder: Path) -> list[Track]:
    """The folder itself, or every folder directly in it that is one."""
    if is_track(folder):
        return [read_track(folder)]
    found = [read_track(inner) for inner in sorted(folder.iterdir()) if is_track(inner)] if folder.is_dir() else []
    if not found:
        raise ResultsError(f"{folder}: no results here; expected predictions.npy and true_labels.npy, or folders that hold them")
    return found


def per_name_csv(rows: Sequence[NameScore]) -> str:
    """The per-name table, best F1 first."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)  # its own line ends, or it would not quote a stray one
    writer.writerow(COLUMNS)
    for one in rows:
        writer.writerow(
            [spreadsheet_cell(one.name), f"{one.precision:.6f}", f"{one.recall:.6f}", f"{one.f1:.6f}", one.support, one.predicted, one.hits]
        )
    return buffer.getvalue()


def summary(track: Track) -> str:
    """A page of Markdown: the figures, the five best and the five worst names."""
    scores = track.scores
    ranked = scores.ranked()
    lines = [f"# {track.name}", "", *figure_lines(scores), ""]
    lines += [f"Answers dealt out at random would be right for {percent(track.chance)}; one name of {len(track.names)} is "
              f"{percent(1 / len(track.names))}. The highest recall is that of {markdown_cell(scores.loudest.name)}.", ""]  # fmt: skip
    for title, rows in (("Best by F1", ranked[:5]), ("Worst by F1", ranked[-5:])):
        lines += [f"## {title}", "", "| name | F1 | precision | recall | true | said |", "|---|---:|---:|---:|---:|---:|"]
        lines += [
            f"| {markdown_cell(one.name)} | {' | '.join(map(percent, (one.f1, one.precision, one.recall)))} "
            f"| {one.support} | {one.predicted} |"
            for one in rows
        ] + [""]
    if seconds := track.config.get("seconds"):
        lines.append(f"Trained in {seconds:.1f} s; the process held {track.config.get('peak_memory_mb', 0):,} MB at its peak.")
    lines.append("A statistical association between faces and first names over many people. It says nothing about any one person.")
    return "\n".join(lines) + "\n"


def figure_lines(scores: Scores) -> list[str]:
    """Markdown table of the headline figures."""
    lines = ["| figure | value | 95 % interval | baseline | n |", "|---|---:|---:|---:|---:|"]
    for name, one in scores.headline.items():
        base = "" if one.baseline is None else shown(name, one.baseline)
        interval = f"{shown(name, one.low)} to {shown(name, one.high)}"
        lines.append(f"| {HEADLINE[name]} | **{shown(name, one.value)}** | {interval} | {base} | {one.n:,} |")
    return lines


def comparison_rows(tracks: Sequence[Track]) -> list[tuple[str, ...]]:
    """One row per track for `vibe names compare`, the most accurate first."""
    rows = []
    for track in sorted(tracks, key=lambda one: -one.scores.headline["accuracy"].value):
        head = track.scores.headline
        figures = ("accuracy", "balanced_accuracy", "macro_f1", "top30_accuracy", "prediction_cv", "max_recall")
        cells = [_interval(name, head.get(name)) for name in figures]
        rows.append(
            (
                track.name,
                f"{track.scores.n:,}",
                str(len(track.names)),
                *cells,
                percent(track.chance, 2),
                _interval("unusable", head.get("unusable")),
            )
        )
    return rows


def comparison_markdown(tracks: Sequence[Track]) -> str:
    """The same rows as a Markdown table, for asset metadata."""
    lines = [f"| {' | '.join(COMPARED)} |", "|---|" + "---:|" * (len(COMPARED) - 1)]
    return "\n".join(lines + [f"| {' | '.join(map(markdown_cell, row))} |" for row in comparison_rows(tracks)])


def percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f} %"


def shown(name: str, value: float) -> str:
    """A figure as people read it: shares in percent, the CV as it is."""
    return f"{value:.3f}" if name in NOT_SHARES else percent(value, 2)


def _interval(name: str, one: Estimate | None) -> str:
    return "–" if one is None else f"{shown(name, one.value)} [{shown(name, one.low)}, {shown(name, one.high)}]"


def _unguarded(cell: str) -> str:
    """A name as it was before `spreadsheet_cell`."""
    return cell[1:] if cell.startswith("'") and spreadsheet_cell(cell[1:]) == cell else cell


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n"


def _read_json(path: Path, kind: type) -> Any:
    if not path.exists():
        return None
    try:
        value = json_value(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError) as error:
        raise ResultsError(f"{path}: {error}") from error
    if not isinstance(value, kind):
        raise ResultsError(f"{path}: expected a JSON {'list' if kind is list else 'object'}, got {type(value).__name__}")
    return value


def _array(path: Path) -> NDArray[Any] | None:
    try:
        return np.load(path, allow_pickle=False) if path.exists() else None
    except (ValueError, OSError, EOFError) as error:
        raise ResultsError(f"{path}: not a plain numpy array: {error}") from error


def _matched_names(folder: Path, predictions: NDArray[np.int64], truth: NDArray[np.int64], classes: int) -> tuple[str, ...]:
    """Names of the classes by their counts: true, said and right; each combination that only one name and one class have."""
    file = next((folder / name for name in PER_NAME if (folder / name).exists()), None)
    unknown = [f"class {at}" for at in range(classes)]
    if file is None:
        return tuple(unknown)
    support, said = (np.bincount(array, minlength=classes) for array in (truth, predictions))
    hits = np.bincount(truth[truth == predictions], minlength=classes)
    by_counts: dict[tuple[int, int, int], list[str]] = {}
    try:
        for row in csv.DictReader(io.StringIO(file.read_text(encoding="utf-8-sig"))):
            true = int(row["support"])
            counts = (true, int(row["predicted_count"]), round(float(row["recall"]) * true))
            by_counts.setdefault(counts, []).append(_unguarded(row["name"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ResultsError(f"{file}: expected the columns name, recall, support and predicted_count ({error!r})") from error
    keys = [(int(support[at]), int(said[at]), int(hits[at])) for at in range(classes)]
    alike = Counter(keys)
    return tuple(by_counts[key][0] if alike[key] == 1 and len(by_counts.get(key, ())) == 1 else unknown[at] for at, key in enumerate(keys))
