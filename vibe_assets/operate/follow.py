"""While `vibe ui` runs: the heads that the label file asks for, and what is loaded anew when they become others."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vibe_assets.errors import UserError
from vibe_assets.lake import write_text
from vibe_assets.questions import load, packaged
from vibe_assets.settings import load_settings
from vibe_assets.stages.platform import library_questions

KEPT_ENV = "VIBE_KEPT_LABELS"  # for the processes that we start: a copy of the label file as it could last be read
LOOK_S = 3.0  # between two looks at the label file


@dataclass
class LabelFile:
    """The label file in force, looked at again and again."""

    copy: Path
    heads: tuple[str, ...] = field(default_factory=lambda: load().heads)  # what is loaded
    trouble: str = ""  # what was said last
    text: str = ""  # of the copy

    def moved(self) -> bool:
        """Look; whether the heads are others than those that are loaded. A file that cannot be read changes nothing, and is named once."""
        try:
            settings = load_settings()
            heads, path = library_questions(settings).heads, settings.labels.taxonomy
            text = (settings.base / path).read_text(encoding="utf-8-sig") if path else packaged()
            if text != self.text:  # an idle machine writes nothing
                write_text(self.copy, text)
                self.text = text
        except (UserError, OSError) as error:
            if self.trouble != str(error):
                self.trouble = str(error)
                print(f"{error}. The questions that are loaded stay", flush=True)  # noqa: T201
            return False
        before, self.heads, self.trouble = self.heads, heads, ""
        return before != heads


@contextmanager
def label_file() -> Iterator[LabelFile]:
    """The label file, of which the processes that are started in the block know a copy that can be read."""
    with tempfile.TemporaryDirectory(prefix="vibe-labels-") as folder:
        file = LabelFile(Path(folder, "labels.yaml"))
        file.moved()
        os.environ[KEPT_ENV] = str(file.copy)
        try:
            yield file
        finally:
            os.environ.pop(KEPT_ENV)


@contextmanager
def following(file: LabelFile, reload: Callable[[], object]) -> Iterator[None]:
    """Call `reload` whenever the heads became others, for the length of the block."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(LOOK_S):
            if file.moved():
                print(f"the questions changed: {', '.join(file.heads) or 'no head'}; the graph is loaded anew", flush=True)  # noqa: T201
                reload()

    thread = threading.Thread(target=watch, name="follows the label file")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
