"""The questions of the label file that the code location was loaded with: the graph has a head for each of them."""

import re
import unicodedata

from vibe_assets.errors import UserError
from vibe_assets.fingerprints import fingerprint
from vibe_assets.questions import Questions, load
from vibe_assets.settings import load_settings
from vibe_assets.stages.platform import library_questions


def _loaded() -> Questions:
    """Those in force; the packaged ones where settings or file are wrong, which every stage says when it runs."""
    try:
        return library_questions(load_settings())
    except UserError:
        return load()


def head_name(kind: str) -> str:
    """Name of the asset of a head: Dagster takes A-Z, a-z, 0-9 and _ only, so that other letters become a hash."""
    plain = re.sub(r"[^A-Za-z0-9_]", "", unicodedata.normalize("NFKD", kind))
    return f"{plain or 'question'}_{fingerprint({'kind': kind})[:6]}_head" if plain != kind else f"{kind}_head"


QUESTIONS = _loaded()
HEAD_NAMES = tuple(head_name(kind) for kind in QUESTIONS.heads)
