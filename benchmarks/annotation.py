"""Generated photos and a replay server in another process go in; what the annotation client costs and how near it gets to the server's
own rate come out.

    python benchmarks/annotation.py [--runs 3] [--full]

Peers are what one writes first: a loop over the synchronous SDK, and AsyncOpenAI behind a semaphore that encodes within the coroutine.
Rates are those of the middle 70 % of the answers: how long the start takes depends on how many photos there are.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
from measure import Bench, Figures, parser, seconds
from pictures import TWELVE_MP, write_library
from PIL import Image, ImageOps

from vibe_assets.records import PhotoRef
from vibe_assets.settings import TeacherBase
from vibe_assets.teacher.annotate import annotate
from vibe_assets.teacher.client import TeacherClient
from vibe_assets.teacher.images import encode_for_teacher
from vibe_assets.teacher.journal import Journal
from vibe_assets.teacher.prompts import load_prompt

SEED = 0
LATENCY_S, CONCURRENCY, KNEE = 0.3, 16, 24
SMALL = (640, 480)  # encoding costs little, so that the latency of the server decides
ANNOTATION = {
    "scene": "food", "has_person": False, "has_animal": False, "has_text": "unknown", "is_document": False, "is_screenshot": False,
    "objects": [{"name_free": "bread", "coarse_type": "food", "is_main": True, "confidence": 0.9}],
}  # fmt: skip


def serve(port: int, faults: dict[str, Any]) -> None:
    from vibe_assets.teacher.replay import ReplayFaults, ReplayTeacher
    from vibe_assets.teacher.replay import serve as run

    run(ReplayTeacher(lambda image, request: ANNOTATION, faults=ReplayFaults(**faults)), port=port)


@contextmanager
def server(**faults: Any) -> Iterator[str]:
    """A replay server in a process of its own; yields its base_url."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import annotation; annotation.serve({port}, {faults!r})"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def references(paths: list[Path]) -> list[PhotoRef]:
    return [PhotoRef(hashlib.sha256(path.read_bytes()).hexdigest()[:32], os.fsencode(path), path.name) for path in paths]


# -- the client's own work -----------------------------------------------------------------------------------------------
def plain_encode(path: Path) -> str:
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    image.thumbnail((1024, 1024), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def overhead(bench: Bench, home: Path) -> None:
    paths = write_library(home / "12 MP", 16, TWELVE_MP, distinct=4)
    photos, settings = references(paths), TeacherBase(base_url="http://127.0.0.1:9/v1")

    def each(work: Callable[[], object]) -> Callable[[], Figures]:
        def run() -> Figures:
            took, cpu = seconds(work)
            return {"ms a photo": 1000 * took / len(photos), "cpu ms a photo": 1000 * cpu / len(photos)}

        return run

    def own() -> None:
        for photo in photos:
            encode_for_teacher(photo.path, settings, image_id=photo.image_id)

    bench.turns({"plain encode, 12 MP": each(lambda: [plain_encode(path) for path in paths]), "encode, 12 MP": each(own)}, warm=True)
    with server() as url:
        bench.turns({"whole client, 12 MP": lambda: whole_client(photos, url, home)}, warm=True)
    bench.ratio("encode_vs_plain_cpu", "plain encode, 12 MP", "encode, 12 MP", unit="cpu ms a photo")
    bench.versus_limit("client_cpu_vs_25_ms", "whole client, 12 MP", 25, unit="cpu ms a photo")
    bench.work["12 MP"] = {"photos": len(photos), "bytes": paths[0].stat().st_size}


def whole_client(photos: list[PhotoRef], url: str, home: Path) -> Figures:
    """CPU time of reading, encoding, sending, checking and journalling; `loop`: the part that the event loop's thread takes."""
    settings, journal = TeacherBase(base_url=url, concurrency=4), _journal(home)
    cpu, loop = time.process_time(), time.thread_time()
    records = annotate(photos, settings=settings, journal=journal, progress=False)
    cpu, loop = time.process_time() - cpu, time.thread_time() - loop
    assert all(record["annotation"] for record in records)
    return {"cpu ms a photo": 1000 * cpu / len(photos), "loop cpu ms a photo": 1000 * loop / len(photos)}


# -- beside other clients ------------------------------------------------------------------------------------------------
def _message(url: str) -> list[Any]:
    content = [{"type": "text", "text": load_prompt("photo_labels")}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": content}]


def sequential(paths: list[Path], url: str) -> list[float]:
    client, times = openai.OpenAI(base_url=url, api_key="none"), []
    for path in paths:
        client.chat.completions.create(model="m", messages=_message(plain_encode(path)))
        times.append(time.perf_counter())
    return times


def semaphore(paths: list[Path], url: str) -> list[float]:
    async def work() -> list[float]:
        client, gate, times = openai.AsyncOpenAI(base_url=url, api_key="none"), asyncio.Semaphore(CONCURRENCY), []

        async def one(path: Path) -> None:
            async with gate:
                await client.chat.completions.create(model="m", messages=_message(plain_encode(path)))
                times.append(time.perf_counter())

        async with client:
            await asyncio.gather(*(one(path) for path in paths))
        return times

    return asyncio.run(work())


def vibe(photos: list[PhotoRef], url: str, home: Path) -> list[float]:
    times: list[float] = []
    annotate(
        photos, settings=TeacherBase(base_url=url, concurrency=CONCURRENCY), journal=_journal(home), progress=False,
        on_record=lambda record: times.append(time.perf_counter()),
    )  # fmt: skip
    return times


def beside_others(bench: Bench, home: Path) -> None:
    count = 600 if bench.options.full else 240
    paths = write_library(home / "small", count, SMALL)
    photos = references(paths)

    def rated(run: Callable[[], list[float]]) -> Callable[[], Figures]:
        return lambda: {"answers/s": _rate(run()), "share of concurrency / latency": 0.0}

    with server(latency_s=LATENCY_S) as url:
        bench.turns(
            {"sequential script": rated(lambda: sequential(paths[:20], url)),
             "AsyncOpenAI and a semaphore": rated(lambda: semaphore(paths, url)),
             "vibe annotate": rated(lambda: vibe(photos, url, home))}
        )  # fmt: skip
    for runs in bench.taken.values():
        for figures in runs:
            if "answers/s" in figures:
                figures["share of concurrency / latency"] = figures["answers/s"] * LATENCY_S / CONCURRENCY  # type: ignore[index]
    own = "vibe annotate"
    bench.ratios["vs_sequential"] = round(bench.median(own, "answers/s") / bench.median("sequential script", "answers/s"), 2)
    pairs = zip(bench.taken[own], bench.taken["AsyncOpenAI and a semaphore"], strict=True)
    bench.ratios["vs_semaphore"] = round(statistics.median(a["answers/s"] / b["answers/s"] for a, b in pairs), 3)
    bench.versus_limit("rate_vs_concurrency_over_latency", own, CONCURRENCY / LATENCY_S, unit="answers/s")
    bench.work["rate"] = {"photos": count, "size": list(SMALL), "concurrency": CONCURRENCY, "latency_s": LATENCY_S}


def _rate(times: list[float]) -> float:
    """Answers per second between 25 % and 95 % of them."""
    first, last = int(0.25 * len(times)), int(0.95 * len(times)) - 1
    return (last - first) / (times[last] - times[first])


# -- the knee ------------------------------------------------------------------------------------------------------------
class Watched(TeacherClient):
    """A client whose limit can be read from another thread."""

    latest: Watched | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        Watched.latest = self


def knee(bench: Bench, home: Path) -> None:
    """Up to 64 requests may be in flight; the server takes 24 and refuses the rest with 429, or makes them wait."""
    paths = write_library(home / "knee", 1200, (64, 48))
    photos = references(paths)
    kinds: dict[str, dict[str, Any]] = {
        "refuses above 24": {"max_in_flight": KNEE, "retry_after_s": None}, "queues above 24": {"slots": KNEE}
    }  # fmt: skip
    for name, faults in kinds.items():
        with server(latency_s=LATENCY_S, **faults) as url:
            bench.turns({name: lambda url=url: _watched_run(photos, url, home)}, runs=1)  # type: ignore[misc]
        bench.versus_limit(f"{name.replace(' ', '_')}_rate_vs_knee", name, KNEE / LATENCY_S, unit="answers/s")
    bench.work["knee"] = {"photos": len(photos), "in_flight": KNEE, "latency_s": LATENCY_S, "concurrency": 64}


def _watched_run(photos: list[PhotoRef], url: str, home: Path) -> Figures:
    seen: list[tuple[float, float]] = []
    done, times = threading.Event(), []

    def watch() -> None:
        started = time.perf_counter()
        while not done.wait(0.1):
            if Watched.latest is not None:
                seen.append((time.perf_counter() - started, Watched.latest.limit.limit))

    Watched.latest = None
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        records = annotate(
            photos, settings=TeacherBase(base_url=url, concurrency=64, retries=20), journal=_journal(home), progress=False, client=Watched,
            on_record=lambda record: times.append(time.perf_counter()),
        )  # fmt: skip
    finally:
        done.set()
        watcher.join()
    failed = sum(record["annotation"] is None for record in records)
    late = [limit for at, limit in seen[len(seen) // 2 :]]
    settled = next((at for at, limit in seen if Watched.latest and abs(limit - KNEE) <= 0.25 * KNEE), float("nan"))
    return {"answers/s": _rate(times), "median limit": statistics.median(late), "first within 25 % of the knee, s": settled,
            "cuts": Watched.latest.limit.cuts if Watched.latest else 0, "failed": failed}  # fmt: skip


def _journal(home: Path) -> Journal:
    return Journal(Path(tempfile.mkdtemp(dir=home)), "bench")


def main() -> None:
    options = parser(__doc__, runs=3).parse_args()
    bench = Bench("annotation", options, seed=SEED, packages=("openai", "pillow", "starlette", "uvicorn"))
    with tempfile.TemporaryDirectory(prefix="vibe-bench-") as home:
        overhead(bench, Path(home))
        beside_others(bench, Path(home))
        knee(bench, Path(home))
    bench.write()


if __name__ == "__main__":
    main()
