"""The replay teacher: finding photos by content, per-model answers, faults, start and stop."""

from __future__ import annotations

import io
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.teacher.conftest import ANNOTATION, QUICK, always, make_library, picture, write_answers
from vibe_assets.records import PhotoRef
from vibe_assets.settings import TeacherSettings
from vibe_assets.teacher.annotate import annotate
from vibe_assets.teacher.client import probe
from vibe_assets.teacher.failures import TeacherError
from vibe_assets.teacher.journal import Journal
from vibe_assets.teacher.replay import ReplayFaults, ReplayTeacher, running_replay, serve
from vibe_assets.teacher.replay_index import PhotoIndex, look_at, look_at_files

Build = Callable[..., TeacherSettings]


def saved(image: Image.Image, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def get(url: str) -> Any:
    with urllib.request.urlopen(url) as response:
        return json.load(response)


def scenes(photos: list[PhotoRef], settings: TeacherSettings, folder: Path) -> list[str | None]:
    with Journal(folder, "test") as journal:
        records = annotate(photos, settings=settings, journal=journal, progress=False, pace=QUICK)
    return [(record["annotation"] or {}).get("scene") for record in records]


def test_a_photo_is_found_resized_re_encoded_and_turned_upright() -> None:
    pictures = [picture(number, (640, 480)) for number in range(30)]
    files = [saved(image, "JPEG", quality=95) for image in pictures]
    index = PhotoIndex([look_at(data) for data in files])
    assert [index.find(data) for data in files] == index.digests
    for number, image in enumerate(pictures):
        small = image.resize((200, 150))
        turned = saved(
            image.transpose(Image.Transpose.ROTATE_90),
            "JPEG",
            exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0",
        )
        for variant in (saved(small, "JPEG", quality=40), saved(small, "WEBP", quality=60), saved(small, "PNG"), turned):
            assert index.find(variant) == index.digests[number]


def test_other_pictures_and_broken_bytes_are_not_found() -> None:
    index = PhotoIndex([look_at(saved(picture(number), "PNG")) for number in range(20)])
    assert index.find(saved(picture(99), "PNG")) is None
    assert index.find(saved(picture(3, (72, 96)), "PNG")) is None, "another shape is another photo"
    assert index.find(b"not a photo") is None
    assert PhotoIndex([]).find(saved(picture(1), "PNG")) is None


def test_the_index_is_cached_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = [Path(photo.path.decode()) for photo in make_library(tmp_path / "p", 3)]
    first = look_at_files(photos, cache=tmp_path / "cache.npz")
    picture(50).save(photos[1])
    looked: list[bytes] = []
    monkeypatch.setattr("vibe_assets.teacher.replay_index.look_at", lambda data: (looked.append(data), look_at(data))[1])
    second = look_at_files(photos, cache=tmp_path / "cache.npz")
    assert looked == [photos[1].read_bytes()]
    assert [first[path].digest == second[path].digest for path in photos] == [True, False, True]
    (tmp_path / "cache.npz").write_bytes(b"torn")
    assert {path: look.digest for path, look in look_at_files(photos, cache=tmp_path / "cache.npz").items()} == {
        path: look.digest for path, look in second.items()
    }


def test_answers_come_from_the_file_of_the_model_that_is_asked(library: list[PhotoRef], settings: Build, tmp_path: Path) -> None:
    files = {
        "": write_answers(tmp_path / "a.jsonl", library, scene="food"),
        "candidate": write_answers(tmp_path / "b.jsonl", library[:6], scene="people"),
    }
    with running_replay(files, tmp_path / "photos") as url:
        assert scenes(library, settings(url, max_side_px=48), tmp_path / "j1") == ["food"] * 12
        assert scenes(library, settings(url, model="candidate"), tmp_path / "j2") == ["people"] * 6 + [None] * 6
        assert [model["id"] for model in get(f"{url}/models")["data"]] == ["replay", "candidate"]


def test_a_journal_is_a_file_of_answers_wherever_the_photos_lie_now(library: list[PhotoRef], settings: Build, tmp_path: Path) -> None:
    with running_replay(always) as url, Journal(tmp_path / "j", "w") as journal:
        annotate(library, settings=settings(url), journal=journal, progress=False)
    (tmp_path / "photos").rename(tmp_path / "moved")
    lines = [{**record, "image_path": "/gone", "rel_path": "gone"} for record in journal.known().values()]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    moved = [PhotoRef(photo.image_id, bytes(tmp_path / "moved" / photo.rel_path), photo.rel_path) for photo in library]
    with running_replay(tmp_path / "answers.jsonl", tmp_path / "moved") as url:
        assert scenes(moved, settings(url), tmp_path / "k") == ["food"] * 12


def test_an_unknown_photo_is_a_row_not_the_end_of_the_run(library: list[PhotoRef], settings: Build, tmp_path: Path) -> None:
    with running_replay(write_answers(tmp_path / "a.jsonl", library[6:]), tmp_path / "photos") as url:
        assert scenes(library, settings(url), tmp_path / "j") == [None] * 6 + ["food"] * 6


def test_the_same_seed_gives_the_same_faults(library: list[PhotoRef], settings: Build, tmp_path: Path) -> None:
    outcomes = []
    for run in range(2):
        faults = ReplayFaults(p_429=0.2, p_500=0.2, p_invalid_json=0.2, p_fenced=0.2, retry_after_s=None, seed=3)
        teacher = ReplayTeacher(always, faults=faults)
        with running_replay(teacher) as url:
            scenes(library, settings(url, concurrency=1, retries=9), tmp_path / str(run))
        outcomes.append(teacher.counts()["outcomes"])
    assert outcomes[0] == outcomes[1]
    assert set(outcomes[0]) == {"429", "500", "invalid_json", "fenced", "ok"}


def test_counts_are_served(library: list[PhotoRef], settings: Build, tmp_path: Path) -> None:
    with running_replay(always) as url:
        scenes(library, settings(url), tmp_path / "j")
        counts = get(url.removesuffix("/v1") + "/stats")
    assert (counts["requests"], counts["answered"], counts["photos"], counts["in_flight"]) == (12, 12, 12, 0)


@pytest.mark.parametrize(
    "body",
    [
        b"not json", b"[]", b"{}", b"[" * 100_000,
        json.dumps({"model": "x", "messages": [{"role": "user", "content": "no photo"}]}).encode(),
        json.dumps({"model": "x", "messages": [{"content": [{"image_url": {"url": "http://169.254.169.254/latest"}}]}]}).encode(),
        json.dumps({"model": "x", "messages": [{"content": [{"image_url": {"url": "data:image/png;base64,@@@"}}]}]}).encode(),
    ],
)  # fmt: skip
def test_bad_requests_are_answered_with_400(body: bytes) -> None:
    with running_replay(always) as url, pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(f"{url}/chat/completions", body, {"content-type": "application/json"}))
    assert caught.value.code == 400
    assert json.load(caught.value)["error"]["message"]


def test_it_stops_at_once_although_a_request_hangs(library: list[PhotoRef], settings: Build, tmp_path: Path) -> None:
    with running_replay(always, faults=ReplayFaults(p_timeout=1.0)) as url:
        assert scenes(library[:1], settings(url, timeout_s=0.2, retries=0), tmp_path / "j") == [None]
        began = time.monotonic()
    assert time.monotonic() - began < 3


def test_a_taken_port_a_wrong_root_and_a_broken_file_are_named(library: list[PhotoRef], tmp_path: Path) -> None:
    with running_replay(always) as url:
        port = int(url.rsplit(":", 1)[1].removesuffix("/v1"))
        with pytest.raises(TeacherError, match=f"{port}.*choose another port"):
            serve(ReplayTeacher(always), port=port)
    answers = write_answers(tmp_path / "a.jsonl", library)
    with pytest.raises(TeacherError, match="check the photo root"):
        ReplayTeacher(answers, tmp_path / "elsewhere")
    answers.write_text('{"path": "000.jpg", "annotation": {}}\n{broken\n')
    with pytest.raises(TeacherError, match="line 2"):
        ReplayTeacher(answers, tmp_path / "photos")


def test_the_probe_says_what_works_and_what_to_do(library: list[PhotoRef], settings: Build, tmp_path: Path) -> None:
    answers = write_answers(tmp_path / "a.jsonl", library)
    with running_replay(answers, tmp_path / "photos") as url:
        good = probe(settings(url))
    assert good.ok
    assert "it ignores response_format" in good.detail  # a replay teacher has its answers already
    for address, hint in ((url, "cannot reach"), ("", "base_url is not set")):
        seen = probe(settings(address))
        assert not seen.ok
        assert hint in seen.detail
    with running_replay(always, faults=ReplayFaults(p_invalid_json=1.0)) as url:
        assert "no JSON object" in probe(settings(url)).detail


def test_real_photos_are_told_apart_as_they_are_sent(real_data: Path, settings: Build, tmp_path: Path) -> None:
    from vibe_assets.teacher.images import encode_for_teacher

    photos = sorted((real_data / "library").rglob("*.jpg"))[::12]
    index = PhotoIndex(look_at_files(photos).values())
    import base64

    shrunk = settings("http://x/v1", max_side_px=160, image_quality=50)
    for path in photos:
        sent = base64.b64decode(encode_for_teacher(path, shrunk).url.partition(",")[2])
        assert index.find(sent) == look_at(path.read_bytes()).digest


def test_the_annotation_of_the_probe_is_no_answer_to_photos(library: list[PhotoRef], settings: Build, tmp_path: Path) -> None:
    with running_replay(write_answers(tmp_path / "a.jsonl", library[:1]), tmp_path / "photos") as url:
        assert scenes(library[:2], settings(url), tmp_path / "j") == [ANNOTATION["scene"], None]
