"""The questions of the label file that the code location was loaded with: the graph has a head for each of them."""

import os
import re
import unicodedata
from pathlib import Path

from vibe_assets.errors import UserError
from vibe_assets.fingerprints import fingerprint
from vibe_assets.operate.follow import KEPT_ENV
from vibe_assets.questions import Questions, load
from vibe_assets.settings import load_settings
from vibe_assets.stages.platform import library_questions


def _loaded() -> Questions:
    """Those in force; where settings or file are wrong, those that `vibe ui` last read, or the packaged."""
    try:
        return library_questions(load_settings())
    except UserError:
        kept = os.environ.get(KEPT_ENV, "")
        return load(Path(kept) if Path(kept).is_file() else None)


def head_name(kind: str) -> str:
    """Name of the asset of a head: Dagster takes A-Z, a-z, 0-9 and _ only, so that other letters become a hash."""
    plain = re.sub(r"[^A-Za-z0-9_]", "", unicodedata.normalize("NFKD", kind))
    return f"{plain or 'question'}_{fingerprint({'kind': kind})[:6]}_head" if plain != kind else f"{kind}_head"


QUESTIONS = _loaded()
HEAD_NAMES = tuple(head_name(kind) for kind in QUESTIONS.heads)
