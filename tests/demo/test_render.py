"""The demo library: real files with true labels, imperfect teachers beside it, and the same bytes for the same seed."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from vibe_assets.demo.answers import CANDIDATE, CONFUSIONS, SIMULATED_PERSON, TEACHER, simulate_audit, teacher_answers
from vibe_assets.demo.plan import BURSTS, FOLDERS, PAINTERS, plan_library
from vibe_assets.demo.render import BROKEN, MARKER, DemoLibrary, encoded, render_library
from vibe_assets.labels.files import read_audited, read_labels
from vibe_assets.questions import load

PHOTOS = 75
PACKAGED = load()


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> DemoLibrary:
    return render_library(tmp_path_factory.mktemp("demo"), seed=3, photos=PHOTOS)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def opened(library: DemoLibrary, rel_path: str) -> Image.Image:
    with Image.open(library.root / rel_path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def test_every_photo_of_the_truth_is_a_readable_file_and_the_rest_is_broken(library):
    found = {path.relative_to(library.root).as_posix() for path in library.root.rglob("*") if path.is_file()}
    assert found == {photo["rel_path"] for photo in library.truth} | set(BROKEN)
    assert len(library.truth) == PHOTOS
    assert all(min(opened(library, photo["rel_path"]).size) >= 200 for photo in library.truth)
    for rel_path in BROKEN:
        with pytest.raises(OSError, match=r"cannot identify|truncated"):
            opened(library, rel_path)


def test_the_truth_is_in_the_format_and_the_keys_of_the_labels_room(library):
    rows = read_labels_of_distinct(library)
    assert set(rows["scene"]) >= set(PACKAGED["scene"].keys) - {"scene.other"}  # which only larger libraries have
    assert {shot.painter for shot in plan_library(seed=7, photos=280)} == set(PAINTERS)
    assert rows.null_count().sum_horizontal().item() == 0
    assert {path.rpartition("/")[0] for path in (photo["rel_path"] for photo in library.truth)} == {folder.path for folder in FOLDERS}
    for photo in library.truth:
        assert (photo["scene"] == ["scene.document"]) == photo["attributes"]["attr.is_document"]
        assert (photo["scene"] == ["scene.screenshot"]) == photo["attributes"]["attr.is_screenshot"]


def read_labels_of_distinct(library):
    path = library.truth_file.with_name("distinct.jsonl")
    path.write_text("".join(json.dumps(photo) + "\n" for photo in {p["image_id"]: p for p in library.truth}.values()), encoding="utf-8")
    return read_labels(path, PACKAGED)


def test_a_second_call_finds_the_library_complete_and_a_lost_file_renders_it_anew(library):
    again = render_library(library.root.parent, seed=3, photos=PHOTOS)
    assert again.cached
    assert not library.cached
    assert again.truth == library.truth
    before = {photo["rel_path"]: photo["image_id"] for photo in library.truth}
    (library.root / library.truth[0]["rel_path"]).unlink()
    repaired = render_library(library.root.parent, seed=3, photos=PHOTOS)
    assert not repaired.cached
    assert {photo["rel_path"]: photo["image_id"] for photo in repaired.truth} == before


def test_photos_of_somebody_else_are_never_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(FileExistsError, match="holds photos that the demo did not make"):
        render_library(tmp_path, photos=PHOTOS)
    assert not (tmp_path / MARKER).exists()


def test_another_seed_plans_another_library_of_the_same_size():
    first, second = plan_library(seed=3, photos=280), plan_library(seed=4, photos=280)
    for photos in (64, 75, 280, 320):
        assert len({shot.rel_path for shot in plan_library(seed=3, photos=photos)}) == photos
    assert {shot.subject for shot in first}.isdisjoint(shot.subject for shot in second)
    with pytest.raises(ValueError, match="expected at least 60 photos, got 12"):
        plan_library(seed=3, photos=12)


def test_camera_photos_carry_date_offset_place_and_orientation_and_are_upright_after_it(library):
    shots = {shot.rel_path: shot for shot in plan_library(seed=3, photos=PHOTOS)}
    seen = Counter()
    for rel_path, shot in shots.items():
        with Image.open(library.root / rel_path) as image:
            exif = image.getexif()
            details, gps = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
        assert exif.get(0x0112, 1) == shot.orientation
        if shot.taken_at:
            assert datetime.strptime(details[0x9003], "%Y:%m:%d %H:%M:%S") == shot.taken_at
        if shot.offset_min is not None:
            assert details[0x9011] == f"+{shot.offset_min // 60:02d}:00"
        if shot.place:
            degrees = sum(float(part) / 60**power for power, part in enumerate(gps[2]))
            assert abs(degrees - abs(shot.place[0])) < 1e-4
        scale = 0.75 if shot.copy_of and not shot.exact else 1
        assert opened(library, rel_path).size == (shot.width * scale, shot.height * scale)
        seen.update(turned=shot.orientation != 1, placed=shot.place is not None, dated=shot.taken_at is not None)
    assert min(seen.values()) >= 2


def test_bursts_are_seconds_apart_alike_and_have_a_blurred_and_a_bright_shot(library):
    shots = [shot for shot in plan_library(seed=3, photos=PHOTOS) if not shot.copy_of]
    bursts = [group for subject in {s.subject for s in shots} if len(group := [s for s in shots if s.subject == subject]) > 1]
    assert sorted(map(len, bursts)) == sorted(size for *_, size in BURSTS)
    for burst in bursts:
        gaps = [(b.taken_at - a.taken_at).total_seconds() for a, b in pairwise(burst)]
        assert all(1 <= gap <= 2 for gap in gaps)
        grey = {shot.fault: np.asarray(opened(library, shot.rel_path).convert("L"), dtype=float) for shot in burst}
        assert set(grey) == {"", "blurred", "over-exposed"}
        assert grey["over-exposed"].mean() > 1.15 * grey[""].mean()
        assert np.abs(np.diff(grey["blurred"])).mean() < np.abs(np.diff(grey[""])).mean()


def test_copies_share_their_bytes_or_only_their_look(library):
    images = {photo["rel_path"]: photo["image_id"] for photo in library.truth}
    copies = [shot for shot in plan_library(seed=3, photos=PHOTOS) if shot.copy_of]
    assert {shot.file_format for shot in copies} == {"JPEG", "WEBP"}
    for shot in copies:
        assert (images[shot.rel_path] == images[shot.copy_of]) == shot.exact
        small = [np.asarray(opened(library, path).convert("L").resize((16, 12)), dtype=float) for path in (shot.rel_path, shot.copy_of)]
        assert np.abs(small[0] - small[1]).mean() < 4


@pytest.mark.parametrize("painter", PAINTERS)
def test_a_painter_repeats_itself_for_a_seed_and_names_known_objects(painter):
    from vibe_assets.demo.paint import Canvas

    first, again, another = (PAINTERS[painter](Canvas(np.random.default_rng(seed), 240, 180)) for seed in (5, 5, 6))
    assert first.image.tobytes() == again.image.tobytes() != another.image.tobytes()
    assert first.image.size == (240, 180)
    for drawing in (first, another):
        assert all(PACKAGED.known(f"object.{word}") for word in drawing.objects)
        assert PACKAGED.known(f"scene.{drawing.scene}")


def test_the_same_shot_gives_the_same_bytes():
    shot = plan_library(seed=3, photos=PHOTOS)[0]
    drawn = Image.effect_noise((shot.width + 28, shot.height + 28), 60).convert("RGB")
    assert encoded(shot, drawn) == encoded(shot, drawn)


def synthetic_truth(count=2000):
    return [
        {"image_id": f"{number:032x}", "rel_path": f"p/{number}.jpg", "scene": [f"scene.{list(CONFUSIONS)[number % 9]}"],
         "attributes": {f"attr.{name}": number % 2 == 0 for name in PACKAGED["attributes"].shape},
         "objects": ["object.dailystuff.mug", "object.food"]}
        for number in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("teacher", [TEACHER, CANDIDATE], ids=lambda teacher: teacher.name)
def test_a_teacher_errs_as_often_as_it_says_and_repeats_itself(teacher):
    truth = synthetic_truth()
    answers = teacher_answers(truth, teacher, seed=1, selfies=frozenset({truth[2]["image_id"]}))
    read = [PACKAGED.tell(a["annotation"], min_confidence=0.7, include_non_main=False).values for a in answers]
    wrong = [(t["scene"][0], r["scene"]) for t, r in zip(truth, read, strict=True) if r["scene"] not in (None, t["scene"][0])]
    assert len(wrong) == round(2000 * teacher.wrong_scene)
    assert all(taken.removeprefix("scene.") in CONFUSIONS[true.removeprefix("scene.")] for true, taken in wrong)
    assert sum(r["scene"] is None for r in read) == round(2000 * teacher.unknown_scene)
    missed = np.mean([r["has_text"] is False for r in read[::2]])
    assert abs(missed - teacher.missed["has_text"]) < 0.04
    assert sum("object.dailystuff.mug" in r["objects"] for r in read) > 2000 * (1 - 2.5 * (teacher.missed_object + teacher.wrong_object))
    assert answers == teacher_answers(truth, teacher, seed=1, selfies=frozenset({truth[2]["image_id"]}))
    assert answers != teacher_answers(truth, teacher, seed=2, selfies=frozenset())


def test_recorded_answers_cover_the_library_and_copies_get_the_same_answer(library):
    for file in (library.teacher_file, library.candidate_file):
        answers = lines(file)
        assert [answer["path"] for answer in answers] == [photo["rel_path"] for photo in library.truth]
        by_image: dict[str, set[str]] = {}
        for photo, answer in zip(library.truth, answers, strict=True):
            by_image.setdefault(photo["image_id"], set()).add(json.dumps(answer["annotation"]))
        assert len(by_image) < len(answers)
        assert all(len(said) == 1 for said in by_image.values())


def test_simulated_people_give_back_a_file_that_is_accepted_and_says_it_is_simulated(tmp_path):
    truth = synthetic_truth(1000)
    sample = tmp_path / "sample.json"
    drawn = [{"image_id": photo["image_id"], "rel_path": photo["rel_path"], "scene": [], "inclusion_probability": 0.5} for photo in truth]
    sample.write_text(json.dumps(drawn), encoding="utf-8")
    audited = simulate_audit(sample, truth, seed=1, error_rate=0.05)
    assert audited == simulate_audit(sample, truth, seed=1, error_rate=0.05)
    assert all(photo["inclusion_probability"] == 0.5 for photo in audited)
    wrong = sum(photo["scene"] != true["scene"] for photo, true in zip(audited, truth, strict=True))
    assert 20 <= wrong <= 85
    sample.write_text(json.dumps(audited), encoding="utf-8")
    rows = read_audited(sample, questions=PACKAGED, known_ids={photo["image_id"] for photo in truth})
    assert set(rows["annotator"]) == {SIMULATED_PERSON}
    with pytest.raises(ValueError, match="no truth for photo"):
        simulate_audit(sample, truth[:5], seed=1)
