"""An export's folder: written beside its place and renamed; replaced only where the manifest says that it is ours and untouched."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vibe_assets.export.items import ExportError
from vibe_assets.lake import write_text

MANIFEST = "manifest.json"
MADE_BY = "vibe_assets export"


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of an export of ours; None where there is none, or it is somebody else's."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("made_by") == MADE_BY else None


def is_current(folder: Path, fingerprint: str) -> bool:
    """The export of this fingerprint is there, with every file it had."""
    manifest = read_manifest(folder)
    return manifest is not None and manifest["fingerprint"] == fingerprint and manifest["files"] == files_below(folder)


def photos_in(folder: Path) -> int:
    """How many photos an export of ours holds; 0 where there is none."""
    return int((read_manifest(folder) or {}).get("counts", {}).get("photos", 0))


def check_ours(folder: Path) -> None:
    """Raises ExportError unless the folder is absent, empty, or an export of ours to which nobody added anything."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ExportError(f"{folder} is not a folder of its own; give another one with --into")
    if not folder.exists() or not any(folder.iterdir()):
        return
    manifest = read_manifest(folder)
    if manifest is None:
        raise ExportError(f"{folder} is not empty and not an export of ours; nothing was changed. Give another folder with --into")
    added = sorted(name for name, seen in files_below(folder).items() if seen["files"] > manifest["files"].get(name, {"files": 0})["files"])
    if added:
        raise ExportError(f"{folder} holds files that this export did not write ({', '.join(added[:5])}); move them away, then run again")


@contextmanager
def replacing(folder: Path, manifest: Mapping[str, Any]) -> Iterator[Path]:
    """A temporary folder beside `folder` that takes its place, with a manifest, when the block ends well.

    Until then the earlier export stays. `manifest` may be filled while the block runs. Raises ExportError (see check_ours).
    """
    check_ours(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    tail = f"{os.getpid()}-{random.getrandbits(32):08x}"
    fresh, old = (folder.with_name(f".{folder.name}.{tail}.{kind}") for kind in ("tmp", "old"))
    fresh.mkdir()
    try:
        yield fresh
        write_text(
            fresh / MANIFEST, json.dumps({"made_by": MADE_BY, **manifest, "files": files_below(fresh)}, ensure_ascii=False, indent=1)
        )
        if folder.exists():
            folder.rename(old)
        try:
            fresh.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def files_below(folder: Path) -> dict[str, dict[str, int]]:
    """Name at the top -> number and bytes of the files in it; the manifest itself left out, links not followed."""
    found: dict[str, dict[str, int]] = {}
    for place, _, names in os.walk(folder):
        top = Path(place).relative_to(folder).parts[:1]
        for name in names:
            key = top[0] if top else name
            if key == MANIFEST:
                continue
            entry = found.setdefault(key, {"files": 0, "bytes": 0})
            entry["files"] += 1
            entry["bytes"] += os.lstat(Path(place) / name).st_size
    return dict(sorted(found.items()))


def _sweep(folder: Path) -> None:
    """Remove what a killed run left beside the folder; a run that is still alive is left alone."""
    for left in folder.parent.glob(f".{_literal(folder.name)}.*-*.*"):
        pid = left.name.rpartition(".")[0].rpartition(".")[2].partition("-")[0]
        if left.suffix in (".tmp", ".old") and pid.isdigit() and not _alive(int(pid)):
            if left.suffix == ".old" and not folder.exists():
                left.rename(folder)  # killed between the two renames: the earlier export is still whole
            else:
                shutil.rmtree(left, ignore_errors=True)


def _literal(name: str) -> str:
    from glob import escape

    return escape(name)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
