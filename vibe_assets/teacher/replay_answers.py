"""JSONL files of annotations, per model, and the photos they are about become answers that are found by a picture's content."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_assets.photos.decode import looks_decodable
from vibe_assets.teacher.failures import TeacherError
from vibe_assets.teacher.replay_index import PhotoIndex, look_at, look_at_files

if TYPE_CHECKING:
    from PIL import Image

AnswerFunction = Callable[[bytes, Mapping[str, Any]], "Mapping[str, Any] | str | None"]
AnswerSource = Path | str | Mapping[str, Path | str] | AnswerFunction


class Answers:
    """Annotations by model and photo. The model "" stands for any that has no file of its own."""

    def __init__(
        self, source: AnswerSource, photo_root: Path | None, *, cache: Path | None = None, known: Sequence[tuple[Image.Image, Any]] = ()
    ) -> None:
        built_in = [(look_at(_png(image)), annotation) for image, annotation in known]
        self._function = source if callable(source) else None
        self._by_model: dict[str, dict[str, Any]] = {}  # model -> digest -> annotation
        looks = [look for look, _ in built_in]
        if not callable(source):
            files = {"": source} if isinstance(source, (str, Path)) else source
            lines = {model: _lines(Path(file)) for model, file in files.items()}
            paths = _resolved([line for of_model in lines.values() for line in of_model], photo_root)
            seen = look_at_files(sorted(set(paths.values())), cache=cache)
            looks += seen.values()
            for model, of_model in lines.items():
                found = {seen[path].digest: line["annotation"] for line in of_model if (path := paths.get(_key(line))) in seen}
                if of_model and not found:
                    raise TeacherError(f"{files[model]}: none of its {len(of_model)} photos lies below {photo_root}; check the photo root")
                self._by_model[model] = found
        self._built_in = {look.digest: annotation for look, annotation in built_in}
        self._index = PhotoIndex(looks)

    @property
    def models(self) -> list[str]:
        return [model or "replay" for model in self._by_model] or ["replay"]

    def serves(self, model: str) -> bool:
        return self._function is not None or model in self._by_model or "" in self._by_model

    def find(self, model: str, image: bytes, payload: Mapping[str, Any]) -> tuple[str, Any]:
        """(digest, annotation or text) for the picture; None as the second where nothing is stored."""
        digest = self._index.find(image)
        if digest in self._built_in:
            return digest, self._built_in[digest]
        if self._function is not None:
            return hashlib.sha256(image).hexdigest(), self._function(image, payload)
        stored = self._by_model.get(model, self._by_model.get("", {}))
        return digest or "", stored.get(digest or "")


def _lines(file: Path) -> list[dict[str, Any]]:
    """Lines with an annotation; failures in a journal have none and are passed over. Raises TeacherError on a broken file."""
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TeacherError(f"{file}: {error}; expected a JSONL with an annotation and a path or image_id per line") from error
    lines = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise TeacherError(f"{file}, line {number}: not JSON ({error})") from error
        if not isinstance(record, dict) or not (_names(record) or record.get("image_id")):
            raise TeacherError(f"{file}, line {number}: expected an object with an annotation and a path, rel_path or image_id")
        if isinstance(record.get("annotation"), dict):
            lines.append(record)
    return lines


def _names(record: Mapping[str, Any]) -> list[str]:
    return [name for key in ("path", "rel_path", "image_path") if isinstance(name := record.get(key), str) and name]


def _key(record: Mapping[str, Any]) -> tuple[str, ...]:
    return (str(record.get("image_id") or ""), *_names(record))


def _resolved(lines: Iterable[Mapping[str, Any]], photo_root: Path | None) -> dict[tuple[str, ...], Path]:
    """Where each line's photo lies: by its path below the root, else by its image_id (the root is hashed once for those)."""
    if photo_root is None:
        raise ValueError("expected a photo_root beside files of answers, got None")
    root = Path(photo_root)
    paths: dict[tuple[str, ...], Path] = {}
    homeless = []
    for line in lines:
        place = next((root / name for name in _names(line) if (root / name).is_file()), None)
        if place is not None:
            paths[_key(line)] = place
        elif line.get("image_id"):
            homeless.append(line)
    if homeless:
        by_id = {_image_id(path): path for path in sorted(root.rglob("*")) if path.is_file() and looks_decodable(bytes(path))}
        paths |= {_key(line): by_id[line["image_id"]] for line in homeless if line["image_id"] in by_id}
    return paths


def _image_id(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()[:32]


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
