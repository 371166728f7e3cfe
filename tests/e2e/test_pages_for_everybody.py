"""The two pages where people judge photos: nothing cut off at any size, used by keyboard of any layout, heard as well as seen."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.audit.library import build, log_lines
from tests.e2e.auditor import Person
from tests.e2e.browser import chromium, why_not
from tests.e2e.processes import until
from tests.support.checkers import axe, looked_at, resize
from vibe_assets.audit.pictures import Pictures
from vibe_assets.stages.audit import desk_app
from vibe_assets.stages.platform import Platform
from vibe_assets.triage.choices import ChoiceLog
from vibe_assets.triage.desk import DeskSeries, TriageDesk
from vibe_assets.triage.review import review_app
from vibe_assets.web.serve import served_hosts

pytestmark = [pytest.mark.e2e, pytest.mark.browser]
MISSING = why_not()
if MISSING:
    pytest.skip(MISSING, allow_module_level=True)

HOST = "127.0.0.1"
LONG = "somebody with a name of forty characters"
SHOWN = "const i = document.querySelector('#frame img'); return !!i && i.complete && i.naturalWidth > 0"
PHONES = ((320, 640), (360, 640), (390, 664), (390, 844), (844, 390))
SCREENS = (*PHONES, (820, 1100), (1000, 560), (1000, 700), (1060, 700), (1110, 800), (1120, 800), (1440, 900), (2560, 1300))
HIDDEN = """
const inView = (one) => {
  const box = one.getBoundingClientRect(), top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
  return box.left >= 0 && box.right <= innerWidth && box.top >= 0 && box.bottom <= innerHeight && one.contains(top);
};
const wanted = document.querySelectorAll('#scenes button, #attributes button, #undo, #skip, #accept, #view, #done, #who, #saved');
const wide = document.documentElement.scrollWidth - innerWidth;
const hidden = [...wanted].filter((one) => !inView(one)).map((one) => one.id || one.textContent);
return wide > 0 ? [`the page is ${wide} px too wide`, ...hidden] : hidden;
"""


@contextmanager
def served(app_at: Callable[[int], Any]) -> Iterator[str]:
    """Address of an application that listens on a free port."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app_at(port), host=HOST, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started, seconds=30, what="the server", every=0.02)
    try:
        yield f"http://{HOST}:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    return build(tmp_path_factory.mktemp("everybody") / "home", sample=40)


@pytest.fixture(scope="module")
def address(platform: Platform) -> Iterator[str]:
    with served(lambda port: desk_app(platform, host=HOST, port=port)) as found:
        yield found


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    with chromium(width=1300, height=850) as found:
        yield found


def sit_down(driver: webdriver.Chrome, address: str, name: str, *, blind: bool = False) -> Person:
    """Somebody new at the page, before a photo of the kind asked for."""
    resize(driver, 1300, 850)
    person = Person(driver, address, name)
    person.sit_down()
    until(lambda: person.blind() == blind or not person.judge(), seconds=30, what="a photo of that kind", every=0)
    person.saved()
    return person


def press(driver: webdriver.Chrome, key: str, code: str, **more: Any) -> None:
    """A key of a keyboard with another layout: what it prints, and where it is."""
    for kind in ("keyDown", "keyUp"):
        driver.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": kind, "key": key, "code": code, **more})  # type: ignore[no-untyped-call]


def scene(driver: webdriver.Chrome) -> str:
    """The scene that is chosen."""
    return str(driver.execute_script("return document.querySelector('#scenes [aria-checked=true]')?.title ?? ''"))


def state(driver: webdriver.Chrome, label: str) -> str:
    """yes, no or unknown of an attribute."""
    find = "return [...document.querySelectorAll('#attributes button')].find((one) => one.textContent.includes(arguments[0])).dataset.state"
    return str(driver.execute_script(find, label))


def heard(driver: webdriver.Chrome) -> str:
    return str(driver.execute_script("return document.querySelector('#said').textContent"))


# -- the audit page ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("blind", [False, True])
def test_accept_and_every_label_it_says_yes_to_are_in_view_at_every_size(driver: webdriver.Chrome, address: str, blind: bool) -> None:
    sit_down(driver, address, LONG, blind=blind)
    for width, height in SCREENS:
        if blind and (width, height) == (320, 640):  # the notice takes what is left
            continue
        resize(driver, width, height)
        driver.execute_script("scrollTo(0, 0); document.querySelector('#panel').scrollTop = 0")
        assert driver.execute_script(HIDDEN) == [], f"{width} x {height}"


def test_axe_finds_nothing_on_the_audit_page(driver: webdriver.Chrome, address: str) -> None:
    sit_down(driver, address, "cleo")
    assert looked_at(driver, f"{address}/?annotator=cleo", ready=SHOWN) == []
    until(lambda: driver.execute_script(SHOWN), seconds=20, what="a photo")
    for opened in ("help", "skip", "who"):
        driver.find_element(By.ID, opened).click()
        assert axe(driver) == [], opened
        driver.execute_script("document.querySelector('dialog[open]').close()")
    driver.find_element(By.ID, "search").send_keys("mug")
    assert axe(driver) == [], "objects found"
    driver.find_element(By.ID, "search").clear()
    driver.find_element(By.ID, "search").send_keys("zzzz")
    assert axe(driver) == [], "no object found"
    sit_down(driver, address, "cleo", blind=True)
    assert axe(driver) == [], "a blind photo"
    driver.execute_script("document.querySelector('#view').value = 'skipped'; document.querySelector('#view').onchange()")
    until(lambda: "Nothing left here" in heard(driver), seconds=20, what="an empty view")
    assert axe(driver) == [], "an empty view"


def test_the_name_of_a_control_says_what_teacher_and_student_said(driver: webdriver.Chrome, address: str, platform: Platform) -> None:
    ann = sit_down(driver, address, "dora")
    ask = "const done = arguments[0]; fetch('/api/queue?annotator=dora').then((one) => one.json()).then((one) => done(one.items))"
    item = next(one for one in driver.execute_async_script(ask) if one["image_id"] == ann.sees())
    teacher, student, sure = item["teacher"], item["student"], item["confidence"]
    for one in driver.find_elements(By.CSS_SELECTOR, "#scenes button"):
        title = one.get_attribute("title")
        assert ("teacher" in one.accessible_name) == (title == teacher["scene"])
        assert (f"student {round(100 * sure['scene'])} %" in one.accessible_name) == (title == student["scene"])
    word = {True: "yes", False: "no"}
    true, guess = teacher["attributes"]["has_person"], student["attributes"]["has_person"]
    share = round(100 * (sure["has_person"] if guess else 1 - sure["has_person"]))
    name = driver.find_element(By.CSS_SELECTOR, "#attributes button").accessible_name
    name = name.replace(" ,", ",").replace(" :", ":")
    assert name == f"Person: {word[true]}, teacher {word[true]}, student {word[guess]} {share} %"


def test_arrow_keys_choose_a_scene_and_enter_accepts_it(driver: webdriver.Chrome, address: str, platform: Platform) -> None:
    ann = sit_down(driver, address, "emma", blind=True)
    image_id = ann.sees()
    titles = [one.get_attribute("title") for one in driver.find_elements(By.CSS_SELECTOR, "#scenes button")]
    reached = driver.find_elements(By.CSS_SELECTOR, "#scenes [tabindex='0']")
    assert [one.get_attribute("title") for one in reached] == [titles[0]], "Tab reaches the group once"
    driver.execute_script("arguments[0].focus()", reached[0])
    for key, expected in ((Keys.ARROW_RIGHT, 1), (Keys.ARROW_DOWN, 2), (Keys.ARROW_LEFT, 1), (Keys.ARROW_UP, 0), (Keys.ARROW_UP, -1)):
        ann.press(key)
        assert scene(driver) == titles[expected]
        assert driver.switch_to.active_element.get_attribute("title") == titles[expected]
    ann.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ENTER)
    ann.sees(other_than=image_id)
    ann.saved()
    (line,) = [line for line in log_lines(platform) if (line["annotator"], line["image_id"]) == ("emma", image_id)]
    assert line["labels"]["scene"] == titles[1]


def test_a_new_photo_and_what_a_key_changed_are_heard(driver: webdriver.Chrome, address: str) -> None:
    ann = sit_down(driver, address, "fay")
    caption = driver.find_element(By.ID, "caption").text
    assert heard(driver).startswith(f"Photo {caption}.")
    assert driver.find_element(By.CSS_SELECTOR, "#scenes [aria-checked=true] span:not(.heard, .marks, .mark)").text in heard(driver)
    assert driver.find_element(By.ID, "said").get_attribute("role") == "status"
    ann.press("p")
    assert heard(driver) == f"Person: {state(driver, 'Person')}"
    ann.press("2")
    assert heard(driver).startswith("Scene: ")
    here = ann.judge()
    ann.sees(other_than=here)
    assert heard(driver).startswith(f"Photo {driver.find_element(By.ID, 'caption').text}.")
    sit_down(driver, address, "fay", blind=True)
    assert heard(driver).endswith("Blind: nothing is filled in.")


@pytest.mark.parametrize(
    ("layout", "person", "animal", "second", "third"),
    [
        ("russian", ("з", "KeyP"), ("ф", "KeyA"), ("2", "Digit2"), ("3", "Digit3")),
        ("greek", ("π", "KeyP"), ("α", "KeyA"), ("2", "Digit2"), ("3", "Digit3")),
        ("azerty", ("p", "KeyP"), ("a", "KeyQ"), ("é", "Digit2"), ('"', "Digit3")),
        ("dvorak", ("p", "KeyR"), ("a", "KeyA"), ("2", "Digit2"), ("3", "Digit3")),
        ("hebrew", ("פ", "KeyP"), ("ש", "KeyA"), ("2", "Digit2"), ("3", "Digit3")),
        ("persian", ("ح", "KeyP"), ("ش", "KeyA"), ("۲", "Digit2"), ("۳", "Digit3")),
        ("input method", ("Process", "KeyP"), ("Process", "KeyA"), ("Process", "Digit2"), ("Process", "Digit3")),
    ],
)
def test_hotkeys_work_on_every_layout(
    driver: webdriver.Chrome, address: str, layout: str, person: Any, animal: Any, second: Any, third: Any
) -> None:
    sit_down(driver, address, f"gil {layout}", blind=True)
    titles = [one.get_attribute("title") for one in driver.find_elements(By.CSS_SELECTOR, "#scenes button")]
    for (key, code), label in ((person, "Person"), (animal, "Animal")):
        assert state(driver, label) == "unknown"
        press(driver, key, code)
        assert state(driver, label) == "yes", layout
    for (key, code), at in ((second, 1), (third, 2)):
        press(driver, key, code)
        assert scene(driver) == titles[at], layout


def test_letters_that_are_no_hotkeys_do_nothing_where_they_stand_in_the_place_of_one(driver: webdriver.Chrome, address: str) -> None:
    sit_down(driver, address, "hal", blind=True)
    press(driver, "q", "KeyA")  # AZERTY
    press(driver, "b", "KeyN")  # Dvorak
    press(driver, "@", "Digit2", modifiers=8)  # Shift
    assert {state(driver, label) for label in ("Person", "Animal", "Text")} == {"unknown"}
    assert scene(driver) == ""


# -- the page where series are compared ----------------------------------------------------------------------------------
@pytest.fixture
def review(tmp_path: Path) -> Iterator[tuple[str, ChoiceLog]]:
    paths = {}
    for colour in ("teal", "orange", "grey"):
        file = tmp_path / f"{colour}.jpg"
        Image.new("RGB", (400, 300), colour).save(file)
        paths[hashlib.sha256(file.read_bytes()).hexdigest()[:32]] = str(file).encode()
    desk = TriageDesk([DeskSeries(f"s{at}", tuple(paths), f"series {at}") for at in range(4)], paths, ChoiceLog(tmp_path / "log"))
    pictures = Pictures(tmp_path / "pictures")
    with served(lambda port: review_app(desk, pictures, hosts=served_hosts(HOST, port))) as address:
        yield address, desk.log


def test_axe_finds_nothing_on_the_page_of_series(driver: webdriver.Chrome, review: tuple[str, ChoiceLog]) -> None:
    there = "const all = [...document.images]; return all.length === 3 && all.every((one) => one.naturalWidth)"
    assert looked_at(driver, review[0], ready=there) == []
    driver.find_element(By.ID, "tie").click()
    assert axe(driver) == [], "one is also good"


def test_series_are_compared_with_keys_of_any_layout(driver: webdriver.Chrome, review: tuple[str, ChoiceLog]) -> None:
    address, log = review
    resize(driver, 1300, 850)
    driver.get(address)

    def at() -> str:
        return str(driver.execute_script("return document.querySelector('#photos').getAttribute('aria-activedescendant') ?? ''"))

    until(lambda: at() == "photo-1", seconds=20, what="a series", every=0.05)
    press(driver, "é", "Digit2")  # AZERTY
    assert at() == "photo-2"
    press(driver, "т", "KeyN")  # Russian: no difference
    until(lambda: [one.kind for one in log.choices()] == ["none"], seconds=20, what="the choice", every=0.05)
    until(lambda: at() == "photo-1", seconds=20, what="the next series", every=0.05)
    press(driver, "θ", "KeyU")  # Greek: undo
    until(lambda: [one.kind for one in log.choices()] == ["none", "undo"], seconds=20, what="the undo", every=0.05)
