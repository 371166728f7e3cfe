"""No packaged label is named in the code: they are data."""

from __future__ import annotations

import re
from pathlib import Path

import vibe_assets
from tests.support.questions import ATTRIBUTES

MAY = ("questions/labels.yaml", "questions/packs/", "demo/")  # label files, and photos that are rendered for the packaged one


def test_no_module_names_a_label_of_the_packaged_file() -> None:
    package = Path(vibe_assets.__file__).parent
    named = re.compile("|".join(ATTRIBUTES))
    found = [
        str(file.relative_to(package))
        for file in sorted(package.rglob("*"))
        if file.suffix in {".py", ".js", ".html", ".css", ".md", ".yaml"} and named.search(file.read_text(encoding="utf-8"))
    ]
    assert [name for name in found if not name.startswith(MAY)] == []
