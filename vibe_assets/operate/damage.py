"""The logs of an installation -> their damaged lines: readers pass these over, people are told, and one command sets them aside."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate
from pathlib import Path

from vibe_assets.audit.log import read_verdict
from vibe_assets.heads.deployments import Deployments, is_entry
from vibe_assets.lake import atomic_file
from vibe_assets.stages.notes import is_note, notes_file
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.versions import teachers
from vibe_assets.storage import Place, Url
from vibe_assets.storage.disk import still_named, to_disk
from vibe_assets.teacher.journal import is_record, journals_in
from vibe_assets.triage.choices import Choice
from vibe_assets.vlm.predict import read_tag_answer

IsWhole = Callable[[bytes], bool]


def damaged_lines(platform: Platform) -> list[tuple[str, int]]:
    """(file, damaged lines) of every log that has some: answers, verdicts, choices, deployments, notes. Reads all of them;
    raises OSError.

    A last line without its newline counts where it is cut: a power cut or a full disk left it, or its writer is at it right now. The
    objects of a store count as one file.
    """
    found = []
    for place, is_whole in _logs(platform):
        if count := sum(not is_whole(line) for line in _lines(place)):
            found.append((str(place), count))
    return found


def set_lines_aside(platform: Platform) -> list[tuple[Path, int]]:
    """Move the damaged lines of every log into `FILE.damaged`; what was moved. A log that somebody is writing to is left alone."""
    found = []
    for place, is_whole in _logs(platform):
        if isinstance(place, Path) and (count := _set_aside(place, is_whole, in_place=place == notes_file(platform))):
            found.append((place, count))
    return found


def _logs(platform: Platform) -> Iterator[tuple[Place, IsWhole]]:
    """Every file of every log, or the folder of a log in a store, with what tells its whole lines."""
    settings = platform.settings
    folders: list[tuple[Place, IsWhole]] = [
        *((settings.journal_dir / teacher, is_record) for teacher in teachers(platform)),
        *((settings.tag_answers_dir / model, partial(is_record, reads=read_tag_answer)) for model in journals_in(settings.tag_answers_dir)),
        (settings.verdicts_dir, partial(is_record, reads=read_verdict)),
        (settings.choices_dir, partial(is_record, reads=Choice.from_line)),
    ]
    for folder, is_whole in folders:
        if isinstance(folder, Url):
            yield folder, is_whole
        else:
            yield from ((file, is_whole) for file in sorted(folder.glob("*.jsonl")))
    if (deployments := Deployments(settings.heads_dir).path).exists():
        yield deployments, is_entry
    if (notes := notes_file(platform)).exists():
        yield notes, is_note


def _lines(place: Place) -> Iterator[bytes]:
    """Lines that are not blank."""
    if isinstance(place, Url):
        from vibe_assets.storage.object_log import ObjectLog

        yield from filter(bytes.strip, ObjectLog(place, "reader").lines())
    else:
        with place.open("rb") as file:
            yield from filter(bytes.strip, file)


def _set_aside(file: Path, is_whole: IsWhole, *, in_place: bool) -> int:
    """`in_place`: blanks take the lines' place, for readers of the file remember how far they came and its writers hold no lock."""
    with file.open("r+b") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)  # every writer of such a file holds it
        except BlockingIOError:
            return 0
        if not still_named(file, log.fileno()):
            return 0
        lines = log.readlines()
        damaged = [line for line in lines if line.strip() and not is_whole(line)]
        if not damaged:
            return 0
        with file.with_name(f"{file.name}.damaged").open("ab") as beside:
            beside.writelines(line.rstrip(b"\n") + b"\n" for line in damaged)
            beside.flush()
            os.fsync(beside.fileno())
        to_disk(file.parent)
        if in_place:
            ends = accumulate(map(len, lines))
            for line, end in zip(lines, ends, strict=True):
                if line in damaged:
                    os.pwrite(log.fileno(), b" " * len(line.rstrip(b"\n")), end - len(line))
            os.fsync(log.fileno())
        else:
            with atomic_file(file) as fresh:
                fresh.write_bytes(b"".join(line.rstrip(b"\n") + b"\n" for line in lines if is_whole(line)))
        return len(damaged)
