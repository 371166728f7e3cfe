"""What leaves the house is read back by the readers that people use, names and labels whole."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from PIL import Image

from tests.export.library import FOLDER, NAMES, build
from vibe_assets.export.formats import FORMATS
from vibe_assets.labels.files import read_labels
from vibe_assets.photos.decode import open_photo
from vibe_assets.questions import load
from vibe_assets.records import PHOTO_GROUPS, PREDICTIONS, RAW_PHOTOS
from vibe_assets.stages.export import ExportError, Selection, export_labels, select_rows
from vibe_assets.stages.platform import Platform
from vibe_assets.strangers import spreadsheet_cell

PACKAGED = load()
ATTRIBUTES = tuple(label.word for label in PACKAGED["attributes"].labels)
PATHS = sorted(b"album/" + name for name in NAMES)


def exported(platform: Platform, name: str, out: Path, **options: Any) -> Path:
    done = export_labels(platform, name, Selection(**options.pop("selection", {})), into=out, **options)
    assert done.written
    assert done.photos == len(NAMES) - len(done.left_out)
    return done.folder


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def sound(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]


@pytest.fixture(scope="module")
def expected(awkward: Platform) -> dict[str, dict[str, Any]]:
    """image_id -> chosen row."""
    return {row["image_id"]: row for row in select_rows(awkward, Selection()).iter_rows(named=True)}


def test_a_hugging_face_image_folder_loads_with_pictures_labels_and_sources(
    awkward: Platform, out: Path, tmp_path: Path, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets", reason="datasets is a development dependency")
    folder = exported(awkward, "imagefolder", out)
    assert next(iter(lines(folder / "metadata.jsonl")[0])) == "file_name"
    rows = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert sorted(unquote_to_bytes(row["path_uri"]) for row in rows) == PATHS
    for row in rows:
        wanted = expected[row["image_id"]]
        assert row["image"].size == (48, 36)
        assert (row["scene"], row["objects"], row["has_text"]) == (wanted["scene"], wanted["objects"], wanted["has_text"])
        sources = {entry["label"]: entry["source"] for entry in row["provenance"]}
        assert sources[row["scene"]] == wanted["scene_source"]


def test_an_image_folder_of_links_loads_too(awkward: Platform, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    datasets = pytest.importorskip("datasets", reason="datasets is a development dependency")
    folder = exported(awkward, "imagefolder", out, mode="link")
    assert all(path.is_symlink() for path in (folder / "images").iterdir())
    rows = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.num_rows == len(NAMES)


def test_webdataset_reads_the_shards_with_unique_keys(awkward: Platform, out: Path, expected: dict[str, Any]) -> None:
    webdataset = pytest.importorskip("webdataset", reason="webdataset is a development dependency")
    settings = awkward.settings.model_copy(update={"export": awkward.settings.export.model_copy(update={"shard_mb": 0})})
    folder = exported(Platform(settings, progress=False), "webdataset", out)
    shards = sorted(str(path) for path in folder.glob("*.tar"))
    assert len(shards) == len(NAMES), "a shard is closed once it is full"
    samples = list(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False).decode("pil"))
    assert sorted(sample["__key__"] for sample in samples) == sorted(expected)
    for sample in samples:
        picture = sample.get("jpg") or sample.get("png")
        assert picture.size == (48, 36)
        assert sample["json"]["scene"] == expected[sample["__key__"]]["scene"]
    assert sorted(unquote_to_bytes(sample["json"]["path_uri"]) for sample in samples) == PATHS


def test_shards_hold_the_files_own_bytes_and_repeat_byte_for_byte(awkward: Platform, tmp_path: Path) -> None:
    first, second = (exported(awkward, "webdataset", tmp_path / name) / "shard-000000.tar" for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as tar:
        for member in tar:
            key, suffix = member.name.split(".")
            if suffix != "json":
                assert hashlib.sha256(tar.extractfile(member).read()).hexdigest()[:32] == key  # type: ignore[union-attr]


def test_parquet_is_read_by_polars_and_duckdb(awkward: Platform, out: Path, expected: dict[str, Any]) -> None:
    import duckdb
    import polars as pl

    file = exported(awkward, "parquet", out) / "labels.parquet"
    rows = pl.read_parquet(file)
    assert sorted(unquote_to_bytes(uri) for uri in rows["path_uri"]) == PATHS
    assert {row["image_id"]: row["objects"] for row in rows.iter_rows(named=True)} == {key: row["objects"] for key, row in expected.items()}
    with duckdb.connect() as connection:
        found = connection.execute(
            "select count(*), count(distinct p.source) from (select unnest(provenance) p from read_parquet(?)) "
            "where p.label like 'scene.%'",
            [str(file)],
        ).fetchall()
    assert found == [(12, 3)]


def test_csv_keeps_every_name_and_no_cell_begins_a_formula(awkward: Platform, out: Path) -> None:
    file = exported(awkward, "csv", out) / "labels.csv"
    with file.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert sorted(unquote_to_bytes(row["path_uri"].removeprefix("'")) for row in rows) == PATHS
    assert not [cell for row in rows for cell in row.values() if cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))]
    people = next(row for row in rows if row["scene_source"] == "people")
    assert (people["has_text"], people["has_text_source"], people["scene_version"]) == ("", "", "anna")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\x00"])
def test_cells_that_a_spreadsheet_would_run_are_quoted(text: str) -> None:
    assert spreadsheet_cell(text) == f"'{text}"


@pytest.mark.parametrize(("value", "cell"), [(None, ""), (True, "true"), (False, "false"), (0.5, "0.5"), ("IMG-1.jpg", "IMG-1.jpg")])
def test_other_cells_stay_as_they_are(value: Any, cell: str) -> None:
    assert spreadsheet_cell(value) == cell


def test_json_lines_are_read_back_as_labels(awkward: Platform, out: Path, expected: dict[str, Any]) -> None:
    file = exported(awkward, "jsonl", out) / "labels.jsonl"
    rows = read_labels(file, PACKAGED)
    assert {row["image_id"]: [row[name] for name in ("scene", *ATTRIBUTES, "objects")] for row in rows.iter_rows(named=True)} == {
        key: [row[name] for name in ("scene", *ATTRIBUTES, "objects")] for key, row in expected.items()
    }


def test_coco_has_images_categories_and_image_level_annotations(awkward: Platform, out: Path, expected: dict[str, Any]) -> None:
    folder = exported(awkward, "coco", out, mode="copy")
    found = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    categories = {entry["id"]: entry["name"] for entry in found["categories"]}
    assert len(set(categories.values())) == len(found["categories"])
    assert [image["id"] for image in found["images"]] == list(range(1, len(NAMES) + 1))
    assert [entry["id"] for entry in found["annotations"]] == list(range(1, len(found["annotations"]) + 1))
    assert "no bbox" in found["info"]["description"]
    for image in found["images"]:
        assert sound(folder / image["file_name"]) == image["photo_id"]
        wanted = expected[image["photo_id"]]
        labels = {categories[entry["category_id"]] for entry in found["annotations"] if entry["image_id"] == image["id"]}
        assert labels == {wanted["scene"], *wanted["objects"], *(f"attr.{name}" for name in ATTRIBUTES if wanted[name])}
        assert {categories[number] for number in image["neg_category_ids"]} == {f"attr.{n}" for n in ATTRIBUTES if wanted[n] is False}


def test_pycocotools_indexes_it(awkward: Platform, out: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is a development dependency")
    api = coco.COCO(str(exported(awkward, "coco", out) / "annotations.json"))
    food = api.getCatIds(catNms=["scene.food"])
    assert len(api.getImgIds(catIds=food)) == 3
    assert {cat["supercategory"] for cat in api.loadCats(api.getCatIds())} == {"scene", "attribute", "object"}


def test_fiftyone_gets_its_classification_layout(awkward: Platform, out: Path, expected: dict[str, Any]) -> None:
    folder = exported(awkward, "fiftyone", out, mode="copy")
    found = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    assert set(found) == {"classes", "labels"}
    assert set(found["labels"]) == set(expected) == {path.stem for path in (folder / "data").iterdir()}
    for key, targets in found["labels"].items():
        assert {target["label"] for target in targets} <= set(found["classes"])
        assert targets[0]["label"] == expected[key]["scene"]
    assert not (folder / "data.json").exists()


def test_fiftyone_by_reference_gets_a_manifest_of_paths(awkward: Platform, out: Path, expected: dict[str, Any]) -> None:
    folder = exported(awkward, "fiftyone", out)
    manifest = json.loads((folder / "data.json").read_text(encoding="utf-8"))
    assert set(manifest) == set(expected)
    assert not (folder / "data").exists()
    assert all(sound(folder / path) == key for key, path in manifest.items())


def test_chat_messages_are_split_by_group_and_answer_in_json(awkward: Platform, out: Path, expected: dict[str, Any]) -> None:
    folder = exported(awkward, "messages", out)
    splits = {name: lines(folder / f"{name}.jsonl") for name in ("train", "val", "test")}
    groups = {name: {row["group_id"] for row in rows} for name, rows in splits.items()}
    assert not groups["train"] & groups["test"]
    assert not groups["train"] & groups["val"]
    rows = [row for part in splits.values() for row in part]
    assert len(rows) == len(NAMES)
    for row in rows:
        user, assistant = row["messages"]
        assert [part["type"] for part in user["content"]] == ["text", "image"]
        assert sound(folder / user["content"][1]["image"]) == row["id"]
        answer = json.loads(assistant["content"][0]["text"])
        assert answer["scene"] == [expected[row["id"]]["scene"]]
        assert row["ground_truth_tags"][0] == expected[row["id"]]["scene"]


def test_label_studio_gets_tasks_that_its_own_way_back_understands(awkward: Platform, out: Path, expected: dict[str, Any]) -> None:
    folder = exported(awkward, "label-studio", out)
    tasks = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
    assert {task["data"]["image_id"] for task in tasks} == set(expected)
    assert sorted(unquote_to_bytes(task["data"]["image"].partition("?d=")[2]) for task in tasks) == PATHS
    scenes = {task["data"]["image_id"]: task["predictions"][0]["result"][0]["value"]["choices"] for task in tasks}
    assert scenes == {key: [row["scene"].removeprefix("scene.")] for key, row in expected.items()}
    assert (folder / "labelling_config.xml").read_text(encoding="utf-8").startswith("<View>")


def test_a_referenced_name_that_json_cannot_hold_becomes_a_link(awkward: Platform, out: Path) -> None:
    folder = exported(awkward, "coco", out)
    names = {image["rel_path"]: image["file_name"] for image in json.loads((folder / "annotations.json").read_text())["images"]}
    assert names.pop("album/not \\xff\\xfe utf8.jpg").startswith("linked/")
    assert all(Path(name).is_absolute() for name in names.values())


@pytest.mark.parametrize("name", sorted([*FORMATS, "label-studio"]))
def test_originals_are_never_touched(name: str, awkward: Platform, out: Path) -> None:
    folder = os.fsencode(awkward.settings.root) + b"/album"

    def state() -> dict[bytes, Any]:
        return {
            entry.name: (
                entry.stat().st_mtime_ns,
                entry.stat().st_ino,
                hashlib.sha256(Path(os.fsdecode(entry.path)).read_bytes()).hexdigest(),
            )
            for entry in os.scandir(folder)
        }

    before = state()
    exported(awkward, name, out)
    assert state() == before


def test_photos_that_changed_or_went_are_left_out_with_a_reason(tmp_path: Path) -> None:
    platform = build(tmp_path / "lib")
    album = platform.settings.root / "album"
    (album / "plain.jpg").unlink()
    (album / "a.b.c.jpg").write_bytes(b"something else")
    done = export_labels(platform, "imagefolder", Selection(), into=tmp_path / "out")
    assert {left.rel_path: left.reason for left in done.left_out} == {
        "album/plain.jpg": "io_error",
        "album/a.b.c.jpg": "changed_since_scan",
    }
    assert len(lines(done.folder / "metadata.jsonl")) == done.photos == len(NAMES) - 2
    assert {line["reason"] for line in lines(done.folder / "left_out.jsonl")} == {"io_error", "changed_since_scan"}
    manifest = json.loads((done.folder / "manifest.json").read_text())
    assert manifest["counts"]["left_out"] == {"io_error": 1, "changed_since_scan": 1}


def test_a_library_restored_with_new_times_can_still_be_linked(tmp_path: Path) -> None:
    platform = build(tmp_path / "lib", NAMES[:3])
    for path in (platform.settings.root / "album").iterdir():
        os.utime(path, (1, 1))
    (platform.settings.root / "album" / "plain.jpg").write_bytes(b"another picture")
    done = export_labels(platform, "imagefolder", Selection("teacher"), into=tmp_path / "out", mode="link")
    assert done.photos == 2
    assert [left.reason for left in done.left_out] == ["changed_since_scan"]


def holding(home: Path, data: bytes, format: str, size: tuple[int, int]) -> tuple[Platform, str]:
    """A library of two photos, the first of which has these bytes, and its image_id."""
    import polars as pl

    platform = build(home, (b"one.jpg", b"two.jpg"))
    place = platform.settings.root / "album" / "one.jpg"
    place.write_bytes(data)
    image_id = sound(place)
    old = platform.lake.read(RAW_PHOTOS).filter(pl.col("rel_path") == "album/one.jpg")["image_id"][0]
    mine = pl.col("image_id") == old
    for table, folder in ((PREDICTIONS, FOLDER), (PHOTO_GROUPS, None), (RAW_PHOTOS, FOLDER)):
        rows = platform.lake.read(table)
        if table is RAW_PHOTOS:
            told = {"format": format, "width": size[0], "height": size[1]}
            rows = rows.with_columns(
                *(pl.when(mine).then(pl.lit(value)).otherwise(name).cast(rows.schema[name]).alias(name) for name, value in told.items()),
                bytes=None,
            )
        rows = rows.with_columns(image_id=pl.when(mine).then(pl.lit(image_id)).otherwise("image_id"))
        platform.lake.replace(table, rows, **({"folder_key": folder} if folder else {}))
    return platform, image_id


def odd_photos() -> dict[str, tuple[bytes, str]]:
    """Bytes and format of photos that are labelled, but that plain Pillow refuses or shows otherwise."""
    import numpy as np
    import tifffile
    from PIL.PngImagePlugin import PngInfo
    from pillow_heif import from_pillow

    smooth = Image.fromarray(np.random.default_rng(5).integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((64, 48))
    values = np.asarray(smooth)
    files = {name: io.BytesIO() for name in ("heic", "jpeg", "text", "tiff", "grey", "cut")}
    texts = PngInfo()
    texts.add_text("comment", "x" * 3_000_000, zip=True)
    from_pillow(smooth).save(files["heic"])
    smooth.save(files["jpeg"], "JPEG", quality=95)
    smooth.save(files["text"], "PNG", pnginfo=texts)
    Image.fromarray(values[..., 0].astype(np.uint16) * 257).save(files["grey"], "PNG")
    smooth.save(files["cut"], "JPEG", quality=95, progressive=True)
    tifffile.imwrite(files["tiff"], values, photometric="rgb", bigtiff=True, byteorder=">")
    data = {name: file.getvalue() for name, file in files.items()}
    return {
        "heic": (data["heic"], "HEIF"), "jpeg without its end": (data["jpeg"][:-2], "JPEG"),
        "progressive jpeg, cut": (data["cut"][:-9], "JPEG"),
        "png with a large text": (data["text"], "PNG"), "big-endian BigTIFF": (data["tiff"], "TIFF"), "16-bit grey": (data["grey"], "PNG"),
    }  # fmt: skip


@pytest.mark.parametrize("kind", list(odd_photos()))
def test_what_few_readers_show_is_copied_as_jpeg(tmp_path: Path, kind: str) -> None:
    import numpy as np

    data, format = odd_photos()[kind]
    platform, image_id = holding(tmp_path / "lib", data, format, (64, 48))
    for name, below in (("imagefolder", "images"), ("csv", "images"), ("fiftyone", "data"), ("webdataset", "shard-000000.tar")):
        done = export_labels(platform, name, Selection("students"), into=tmp_path / name, mode="copy")
        place = done.folder / below / f"{image_id}.jpg"
        if name == "webdataset":
            with tarfile.open(done.folder / below) as tar:
                tar.extract(f"{image_id}.jpg", done.folder, filter="data")
            place = done.folder / f"{image_id}.jpg"
        with Image.open(place) as picture:
            assert (picture.format, picture.size) == ("JPEG", (64, 48))
            shown = np.asarray(picture.convert("RGB"), dtype=float)
        assert np.abs(shown - np.asarray(open_photo(io.BytesIO(data)).image, dtype=float)).mean() < 8
    linked = export_labels(platform, "imagefolder", Selection("students"), into=tmp_path / "linked", mode="link")
    assert [left.reason for left in linked.left_out] == ["few_readers"]
    assert not export_labels(platform, "csv", Selection("students"), into=tmp_path / "table", mode="link").left_out


@pytest.mark.parametrize("name", ["imagefolder", "webdataset"])
def test_a_photo_of_more_pixels_than_pillow_opens_unwarned_is_copied_smaller(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vibe_assets.export.pictures.PLAIN_PIXELS", 50_000)
    file = io.BytesIO()
    Image.linear_gradient("L").resize((400, 300)).save(file, "JPEG")
    platform, image_id = holding(tmp_path / "lib", file.getvalue(), "JPEG", (400, 300))
    done = export_labels(platform, name, Selection("students"), into=tmp_path / "out")
    if name == "webdataset":
        with tarfile.open(done.folder / "shard-000000.tar") as tar:
            tar.extractall(done.folder, filter="data")
        about = json.loads((done.folder / f"{image_id}.json").read_text())
        place = done.folder / about["file_name"]
    else:
        (about,) = [line for line in lines(done.folder / "metadata.jsonl") if line["image_id"] == image_id]
        place = done.folder / about["file_name"]
    with Image.open(place) as picture:
        assert picture.size == (about["width"], about["height"])
        assert 40_000 <= picture.width * picture.height <= 50_000
    if name == "imagefolder":
        linked = export_labels(platform, name, Selection("students"), into=tmp_path / "linked", mode="link")
        assert [left.reason for left in linked.left_out] == ["few_readers"]


def test_a_mode_that_a_format_cannot_do_is_refused_by_name(awkward: Platform, out: Path) -> None:
    with pytest.raises(ExportError, match="imagefolder cannot be written with --photos reference: use --photos copy or --photos link"):
        export_labels(awkward, "imagefolder", Selection(), into=out, mode="reference")
    with pytest.raises(ExportError, match="no format 'xls'; there are csv"):
        export_labels(awkward, "xls", Selection(), into=out)
