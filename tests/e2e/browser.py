"""Headless Chromium where there is one: pages of the Dagster UI opened, waited for and photographed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def why_not() -> str | None:
    """What is missing for a browser; None when there is one."""
    if not any(shutil.which(name) for name in BROWSERS):
        return f"no browser: none of {', '.join(BROWSERS)} is on the PATH"
    return None if shutil.which("chromedriver") else "no chromedriver on the PATH"


@contextmanager
def chromium(*, width: int = 1600, height: int = 1000, scale: float = 1.0) -> Iterator[webdriver.Chrome]:
    """A browser of its own, with an empty profile; the window's size in CSS pixels."""
    options = Options()
    options.binary_location = next(path for name in BROWSERS if (path := shutil.which(name)))
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={width},{height}"):
        options.add_argument(argument)
    options.add_argument(f"--force-device-scale-factor={scale}")
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def text_of(driver: webdriver.Chrome) -> str:
    """All words on the page."""
    return str(driver.find_element(By.TAG_NAME, "body").text)


def wait_for(driver: webdriver.Chrome, *words: str, seconds: float = 60.0) -> None:
    """Wait until all the words are on the page."""
    waiting = WebDriverWait(driver, seconds, poll_frequency=0.25)
    waiting.until(lambda browser: all(word in text_of(browser) for word in words), f"expected {words} on {driver.current_url}")


def picture(driver: webdriver.Chrome, file: Path) -> Path:
    """Save what is in the window."""
    file.parent.mkdir(parents=True, exist_ok=True)
    driver.save_screenshot(str(file))
    return file
