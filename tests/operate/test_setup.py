"""`vibe init` and `vibe doctor`: what is written, and what is found wrong with it and named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.teacher.conftest import always, make_library
from vibe_assets.operate.setup import Finding, examine, write_settings
from vibe_assets.settings import Settings, SettingsError, load_settings
from vibe_assets.teacher.replay import ReplayTeacher, running_replay

ORGANS = ["photo root", "home", "lake", "logs", "taxonomy", "teacher", "encoder", "engine", "Dagster home"]


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with running_replay(ReplayTeacher(always, api_key="right-key")) as url:
        yield url


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QWEN_BASE_URL", "QWEN_MODEL", "VIBE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("QWEN_API_KEY", "right-key")
    (tmp_path / "dagster_home").mkdir()
    (tmp_path / "dagster_home" / "dagster.yaml").touch()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster_home"))
    make_library(tmp_path / "photos" / "a", 2)
    monkeypatch.chdir(tmp_path)


def examined(base_url: str, text: str = "") -> dict[str, Finding]:
    config = Path("vibe.toml").resolve()
    config.write_text(f'[library]\nroot = "photos"\n[teacher]\nbase_url = "{base_url}"\ntimeout_s = 5\n{text}')
    findings = list(examine(load_settings(config)))
    assert [finding.what for finding in findings] == ORGANS
    return {finding.what: finding for finding in findings}


def the_one_at_fault(findings: dict[str, Finding]) -> Finding:
    (sick,) = [finding for finding in findings.values() if not finding.ok]
    assert sick.remedy
    return sick


# -- init --------------------------------------------------------------------------------------------------------------
def test_a_settings_file_is_not_overwritten_unasked(tmp_path: Path) -> None:
    file = write_settings(tmp_path / "vibe.toml", root=tmp_path / "photos")
    file.write_text(file.read_text() + "# mine\n")
    with pytest.raises(SettingsError, match=r"vibe\.toml exists already; edit it, or use --force"):
        write_settings(file)
    assert "# mine" in file.read_text()
    write_settings(file, force=True)
    assert "# mine" not in file.read_text()


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such folder"):
        write_settings(tmp_path / "vibe.toml", root=tmp_path / "absent")
    assert not (tmp_path / "vibe.toml").exists()


def test_a_relative_root_is_written_as_the_folder_it_is(tmp_path: Path) -> None:
    assert load_settings(write_settings(tmp_path / "sub" / "vibe.toml", root=Path("photos"))).root == tmp_path / "photos"


# -- doctor ------------------------------------------------------------------------------------------------------------
def test_a_sound_set_up_has_no_complaint(base_url: str) -> None:
    findings = examined(base_url)
    assert all(finding.ok for finding in findings.values()), findings
    assert "1 folders, 2 files" in findings["photo root"].detail


def test_a_photo_root_that_is_absent_is_named(base_url: str, tmp_path: Path) -> None:
    (tmp_path / "photos").rename(tmp_path / "pictures")
    sick = the_one_at_fault(examined(base_url))
    assert (sick.what, sick.detail) == ("photo root", f"{tmp_path}/photos: no such folder")


def test_a_photo_root_without_photos_is_named(base_url: str, tmp_path: Path) -> None:
    for photo in (tmp_path / "photos").rglob("*.jpg"):
        photo.unlink()
    assert the_one_at_fault(examined(base_url)).what == "photo root"


def test_a_photo_root_that_was_never_set_is_named(tmp_path: Path) -> None:
    found = {finding.what: finding for finding in examine(Settings())}["photo root"]
    assert not found.ok
    assert "library.root is not set: run `vibe init PHOTO_FOLDER`" in found.detail


def test_a_home_that_is_a_file_is_named(base_url: str, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    assert the_one_at_fault(examined(base_url)).what == "home"


def test_a_home_whose_name_tables_cannot_have_is_named(base_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VIBE_LIBRARY__HOME", str(tmp_path / "[2024]"))
    sick = the_one_at_fault(examined(base_url))
    assert sick.what == "home"
    assert "set library.home to another folder" in sick.detail


def test_a_taxonomy_with_a_mistake_is_named(base_url: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("scenes: food\n")
    sick = the_one_at_fault(examined(base_url, '[labels]\ntaxonomy = "mine.yaml"\n'))
    assert sick.what == "taxonomy"
    assert "mine.yaml" in sick.detail


def test_a_teacher_that_does_not_answer_is_named(tmp_path: Path) -> None:
    sick = the_one_at_fault(examined("http://127.0.0.1:9/v1"))
    assert sick.what == "teacher"
    assert "127.0.0.1:9" in sick.detail


def test_a_teacher_that_was_never_set_is_named() -> None:
    sick = the_one_at_fault(examined(""))
    assert (sick.what, sick.detail) == ("teacher", "no endpoint")
    assert "QWEN_BASE_URL" in sick.remedy


def test_a_wrong_key_is_named_without_being_shown(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEN_API_KEY", "canary-7f3a91")
    sick = the_one_at_fault(examined(base_url))
    assert sick.what == "teacher"
    assert "401" in sick.detail or "key" in sick.detail
    assert "canary" not in f"{sick}"


def test_a_password_in_the_address_of_the_teacher_is_not_shown() -> None:
    assert "canary" not in f"{examined('http://me:canary-7f3a91@127.0.0.1:9/v1')}"


@pytest.mark.parametrize("name", ["siglip:./models/absent", "onnx:absent.onnx", "nonsense"])
def test_an_encoder_that_cannot_be_loaded_is_named(base_url: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    sick = the_one_at_fault(examined(base_url, f'[encoder]\nname = "{name}"\n'))
    assert sick.what == "encoder"
    assert name.split(":")[-1].removeprefix("./") in sick.detail


def test_a_dagster_home_without_its_file_is_named(base_url: str, tmp_path: Path) -> None:
    (tmp_path / "dagster_home" / "dagster.yaml").unlink()
    sick = the_one_at_fault(examined(base_url))
    assert (sick.what, sick.detail) == ("Dagster home", f"{tmp_path}/dagster_home/dagster.yaml is missing")
