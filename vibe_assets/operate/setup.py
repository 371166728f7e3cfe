"""`vibe init` and `vibe doctor`: commented settings and labels out; a set-up in, what is wrong with it out."""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import BaseModel

from vibe_assets.errors import UserError
from vibe_assets.lake import Lake, LakeError, write_text
from vibe_assets.questions import packaged, packs
from vibe_assets.settings import CandidateSettings, Settings, SettingsError, TeacherSettings
from vibe_assets.storage import Place, Url
from vibe_assets.strangers import shortened

SHOWN_FILES = 5
HEADER = """\
# Settings of vibe_assets. Every value shown is the default; take a # away to change it.
# The environment wins: VIBE_LIBRARY__ROOT, VIBE_TEACHER__CONCURRENCY, ... and QWEN_BASE_URL, QWEN_MODEL, QWEN_API_KEY.
# Keys never belong in this file. Relative paths start at the folder of this file.
"""


LABELS = "labels.yaml"  # beside vibe.toml


@dataclass(frozen=True)
class Begun:
    """What `vibe init` wrote."""

    settings: Path
    labels: Path
    kept: bool  # the labels were there before, and stay as they were


def settings_template(root: Place | None = None, *, labels: str | None = None) -> str:
    """A vibe.toml with every setting, commented, with its meaning and default; `root` and the label file are set where they are given."""
    parts = [HEADER]
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            chosen = {"root": str(root)} if name == "library" and root else {"taxonomy": labels} if name == "labels" and labels else {}
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
    return tomlkit.item(str(value)).as_string() if isinstance(value, str | Path) else str(value)


def write_settings(path: Path, *, root: Place | None = None, labels: str | None = None, force: bool = False) -> Begun:
    """Write a commented settings file, and beside it the label file: the packaged one, or the starter file `labels`.

    A label file that is there is kept, but for `force` with `labels`. Raises SettingsError when there is a settings file already.
    """
    if path.exists() and not force:
        raise SettingsError(f"{path} exists already; edit it, or use --force to write it anew")
    if isinstance(root, Path):
        root = root.expanduser().resolve()
        if not root.is_dir():
            raise SettingsError(f"{root}: no such folder; give the folder your photos are in")
        try:
            str(root).encode()
        except UnicodeEncodeError as error:
            shown = os.fsencode(root).decode("utf-8", "backslashreplace")
            raise SettingsError(f"{shown}: not UTF-8, no settings file can hold it; rename it, or give a link: ln -s ... photos") from error
    file = path.with_name(LABELS)
    kept = file.exists() and not (force and labels)
    if not kept:
        write_text(file, packs()[labels] if labels else packaged())
    return Begun(write_text(path, settings_template(root, labels=LABELS)), file, kept)


HANDCRAFTED = (
    "it is for trying things out, colours and textures only: for labels to rely on, set [encoder] name to a trained model, for example "
    "siglip:google/siglip2-base-patch16-224"
)
SYSTEM_MENDS = {  # what the system says of something unreadable -> what to do
    os.strerror(errno.ELOOP): "remove links that lead back to themselves",
    os.strerror(errno.ENAMETOOLONG): "shorten the names of nested folders: a path may have some 4,000 bytes",
}
MENDS = {  # reason of a photos.folders.Problem -> what to do
    "unreadable": "repair the permissions (the daemon's user needs r and x on folders, r on files)",
    "link_to_folder": "links to folders are not followed: where their photos are wanted, mount the folder itself below the root",
    "key_collision": "rename one of two folders with the same key",
}


# -- doctor ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Finding:
    """One thing the doctor looked at. Sound: `ok`, no remedy. A warning: `ok` with a remedy. A fault: not `ok`, with a remedy."""

    what: str
    ok: bool
    detail: str
    remedy: str = ""


def _judged(what: str, ok: bool, detail: str, remedy: str) -> Finding:
    """Sound, or a fault with its remedy."""
    return Finding(what, ok, detail, "" if ok else remedy)


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at photo root, home, stores, lake, logs, taxonomy, teacher, encoder and Dagster home, one after the other."""
    looks: list[tuple[str, Callable[[Settings], Finding], str]] = [
        ("photo root", _photo_root, "correct [library] root"),
        ("home", _home, "free the folder, or set [library] home to another one"),
        *([("stores", _stores, "see docs/guides/object-storage.md")] if _urls(settings) else []),
        ("lake", _lake, "run `vibe repair`"),
        ("logs", _logs, "run `vibe doctor` again"),
        ("taxonomy", _taxonomy, "correct the file that [labels] taxonomy names, or leave the setting out"),
        ("teacher", _teacher, "correct [teacher]"),
        ("encoder", _encoder, "correct [encoder] name; `handcrafted` needs no model"),
        ("engine", _engine, 'correct [engine], or set kind = "local"'),
        ("Dagster home", _dagster_home, "set DAGSTER_HOME to a folder that can be written to"),
    ]
    for what, look, remedy in looks:
        try:
            yield look(settings)
        except UserError as error:
            yield Finding(what, False, error.message, error.remedy or remedy)
        except Exception as error:  # the doctor reports whatever it meets and goes on to the next organ
            yield Finding(what, False, f"{type(error).__name__}: {error}", remedy)


def _photo_root(settings: Settings) -> Finding:
    from vibe_assets.photos.scan import discover_folders

    root = settings.root
    if isinstance(root, Path) and not root.is_dir():
        said = "not a folder" if root.exists() else "no such folder"
        return Finding("photo root", False, f"{root}: {said}", "set library.root to the folder of your photos; is the drive mounted?")
    discovery = discover_folders(root)
    files = sum(folder.files for folder in discovery.folders)
    detail = f"{root}: {len(discovery.folders)} folders, {files} files"
    unread = [problem for problem in discovery.problems if not problem.path_bytes]  # the root itself
    if unread or not discovery.folders:
        said = f"; it cannot be read: {unread[0].detail}" if unread else ""
        return Finding("photo root", False, detail + said, MENDS["unreadable"] if unread else "put photos below it, or set library.root")
    if not discovery.problems:
        return Finding("photo root", True, detail)
    counts = Counter(problem.reason for problem in discovery.problems)
    first = {problem.reason: problem.rel_path for problem in reversed(discovery.problems)}
    left = ", ".join(f"{count} {reason} (first {shortened(first[reason])})" for reason, count in counts.items())
    mends = dict.fromkeys(SYSTEM_MENDS.get(problem.detail) or MENDS.get(problem.reason, problem.reason) for problem in discovery.problems)
    return Finding("photo root", True, f"{detail}; left out: {left}", "; ".join(mends))


def _home(settings: Settings) -> Finding:
    home = settings.home
    Lake(settings.lake_dir)  # refuses names that tables cannot have
    home.mkdir(parents=True, exist_ok=True)
    write_text(home / ".doctor", "writable").unlink()
    free = shutil.disk_usage(home).free / 2**30
    return _judged("home", free > 1, f"{home}: writable, {free:.1f} GiB free", "free some space, or set library.home to another disk")


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


def _lake(settings: Settings) -> Finding:
    try:
        lake = Lake(settings.lake_dir)
    except LakeError:
        return Finding("lake", True, "no table can be there, see home")
    torn = lake.torn()
    detail = f"table {torn[0][0]}: {torn[0][1]}" + (f"; {len(torn) - 1} more" if len(torn) > 1 else "") if torn else "every table is whole"
    return _judged("lake", not torn, detail, "`vibe repair` makes it whole again without asking the teacher")


def _logs(settings: Settings) -> Finding:
    from vibe_assets.operate.damage import damaged_lines
    from vibe_assets.stages.platform import Platform

    damaged = damaged_lines(Platform(settings))
    detail = ", ".join(f"{file}: {count} damaged {'line' if count == 1 else 'lines'}" for file, count in damaged[:SHOWN_FILES])
    more = f", and {len(damaged) - SHOWN_FILES} files more" if len(damaged) > SHOWN_FILES else ""
    remedy = "all other lines count, a photo whose answer was lost is asked again; `vibe repair` sets these lines aside, as *.damaged"
    return _judged("logs", not damaged, detail + more or "no damaged line", remedy)


def _taxonomy(settings: Settings) -> Finding:
    from vibe_assets.questions import YesNo
    from vibe_assets.stages.platform import library_questions
    from vibe_assets.words import some

    questions = library_questions(settings)
    counted = [question for question in questions if not isinstance(question, YesNo)] or questions
    return Finding("taxonomy", True, ", ".join(some(len(question.labels), question.head) for question in counted))


def _teacher(settings: Settings) -> Finding:
    from vibe_assets.teacher.client import probe

    if not settings.teacher.base_url:
        return Finding("teacher", False, "no endpoint", "set [teacher] base_url, or export QWEN_BASE_URL")
    found = probe(settings.teacher)
    return Finding("teacher", found.ok, found.detail, found.remedy)


def _encoder(settings: Settings) -> Finding:
    import numpy as np
    from PIL import Image

    from vibe_assets.encoders.base import load_encoder

    encoder = load_encoder(settings.encoder)
    vector = encoder.encode(np.stack([encoder.preprocess(Image.new("RGB", (64, 48), "teal"))]))  # (1, d)
    text = "with" if encoder.reads_text else "without"
    detail = f"{settings.encoder.name}: {vector.shape[1]} dimensions, {text} text tower"
    if not np.isfinite(vector).all():
        return Finding("encoder", False, f"{detail}; its vectors are not finite", "try another [encoder] name or precision")
    return Finding("encoder", True, detail, HANDCRAFTED if settings.encoder.name == "handcrafted" else "")


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
        there = next(folder for folder in (home, *home.parents) if folder.exists())
        if there == settings.home and not there.is_dir():
            return Finding("Dagster home", True, f"{home}: see home")
        possible = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
        detail = f"{home}: " + (
            "made by the first `vibe ui` or `vibe run`" if possible else f"cannot be made, {there} cannot be written to"
        )
        return _judged("Dagster home", possible, detail, "set DAGSTER_HOME to a folder that can be written to")
    try:
        with open_instance(settings) as instance:
            instance.event_log_storage.get_maximum_record_id()  # opens its database, which the instance itself leaves for later
            return Finding("Dagster home", True, str(home))
    except InstanceError as error:
        if error.remedy:
            raise
        said, _, remedy = str(error).partition(". ")
        return Finding("Dagster home", False, said, remedy)
