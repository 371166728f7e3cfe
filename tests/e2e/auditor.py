"""Somebody who audits photos in a real browser, by keyboard."""

from __future__ import annotations

from dataclasses import dataclass

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.e2e.processes import until


@dataclass
class Person:
    """Somebody at the page, with keyboard and eyes."""

    driver: webdriver.Chrome
    address: str
    name: str

    def sit_down(self) -> None:
        self.driver.get(f"{self.address}/?annotator={self.name}")
        self.sees()

    def sees(self, other_than: str = "") -> str:
        """image_id of the photo, once it is there and decoded."""
        script = (
            "const i = document.querySelector('#frame img'); return i?.complete && i.naturalWidth ? i.parentElement.dataset.imageId : ''"
        )
        return until(lambda: self._shown(script, other_than), seconds=20, what="the next photo", every=0.02)

    def _shown(self, script: str, other_than: str) -> str:
        found = str(self.driver.execute_script(script) or "")
        return "" if found == other_than else found

    def press(self, *keys: str) -> None:
        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def chosen(self) -> tuple[list[str], set[str], int]:
        """Scenes chosen, states of the attributes, objects and suggestions on the page."""
        return tuple(self.driver.execute_script("""return [
            [...document.querySelectorAll('#scenes [aria-checked=true]')].map(b => b.title),
            [...new Set([...document.querySelectorAll('#attributes button')].map(b => b.dataset.state))],
            document.querySelectorAll('#objects li, #suggested button, .marks span').length]"""))  # fmt: skip

    def blind(self) -> bool:
        return bool(self.driver.execute_script("return !document.querySelector('#blind').hidden"))

    def judge(self) -> str:
        """Label the photo in view by keyboard; a blind one as food without a person. Its id, once the next one is there."""
        image_id = self.sees()
        if self.blind():
            self.press("5", "n")
        self.press(Keys.ENTER)
        self.sees(other_than=image_id)
        return image_id

    def saved(self) -> None:
        until(lambda: self.driver.execute_script("return document.querySelector('#saved').className") == "ok", seconds=20, what="all saved")
