"""A running installation gets one question more by writing it down: no code, one request a photo, and everything that follows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from tests.defs.world import World, opened
from tests.e2e.unattended import Unattended, settle, unattended
from tests.support.questions import with_style
from vibe_assets.cli import main
from vibe_assets.records import ANNOTATIONS, AUDITED_GROUND_TRUTH, AUTO_GROUND_TRUTH, PREDICTIONS
from vibe_assets.stages.students import deployed
from vibe_assets.stages.truth import accept_audited, sample_file
from vibe_assets.teacher.replay import ReplayTeacher

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]


def style_of(scene: str) -> str:
    """What a photo of the rendered library was taken with: something that its picture tells."""
    return {"food": "film", "document": "phone", "screenshot": "phone"}.get(scene, "drone")


@dataclass(frozen=True)
class Added:
    """What came of it."""

    place: Unattended
    difference: str  # what `vibe labels diff` said before
    photos: int
    requests: list[str]  # the prompts that were sent
    before: pl.DataFrame  # AUTO_GROUND_TRUTH


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Added]:
    """The daemon on an installation that was at rest when the question was written down; at rest again."""
    folder = settle(tmp_path_factory.mktemp("own") / "installation")
    lines = [json.loads(line) for line in (folder / "teacher_answers.jsonl").read_text(encoding="utf-8").splitlines()]
    for line in lines:
        line["annotation"]["style"] = style_of(line["annotation"]["scene"])
    (folder / "teacher_answers.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    file = with_style(folder)
    with opened(folder) as world:
        before = world.platform.lake.read_live(AUTO_GROUND_TRUTH)
        said = CliRunner().invoke(main, ["labels", "diff", str(file)], catch_exceptions=False).output
    settings = folder / "vibe.toml"
    settings.write_text(f'{settings.read_text(encoding="utf-8")}\n[labels]\ntaxonomy = "{file.name}"\n', encoding="utf-8")
    with unattended(folder) as place:
        prompts = spied(place.world.replay)
        place.wait(lambda: "style" in deployed(place.world.platform), what="a head for the question")
        place.until_idle()
        mark = place.mark()
        people_say_it_too(place.world)
        place.until_made("audited_ground_truth", since=mark)
        place.until_idle()
        yield Added(place, said, before.height, prompts, before)


def spied(replay: ReplayTeacher) -> list[str]:
    """The prompts of all requests from now on."""
    found, find = list[str](), replay.answers.find

    def look(model: str, image: bytes, payload: Mapping[str, Any]) -> tuple[str, Any]:
        found.append(json.dumps(payload["messages"])[:20_000])
        return find(model, image, payload)

    replay.answers.find = look  # type: ignore[method-assign]
    return found


def people_say_it_too(world: World) -> None:
    """The sample is drawn anew, with the question in it, and checked."""
    sample = json.loads(sample_file(world.platform).read_text(encoding="utf-8"))
    for photo in sample:
        (scene,) = photo["scene"] or ["scene.other"]
        photo["style"] = f"style.{style_of(scene.partition('.')[2])}"
    file = world.folder / "people.json"
    file.write_text(json.dumps(sample), encoding="utf-8")
    accept_audited(world.platform, file)


def test_the_difference_is_told_before_anything_is_paid(added: Added) -> None:
    assert "style: new" in added.difference
    assert f"{added.photos:,} photos would be asked" in added.difference


def test_the_teacher_is_asked_once_a_photo_for_that_question_alone(added: Added) -> None:
    assert len(added.requests) == added.photos
    assert all("`style`" in prompt and "`scene`" not in prompt for prompt in added.requests)


def test_answers_to_the_others_stay_what_they_were(added: Added) -> None:
    lake = added.place.world.platform.lake
    columns = ["image_id", "scene", "has_person", "objects"]
    now = lake.read_live(AUTO_GROUND_TRUTH)
    assert now.select(columns).sort("image_id").equals(added.before.select(columns).sort("image_id"))
    assert now["style"].is_not_null().all()
    assert set(lake.read_live(ANNOTATIONS)["reason"]) == {None}


def test_a_student_learns_it_and_answers_it(added: Added) -> None:
    platform = added.place.world.platform
    head = deployed(platform)["style"]
    assert (head.qtype, head.labels) == ("one_of", ("style.film", "style.phone", "style.drone"))
    rows = platform.lake.read_live(PREDICTIONS)
    assert rows["style"].is_not_null().any()
    both = rows.filter(pl.col("style").is_not_null())
    assert (both["style"] == both["teacher_style"]).mean() > 0.7  # type: ignore[operator]


def test_people_audit_it_and_the_reports_and_exports_show_it(added: Added) -> None:
    platform = added.place.world.platform
    assert platform.lake.read_live(AUDITED_GROUND_TRUTH)["style"].is_not_null().any()
    for page in ("teacher_report.html", "student_report.html"):
        assert "style.drone" in (platform.settings.reports_dir / page).read_text(encoding="utf-8"), page
    said = CliRunner().invoke(main, ["export", "csv"], catch_exceptions=False)
    assert said.exit_code == 0, said.output
    (table,) = (platform.settings.home / "exports").rglob("labels.csv")
    assert "style" in pl.read_csv(table).columns
