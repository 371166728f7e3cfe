"""`vibe teacher promote`: only on evidence, and without touching anything else in the settings file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vibe_assets.lake import write_text
from vibe_assets.operate.promote import PromotionRefused, promote_candidate
from vibe_assets.settings import SettingsError
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.sources import candidate_version
from vibe_assets.stages.teacher import trial_file
from vibe_assets.teacher.annotate import teacher_fingerprint

SETTINGS = """\
# my settings   (do not lose this line)
[library]
root   =  "photos"   # odd spacing, on purpose

[teacher]
model = "old-teacher"  # since spring
retries = 2

# on trial since Monday
[teacher.candidate]
model = "new-teacher"
temperature = 0.5

[gates]   # strict
min_audited = 77
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("QWEN_BASE_URL", "QWEN_MODEL"):
        monkeypatch.delenv(name, raising=False)
    config = tmp_path / "vibe.toml"
    config.write_text(SETTINGS)
    monkeypatch.setenv("VIBE_CONFIG", str(config))
    return config


def tried(*, allowed: bool, verdict: str = "b is better by 0.1") -> None:
    platform = Platform.open()
    version = candidate_version(platform)
    assert version is not None
    write_text(trial_file(platform.settings, version), json.dumps({"allowed": allowed, "verdict": verdict}))


def test_a_candidate_that_won_becomes_the_teacher(config: Path) -> None:
    candidate = Platform.open().settings.teacher.candidate
    assert candidate is not None
    tried(allowed=True)
    assert promote_candidate(Platform.open()) == "new-teacher"
    teacher = Platform.open().settings.teacher
    assert (teacher.model, teacher.temperature, teacher.retries, teacher.candidate) == ("new-teacher", 0.5, 2, None)
    assert teacher_fingerprint(teacher) == teacher_fingerprint(candidate)


def test_every_other_line_of_the_file_stays_as_it_was(config: Path) -> None:
    tried(allowed=True)
    promote_candidate(Platform.open())
    before, after = SETTINGS.splitlines(), config.read_text().splitlines()
    start, end = before.index("[teacher]"), before.index("[gates]   # strict")
    assert after[:start] == before[:start]
    assert after[after.index("[gates]   # strict") :] == before[end:]
    assert 'model = "new-teacher"  # since spring' in after
    assert "retries = 2" in after
    assert "[teacher.candidate]" not in after


def test_comments_below_the_candidate_stay(config: Path) -> None:
    config.write_text(
        '[teacher]\nmodel = "old"\n[teacher.candidate]\n# why\nmodel = "new-teacher"\n\n# retries = 4\n\n[gates]\nmin_audited = 7\n'
    )
    tried(allowed=True)
    promote_candidate(Platform.open())
    assert config.read_text() == '[teacher]\nmodel = "new-teacher"\n# why\n\n# retries = 4\n\n[gates]\nmin_audited = 7\n'


def test_without_a_trial_it_is_refused_even_by_force(config: Path) -> None:
    for force in (False, True):
        with pytest.raises(PromotionRefused, match="new-teacher was not tried against the current teacher: run `vibe teacher trial` first"):
            promote_candidate(Platform.open(), force=force)
    assert config.read_text() == SETTINGS


def test_after_a_lost_trial_it_is_refused_with_the_verdict(config: Path) -> None:
    tried(allowed=False, verdict="b is worse by 0.2")
    with pytest.raises(PromotionRefused, match=r"the trial speaks against it: b is worse by 0\.2; --force promotes it all the same"):
        promote_candidate(Platform.open())
    assert config.read_text() == SETTINGS


def test_force_overrules_a_lost_trial(config: Path) -> None:
    tried(allowed=False)
    assert promote_candidate(Platform.open(), force=True) == "new-teacher"


def test_a_trial_of_another_candidate_does_not_count(config: Path) -> None:
    tried(allowed=True)
    config.write_text(SETTINGS.replace("temperature = 0.5", "temperature = 0.6"))
    with pytest.raises(PromotionRefused, match="was not tried"):
        promote_candidate(Platform.open())


def test_a_trial_against_another_teacher_does_not_count(config: Path) -> None:
    tried(allowed=True)
    config.write_text(SETTINGS.replace("old-teacher", "other-teacher"))
    with pytest.raises(PromotionRefused, match="was not tried"):
        promote_candidate(Platform.open())


def test_without_a_candidate_there_is_nobody_to_promote(config: Path) -> None:
    config.write_text("[teacher]\nmodel = 'a'\n")
    with pytest.raises(PromotionRefused, match="nobody to promote"):
        promote_candidate(Platform.open())


@pytest.mark.parametrize("text", ["[library]\nroot = 'photos'\n", "[teacher]\nmodel = 'a'\n"])
def test_a_candidate_of_the_environment_is_promoted_where_it_is_set(config: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text(text)
    monkeypatch.setenv("VIBE_TEACHER__CANDIDATE__MODEL", "new-teacher")
    tried(allowed=True)
    with pytest.raises(SettingsError, match=r"the candidate is not set in this file \(environment\?\)"):
        promote_candidate(Platform.open())
    assert config.read_text() == text


def test_a_candidate_in_one_line_is_promoted_too(config: Path) -> None:
    config.write_text('[teacher]\nmodel = "old-teacher"\ncandidate = { model = "new-teacher" }\n')
    tried(allowed=True)
    promote_candidate(Platform.open())
    assert config.read_text() == '[teacher]\nmodel = "new-teacher"\n'


def test_a_candidate_added_at_the_end_of_the_file_is_promoted_too(config: Path) -> None:
    config.write_text('[teacher]\nmodel = "old-teacher"\n\n[gates]\nmin_audited = 7\n\n[teacher.candidate]\nmodel = "new-teacher"\n')
    tried(allowed=True)
    promote_candidate(Platform.open())
    settings = Platform.open().settings
    assert (settings.teacher.model, settings.teacher.candidate, settings.gates.min_audited) == ("new-teacher", None, 7)


def test_a_candidate_without_a_teacher_section_is_promoted_too(config: Path) -> None:
    config.write_text('[teacher.candidate]\nmodel = "new-teacher"\n')
    tried(allowed=True)
    promote_candidate(Platform.open())
    assert Platform.open().settings.teacher.model == "new-teacher"


def test_a_damaged_trial_file_is_no_evidence(config: Path) -> None:
    platform = Platform.open()
    write_text(trial_file(platform.settings, candidate_version(platform) or ""), '{"allow')
    with pytest.raises(PromotionRefused, match="run `vibe teacher trial`"):
        promote_candidate(platform)
