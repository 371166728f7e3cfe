"""The mistakes of an evaluation become error lists as JSONL, and the photos worth looking at first."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from vibe_assets.evaluate.figures import kinds_of, question_of
from vibe_assets.evaluate.labels import Evaluation, Mistake
from vibe_assets.lake import write_text

GALLERY = 24  # photos of a gallery


def error_lists(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write KIND_errors.jsonl for every question, the surest errors first; empty lists as empty files."""
    kinds: dict[str, list[Mistake]] = {kind: [] for kind in kinds_of(evaluation.questions)}
    for mistake in evaluation.mistakes:
        kinds[question_of(mistake.what, evaluation.questions).head].append(mistake)
    return [
        write_text(folder / f"{kind}_errors.jsonl", "".join(json.dumps(asdict(m), ensure_ascii=False) + "\n" for m in mistakes))
        for kind, mistakes in kinds.items()
    ]


def worst_photos(evaluation: Evaluation, limit: int = GALLERY) -> list[str]:
    """image_ids worth looking at first: wrong answers to the main question, then the surest, then the most mistakes."""
    main = None if evaluation.questions.main is None else evaluation.questions.main.head
    by_photo: dict[str, list[Mistake]] = {}
    for mistake in evaluation.mistakes:
        by_photo.setdefault(mistake.image_id, []).append(mistake)

    def rank(image_id: str) -> tuple[bool, float, int, str]:
        answered = [mistake for mistake in by_photo[image_id] if mistake.predicted is not None]
        sure = max((mistake.confidence or 0.0 for mistake in answered), default=0.0)
        return not any(mistake.what == main for mistake in answered), -sure, -len(answered), image_id

    return sorted(by_photo, key=rank)[:limit]
