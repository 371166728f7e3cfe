"""The picture of the lineage in the README, made anew from the running UI: `python docs/screenshots.py` after `make demo` and `make ui`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from PIL import Image, ImageChops
from selenium.webdriver.common.actions.action_builder import ActionBuilder

from tests.e2e.browser import chromium, picture, wait_for, why_not

HERE = Path(__file__).parent
GROUPS = ("library", "teacher", "truth", "embeddings", "students", "runtime", "reports")
NAVIGATION_PX, TOP_PX, CONTROLS_PX = 545, 112, 70
SETTLE_S = 8.0
ZOOM_OUT = 1  # clicks: the first fit is a little too close
ASSETS = ("raw_photos", "annotations", "teacher_report", "scene_head", "deployed_heads", "predictions", "student_report")


def lineage(url: str, file: Path) -> Path:
    """The whole graph in one picture, groups opened, navigation cut off."""
    with chromium(width=3200, height=2800) as browser:
        browser.get(f"{url}/asset-groups?expanded={quote(','.join(f'global@global:{group}' for group in GROUPS))}")
        wait_for(browser, *ASSETS)
        time.sleep(SETTLE_S)  # the layout is animated; nothing on the page says when it is done
        height = browser.execute_script("return window.innerHeight")
        zoom_out = ActionBuilder(browser)
        zoom_out.pointer_action.move_to_location(browser.execute_script("return window.innerWidth") - 29, height - 149)
        for _ in range(ZOOM_OUT):
            zoom_out.pointer_action.click()
        zoom_out.perform()
        time.sleep(2)
        picture(browser, file)
    image = Image.open(file).convert("RGB")
    graph = image.crop((NAVIGATION_PX, TOP_PX, image.width - CONTROLS_PX, image.height))
    graph.save(file)
    return shrink(file)


def shrink(file: Path, *, colours: int = 128) -> Path:
    """Cut empty margins and reduce the colours: the pictures are in the repository."""
    image = Image.open(file).convert("RGB")
    empty = Image.new("RGB", image.size, image.getpixel((image.width - 2, image.height - 2)))
    box = ImageChops.difference(image, empty).getbbox() or (0, 0, *image.size)
    image = image.crop(box)
    image.thumbnail((1800, 1800))
    image.quantize(colours).save(file, optimize=True)
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:3000", help="where `make ui` serves")
    url = parser.parse_args().url
    if missing := why_not():
        sys.exit(missing)
    file = lineage(url, HERE / "lineage.png")
    print(f"{file}: {file.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
