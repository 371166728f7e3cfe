"""The lineage with photos, lake and journal in buckets, beside the same lineage on a disk: row for row the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.support.object_store import ObjectStore, running_store
from tests.support.questions import PACKAGED
from vibe_assets.demo.render import DemoLibrary, render_library, simulate_audit
from vibe_assets.records import TABLES
from vibe_assets.settings import SettingsError, load_settings
from vibe_assets.stages import embeddings, library, runtime, students, teacher, truth
from vibe_assets.stages.platform import Platform
from vibe_assets.storage import Url
from vibe_assets.teacher.replay import ReplayTeacher, running_replay

pytestmark = [pytest.mark.scale, pytest.mark.timeout(900)]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
DIFFERENT = {"mtime_ns", "tries", "tried_at", "listing", "latency_s"}  # of another copy of the files, and of another moment
SETTINGS = """\
[library]
root = "{root}"
home = "{home}"
{places}
[teacher]
model = "teacher-1"

[audit]
sample_size = 24

[students]
max_epochs = 20
min_positives = 2
"""


@dataclass
class Twins:
    """One library twice: on this disk, and in buckets."""

    local: Platform
    stored: Platform
    store: ObjectStore
    demo: DemoLibrary
    replay: ReplayTeacher


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    folder = tmp_path_factory.mktemp("twins")
    demo = render_library(folder / "demo", seed=3, photos=72)
    patch = pytest.MonkeyPatch()
    for name in ("QWEN_MODEL", "VIBE_CONFIG"):
        patch.delenv(name, raising=False)
    with running_store(folder / "requests.log") as store:
        photos, tables = store.bucket() / "my photos", store.bucket()
        store.upload(demo.root, photos)
        places = f'lake = "{tables / "lake"}"\njournal = "{tables / "journal"}"\n'
        answers = {"teacher-1": folder / "demo" / "teacher_answers.jsonl"}
        replay = ReplayTeacher(answers, demo.root)
        with running_replay(replay) as base_url:
            patch.setenv("QWEN_BASE_URL", base_url)
            local = opened(folder / "local", root=str(demo.root), places="")
            stored = opened(folder / "stored", root=str(photos), places=places)
            for platform in (local, stored):
                run(platform, demo)
            yield Twins(local, stored, store, demo, replay)
    patch.undo()


def opened(folder: Path, **values: str) -> Platform:
    folder.mkdir()
    config = folder / "vibe.toml"
    config.write_text(SETTINGS.format(home=folder / "home", **values))
    return Platform(load_settings(config), run_id="twin", commit={"run_id": "twin"}, progress=False)


def run(platform: Platform, demo: DemoLibrary) -> None:
    """The stages in the order in which the graph runs them."""
    look = library.look_at_folders(platform, now=NOW)
    keys = look.folders["folder_key"].to_list()
    for key in keys:
        library.scan_folder(platform, key)
    library.group_library(platform)
    for key in keys:
        answers = teacher.annotate_folder(platform, key)
        assert set(answers["reason"]) == {None}, answers.select("reason", "detail").unique()
    truth.convert_library(platform)
    embeddings.embed_folders(platform, keys)
    truth.draw_audit_sample(platform, now=NOW)
    people = platform.settings.home / "people.json"
    people.write_text(json.dumps(simulate_audit(truth.sample_file(platform), demo.truth, seed=1)))
    truth.accept_audited(platform, people)
    truth.settle_audit(platform)
    for kind in PACKAGED.heads:
        students.train_student(platform, kind, now=NOW)
    students.deploy_students(platform, now=NOW)
    for key in keys:
        runtime.predict_folder(platform, key)


def sorted_rows(platform: Platform, name: str) -> pl.DataFrame:
    rows = platform.lake.read(TABLES[name])
    rows = rows.select(pl.exclude(*DIFFERENT))
    return rows.sort([column for column in ("folder_key", "rel_path", "image_id") if column in rows.columns])


def test_every_table_holds_the_same_rows(twins: Twins) -> None:
    filled = [name for name, table in TABLES.items() if twins.local.lake.exists(table)]
    assert filled == [name for name, table in TABLES.items() if twins.stored.lake.exists(table)]
    assert len(filled) >= 8
    for name in filled:
        rows = sorted_rows(twins.local, name)
        assert rows.height > 0
        assert_frame_equal(rows, sorted_rows(twins.stored, name))


def test_nothing_of_lake_and_journal_is_on_the_disk_and_nothing_was_written_beside_the_photos(twins: Twins) -> None:
    home = twins.stored.settings.home
    assert not any((home / name).exists() for name in ("lake", "journal", "audit/verdicts"))
    assert {"cache", "heads"} <= {path.name for path in home.iterdir()}
    root = twins.stored.settings.root
    assert isinstance(root, Url)
    expected = sorted(path.relative_to(twins.demo.root).as_posix() for path in twins.demo.root.rglob("*") if path.is_file())
    uploaded = [name.removeprefix(f"{root.key}/") for name in twins.store.names(root)]
    assert uploaded == [name for name in expected if not name.rpartition("/")[2].startswith(".")]


def test_a_second_run_opens_no_photo_and_asks_nobody(twins: Twins) -> None:
    platform = twins.stored
    with twins.store.asked() as requests:
        for key in library.look_at_folders(platform, now=NOW).folders["folder_key"]:
            library.scan_folder(platform, key)
            teacher.annotate_folder(platform, key)
    opened_photos = [request for request in requests if request.startswith(f"GET /{platform.settings.root.bucket}/")]  # type: ignore[union-attr]
    assert opened_photos == [request for request in opened_photos if "list-type=2" in request]
    assert_frame_equal(sorted_rows(twins.local, "annotations"), sorted_rows(platform, "annotations"))


def test_pictures_exports_and_sidecars_work_from_a_bucket_or_say_what_to_do(twins: Twins, tmp_path: Path) -> None:
    from vibe_assets.export.items import ExportError
    from vibe_assets.stages.export import Selection, export_labels
    from vibe_assets.stages.gallery import thumbnails
    from vibe_assets.stages.sidecars import qualify, write_sidecars
    from vibe_assets.stages.standalone import find_photos

    local, stored = twins.local, twins.stored
    ids = library.accepted_photos(stored)["image_id"].to_list()
    assert thumbnails(stored, ids[:6]) == thumbnails(local, ids[:6]) != {}
    shown = [audit_picture(one, ids[0], tmp_path / f"audit-{number}") for number, one in enumerate((local, stored))]
    assert shown[0] == shown[1]
    chosen = Selection("teacher")
    copies = [export_labels(one, "imagefolder", chosen, into=tmp_path / name, mode="copy") for name, one in (("a", local), ("b", stored))]
    assert copies[0].photos == copies[1].photos > 0
    assert pictures(tmp_path / "a") == pictures(tmp_path / "b") != {}
    assert export_labels(stored, "jsonl", chosen, into=tmp_path / "c").photos == copies[0].photos
    with pytest.raises(ExportError, match="use --photos copy"):
        export_labels(stored, "imagefolder", chosen, into=tmp_path / "d", mode="link")
    people = Selection("people")
    with pytest.raises(SettingsError, match="--into FOLDER"):
        list(write_sidecars(stored, people, qualify(stored, people)))
    assert list(write_sidecars(stored, people, qualify(stored, people), into=tmp_path / "xmp"))
    assert any((tmp_path / "xmp").rglob("*.xmp"))
    assert {ref.image_id for ref in find_photos(stored.settings, stored.settings.root)} == set(ids)


def audit_picture(platform: Platform, image_id: str, cache: Path) -> bytes:
    from vibe_assets.audit.pictures import Pictures
    from vibe_assets.stages.audit import open_desk

    assert open_desk(platform)
    (ref,) = platform.photo_refs(library.accepted_photos(platform).filter(pl.col("image_id") == image_id))
    return Pictures(cache).jpeg(image_id, ref.path)


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.suffix in (".jpg", ".png", ".webp", ".heic", ".tif")}


def test_a_teacher_s_answers_in_a_bucket_are_found_by_name(twins: Twins) -> None:
    from vibe_assets.stages.verdicts import verdict_log
    from vibe_assets.stages.versions import label_version, teachers

    (fingerprint,) = teachers(twins.stored)
    assert teachers(twins.local) == [fingerprint]
    assert_frame_equal(label_version(twins.local, fingerprint).rows, label_version(twins.stored, fingerprint).rows, check_row_order=False)
    said = [[(verdict.image_id, verdict.labels) for verdict in verdict_log(one).verdicts()] for one in (twins.local, twins.stored)]
    assert said[0] == said[1] != []
