"""`vibe init` and `vibe doctor`: a commented settings file out; a set-up in, what is wrong with it out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from vibe_assets.lake import Lake, write_text
from vibe_assets.settings import CandidateSettings, Settings, SettingsError, TeacherSettings
from vibe_assets.storage import Place, Url

HEADER = """\
# Settings of vibe_assets. Every value shown is the default; take a # away to change it.
# The environment wins: VIBE_LIBRARY__ROOT, VIBE_TEACHER__CONCURRENCY, ... and QWEN_BASE_URL, QWEN_MODEL, QWEN_API_KEY.
# Keys never belong in this file. Relative paths start at the folder of this file.
"""


def settings_template(root: Place | None = None) -> str:
    """A vibe.toml with every setting, commented, with its meaning and default."""
    parts = [HEADER]
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            chosen = {"root": str(root)} if name == "library" and root else {}
            parts.append(f"[{name}]\n" + "".join(_lines(section, chosen)))
        if name == "teacher":
            parts.append('# A teacher on trial; what is not given is as in [teacher].\n# [teacher.candidate]\n# model = "..."\n')
        if name == "vlm":
            parts.append(
                "# A model to compare; `local` (a folder or hub name) takes the place of base_url and model.\n"
                '#   [vlm.models.gpt-4-1-mini]\n#   base_url = "https://api.openai.com/v1"\n#   model = "gpt-4.1-mini"\n'
                "#   input_price = 0.40\n#   output_price = 1.60\n"
            )
    return "\n".join(parts)


def _lines(section: type[BaseModel], chosen: dict[str, Any]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        if section is TeacherSettings and field.annotation == CandidateSettings | None:
            continue
        if field.description:
            yield f"# {field.description}\n"
        value = chosen.get(name, field.default)
        shown = '""' if value is None else _toml(value)
        yield f"{name} = {shown}\n" if name in chosen else f"# {name} = {shown}\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(str(value)) if isinstance(value, str | Path) else str(value)


def write_settings(path: Path, *, root: Place | None = None, force: bool = False) -> Path:
    """Write a commented settings file. Raises SettingsError when there is one already."""
    if path.exists() and not force:
        raise SettingsError(f"{path} exists already; edit it, or use --force to write it anew")
    if isinstance(root, Path):
        root = root.expanduser().resolve()
        if not root.is_dir():
            raise SettingsError(f"{root}: no such folder; give the folder your photos are in")
    return write_text(path, settings_template(root))


# -- doctor ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Finding:
    """One thing the doctor looked at."""

    what: str
    ok: bool
    detail: str
    remedy: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at photo root, home, stores, taxonomy, teacher, encoder and Dagster home, one after the other."""
    looks: list[tuple[str, Callable[[Settings], Finding]]] = [
        ("photo root", _photo_root),
        ("home", _home),
        *([("stores", _stores)] if _urls(settings) else []),
        ("taxonomy", _taxonomy),
        ("teacher", _teacher),
        ("encoder", _encoder),
        ("engine", _engine),
        ("Dagster home", _dagster_home),
    ]
    for what, look in looks:
        try:
            yield look(settings)
        except Exception as error:  # the doctor reports whatever it meets and goes on to the next organ
            yield Finding(what, False, f"{type(error).__name__}: {error}", "see the message")


def _photo_root(settings: Settings) -> Finding:
    from vibe_assets.photos.scan import discover_folders

    root = settings.root
    if isinstance(root, Path) and not root.is_dir():
        return Finding(
            "photo root", False, f"{root}: no such folder", "set library.root to the folder of your photos; is the drive mounted?"
        )
    discovery = discover_folders(root)
    files = sum(folder.files for folder in discovery.folders)
    detail = f"{root}: {len(discovery.folders)} folders, {files} files"
    if discovery.problems:
        first = discovery.problems[0]
        return Finding(
            "photo root",
            False,
            f"{detail}; {len(discovery.problems)} cannot be read, first {first.rel_path}: {first.reason}",
            "repair their permissions",
        )
    return Finding("photo root", bool(discovery.folders), detail, "put photos below it, or set library.root")


def _home(settings: Settings) -> Finding:
    home = settings.home
    Lake(settings.lake_dir)  # refuses names that tables cannot have
    home.mkdir(parents=True, exist_ok=True)
    write_text(home / ".doctor", "writable").unlink()
    free = shutil.disk_usage(home).free / 2**30
    return Finding("home", free > 1, f"{home}: writable, {free:.1f} GiB free", "free some space, or set library.home to another disk")


def _urls(settings: Settings) -> dict[str, Url]:
    """Setting -> object store that is written to."""
    places = {"library.lake": settings.lake_dir, "library.journal": settings.journal_dir}
    return {name: place for name, place in places.items() if isinstance(place, Url)}


def _stores(settings: Settings) -> Finding:
    """Whether the stores answer; nothing is written to them."""
    from vibe_assets.storage.objects import list_folder

    urls = _urls(settings)
    for name, url in urls.items():
        try:
            list_folder(url)
        except OSError as error:
            return Finding("stores", False, f"{name} {url}: {error.strerror}", "see docs/guides/object-storage.md")
    return Finding("stores", True, ", ".join(f"{name} {url} answers" for name, url in urls.items()))


def _taxonomy(settings: Settings) -> Finding:
    from vibe_assets.stages.platform import Platform
    from vibe_assets.stages.truth import load_taxonomy

    taxonomy = load_taxonomy(Platform(settings))
    return Finding("taxonomy", True, f"{len(taxonomy.scenes)} scenes, {len(taxonomy.objects)} objects")


def _teacher(settings: Settings) -> Finding:
    from vibe_assets.teacher.client import probe

    if not settings.teacher.base_url:
        return Finding("teacher", False, "no endpoint", "set [teacher] base_url, or export QWEN_BASE_URL")
    found = probe(settings.teacher)
    return Finding(
        "teacher",
        found.ok,
        found.detail,
        "start the server, check base_url, model and key",
    )


def _encoder(settings: Settings) -> Finding:
    import numpy as np
    from PIL import Image

    from vibe_assets.encoders.base import load_encoder

    encoder = load_encoder(settings.encoder)
    vector = encoder.encode(np.stack([encoder.preprocess(Image.new("RGB", (64, 48), "teal"))]))  # (1, d)
    text = "with" if encoder.has_text else "without"
    return Finding(
        "encoder",
        bool(np.isfinite(vector).all()),
        f"{settings.encoder.name}: {vector.shape[1]} dimensions, {text} text tower",
        "try another encoder.name",
    )


def _engine(settings: Settings) -> Finding:
    from vibe_assets.engine import EngineError

    if settings.engine.kind == "local":
        return Finding("engine", True, "local: the stages run in their own process")
    from vibe_assets.engine.ray_session import describe

    try:
        return Finding("engine", True, describe(settings.engine))
    except EngineError as error:
        said, _, remedy = str(error).rpartition("; ")
        return Finding("engine", False, said or str(error), remedy)


def _dagster_home(settings: Settings) -> Finding:
    """Whether the instance is this library's; one that is absent is made by the first `vibe ui` or `vibe run`."""
    from vibe_assets.operate.instance import InstanceError, dagster_home, has_instance, open_instance

    home = dagster_home(settings)
    if not has_instance(settings):
        return Finding("Dagster home", True, f"{home}: not there yet; `vibe ui` and `vibe run` make it")
    try:
        with open_instance(settings):
            return Finding("Dagster home", True, str(home))
    except InstanceError as error:
        said, _, remedy = str(error).partition(". ")
        return Finding("Dagster home", False, said, remedy)
