"""The name of a version of labels -> its label rows: a table of the lake, a teacher's answers, a head, or a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_assets.records import AUDITED_GROUND_TRUTH, PREDICTIONS, TABLES, Table
from vibe_assets.records.answers import without_teacher
from vibe_assets.records.table import LABELS
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.lineage import read_version
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.stages.students import label_rows, library_vectors
from vibe_assets.stages.truth import convert_rows

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.questions import Questions

FILES = (".json", ".jsonl")
SHORTEST = 4  # characters of a fingerprint or a head's version that may stand for it
OTHER_LOGS = ("verdicts", "choices", "tags")  # what lies beside the teachers' answers where library.journal is set
LISTED = 12  # names of a kind in an error message


@dataclass(frozen=True)
class Version:
    """One version of labels."""

    name: str  # in full: auto_ground_truth@12, a fingerprint, a head, a file's name
    about: str  # what it is, for people
    rows: pl.DataFrame  # image_id, the columns of the questions, confidences where known
    questions: Questions = field(repr=False, compare=False)
    learned: bool = False  # a student said it: people's answers on photos it learned from prove nothing
    people: bool = False  # it is what people say

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of the questions that it speaks of at all."""
        return tuple(
            question.head for question in self.questions if any(self.rows[column.name].is_not_null().any() for column in question.fields)
        )


def label_version(platform: Platform, name: str) -> Version:
    """The version of this name: TABLE, TABLE@VERSION, a teacher's fingerprint, a head, or a file. Raises StageError listing what exists.

    TABLE@-1 is the version before the newest. A fingerprint or head may be shortened as long as it stays the only one.
    """
    if Path(name).suffix in FILES:
        return _from_file(platform, Path(name))
    table, at, number = name.partition("@")
    if table in label_tables():
        return _from_table(platform, TABLES[table], number if at else None)
    for known, read in ((teachers(platform), _from_teacher), (heads(platform), _from_head)):
        found = [one for one in known if one == name] or [one for one in known if len(name) >= SHORTEST and one.startswith(name)]
        if len(found) > 1:
            raise StageError(f"{name!r} stands for {len(found)} versions: {', '.join(found)}; give more characters")
        if found:
            return read(platform, found[0])
    raise StageError(f"no version of labels is called {name!r}. There are:\n{_existing(platform)}")


def label_tables() -> tuple[str, ...]:
    """Tables of the lake whose rows are labels of photos."""
    return tuple(name for name, table in TABLES.items() if {"image_id", *LABELS} <= table.layout.keys())


def teachers(platform: Platform) -> list[str]:
    """Fingerprints of the teachers whose answers the journal holds."""
    from vibe_assets.teacher.journal import journals_in

    return [name for name in journals_in(platform.settings.journal_dir) if name not in OTHER_LOGS]


def heads(platform: Platform) -> list[str]:
    """Versions of the heads that were trained here."""
    from vibe_assets.heads.store import saved_heads

    return saved_heads(platform.settings.heads_dir)


def _existing(platform: Platform) -> str:
    """What `label_version` knows, one kind a line."""

    def some(names: list[str]) -> str:
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        return ", ".join(names[-LISTED:]) + more if names else "none"

    newest = {name: platform.lake.version(TABLES[name]) for name in label_tables()}
    tables = [f"{name}@0..{version}" if version else name for name, version in newest.items() if version is not None]
    lines = {"tables": tables, "teachers": teachers(platform), "heads": heads(platform)}
    return "\n".join([*(f"  {kind}: {some(names)}" for kind, names in lines.items()), "  files: any labels file, .json or .jsonl"])


def _from_table(platform: Platform, table: Table, number: str | None) -> Version:
    lake, newest = platform.lake, platform.lake.version(table)
    if newest is None:
        raise StageError(f"table {table.name} was never written: `vibe run` makes it, or the command of its study")
    version = newest
    if number is not None:
        try:
            version = int(number)
        except ValueError:
            raise StageError(f"{table.name}@{number}: expected a number after '@', for example {table.name}@{newest}") from None
        version = newest + version if version < 0 else version
        if not 0 <= version <= newest:
            raise StageError(f"{table.name} has no version {number}: there are 0 to {newest}")
    rows = read_version(platform, table, version)
    if rows is None:
        raise StageError(f"{table.name}@{version}: its files are gone; newer versions may still be whole")
    rows = lake.live(table, rows.lazy()).collect()
    if rows.is_empty():
        raise StageError(f"{table.name}@{version} holds no rows")
    if table.name == PREDICTIONS.name:
        rows = without_teacher(rows, platform.questions)
    about = f"{table.description}; version {version}" + (", the newest" if version == newest else f" of {newest}")
    return Version(
        f"{table.name}@{version}",
        about,
        rows,
        platform.questions,
        learned=table.name == PREDICTIONS.name,
        people=table.name == AUDITED_GROUND_TRUTH.name,
    )


def _from_teacher(platform: Platform, fingerprint: str) -> Version:
    import polars as pl

    from vibe_assets.teacher.annotate import annotation_rows
    from vibe_assets.teacher.journal import Journal

    known = Journal(platform.settings.journal_dir / fingerprint, writer="reader").known()  # nothing is written
    photos = accepted_photos(platform).filter(pl.col("image_id").is_in(list(known)))
    refs = platform.photo_refs(photos)
    rows = annotation_rows(refs, [known[ref.image_id] for ref in refs], folder_key="compare", teacher=fingerprint)
    labels = convert_rows(platform, rows)
    if labels.is_empty():
        raise StageError(f"teacher {fingerprint} has answered none of the library's photos: annotate with it first")
    model = next((record["teacher"] for record in known.values() if record.get("teacher")), None)
    model = next((str(name) for name in rows["model"].drop_nulls()), model)
    return Version(
        fingerprint, f"answers of the teacher {model or ''} under the mapping in force".replace("  ", " "), labels, platform.questions
    )


def _from_head(platform: Platform, version: str) -> Version:
    from vibe_assets.heads.store import load_head

    head, vectors = load_head(platform.settings.heads_dir / version), library_vectors(platform)
    if vectors["encoder"][0] != head.card.encoder:
        raise StageError(
            f"{version} reads vectors of encoder {head.card.encoder}, the library has {vectors['encoder'][0]}: "
            "set encoder.name back and embed again, or compare a head of this encoder"
        )
    about = f"{head.kind} head trained {head.card.created_at} on {head.card.n_train:,} photos, made to answer always"
    return Version(version, about, label_rows(head, vectors, platform.questions), platform.questions, learned=True)


def _from_file(platform: Platform, file: Path) -> Version:
    from vibe_assets.labels.files import names_heads, read_labels

    if not file.is_file():
        raise StageError(f"{file}: no such file")
    rows = read_labels(file, platform.questions)
    if rows.is_empty():
        raise StageError(f"{file}: no labels in it")
    learned = names_heads(file)
    about = f"labels file{' of students' if learned else ''}, {rows.height:,} photos"
    return Version(file.name, about, rows, platform.questions, learned=learned)
