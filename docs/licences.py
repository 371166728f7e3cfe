"""The licences of all that vibe_assets needs at run time, from what is installed: `python docs/licences.py` writes docs/licences.md.

What a package declares comes from its metadata; copyleft libraries that its wheel carries along are known by their file names.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from vibe_assets.lake import write_text

PAGE = Path(__file__).with_suffix(".md")
PROJECT = "vibe-assets"
EXTRAS = ("onnx", "ray", "s3", "gcs", "azure", "postgres")  # all but dev, which nobody installs to run it
CLASSIFIER = "License :: OSI Approved :: "
LICENCE_FILE = re.compile(r"(?i)(^|/)(licen[cs]es?|copying|notice)([^/]*$|/)")
CARRIED = re.compile(r"(?:^|/)lib([a-z0-9+_]+?)(?:-[0-9a-f]{8,})*\.so")
COPYLEFT = {  # shared libraries that wheels carry, by name
    "de265": "LGPL-3.0", "gcc_s": "GPL-3.0 with GCC's exception", "gfortran": "GPL-3.0 with GCC's exception",
    "gomp": "GPL-3.0 with GCC's exception", "heif": "LGPL-3.0", "quadmath": "LGPL-2.1", "stdc++": "GPL-3.0 with GCC's exception",
    "x264": "GPL-2.0", "x265": "GPL-2.0",
}  # fmt: skip
KNOWN_TEXTS = {  # what the first lines of a licence text say, where a package declares none
    "apache license": "Apache-2.0", "mit license": "MIT", "permission is hereby granted, free of charge": "MIT",
    "redistribution and use in source and binary forms": "BSD", "bsd": "BSD", "nvidia": "NVIDIA proprietary",
}  # fmt: skip
HEAD = """\
# Licences

What vibe_assets needs at run time, what needs it, and the licence each package declares. Written by `python docs/licences.py` from the
installed packages (Linux, x86-64); `tests/test_licences.py` fails when a dependency is missing here or has changed its licence.

No package under the GPL or AGPL is imported. LGPL packages are used as published and unchanged. NVIDIA's libraries come with the Linux
wheel of torch and do nothing without a GPU; torch's CPU wheel leaves them out.
"""
INSIDE = """
## Copyleft inside wheels

A wheel can carry libraries under other licences than its own. GCC's runtime libraries are under an exception that asks nothing of a
program, the LGPL ones can be exchanged. HEIC photos are read with pi-heif, the decoder without x265 (GPL-2.0), which pillow-heif's wheel
carries; the tests alone use pillow-heif, to make their photos.
"""


@dataclass(frozen=True)
class Needed:
    """A package of the run time."""

    name: str
    licence: str
    by: str  # core, or the extra that brings it


def closure(extra: str = "") -> tuple[set[str], set[str]]:
    """Names of what the project needs with an extra: installed, and not installed."""
    found: dict[str, set[str]] = {}
    absent: set[str] = set()
    todo = [(PROJECT, {extra} if extra else set())]
    while todo:
        name, extras = todo.pop()
        key = canonicalize_name(name)
        if key in absent or (key in found and extras <= found[key]):
            continue
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            absent.add(key)
            continue
        found[key] = found.get(key, set()) | extras
        todo += [(one.name, set(one.extras)) for one in map(Requirement, requires) if _applies(one, found[key])]
    return found.keys() - {PROJECT}, absent


def _applies(requirement: Requirement, extras: set[str]) -> bool:
    return requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in (*extras, ""))


@functools.cache
def needed() -> tuple[list[Needed], set[str]]:
    """Every package of the run time by name, and those of extras that are not installed here."""
    core, missing = closure()
    by = dict.fromkeys(core, "core")
    for extra in EXTRAS:
        present, absent = closure(extra)
        missing |= absent
        for name in present - core:
            by[name] = f"{by[name]}, {extra}" if name in by else extra
    return [Needed(name, licence(name), by[name]) for name in sorted(by)], missing


def licence(name: str) -> str:
    """What a package declares: its expression, else its classifiers, else a short text, else what its licence file says it is."""
    about = metadata.metadata(name)
    classifiers = [one.removeprefix(CLASSIFIER) for one in about.get_all("Classifier", []) if one.startswith(CLASSIFIER)]
    text = str(about.get("License") or "").strip()
    declared = about.get("License-Expression") or "; ".join(classifiers) or (text if "\n" not in text and len(text) < 80 else "")
    if declared:
        return str(declared)
    texts = " ".join([text, *(body for _, body in licence_texts(name))]).lower()[:2000]
    return next((known for start, known in KNOWN_TEXTS.items() if start in texts), "not declared")


def licence_texts(name: str) -> Iterator[tuple[str, str]]:
    """(file, text) of every licence file in a package's wheel."""
    for file in metadata.files(name) or []:
        if ".dist-info/" in str(file) and LICENCE_FILE.search(str(file)):
            path = Path(str(file.locate()))
            if path.is_file():
                yield file.name, path.read_text(encoding="utf-8", errors="replace")


def carried(name: str) -> dict[str, str]:
    """Copyleft libraries in a package's wheel -> their licence."""
    found = {match[1] for file in metadata.files(name) or [] if (match := CARRIED.search(str(file)))}
    return {library: COPYLEFT[library] for library in sorted(found & COPYLEFT.keys())}


def page() -> str:
    """The page as Markdown."""
    packages, missing = needed()
    rows = [f"| {one.name} | {one.licence} | {one.by} |" for one in packages]
    inside = [
        f"- {one.name}: {', '.join(f'{name} ({terms})' for name, terms in found.items())}"
        for one in packages
        if (found := carried(one.name))
    ]
    left_out = f"\nNot installed where this was written, and not listed: {', '.join(sorted(missing))}.\n" if missing else ""
    return "\n".join([HEAD, "| package | licence | needed by |", "|---|---|---|", *rows, left_out + INSIDE, *inside, ""])


if __name__ == "__main__":
    write_text(PAGE, page())
    print(f"wrote {PAGE}")
