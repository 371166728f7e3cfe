"""The audit page in a real browser: an audit by keyboard, two people at once, and a server that dies in the middle of it."""

from __future__ import annotations

import shutil
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from tests.audit.library import build, log_lines, open_at
from tests.e2e.auditor import Person
from tests.e2e.browser import chromium, text_of, why_not
from tests.e2e.processes import VIBE, Process, running, until
from vibe_assets.questions import packaged
from vibe_assets.stages.platform import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.browser]
MISSING = why_not()
if MISSING:
    pytest.skip(MISSING, allow_module_level=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit-page") / "home"
    build(folder, sample=40)
    return folder


@dataclass
class Place:
    """A copy of the installation and the address its page is served at."""

    platform: Platform
    folder: Path
    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def served(self, log: str = "server.log") -> AbstractContextManager[Process]:
        environment = {"VIBE_CONFIG": str(self.folder / "vibe.toml")}
        return running([*VIBE, "audit", "--port", str(self.port)], self.folder / log, environment=environment, cwd=self.folder)

    def labels(self) -> list[tuple[str, str]]:
        """(annotator, image_id) of every line that is a label."""
        acts = ("accepted", "corrected", "labelled")
        return [(line["annotator"], line["image_id"]) for line in log_lines(self.platform) if line["act"] in acts]


@pytest.fixture
def place(built: Path, tmp_path: Path) -> Place:
    folder = Path(shutil.copytree(built, tmp_path / "home"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Place(open_at(folder), folder, port)


@pytest.fixture(scope="module")
def browsers() -> Iterator[tuple[webdriver.Chrome, webdriver.Chrome]]:
    with chromium(width=1300, height=850) as one, chromium(width=1300, height=850) as two:
        yield one, two


def test_twenty_photos_by_keyboard_with_undo_correction_skip_and_blind_ones(
    place: Place, browsers: tuple[webdriver.Chrome, webdriver.Chrome]
) -> None:
    with place.served() as server:
        until(lambda: "the audit page is at" in server.said, seconds=60, what="the server", process=server)
        ann = Person(browsers[0], place.address, "ann")
        ann.sit_down()
        judged, blind = [], 0
        for _ in range(20):
            if ann.blind():
                blind += 1
                scenes, states, answers = ann.chosen()
                assert (scenes, states, answers) == ([], ["unknown"], 0)
                ann.press(Keys.ENTER)  # nothing chosen yet: not taken
                assert "Choose the scene first" in text_of(ann.driver)
            judged.append(ann.judge())
        assert blind
        ann.saved()
        assert place.labels() == [("ann", image_id) for image_id in judged]
        last = judged[-1]
        here = ann.sees()
        ann.press("u")
        assert ann.sees(other_than=here) == last
        ann.press("8", "o", "mug", Keys.ENTER, Keys.ESCAPE, Keys.ENTER)
        assert ann.sees(other_than=last) == here
        ann.press("k", "2")
        ann.sees(other_than=here)
        ann.saved()
        undone, again, skipped = log_lines(place.platform)[20:]
        assert (undone["act"], undone["image_id"], undone["undoes"]) == ("undone", last, log_lines(place.platform)[19]["verdict_id"])
        assert (again["image_id"], again["labels"]["scene"]) == (last, "scene.screenshot")
        assert "object.dailystuff.mug" in again["labels"]["objects"]
        assert (skipped["act"], skipped["image_id"], skipped["reason"]) == ("skipped", here, "too dark, blurred or broken")
        assert all(line["spent_ms"] >= 0 for line in log_lines(place.platform))
        assert not [entry for entry in ann.driver.get_log("browser") if entry["level"] == "SEVERE"]  # type: ignore[no-untyped-call]


def test_a_question_that_is_switched_off_where_a_photo_lies_is_not_on_its_page_and_nothing_is_said_of_it(
    place: Place, browsers: tuple[webdriver.Chrome, webdriver.Chrome]
) -> None:
    file, config = place.folder / "labels.yaml", place.folder / "vibe.toml"
    file.write_text(packaged().replace("    type: one_of\n", "    type: one_of\n    not_in: ['**', '.']\n", 1), encoding="utf-8")
    config.write_text(config.read_text() + '\n[labels]\ntaxonomy = "labels.yaml"\n')
    with place.served() as server:
        until(lambda: "the audit page is at" in server.said, seconds=60, what="the server", process=server)
        ann = Person(browsers[0], place.address, "ann")
        ann.sit_down()
        there = "return [...document.querySelectorAll('[data-question]')].filter(s => s.offsetParent).map(s => s.dataset.question)"
        assert ann.driver.execute_script(there) == ["attributes", "objects"]
        first = ann.sees()
        ann.press("5", "n", Keys.ENTER)  # 5 would be a scene
        ann.sees(other_than=first)
        ann.saved()
        (line,) = log_lines(place.platform)
        assert sorted(line["labels"]) == ["attributes", "objects"]
        assert not [entry for entry in ann.driver.get_log("browser") if entry["level"] == "SEVERE"]  # type: ignore[no-untyped-call]


def test_two_people_lose_and_double_nothing_when_the_server_is_killed(
    place: Place, browsers: tuple[webdriver.Chrome, webdriver.Chrome]
) -> None:
    ann, ben = (Person(driver, place.address, name) for driver, name in zip(browsers, ("ann", "ben"), strict=True))
    judged: list[tuple[str, str]] = []

    def both(times: int) -> None:
        for _ in range(times):
            for person in (ann, ben):
                judged.append((person.name, person.judge()))

    with place.served() as server:
        until(lambda: "the audit page is at" in server.said, seconds=60, what="the server", process=server)
        ann.sit_down()
        ben.sit_down()
        both(5)
        server.popen.send_signal(signal.SIGKILL)
        server.ended()
    both(3)  # from what the pages have ahead
    assert "kept here" in text_of(ann.driver)
    assert len(place.labels()) < len(judged)
    ben.driver.get("about:blank")  # ben gives up and closes the page; what he said is in his browser
    with place.served("again.log") as server:
        until(lambda: "the audit page is at" in server.said, seconds=60, what="the server again", process=server)
        ben.sit_down()
        both(2)
        ann.saved()
        ben.saved()
    assert Counter(place.labels()) == Counter(judged)
    assert len({image_id for _, image_id in judged}) == 10  # the same photos for both: second opinions
