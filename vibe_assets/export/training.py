"""Items become what training code reads: a Hugging Face image folder, WebDataset shards, chat messages for a LoRA."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from vibe_assets.export.items import Item
from vibe_assets.export.pictures import Picture
from vibe_assets.labels.files import labels_to_json
from vibe_assets.questions import ManyOf, OneOf, Question, Questions

SPLIT_FILES = {"train": "train.jsonl", "val": "val.jsonl", "test": "test.jsonl"}


def write_imagefolder(items: Iterable[Item], folder: Path) -> None:
    """images/ and metadata.jsonl, `file_name` first: `datasets.load_dataset("imagefolder", data_dir=...)` reads it.

    Documentation: https://huggingface.co/docs/datasets/image_dataset#imagefolder
    """
    with (folder / "metadata.jsonl").open("w", encoding="utf-8") as file:
        for item in items:
            file.write(json.dumps(item.flat(), ensure_ascii=False) + "\n")


# -- WebDataset --------------------------------------------------------------------------------------------------------
def write_webdataset(items: Iterable[Item], folder: Path, *, picture: Callable[[Item], Picture | None], shard_bytes: int) -> None:
    """shard-000000.tar ...: per photo KEY.jpg (or the suffix of its format) and KEY.json, KEY being the image_id.

    Documentation: https://github.com/webdataset/webdataset. The key is 32 hex digits: unique, and without the dots that would end it.
    A shard is closed once it holds `shard_bytes`. Equal input gives equal bytes: members carry neither time nor owner.
    """
    with _Shards(folder, shard_bytes) as shards:
        for item in items:
            if (found := picture(item)) is None:
                continue
            key = item.labels.image_id
            name = f"{key}.{found.suffix}"
            about = {**item.flat(), "file_name": name, "width": found.width, "height": found.height}
            shards.add([(name, found.data), (f"{key}.json", json.dumps(about, ensure_ascii=False).encode())])


class _Shards:
    """Tar files of about equal size, one open at a time."""

    def __init__(self, folder: Path, shard_bytes: int) -> None:
        self.folder, self.shard_bytes = folder, shard_bytes
        self.count, self.size = 0, 0
        self.tar: tarfile.TarFile | None = None

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def add(self, members: list[tuple[str, bytes]]) -> None:
        """All files of one sample go into the same shard."""
        if self.tar is None:
            self.tar = tarfile.open(self.folder / f"shard-{self.count:06d}.tar", "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
            self.count, self.size = self.count + 1, 0
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            self.tar.addfile(info, io.BytesIO(data))
            self.size += len(data)
        if self.size >= self.shard_bytes:
            self._close()

    def _close(self) -> None:
        if self.tar is not None:
            self.tar.close()
            self.tar = None


# -- chat messages -----------------------------------------------------------------------------------------------------
def write_messages(items: Iterable[Item], folder: Path, questions: Questions) -> None:
    """train.jsonl, val.jsonl, test.jsonl: `messages` of a user (text and image) and an assistant (the labels as JSON).

    The layout of TRL's and Qwen's vision fine-tuning (https://huggingface.co/docs/trl/dataset_formats). The split is the students', drawn
    by group: near-duplicates never lie on both sides. Every line keeps the labels and their sources beside the messages.
    """
    with ExitStack() as stack:
        files: dict[str, TextIO] = {
            split: stack.enter_context((folder / name).open("w", encoding="utf-8")) for split, name in SPLIT_FILES.items()
        }
        for item in items:
            files[item.split].write(json.dumps(message(item, questions), ensure_ascii=False) + "\n")


def request(questions: Questions) -> str:
    """What the user asks."""
    return f"Label this photo. Answer with one JSON object: {', '.join(f'{one.key} ({_wanted(one)})' for one in questions)}."


def _wanted(question: Question) -> str:
    keys = f"{question.prefix}.*"
    match question:
        case OneOf(listed=True):
            return f"a list with one {keys} key, or empty"
        case OneOf():
            return f"one {keys} key, or null"
        case ManyOf():
            return f"{keys} keys, the main {question.head} first"
        case _:
            return f"{keys} keys that are known, true or false"


def message(item: Item, questions: Questions) -> dict[str, Any]:
    """One training example."""
    answer = {name: value for name, value in labels_to_json(item.labels, questions).items() if name != "image_id"}
    spoken = json.dumps(answer, ensure_ascii=False)
    return {
        "id": item.labels.image_id,
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": request(questions)}, {"type": "image", "image": item.file_name}]},
            {"role": "assistant", "content": [{"type": "text", "text": spoken}]},
        ],
        "ground_truth_tags": list(tags(item)),
        "group_id": item.group_id,
        "rel_path": item.photo.rel_path,
        "provenance": item.sources(),
    }


def tags(item: Item) -> Iterator[str]:
    """The labels that hold, as tags."""
    yield from (entry.label for entry in item.provenance if entry.value)
