"""Settings: what wins over what, where relative paths start, and how a mistake is worded."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from vibe_assets.operate.setup import settings_template
from vibe_assets.settings import DEFAULT_TEACHER_MODEL, CandidateSettings, Settings, SettingsError, find_config, load_settings
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.sources import read_sources
from vibe_assets.teacher.annotate import teacher_fingerprint

CANARY = "canary-7f3a91-key"


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting from outside, and an empty working directory."""
    for name in os.environ:
        if name.startswith(("VIBE_", "QWEN_")):
            monkeypatch.delenv(name)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "vibe.toml"


def written(config: Path, text: str) -> Path:
    config.write_text(text, encoding="utf-8")
    return config


def refusal(config: Path, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(written(config, text))
    return str(caught.value)


# -- precedence --------------------------------------------------------------------------------------------------------
def test_without_a_file_and_environment_the_defaults_hold() -> None:
    settings = load_settings()
    assert settings == Settings()
    assert settings.teacher.model == DEFAULT_TEACHER_MODEL


def test_the_file_wins_over_the_default_and_the_environment_over_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(config, "[teacher]\nconcurrency = 3\nretries = 9\n[gates]\nmin_audited = 5\n")
    monkeypatch.setenv("VIBE_TEACHER__CONCURRENCY", "7")
    monkeypatch.setenv("VIBE_GATES__REQUIRE_AUDIT", "false")
    settings = load_settings(config)
    assert (settings.teacher.concurrency, settings.teacher.retries, settings.teacher.max_tokens) == (7, 9, 1024)
    assert (settings.gates.min_audited, settings.gates.require_audit) == (5, False)


def test_the_teachers_own_names_win(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(config, '[teacher]\nbase_url = "http://file/v1"\nmodel = "of-the-file"\n')
    monkeypatch.setenv("QWEN_BASE_URL", "http://environment/v1")
    monkeypatch.setenv("QWEN_MODEL", "of-the-environment")
    teacher = load_settings(config).teacher
    assert (teacher.base_url, teacher.model) == ("http://environment/v1", "of-the-environment")


def test_an_empty_environment_name_of_the_teacher_leaves_the_file_in_force(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEN_BASE_URL", "")
    assert load_settings(written(config, '[teacher]\nbase_url = "http://file/v1"\n')).teacher.base_url == "http://file/v1"


def test_the_environment_reaches_nested_sections(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIBE_TEACHER__CANDIDATE__MODEL", "on-trial")
    candidate = load_settings(written(config, "[teacher]\nretries = 1\n")).teacher.candidate
    assert candidate is not None
    assert (candidate.model, candidate.retries) == ("on-trial", 1)


def test_a_candidate_inherits_what_it_does_not_set(config: Path) -> None:
    text = '[teacher]\nbase_url = "http://a/v1"\nmodel = "a"\nmax_side_px = 512\n[teacher.candidate]\nmodel = "b"\ntemperature = 0.5\n'
    teacher = load_settings(written(config, text)).teacher
    assert isinstance(teacher.candidate, CandidateSettings)
    assert teacher.candidate.model_dump() == {**teacher.model_dump(exclude={"candidate"}), "model": "b", "temperature": 0.5}


def test_other_names_that_start_like_settings_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIBE_TEST_DATA", "/somewhere")
    monkeypatch.setenv("VIBE_SOMEBODY__ELSE", "1")
    assert load_settings() == Settings()


# -- which file, and where its paths start ----------------------------------------------------------------------------
def test_a_named_file_that_is_missing_is_an_error_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIBE_CONFIG", str(tmp_path / "gone.toml"))
    with pytest.raises(SettingsError, match=r"^VIBE_CONFIG=.*gone\.toml: no such file; `vibe init` writes one$"):
        load_settings()


def test_the_working_directory_is_looked_at_before_its_demo(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    written(tmp_path / "demo" / "vibe.toml", "")
    assert find_config(tmp_path) == tmp_path / "demo" / "vibe.toml"
    written(tmp_path / "vibe.toml", "")
    assert find_config(tmp_path) == tmp_path / "vibe.toml"


def test_relative_paths_start_at_the_file_wherever_one_stands(config: Path) -> None:
    local = config.parent / "models" / "tiny"
    local.mkdir(parents=True)
    text = """\
        [library]
        root = "photos"
        home = "../store"
        [teacher]
        prompt = "prompts/mine.md"
        [teacher.candidate]
        prompt = "prompts/theirs.md"
        [encoder]
        name = "siglip:models/tiny"
        """
    settings = load_settings(written(config, text))
    assert settings.root == config.parent / "photos"
    assert settings.home == config.parent.parent / "store"
    assert settings.teacher.prompt == str(config.parent / "prompts" / "mine.md")
    assert settings.teacher.candidate is not None
    assert settings.teacher.candidate.prompt == str(config.parent / "prompts" / "theirs.md")
    assert settings.encoder.name == f"siglip:{local}"


def test_absolute_paths_hub_names_and_packaged_prompts_stay_as_they_are(config: Path, tmp_path: Path) -> None:
    text = f'[library]\nroot = "{tmp_path}/abs"\n[encoder]\nname = "siglip:google/siglip-base-patch16-224"\n'
    settings = load_settings(written(config, text))
    assert settings.root == tmp_path / "abs"
    assert settings.encoder.name == "siglip:google/siglip-base-patch16-224"
    assert settings.teacher.prompt == "photo_labels"


def test_a_relative_name_of_the_file_itself_is_enough(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(config, '[library]\nroot = "photos"\n')
    monkeypatch.setenv("VIBE_CONFIG", "../vibe.toml")
    settings = load_settings()
    monkeypatch.chdir(config.anchor)
    assert settings.root == config.parent / "photos"


def test_a_library_without_a_root_says_what_to_do() -> None:
    with pytest.raises(SettingsError, match=r"library\.root is not set: run `vibe init PHOTO_FOLDER`, or set VIBE_LIBRARY__ROOT"):
        _ = load_settings().root


@pytest.mark.parametrize("line", ['[library]\nroot = ""', '[labels]\ntaxonomy = ""', '[encoder]\nrevision = ""'])
def test_an_optional_setting_left_empty_is_not_set(config: Path, line: str) -> None:
    settings = load_settings(written(config, line))
    assert (settings.library.root, settings.labels.taxonomy, settings.encoder.revision) == (None, None, None)


# -- mistakes, one line each -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[teacher]\nmodle = 'x'", "[teacher] modle: no such setting; `vibe init` lists them all"),
        ("[teachers]\nmodel = 'x'", "teachers: no such setting"),
        ("[teacher]\nconcurrency = 'many'", "[teacher] concurrency: "),
        ("[teacher]\nconcurrency = 0", "got 0"),
        ("[teacher]\nimage_format = 'tiff'", "got 'tiff'"),
        ("[teacher.candidate]\ntimeout_s = -1", "[teacher.candidate] timeout_s: "),
        ("[gates]\nmin_readable_share = 1.5", "[gates] min_readable_share: "),
        ("[split]\nval = 0.6\ntest = 0.6", "val + test must be below 1, got 0.6 + 0.6"),
        ("teacher = 3", "teacher: "),
        ("config_file = 'x'", "config_file: no such setting"),
        ("[teacher\nmodel = 'x'", "line 1"),
        ("[library]\nroot = C:\\photos", "line 2"),
    ],
)
def test_a_mistake_is_one_line_that_names_file_section_and_field(config: Path, text: str, said: str) -> None:
    message = refusal(config, text)
    assert message.startswith(f"{config}: ")
    assert said in message
    assert "\n" not in message


def test_a_file_that_is_not_utf8_is_refused_by_name(config: Path) -> None:
    config.write_bytes(b'[library]\nroot = "caf\xe9"\n')
    with pytest.raises(SettingsError, match=rf"^{config}: .*save it as UTF-8"):
        load_settings(config)


def test_a_byte_order_mark_is_no_part_of_the_file(config: Path) -> None:
    config.write_bytes(b'\xef\xbb\xbf[library]\nhome = "elsewhere"\n')
    assert load_settings(config).home == config.parent / "elsewhere"


def test_a_file_in_utf16_is_refused_with_what_to_do(config: Path) -> None:
    config.write_bytes("[library]\n".encode("utf-16"))
    with pytest.raises(SettingsError, match=rf"^{config}: not UTF-8 .*save it as UTF-8"):
        load_settings(config)


@pytest.mark.parametrize("text", ["[library]\nmax_missing_share = nan\n", "[teacher]\ntimeout_s = inf\n", "[audit]\nseed = -1\n"])
def test_a_number_is_finite_and_a_seed_is_one(config: Path, text: str) -> None:
    assert text.splitlines()[1].split(" = ")[0] in refusal(config, text)


def test_every_mistake_is_named_at_once(config: Path) -> None:
    lines = refusal(config, "[teacher]\nretries = -1\n[encoder]\ndevice = 3\n").splitlines()
    assert [line.split(": ")[1] for line in lines] == ["[teacher] retries", "[encoder] device"]


def test_settings_of_earlier_versions_are_read_and_not_used(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("[gates]\nmax_deploy_loss_p = 0.01\n")
    monkeypatch.setenv("VIBE_GATES__MAX_DEPLOY_LOSS_P", "0.01")
    assert load_settings(config).gates == Settings().gates


def test_a_mistake_that_a_candidate_only_inherits_is_told_once(config: Path) -> None:
    assert len(refusal(config, "[teacher]\nretries = -1\nmodle = 'x'\n[teacher.candidate]\nmodel = 'b'\n").splitlines()) == 2


def test_a_mistake_in_the_environment_names_the_variable(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIBE_TEACHER__CONCURRENCY", "many")
    message = refusal(config, "[teacher]\nretries = 1\n")
    assert message.startswith("VIBE_TEACHER__CONCURRENCY: ")
    assert str(config) not in message


@pytest.mark.parametrize("name", ["VIBE_TEACHER__MODEL__NAME", "VIBE_LIBRARY__ROOT__X"])
def test_a_variable_that_goes_below_a_plain_setting_is_refused(config: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "x")
    assert name in refusal(config, '[teacher]\nmodel = "a"\n[library]\nroot = "photos"\n')


def test_a_variable_for_a_section_that_the_file_spoils_is_no_crash(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIBE_TEACHER__MODEL", "x")
    assert "teacher" in refusal(config, "teacher = 3\n")


# -- keys --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("section", ["teacher", "teacher.candidate"])
def test_a_key_in_the_file_is_refused_with_the_remedy_and_not_repeated(config: Path, section: str) -> None:
    message = refusal(config, f'[{section}]\napi_key = "{CANARY}"\n')
    assert f"[{section}] api_key: keys do not belong in files; export QWEN_API_KEY" in message
    assert CANARY not in message


@pytest.mark.parametrize("line", ['api_key_env = "canary-7f3a91-key"', 'key = "canary-7f3a91-key"', 'apikey = "canary-7f3a91-key"'])
def test_a_key_in_the_wrong_place_is_not_repeated_either(config: Path, line: str) -> None:
    assert CANARY not in refusal(config, f"[teacher]\n{line}\n")


def test_the_key_comes_from_the_environment_and_shows_nowhere(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = '[library]\nroot = "photos"\n[teacher]\nmodel = "a"\n[teacher.candidate]\napi_key_env = "OTHER_KEY"\nmodel = "b"\n'
    without = load_settings(written(config, text))
    monkeypatch.setenv("QWEN_API_KEY", CANARY)
    monkeypatch.setenv("OTHER_KEY", f"other-{CANARY}")
    settings = load_settings(config)
    assert settings.teacher.api_key.get_secret_value() == CANARY
    assert settings.teacher.candidate is not None
    assert settings.teacher.candidate.api_key.get_secret_value() == f"other-{CANARY}"
    shown = [repr(settings), str(settings), repr(settings.teacher.api_key), str(settings.model_dump()), settings.model_dump_json()]
    assert CANARY not in "".join(shown)
    assert teacher_fingerprint(settings.teacher) == teacher_fingerprint(without.teacher)
    assert read_sources(Platform(settings)) == read_sources(Platform(without))


# -- the template of `vibe init` ---------------------------------------------------------------------------------------
def sections() -> list[tuple[str, type[BaseModel]]]:
    found = [(name, field.annotation) for name, field in Settings.model_fields.items()]
    return [(name, kind) for name, kind in found if isinstance(kind, type) and issubclass(kind, BaseModel)]


def test_the_template_as_written_changes_nothing(config: Path) -> None:
    settings = load_settings(written(config, settings_template()))
    assert settings.model_copy(update={"config_file": None}) == Settings()


def test_the_template_names_the_photo_root(config: Path, tmp_path: Path) -> None:
    odd = tmp_path / "my \"best\" photos \\ 'x' é"
    assert load_settings(written(config, settings_template(odd))).root == odd


def test_the_template_with_every_line_in_force_is_the_default(config: Path) -> None:
    lines = [uncommented(line) for line in settings_template().splitlines() if "candidate" not in line and 'model = "..."' not in line]
    text = "\n".join(lines)
    given = tomllib.loads(text)
    for name, kind in sections():
        assert given[name].keys() == kind.model_fields.keys() - {"candidate"}, name
    settings = load_settings(written(config, text))
    assert settings.model_copy(update={"config_file": None}) == Settings()


def uncommented(line: str) -> str:
    """The setting of a line that shows one; comments stay comments."""
    name, equals, _ = line.removeprefix("# ").partition(" = ")
    return line.removeprefix("# ") if equals and name.isidentifier() else line


@pytest.mark.parametrize(("name", "kind"), sections(), ids=lambda value: value if isinstance(value, str) else "")
def test_the_template_explains_every_described_setting(name: str, kind: type[BaseModel]) -> None:
    text = settings_template()
    part = text[text.index(f"\n[{name}]\n") :].split("\n\n")[0]
    described: dict[str, Any] = {field: info.description for field, info in kind.model_fields.items() if field != "candidate"}
    for field, description in described.items():
        assert f"\n# {field} = " in part
        if description:
            assert f"# {description}\n# {field} = " in part
