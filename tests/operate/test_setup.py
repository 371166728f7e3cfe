"""`vibe init` and `vibe doctor`: what is written, and what is found wrong with it and named."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.teacher.conftest import ANNOTATION, always, make_library
from vibe_assets.cli.app import main
from vibe_assets.operate.instance import open_instance
from vibe_assets.operate.setup import Finding, examine, write_settings
from vibe_assets.questions import packaged, packs
from vibe_assets.settings import Settings, SettingsError, load_settings
from vibe_assets.stages.library import look_at_folders, scan_folder
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.teacher import annotate_folder, unanswered_folders
from vibe_assets.teacher.annotate import teacher_fingerprint
from vibe_assets.teacher.journal import Journal
from vibe_assets.teacher.prompts import load_prompt
from vibe_assets.teacher.replay import ReplayFaults, ReplayTeacher, running_replay

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
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
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
    file = write_settings(tmp_path / "vibe.toml", root=tmp_path / "photos").settings
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
    assert load_settings(write_settings(tmp_path / "sub" / "vibe.toml", root=Path("photos")).settings).root == tmp_path / "photos"


@pytest.mark.parametrize("name", ["\U0001f4f7 Photos", 'a "quoted" \\ name', "tab\tand\x07bell\x7f", "d\u00e9j\u00e0 vu", "#1", "{x}"])
def test_any_name_of_a_folder_makes_a_file_that_every_command_reads(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert load_settings(write_settings(tmp_path / "vibe.toml", root=tmp_path / name).settings).root == tmp_path / name


def test_a_name_that_is_not_utf8_is_refused_with_the_way_round_it(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    odd.mkdir()
    with pytest.raises(SettingsError, match=r"caf\\xe9: not UTF-8, .* ln -s"):
        write_settings(tmp_path / "vibe.toml", root=odd)
    assert not (tmp_path / "vibe.toml").exists()
    assert not (tmp_path / "labels.yaml").exists()


def test_the_labels_lie_beside_the_settings_and_ask_what_the_packaged_ones_ask(tmp_path: Path) -> None:
    before = Platform(Settings())
    begun = write_settings(tmp_path / "sub" / "vibe.toml", root=tmp_path / "photos")
    assert (begun.labels, begun.kept) == (tmp_path / "sub" / "labels.yaml", False)
    after = Platform(load_settings(begun.settings))
    assert after.settings.labels.taxonomy == Path("labels.yaml")
    assert begun.labels.read_text() == packaged()
    assert after.questions.fingerprint == before.questions.fingerprint
    assert after.questions.asked_fingerprints == before.questions.asked_fingerprints
    assert load_prompt(after.settings.teacher.prompt, after.questions) == load_prompt(before.settings.teacher.prompt, before.questions)


def test_an_installation_that_gets_the_packaged_labels_as_a_file_asks_nobody_again(base_url: str, tmp_path: Path) -> None:
    settings = load_settings(config := write_settings(tmp_path / "vibe.toml", root=tmp_path / "photos").settings)
    config.write_text(config.read_text().replace('taxonomy = "labels.yaml"', "").replace('# base_url = ""', f'base_url = "{base_url}"', 1))
    asked = []
    for name in ("", "labels.yaml"):
        platform = Platform(
            load_settings(config).model_copy(update={"labels": settings.labels.model_copy(update={"taxonomy": name or None})})
        )
        look_at_folders(platform)
        (key,) = platform.lake.live_folders()
        scan_folder(platform, key)
        annotate_folder(platform, key)
        asked.append(sum(1 for _ in Journal(platform.settings.journal_dir / teacher_fingerprint(platform.settings.teacher), "r").records()))
        assert unanswered_folders(platform) == {}
    assert asked == [2, 2]


@pytest.mark.parametrize("name", packs())
def test_a_starter_file_becomes_the_labels(tmp_path: Path, name: str) -> None:
    said = CliRunner().invoke(main, ["init", "photos", "--labels", name], catch_exceptions=False)
    assert "wrote labels.yaml" in said.output
    assert Path("labels.yaml").read_text() == packs()[name]
    assert Platform(load_settings(Path("vibe.toml").resolve())).questions.file.endswith("labels.yaml")


def test_labels_that_are_there_are_kept_and_named(tmp_path: Path) -> None:
    mine = packs()["shop"] + "# mine\n"
    Path("labels.yaml").write_text(mine)
    for arguments in (["photos"], ["photos", "--force"], ["photos", "--output", "other.toml", "--labels", "wildlife"]):
        said = CliRunner().invoke(main, ["init", *arguments], catch_exceptions=False)
        assert "kept labels.yaml, which was there" in said.output
        assert Path("labels.yaml").read_text() == mine
    CliRunner().invoke(main, ["init", "photos", "--labels", "wildlife", "--force"], catch_exceptions=False)
    assert Path("labels.yaml").read_text() == packs()["wildlife"]


def test_a_starter_file_that_is_not_there_is_refused_with_those_that_are() -> None:
    said = CliRunner().invoke(main, ["init", "photos", "--labels", "boats"])
    assert said.exit_code == 2
    assert f"no starter file 'boats'; there are {', '.join(packs())}" in " ".join(said.output.split())
    assert not Path("vibe.toml").exists()


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


def test_a_dagster_home_that_is_not_there_yet_is_made_by_the_first_ui(base_url: str, tmp_path: Path) -> None:
    home = tmp_path / "data" / "dagster"
    absent = Finding("Dagster home", True, f"{home}: made by the first `vibe ui` or `vibe run`")
    assert examined(base_url)["Dagster home"] == absent
    assert not home.exists()
    with open_instance(load_settings(tmp_path / "vibe.toml")):  # what `vibe ui` does
        assert (home / "dagster.yaml").is_file()
    assert examined(base_url)["Dagster home"] == Finding("Dagster home", True, str(home))


def test_a_dagster_home_that_cannot_be_made_is_named(base_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "file" / "home"))
    sick = the_one_at_fault(examined(base_url))
    assert (sick.what, sick.detail) == ("Dagster home", f"{tmp_path}/file/home: cannot be made, {tmp_path}/file cannot be written to")
    assert "DAGSTER_HOME" in sick.remedy


# -- what is only warned about -----------------------------------------------------------------------------------------
def test_links_to_folders_are_a_warning_not_a_fault(base_url: str, tmp_path: Path) -> None:
    make_library(tmp_path / "elsewhere", 1)
    (tmp_path / "photos" / "linked").symlink_to(tmp_path / "elsewhere")
    found = examined(base_url)["photo root"]
    assert (found.ok, found.detail) == (True, f"{tmp_path}/photos: 1 folders, 2 files; left out: 1 link_to_folder (first linked)")
    assert "mount the folder itself below the root" in found.remedy


def nested(folder: Path, name: str, depth: int) -> None:
    """Folders within folders, beyond the longest path that the system takes."""
    at = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=at)
        inner = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)


def test_each_kind_of_folder_that_cannot_be_read_has_its_own_remedy(base_url: str, tmp_path: Path) -> None:
    (tmp_path / "photos" / "loop").symlink_to("loop")
    looped = examined(base_url)["photo root"]
    assert "remove links that lead back to themselves" in looped.remedy
    assert "permissions" not in looped.remedy
    (tmp_path / "photos" / "loop").unlink()
    nested(tmp_path / "photos", "n" * 250, 20)
    deep = examined(base_url)["photo root"]
    assert "shorten the names of nested folders" in deep.remedy
    assert "permissions" not in deep.remedy
    assert len(deep.detail) < 500


def test_vibe_folders_shows_both_ends_of_a_very_long_path(base_url: str, tmp_path: Path) -> None:
    nested(tmp_path / "photos", "n" * 250, 20)
    examined(base_url)
    said = CliRunner().invoke(main, ["folders"])
    (line,) = [line for line in said.stderr.splitlines() if line.startswith("cannot read")]
    assert "File name too long" in line
    assert " ... n" in line
    assert len(line) < 300


def test_a_root_that_is_a_link_is_as_good_as_its_folder(base_url: str, tmp_path: Path) -> None:
    (tmp_path / "photos").rename(tmp_path / "pictures")
    (tmp_path / "photos").symlink_to(tmp_path / "pictures")
    found = examined(base_url)["photo root"]
    assert (found.ok, found.detail.rpartition(": ")[2], found.remedy) == (True, "1 folders, 2 files", "")


def test_the_encoder_for_trying_out_is_warned_about_and_another_is_not(base_url: str, tmp_path: Path) -> None:
    found = examined(base_url)["encoder"]
    assert found.ok
    assert "set [encoder] name to a trained model" in found.remedy


# -- what the teacher really does --------------------------------------------------------------------------------------
class Obeying(BaseHTTPRequestHandler):
    """A server that holds its answers to the schema it is given, as one with guided decoding does."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        word = asked["response_format"]["json_schema"]["schema"]["properties"].get("word")
        answer = {"word": word["enum"][0]} if word else ANNOTATION
        body = json.dumps({"choices": [{"message": {"content": json.dumps(answer)}, "finish_reason": "stop"}]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def obedient() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Obeying) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


def test_only_a_server_that_obeys_the_schema_is_said_to_be_bound_by_it(base_url: str, obedient: str) -> None:
    assert "it ignores response_format" in examined(base_url)["teacher"].detail
    found = examined(obedient)["teacher"]
    assert (found.ok, found.remedy) == (True, "")
    assert found.detail.endswith("answers bound by a JSON schema")


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        (ReplayFaults(no_json_schema=True), "asked for as json_object"),
        (ReplayFaults(no_response_format=True), "held to their form by the prompt alone"),
    ],
)
def test_what_a_server_refuses_is_not_claimed(faults: ReplayFaults, said: str) -> None:
    with running_replay(ReplayTeacher(always, api_key="right-key", faults=faults)) as url:
        assert examined(url)["teacher"].detail.endswith(said)


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"QWEN_API_KEY": "wrong-key"}, "put a valid key into the environment variable QWEN_API_KEY"),
        ({"QWEN_BASE_URL": "http://127.0.0.1:9/v1"}, "start the server, or correct teacher.base_url"),
        ({"QWEN_BASE_URL": "BASE/elsewhere"}, "correct teacher.base_url"),
        ({"QWEN_BASE_URL": "ftp://x"}, "put an address like http://127.0.0.1:8000/v1"),
        ({"QWEN_API_KEY": "two\nlines"}, "export the key again"),
    ],
)
def test_every_fault_of_the_teacher_has_a_remedy_of_its_own(
    base_url: str, change: dict[str, str], remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in change.items():
        monkeypatch.setenv(name, value.replace("BASE", base_url))
    sick = the_one_at_fault(examined(base_url))
    assert sick.what == "teacher"
    assert remedy in sick.remedy
    assert remedy == sick.remedy[: len(remedy)] or "start the server" not in sick.remedy


@pytest.mark.parametrize(
    ("faults", "remedy"),
    [
        (ReplayFaults(p_429=1.0), "teacher.concurrency"),
        (ReplayFaults(p_500=1.0), "log"),
        (ReplayFaults(p_invalid_json=1.0), "instructions"),
    ],
)
def test_a_server_that_answers_badly_is_not_to_be_started(faults: ReplayFaults, remedy: str) -> None:
    with running_replay(ReplayTeacher(always, api_key="right-key", faults=faults)) as url:
        sick = the_one_at_fault(examined(url))
    assert remedy in sick.remedy
    assert "start the server" not in sick.remedy
