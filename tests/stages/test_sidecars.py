"""Only labels that people's checks vouch for reach a sidecar, and every file says what became of it."""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.export.library import NAMES, build
from tests.stages.rows import FOLDERS, PHOTOS, SCENES, damage, open_platform
from vibe_assets.export import sidecar_files
from vibe_assets.export.sidecar import Entry
from vibe_assets.export.sidecar_files import Outcome
from vibe_assets.photos.folders import discover_folders
from vibe_assets.records import AUDITED_GROUND_TRUTH, PREDICTIONS
from vibe_assets.stages.export import Selection
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.stages.sidecars import Qualification, check_selection, qualify, remove_sidecars, write_sidecars

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ENTRY = Entry("scene.food", "people", "anna", None, None, None, None)
EASY = {"export": {"min_precision": 0.4, "min_audited": 2}}


def by_label(found: list[Qualification], source: str) -> dict[str, Qualification]:
    return {one.label: one for one in found if one.source == source}


def run(platform: Platform, selection: Selection | None = None, **options: Any) -> dict[str, int]:
    selection = selection or Selection()
    return dict(Counter(one.what for one in outcomes(platform, selection, **options)))


def outcomes(platform: Platform, selection: Selection, **options: Any) -> list[Outcome]:
    return list(write_sidecars(platform, selection, qualify(platform, selection), now=NOW, **options))


def files(folder: Path) -> dict[bytes, bytes]:
    root = os.fsencode(folder)
    paths = [os.path.join(place, name) for place, _, names in os.walk(root) for name in names]  # noqa: PTH118
    return {os.path.relpath(path, root): Path(os.fsdecode(path)).read_bytes() for path in paths}


def test_a_label_qualifies_by_the_lower_end_of_its_precision_for_its_source(home: Path) -> None:
    platform = open_platform(home, export={"min_precision": 0.8, "min_audited": 12})
    found = by_label(qualify(platform, Selection("teacher")), "teacher")
    food = found[SCENES[0]]
    assert food.qualifies
    assert food.precision is not None
    assert food.precision.value == 1.0
    assert food.precision.low > 0.8
    strict = by_label(qualify(open_platform(home, export={"min_precision": 0.99, "min_audited": 12}), Selection("teacher")), "teacher")
    assert {one.why for one in strict.values()} == {"lower end not above 0.99"}


def test_a_label_with_too_few_audited_photos_does_not_qualify(home: Path) -> None:
    platform = open_platform(home, export={"min_precision": 0.1, "min_audited": 50})
    found = by_label(qualify(platform, Selection("teacher")), "teacher")
    assert not [one for one in found.values() if one.qualifies]
    assert found[SCENES[0]].why == "too few audited, 50 needed"


def test_students_are_judged_on_the_test_split_alone(home: Path) -> None:
    platform = open_platform(home, export={"min_precision": 0.5, "min_audited": 2})
    judged = by_label(qualify(platform, Selection("students")), "students")
    n = sum(judged[scene].precision.n for scene in SCENES if judged[scene].precision)  # type: ignore[union-attr]
    assert n == PHOTOS // 2 // 4, "a quarter of the audited photos lies in the test split"


def test_a_source_that_fills_in_is_judged_only_where_it_does(home: Path) -> None:
    """The teacher is right on the photos that the students answer, and wrong on those that they leave open."""
    platform = open_platform(home, **EASY)
    for key in FOLDERS:
        rows = platform.lake.read(PREDICTIONS, folder_key=key)
        open_one = pl.col("scene") == SCENES[0]
        platform.lake.replace(PREDICTIONS, rows.with_columns(scene=pl.when(open_one).then(None).otherwise("scene")), folder_key=key)
    damage(
        platform, AUDITED_GROUND_TRUTH,
        lambda rows: rows.with_columns(scene=pl.when(pl.col("scene") == SCENES[0]).then(pl.lit("scene.other")).otherwise("scene")),
    )  # fmt: skip
    best = by_label(qualify(platform, Selection("best")), "teacher")
    assert set(best) & set(SCENES) == {SCENES[0]}
    assert best[SCENES[0]].precision is not None
    assert best[SCENES[0]].precision.value == 0.0
    assert not best[SCENES[0]].qualifies


def test_second_run_changes_no_byte_and_removal_leaves_no_trace(tmp_path: Path) -> None:
    platform = build(tmp_path, NAMES)
    platform = Platform(
        platform.settings.model_copy(update={"export": platform.settings.export.model_copy(update=EASY["export"])}), progress=False
    )
    root = platform.settings.root
    (root / "album" / "plain.jpg.xmp").write_bytes(FOREIGN)
    before = files(root)
    assert run(platform, dry_run=True)["written"] > 0
    assert files(root) == before, "a dry run writes nothing"
    first = run(platform)
    assert first["changed"] == 1
    written = files(root)
    assert b"album/not \xff\xfe utf8.jpg.xmp" in written
    assert {name: data for name, data in written.items() if not name.endswith(b".xmp")} == {
        name: data for name, data in before.items() if not name.endswith(b".xmp")
    }, "photos are never touched"
    again = run(platform)
    assert set(again) <= {"unchanged", "no label qualifies"}
    assert files(root) == written
    assert {one.what for one in remove_sidecars(platform)} == {"deleted", "ours taken out"}
    assert files(root) == before
    assert list(remove_sidecars(platform)) == []


FOREIGN = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag><rdf:li>mine</rdf:li></rdf:Bag></dc:subject></rdf:Description>'
    b"</rdf:RDF></x:xmpmeta>"
)


def test_sidecars_can_mirror_the_tree_elsewhere(home: Path, tmp_path: Path) -> None:
    platform = open_platform(home, export={"min_precision": 0.5, "min_audited": 5})
    into = tmp_path / "sidecars"
    counts = run(platform, Selection("teacher"), into=into)
    assert counts["written"] == len(files(into)) == PHOTOS
    assert not platform.settings.root.exists()
    assert f"{FOLDERS[0]}/0.jpg.xmp".encode() in files(into)
    assert len(list(remove_sidecars(platform, folders=(FOLDERS[0],), into=into))) == PHOTOS // 2
    assert len(files(into)) == PHOTOS // 2


def test_what_no_longer_qualifies_is_taken_out_again(home: Path, tmp_path: Path) -> None:
    into = tmp_path / "sidecars"
    run(open_platform(home, export={"min_precision": 0.5, "min_audited": 5}), Selection("teacher"), into=into)
    strict = run(open_platform(home, export={"min_precision": 0.999, "min_audited": 5}), Selection("teacher"), into=into)
    assert strict == {"deleted": PHOTOS}
    assert files(into) == {}


@pytest.mark.parametrize(("content", "reason"), [(b"<x", "malformed"), (b"", "malformed"), (b"<!DOCTYPE a><a/>", "doctype")])
def test_a_sidecar_that_cannot_be_read_is_left_alone_and_named(home: Path, tmp_path: Path, content: bytes, reason: str) -> None:
    platform = open_platform(home, export={"min_precision": 0.5, "min_audited": 5})
    into = tmp_path / "sidecars"
    place = into / FOLDERS[0] / "0.jpg.xmp"
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    (into / FOLDERS[0] / "2.jpg.xmp").symlink_to(place)
    refused = {one.rel_path: one.reason for one in outcomes(platform, Selection(), into=into) if one.reason}
    assert refused == {str(place): reason, str(into / FOLDERS[0] / "2.jpg.xmp"): "link"}
    assert place.read_bytes() == content


def moved_out(root: Path, folder: str, outside: Path) -> Path:
    """The folder lies outside of the root now, and a link stands in its place."""
    (root / folder).rename(outside)
    (root / folder).symlink_to(outside)
    return outside


def test_nothing_is_written_or_taken_out_through_a_folder_that_became_a_link(tmp_path: Path) -> None:
    platform = build(tmp_path, NAMES[:3])
    root = platform.settings.root
    (root / "album" / "plain.jpg.xmp").write_bytes(FOREIGN)
    outside = moved_out(root, "album", tmp_path / "somebody's")
    before = files(outside)
    found = outcomes(platform, Selection("people"))
    assert {(one.what, one.reason) for one in found} == {("left alone", "link")}
    assert str(outside) in str(found[0].detail)
    assert files(outside) == before
    (root / "album").unlink()
    outside.rename(root / "album")
    assert run(platform, Selection("people"))["changed"] == 1
    written = files(moved_out(root, "album", outside))
    for folders in ((), ("album-1",)):
        assert {one.reason for one in remove_sidecars(platform, folders=folders)} <= {"link"}
        assert files(outside) == written


def test_a_folder_that_becomes_a_link_while_a_sidecar_is_made_is_seen_at_the_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, outside = tmp_path / "photos", tmp_path / "outside"
    (root / "album").mkdir(parents=True)

    def merged_meanwhile(*_: Any, **__: Any) -> bytes:
        moved_out(root, "album", outside)
        return FOREIGN

    monkeypatch.setattr(sidecar_files, "merged", merged_meanwhile)
    place = root / "album" / "a.jpg.xmp"
    found = sidecar_files.write_sidecar(place, [ENTRY], root=root, min_precision=0.9, today="2026-11-22", dry_run=False)
    assert (found.what, found.reason) == ("left alone", "link")
    assert files(outside) == {}


def test_a_root_that_is_reached_through_a_link_is_the_root(tmp_path: Path) -> None:
    (tmp_path / "disk" / "album").mkdir(parents=True)
    (tmp_path / "photos").symlink_to(tmp_path / "disk")
    place = tmp_path / "photos" / "album" / "a.jpg.xmp"
    found = sidecar_files.write_sidecar(place, [ENTRY], root=tmp_path / "photos", min_precision=0.9, today="2026-11-22", dry_run=False)
    assert found.what == "written"
    assert (tmp_path / "disk" / "album" / "a.jpg.xmp").is_file()


def test_the_permissions_of_a_sidecar_stay(home: Path, tmp_path: Path) -> None:
    platform = open_platform(home, export={"min_precision": 0.5, "min_audited": 5})
    place = tmp_path / "sidecars" / FOLDERS[0] / "0.jpg.xmp"
    place.parent.mkdir(parents=True)
    place.write_bytes(FOREIGN)
    place.chmod(0o640)
    run(platform, into=tmp_path / "sidecars")
    assert place.stat().st_mode & 0o777 == 0o640


def test_before_any_audit_it_says_what_to_do(home: Path) -> None:
    platform = open_platform(home)
    damage(platform, AUDITED_GROUND_TRUTH, lambda rows: rows.clear())
    with pytest.raises(StageError, match="before people have checked the audit sample: `vibe sample`, then `vibe audited FILE`"):
        check_selection(platform, Selection())


def test_sidecars_do_not_look_like_new_photos(tmp_path: Path) -> None:
    platform = build(tmp_path, NAMES[:2])
    before = discover_folders(platform.settings.root).folders[0].listing
    (platform.settings.root / "album" / "plain.jpg.xmp").write_bytes(FOREIGN)
    assert discover_folders(platform.settings.root).folders[0].listing == before
