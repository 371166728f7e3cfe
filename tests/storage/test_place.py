"""What a setting may name as a place, and what is refused without repeating a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from vibe_assets.settings import Settings, SettingsError, load_settings
from vibe_assets.storage import Url, below, is_url, parse_place
from vibe_assets.storage.objects import MissingExtra, changed_token, filesystem, list_folder


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("photos", Path("photos")),
        ("/mnt/a b", Path("/mnt/a b")),
        ("C:/photos", Path("C:/photos")),
        ("odd:name", Path("odd:name")),
        ("file:///mnt/a%20b", Path("/mnt/a b")),
        ("file://localhost/mnt", Path("/mnt")),
        ("s3://bucket", Url("s3", "bucket")),
        ("s3://bucket/", Url("s3", "bucket")),
        ("S3://bucket/my photos/é/", Url("s3", "bucket", "my photos/é")),
        ("gs://b.ucket/x", Url("gs", "b.ucket", "x")),
        ("az://container/x/y", Url("az", "container", "x/y")),
        ("s3:/bucket/x", Url("s3", "bucket", "x")),  # as pathlib spells it
    ],
)
def test_a_place_is_a_path_or_a_url(text: str, place: Path | Url) -> None:
    assert parse_place(text) == place
    assert parse_place(str(place)) == place


@pytest.mark.parametrize(
    "text",
    [
        "s3://key:secret@bucket/x", "s3://key@bucket", "az://container/x?sig=secret", "s3://bucket#secret", "http://host/x", "s3://",
        "s3:///x", "s3://host:9000/bucket", "s3://bucket/../x", "s3://bucket/a//b", "file://host/x", "file://", "s3a://bucket/x",
    ],
)  # fmt: skip
def test_a_wrong_url_is_refused_with_a_remedy_and_without_its_secret(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="//") as refused:
        parse_place(text)
    assert "secret" not in str(refused.value)
    for setting in ("ROOT", "LAKE", "JOURNAL"):
        monkeypatch.setenv(f"VIBE_LIBRARY__{setting}", text)
        with pytest.raises(SettingsError, match=setting.lower()) as worded:
            load_settings(_config(tmp_path))
        assert "secret" not in str(worded.value)
        monkeypatch.delenv(f"VIBE_LIBRARY__{setting}")


def _config(tmp_path: Path, text: str = "") -> Path:
    file = tmp_path / "vibe.toml"
    file.write_text(text)
    return file


def test_without_urls_everything_lies_where_it_always_lay(tmp_path: Path) -> None:
    settings = load_settings(_config(tmp_path, '[library]\nroot = "photos"\n'))
    assert settings.root == tmp_path / "photos"
    assert settings.root_folder("x") == tmp_path / "photos"
    assert settings.lake_dir == tmp_path / "data" / "lake"
    assert settings.journal_dir == tmp_path / "data" / "journal"
    assert settings.verdicts_dir == tmp_path / "data" / "audit" / "verdicts"
    assert settings.choices_dir == tmp_path / "data" / "triage" / "choices"
    assert settings.tag_answers_dir == tmp_path / "data" / "tags" / "answers"


def test_lake_and_journal_move_to_where_they_are_told(tmp_path: Path) -> None:
    settings = load_settings(_config(tmp_path, '[library]\nroot = "s3://b1/p"\nlake = "gs://b2/lake"\njournal = "../logs"\n'))
    assert settings.root == Url("s3", "b1", "p")
    assert settings.lake_dir == Url("gs", "b2", "lake")
    assert settings.journal_dir == (tmp_path / "../logs").resolve()
    assert settings.verdicts_dir == settings.journal_dir / "verdicts"
    with pytest.raises(SettingsError, match=r"library\.root is s3://b1/p: a reason"):
        settings.root_folder("a reason")


def test_a_lake_in_a_bucket_has_a_plain_name(tmp_path: Path) -> None:
    assert load_settings(_config(tmp_path, '[library]\nroot = "s3://bucket/a b"\n')).root == Url("s3", "bucket", "a b")
    with pytest.raises(SettingsError, match="use letters, digits"):
        load_settings(_config(tmp_path, '[library]\nlake = "s3://bucket/a b"\n'))


def test_home_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"\[library\] home.*need a folder"):
        load_settings(_config(tmp_path, '[library]\nhome = "s3://bucket/home"\n'))
    assert load_settings(_config(tmp_path, '[library]\nhome = "file:///mnt/home"\n')).home == Path("/mnt/home")


def test_names_below_a_url_keep_every_character() -> None:
    assert below(Url("s3", "bucket", "p"), "a/é #?%41[1].jpg".encode()) == "s3://bucket/p/a/é #?%41[1].jpg".encode()
    assert below(Path("/p"), b"a/\xff.jpg") == b"/p/a/\xff.jpg"
    assert below(Path("/p"), b"") == b"/p"
    assert is_url(b"s3://bucket/x")
    assert not any(map(is_url, [b"/s3://bucket/x", "/x", Path("s3://bucket/x"), b"s3:/x"]))


@pytest.mark.parametrize(("scheme", "extra"), [("gs", "gcs"), ("az", "azure")])
def test_a_store_whose_library_is_missing_names_the_extra(scheme: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, {"gs": "gcsfs", "az": "adlfs"}[scheme], None)
    with pytest.raises(MissingExtra, match=rf"pip install 'vibe-assets\[{extra}\]'"):
        filesystem(scheme)
    with pytest.raises(MissingExtra):
        list_folder(Url(scheme, "bucket"))


def test_another_object_of_the_same_second_and_size_is_seen() -> None:
    first, second = ({"LastModified": "2026-01-02T03:04:05+00:00", "ETag": tag} for tag in ('"a"', '"b"'))
    assert changed_token(first) == changed_token(dict(first)) != changed_token(second)
    assert changed_token(first) // 10**9 == changed_token(second) // 10**9 == 1767323045


def test_paths_alone_never_load_fsspec() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path\n"
        "from vibe_assets.photos.scan import discover_folders\n"
        "from vibe_assets.teacher.journal import Journal\n"
        "from vibe_assets.lake import Lake\n"
        "discover_folders(Path('.')); list(Journal(Path('none'), 'w').records())\n"
        "print([name for name in ('fsspec', 's3fs', 'botocore') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_settings_with_urls_cross_process_borders() -> None:
    import pickle

    settings = Settings.model_validate({"library": {"root": "s3://bucket/p"}})
    assert pickle.loads(pickle.dumps(settings)).root == Url("s3", "bucket", "p")
