"""A file that hangs, crashes or bloats its decoder costs itself, never the scan."""

from __future__ import annotations

import ctypes
import hashlib
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.photos.library import SETTINGS, save, scan
from vibe_assets.photos import workers
from vibe_assets.photos.workers import measure_photo, measure_photos, memory_cap, stop_idle_workers

FAST = SETTINGS.model_copy(update={"decode_timeout_s": 0.5, "max_pixels": 1_000_000, "max_bytes": 1_000_000})


def troubled(path: bytes, max_pixels: int, max_bytes: int) -> dict[str, Any]:
    """Measure as usual, except for files whose names ask for trouble; runs inside the worker."""
    name = path.rsplit(b"/", 1)[-1]
    if name.startswith(b"hang"):
        time.sleep(600)
    if name.startswith(b"deaf"):  # a decoder deep in C code never comes back to Python
        ctypes.PyDLL(None).sleep(600)
    if name.startswith(b"slow"):  # as on a machine that is busy with other things
        time.sleep(1.5)
    if name.startswith(b"burn"):  # C code that computes and never comes back to Python
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
    if name.startswith(b"crash"):
        ctypes.string_at(0)
    if name.startswith(b"kill"):
        os.kill(os.getpid(), 9)
    if name.startswith(b"bloat"):
        return {"reason": None, "detail": str(np.ones(4_000_000_000, dtype=np.uint8).sum())}
    if name.startswith(b"worker"):
        return {"reason": None, "detail": str(os.getpid())}
    if name.startswith(b"limits"):
        return {"reason": None, "detail": str(resource.getrlimit(resource.RLIMIT_AS)[0])}
    return measure_photo(path, max_pixels, max_bytes)


@pytest.fixture
def with_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "measure_photo", troubled)


@pytest.mark.usefixtures("with_trouble")
def test_trouble_is_a_row_with_a_reason_and_the_rest_is_measured(tmp_path: Path) -> None:
    names = ["a.png", "bloat.png", "burn.png", "crash.png", "deaf.png", "hang.png", "kill.png", "slow.png", "z.png"]
    for seed, name in enumerate(names):
        save(tmp_path / name, seed)
    started = time.monotonic()
    rows = scan(tmp_path, settings=FAST)
    assert time.monotonic() - started < 60  # what hangs would take 600
    assert dict(zip(rows["rel_path"], rows["reason"], strict=True)) == {
        "a.png": None, "bloat.png": "out_of_memory", "burn.png": "decode_timeout", "crash.png": "decoder_crashed",
        "deaf.png": "decode_timeout", "hang.png": "decode_timeout", "kill.png": "decoder_crashed", "slow.png": None, "z.png": None,
    }  # fmt: skip
    assert rows["image_id"].null_count() == 0  # the bytes are known although nobody could decode them
    details = dict(zip(rows["rel_path"], rows["detail"], strict=True))
    assert details["crash.png"] == "the decoder ended with SIGSEGV"
    assert details["burn.png"] == "not decoded within 0.5 s of computing (library.decode_timeout_s)"
    assert details["hang.png"] == "not decoded within 5 s, computing or waiting"


@pytest.mark.usefixtures("with_trouble")
def test_a_worker_may_take_what_one_photo_needs_and_no_more(tmp_path: Path) -> None:
    (record,) = measure_photos([os.fsencode(save(tmp_path / "limits.png"))], settings=FAST)
    limit = int(record["detail"])
    assert memory_cap(FAST) < limit < memory_cap(FAST) + 4 * 2**30  # the cap and what the interpreter had mapped before


@pytest.mark.parametrize("mode", ["RGBA", "F", "CMYK"])
def test_the_largest_allowed_picture_fits_into_the_cap(tmp_path: Path, mode: str) -> None:
    settings = SETTINGS.model_copy(update={"max_pixels": 24_000_000, "max_bytes": 200_000})
    path = tmp_path / "p.tif"
    image = Image.new(mode, (6000, 4000))
    image.save(path, compression="tiff_deflate")
    (record,) = measure_photos([os.fsencode(path)], settings=settings)
    assert (record.get("reason"), record.get("detail")) == (None, None)


@pytest.mark.parametrize("kind", ["float", "planes"])
def test_the_largest_allowed_tiff_that_needs_another_reader_fits_too(tmp_path: Path, kind: str) -> None:
    settings = SETTINGS.model_copy(update={"max_pixels": 24_000_000, "max_bytes": 2_000_000})
    values, options = np.zeros((4000, 4000, 3), "f4"), {}
    if kind == "planes":
        values, options = np.zeros((3, 4000, 5000), "u2"), {"planarconfig": "separate", "byteorder": ">", "bigtiff": True}
    tifffile.imwrite(tmp_path / "p.tif", values, photometric="rgb", metadata=None, compression="zlib", **options)
    (record,) = measure_photos([os.fsencode(tmp_path / "p.tif")], settings=settings)
    assert (record.get("reason"), record.get("detail"), record.get("height")) == (None, None, 4000)


def test_records_come_in_the_order_of_the_paths(tmp_path: Path) -> None:
    paths = [os.fsencode(save(tmp_path / f"{seed}.png", seed)) for seed in range(30)]
    records = list(measure_photos(paths, settings=SETTINGS))
    alone = [measure_photo(path, SETTINGS.max_pixels, SETTINGS.max_bytes) for path in paths]
    assert records == alone
    assert len({record["image_id"] for record in records}) == 30


@pytest.mark.usefixtures("with_trouble")
def test_the_next_folder_finds_the_workers_warm_unless_the_caps_differ() -> None:
    def worker(**changes: Any) -> str:
        settings = FAST.model_copy(update={"scan_workers": 1, **changes})
        (record,) = measure_photos([b"/worker"], settings=settings)
        return str(record["detail"])

    first = worker()
    assert worker() == worker(decode_timeout_s=9) == first
    other = worker(max_pixels=2_000_000)
    assert other != first
    assert not _runs(first)
    stop_idle_workers()
    assert not _runs(other)


@pytest.mark.usefixtures("with_trouble")
def test_workers_whose_results_nobody_waits_for_are_not_kept() -> None:
    records = measure_photos([b"/worker", *[b"/hang"] * 9], settings=SETTINGS)
    worker = next(records)["detail"]
    records.close()
    assert not _runs(worker)


def _runs(worker: str) -> bool:
    """Whether the process is there and has not ended; one that nobody has waited for yet is a zombie."""
    stat = Path("/proc", worker, "stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_workers_do_not_run_the_program_again(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "print('main')\n"
        "if __name__ == '__main__':\n"
        "    from vibe_assets.photos.workers import measure_photos\n"
        "    from vibe_assets.settings import LibrarySettings\n"
        "    print(len(list(measure_photos([b'/nowhere'] * 3, settings=LibrarySettings()))))\n"
    )
    ended = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60, check=True)
    assert (ended.stdout, ended.stderr) == ("main\n3\n", "")


def test_no_paths_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_Workers", None)
    assert list(measure_photos([], settings=SETTINGS)) == []
