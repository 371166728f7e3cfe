"""Pages as their checkers see them: the Nu HTML Checker (vnu) and axe-core, where they are installed (`.ci/run` installs both)."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from selenium import webdriver

THEMES = ("light", "dark")
SIZES = ((360, 740), (1280, 850))  # CSS pixels


def repeated_ids(page: str) -> list[str]:
    """Ids that stand more than once in the HTML."""
    return [name for name, times in Counter(re.findall(r'\sid="([^"]*)"', page)).items() if times > 1]


def html_errors(*pages: Path) -> list[str]:
    """What the Nu HTML Checker calls an error, as `page: message`. Skips where it is not installed."""
    if shutil.which("vnu") is None or shutil.which("java") is None:
        pytest.skip("no vnu on the PATH, or no java: npm install --global --ignore-scripts vnu-jar")
    told = subprocess.run(["vnu", "--format", "json", "--errors-only", *map(str, pages)], capture_output=True, timeout=240)
    return [f"{Path(one['url']).name}: {one['message']}" for one in json.loads(told.stderr)["messages"] if one["type"] == "error"]


def accessibility_faults(*pages: Path | str) -> list[str]:
    """What axe-core finds on pages (files, or addresses) in both themes, narrow and wide. Skips where a browser or axe-core is missing."""
    from tests.e2e.browser import chromium, why_not

    if missing := why_not():
        pytest.skip(missing)
    found = []
    with chromium() as driver:
        for page in pages:
            found += looked_at(driver, page.as_uri() if isinstance(page, Path) else page)
    return found


def looked_at(driver: webdriver.Chrome, address: str, *, ready: str = "return true") -> list[str]:
    """What axe-core finds at an address in both themes, narrow and wide, once the script `ready` says true."""
    from selenium.webdriver.support.ui import WebDriverWait

    found = []
    for theme in THEMES:
        features = [{"name": "prefers-color-scheme", "value": theme}, {"name": "prefers-reduced-motion", "value": "reduce"}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})  # type: ignore[no-untyped-call]
        for width, height in SIZES:
            resize(driver, width, height)
            driver.get(address)
            WebDriverWait(driver, 60, poll_frequency=0.05).until(lambda one: one.execute_script(ready))
            found += [f"{address.rpartition('/')[2]}, {theme}, {width} px: {one}" for one in axe(driver)]
    return found


def axe(driver: webdriver.Chrome) -> list[str]:
    """Violations on the page as it stands: `rule: what is wrong, at the first element`."""
    driver.set_script_timeout(120)
    driver.execute_script(_axe())
    run = "const done = arguments[0]; axe.run({ resultTypes: ['violations'] }).then((all) => done(all.violations))"
    return [
        f"{one['id']}: {len(one['nodes'])} x {one['nodes'][0]['failureSummary']}, at {one['nodes'][0]['html'][:160]}"
        for one in driver.execute_async_script(run)
    ]


def resize(driver: webdriver.Chrome, width: int, height: int) -> None:
    """The size of the page's window, in CSS pixels; smaller than a browser's window may be."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)  # type: ignore[no-untyped-call]


@functools.cache
def _axe() -> str:
    npm = shutil.which("npm")
    root = subprocess.run([npm, "root", "--global"], capture_output=True, text=True, timeout=60).stdout.strip() if npm else ""
    script = Path(root) / "axe-core" / "axe.min.js"
    if not root or not script.is_file():
        pytest.skip("no axe-core: npm install --global axe-core")
    return script.read_text(encoding="utf-8")
