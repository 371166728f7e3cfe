"""Versions of what lies outside the graph: teacher, label mapping, encoder, audited file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vibe_assets.records import fingerprint
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.truth import audited_version


@dataclass(frozen=True)
class Source:
    """One source as it is now; `version` moves exactly when what depends on it must be rebuilt."""

    name: str
    version: str
    facts: dict[str, str]


def read_sources(platform: Platform) -> list[Source]:
    """The sources that exist now; cheap enough to be asked every few seconds."""
    from vibe_assets.labels.convert import mapping_fingerprint
    from vibe_assets.teacher.annotate import asking_fingerprint

    settings, questions = platform.settings, platform.questions
    teacher = {"model": settings.teacher.model, "prompt": settings.teacher.prompt}
    sources = [
        Source("teacher", asking_fingerprint(settings.teacher, questions), teacher),
        Source("label_mapping", mapping_fingerprint(questions, settings.labels), {"taxonomy": str(settings.labels.taxonomy or "packaged")}),
        Source("encoder", encoder_version(platform), {"name": settings.encoder.name}),
    ]
    audited = audited_version(platform)
    if audited is not None:
        sources.append(Source("audited_verdicts", audited, {"folder": str(settings.verdicts_dir)}))
    elif not settings.gates.require_audit:
        sources.append(Source("audited_verdicts", "none", {"note": "no audit yet; gates.require_audit is off"}))
    return sources


def encoder_version(platform: Platform) -> str:
    """What decides the embeddings, without loading the model: its settings, and size and time of local weights."""
    encoder = platform.settings.encoder
    _, _, name = encoder.name.partition(":")
    local = Path(name).expanduser() if name else None
    files: list[tuple[str, int, int]] = []
    if local is not None and local.exists():
        found = [local] if local.is_file() else sorted(path for path in local.rglob("*") if path.is_file())
        files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in found]
    decides = encoder.model_dump(include={"name", "revision", "decode_mode", "precision"})
    return fingerprint({**decides, "files": files})


def candidate_version(platform: Platform) -> str | None:
    """Fingerprint of the candidate teacher beside the current one; None without a candidate."""
    from vibe_assets.teacher.annotate import teacher_fingerprint

    teacher = platform.settings.teacher
    if teacher.candidate is None:
        return None
    return f"{teacher_fingerprint(teacher.candidate)}-vs-{teacher_fingerprint(teacher)}"
