"""A folder of index files or of one folder per name goes in; NAME_SHARDS and NAME_INDEX rows come out, what was ruled out with a reason.

An index file `index_NAME.json` lists faces: `good` (paths), `rejected` (and `rejected_no_face`, ...), `multi_face`, `not_found`, and in
`meta` for every good path its `score`, box (`bbox_xyxy` or `bbox`: left, top, right, bottom), photo size (`src_hw`) and, where the
listed file is a chip, the photo it was cut from (`src_path`).
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_assets.errors import UserError
from vibe_assets.records import fingerprint
from vibe_assets.records.first_names import NAME_INDEX, NAME_SHARDS
from vibe_assets.strangers import json_value

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.settings import NameSettings

SET_ASIDE = {"rejected": "rejected", "multi_face": "multi_face", "not_found": "not_found"}  # list of the index -> reason of its rows
BOXES, SIZES = ("bbox_xyxy", "bbox", "box"), ("src_hw",)
PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".heif", ".avif"})


class NameIndexError(UserError, ValueError):
    """The folder of the study cannot be read; the message names it and the remedy."""


@dataclass(frozen=True)
class Source:
    """Where the faces of one name are listed: an index file, or a folder."""

    name: str
    path: Path

    @property
    def is_index(self) -> bool:
        return self.path.suffix == ".json"


def shard_of(name: str, shards: int) -> str:
    """The partition of a name: a bucket of its hash, so that a new name moves no other."""
    return f"shard-{int(hashlib.sha256(name.encode()).hexdigest(), 16) % shards:02d}"


def find_sources(root: Path) -> list[Source]:
    """Index files in `root`, otherwise its folders, by name. Raises NameIndexError when there is neither, or one name twice."""
    if not root.is_dir():
        raise NameIndexError(f"names.root = {root}: no such folder")
    found = [Source(_plain(file.stem.removeprefix("index_")), file) for file in sorted(root.glob("index_*.json"))]
    found = found or [Source(_plain(folder.name), folder) for folder in sorted(root.iterdir()) if folder.is_dir() and folder.name[0] != "."]
    if not found:
        raise NameIndexError(f"names.root = {root}: neither index_NAME.json files nor folders of faces in it")
    by_name: dict[str, Source] = {}
    for source in found:
        if (twin := by_name.setdefault(source.name, source)) is not source:
            raise NameIndexError(f"names.root: {twin.path.name} and {source.path.name} are the same name {source.name!r}; merge them")
    return sorted(found, key=lambda source: source.name)


def plan(root: Path, settings: NameSettings) -> pl.DataFrame:
    """NAME_SHARDS rows: which name lies in which shard, and how many faces to expect. Reads the indexes one after the other."""
    import polars as pl

    rows = []
    for source in find_sources(root):
        listed, aside, reason, detail = 0, 0, None, None
        if source.is_index:
            try:
                index = _read(source.path)
                listed, aside = len(_paths(index, "good")), sum(len(_paths(index, key)) for key in SET_ASIDE)
            except NameIndexError as error:
                reason, detail = "unreadable_index", str(error)
        else:
            listed = sum(1 for _ in _pictures(source.path))
        rows.append(
            {
                "name": source.name, "shard": shard_of(source.name, settings.shards), "source": str(source.path), "listed": listed,
                "set_aside": aside, "reason": reason, "detail": detail,
            }
        )  # fmt: skip
    return pl.DataFrame(rows, schema=NAME_SHARDS.polars_schema())


def index_shard(root: Path, shard: str, settings: NameSettings) -> pl.DataFrame:
    """NAME_INDEX rows of the names of one shard, in the order of names and files."""
    import polars as pl

    sources = [source for source in find_sources(root) if shard_of(source.name, settings.shards) == shard]
    parts = [pl.DataFrame(list(_faces(source, settings)), schema=_FACE) for source in sources]  # one name in memory as dicts
    rows = pl.concat(parts) if parts else pl.DataFrame(schema=_FACE)
    return rows.with_columns(shard=pl.lit(shard)).select(list(NAME_INDEX.columns))


_FACE = {name: dtype for name, dtype in NAME_INDEX.polars_schema().items() if name != "shard"}


def _faces(source: Source, settings: NameSettings) -> Iterator[dict[str, Any]]:
    if not source.is_index:
        yield from (_face(source.name, path, source.path, {}, identity=_folder_of(path, source.path)) for path in _pictures(source.path))
        return
    try:
        index = _read(source.path)
        meta = index.get("meta") or {}
        if not isinstance(meta, dict):
            raise NameIndexError(f"{source.path}: meta: expected an object, got {type(meta).__name__}")
        good, aside = _paths(index, "good"), {key: _paths(index, key) for key in SET_ASIDE}
        exact = {path: key for key in index if key.startswith("rejected_") for path in _paths(index, key)}
    except NameIndexError as error:
        yield {**_face(source.name, source.path, source.path.parent, {}), "reason": "unreadable_index", "detail": str(error)}
        return
    base = source.path.parent
    for listed in dict.fromkeys(good):
        facts = meta.get(listed)
        yield _judged(source.name, listed, base, facts if isinstance(facts, dict) else {}, settings)
    for key, paths in aside.items():
        for listed in dict.fromkeys(paths):
            row = _face(source.name, _below(base, listed), base, {})
            yield {
                **row,
                "reason": exact.get(listed, SET_ASIDE[key]).removeprefix("rejected_"),
                "detail": f"listed under {key} by the index",
            }


def _judged(name: str, listed: str, base: Path, facts: Mapping[str, Any], settings: NameSettings) -> dict[str, Any]:
    """One good entry: the file to read, its quality, and the first rule that it breaks."""
    source = facts.get("src_path")
    cut_out = isinstance(source, str) and bool(source) and source != listed
    is_chip = cut_out and settings.use == "listed"
    path = _below(base, str(source) if cut_out and not is_chip else listed)
    row = {**_face(name, path, base, facts), "is_chip": is_chip}
    if row["reason"]:
        return row
    reason, detail = _ruled_out(row, path, settings)
    return {**row, "reason": reason, "detail": detail}


def _ruled_out(row: Mapping[str, Any], path: Path, settings: NameSettings) -> tuple[str | None, str | None]:
    if not path.is_file():
        return "missing_file", f"{path.name}: no such file"
    if row["score"] is None or row["x0"] is None or row["area_share"] is None:
        missing = [word for word, column in (("score", "score"), ("box", "x0"), ("photo size", "area_share")) if row[column] is None]
        return "unmeasured", f"the index gives no {' and no '.join(missing)}: its quality cannot be judged"
    if row["score"] < settings.min_score:
        return "low_score", f"{row['score']:.3f}, at least {settings.min_score} wanted"
    side = min(row["x1"] - row["x0"], row["y1"] - row["y0"])
    if side < settings.min_box_px:
        return "small_box", f"{side:.0f} px, at least {settings.min_box_px:g} wanted"
    if row["area_share"] < settings.min_area_share:
        return "small_area", f"{row['area_share']:.5f} of the photo, at least {settings.min_area_share} wanted"
    return None, None


def _face(name: str, path: Path, base: Path, facts: Mapping[str, Any], *, identity: str | None = None) -> dict[str, Any]:
    box = next((numbers for key in BOXES if (numbers := _numbers(facts.get(key), 4))), None)
    size = next((numbers for key in SIZES if (numbers := _numbers(facts.get(key), 2))), None)
    area = None if box is None or size is None else max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1]) / max(1.0, size[0] * size[1])
    who = facts.get("identity") or facts.get("person_id") or identity
    score = _numbers([facts.get("score")], 1)
    text = str(path)
    odd = text.encode("utf-8", "replace").decode() != text  # a name that is not UTF-8 cannot be stored as text
    return {
        "name": name, "rel_path": _shown(path, base), "path": "" if odd else text, "is_chip": False, "score": score[0] if score else None,
        **dict(zip(("x0", "y0", "x1", "y1"), box or (None,) * 4, strict=True)), "area_share": area,
        "identity": fingerprint({"name": name, "who": str(who)}) if who else None,
        "reason": "odd_file_name" if odd else None, "detail": "rename the file: its name is not UTF-8" if odd else None,
    }  # fmt: skip


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json_value(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError) as error:
        raise NameIndexError(f"{path}: {error}") from error
    if not isinstance(value, dict):
        raise NameIndexError(f"{path}: expected an object with `good` and `meta`, got {type(value).__name__}")
    return value


def _paths(index: Mapping[str, Any], key: str) -> list[str]:
    value = index.get(key) or []
    if not isinstance(value, list) or not all(isinstance(entry, str) and entry and "\0" not in entry for entry in value):
        raise NameIndexError(f"{key}: expected a list of paths, got {str(value)[:80]!r}")
    return value


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """`count` finite numbers, or None."""
    if not isinstance(value, list | tuple) or len(value) < count:
        return None
    if not all(isinstance(number, int | float) and not isinstance(number, bool) and abs(number) < 1e9 for number in value[:count]):
        return None
    return tuple(float(number) for number in value[:count])


def _pictures(folder: Path) -> Iterator[Path]:
    """Pictures of a folder and of the folders in it, by path; hidden ones left out, links to folders not followed."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        yield from (Path(place, name) for name in sorted(files) if name[0] != "." and Path(name).suffix.lower() in PICTURES)


def _folder_of(path: Path, base: Path) -> str | None:
    """NAME/WHO/photo.jpg: the folder between says who it is."""
    between = path.parent.relative_to(base).as_posix()
    return None if between == "." else between


def _below(base: Path, listed: str) -> Path:
    path = Path(listed)
    return path if path.is_absolute() else base / path


def _shown(path: Path, base: Path) -> str:
    shown = path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix()
    return shown.encode("utf-8", "backslashreplace").decode()


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().lower()
