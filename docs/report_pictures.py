"""The pictures of the reports in the guides, made anew: `python docs/report_pictures.py` after `make demo`.

The report is the demo's. The history is made up, because the demo has one day of it.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from PIL import Image

from tests.e2e.browser import chromium, picture, why_not
from vibe_assets.evaluate.drift import FolderDrift, Series, render_drift
from vibe_assets.questions import load
from vibe_assets.records import Estimate
from vibe_assets.settings import load_settings

HERE = Path(__file__).parent
START = datetime(2026, 1, 4, tzinfo=UTC)
POINTS = 60
MOST_BYTES = 300 * 1024  # the pictures are in the repository
SCENES = ("animals", "document", "food", "landscape", "people", "product", "screenshot", "snapshot")
FOLDERS = ("2023/summer at the lake", "2024/birthday & friends", "2024/city trip", "kitchen", "pets", "phone/screenshots", "scans")
METRICS = ("scene_accuracy", "attributes_macro_f1", "objects_top1")
FIND = """
for (const found of document.querySelectorAll("h2"))
  if (arguments[0] && found.textContent.startsWith(arguments[0])) window.scrollTo(0, found.getBoundingClientRect().top - 40);
"""


def made_up_history(seed: int = 3) -> str:
    """A drift page over a year that nobody lived through."""
    rng = np.random.default_rng(seed)
    at = tuple(START + timedelta(days=5 * k) for k in range(POINTS))
    series = []
    for subject, level in (("teacher", 0.84), ("student", 0.71)):
        for metric in METRICS:
            value, versions, estimates = level - 0.12 * (metric == "objects_top1"), [], []
            for k in range(POINTS):
                moved = k % 13 == 0
                value = min(0.96, value + (rng.normal(0.02, 0.01) if moved else 0))
                seen, n = value + rng.normal(0, 0.003), 150 + 6 * k
                half = 1.96 * float(np.sqrt(seen * (1 - seen) / n))
                estimates.append(Estimate(seen, seen - half, min(1.0, seen + half), n, 0.21))
                versions.append(str(k // 13))
            series.append(Series(subject, "human", metric, at, tuple(estimates), tuple(versions)))
    folders = []
    for number, folder in enumerate(FOLDERS):
        change = (rng.dirichlet(np.ones(len(SCENES)) * 0.6) - rng.dirichlet(np.ones(len(SCENES)) * 0.6)) * 0.45 / (number + 1)
        earlier = tuple(float(step) for step in rng.gamma(1, 0.03, 11))
        deltas = {f"scene.{scene}": float(points) for scene, points in zip(SCENES, change, strict=True)}
        distance, photos = float(np.abs(change).sum() / 2), int(rng.integers(40, 900))
        folders.append(FolderDrift(folder, photos, (*earlier, distance), round(1.2 * distance * photos), deltas))
    folders.sort(key=lambda drift: -(drift.distances[-1] or 0))
    steps = [f"version {k} of {START + timedelta(days=25 * k):%Y-%m-%d %H:%M}, another teacher" for k in range(1, 13)]
    return render_drift(series, folders, questions=load(), steps=steps, generated_at=at[-1])


def shot(page: Path, file: Path, *, width: int, height: int, dark: bool = False, heading: str = "") -> Path:
    """One picture of a page, from a heading on where one is named."""
    with chromium(width=width, height=height) as browser:
        media = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        )
        browser.get(page.as_uri())
        browser.execute_script(FIND, heading)
        picture(browser, file)
    image = Image.open(file).convert("RGB")
    image.save(file, optimize=True)
    if file.stat().st_size > MOST_BYTES:
        image.quantize(256).save(file, optimize=True)
    return file


def main() -> None:
    if (reason := why_not()) is not None:
        raise SystemExit(reason)
    report = load_settings().reports_dir / "teacher_report.html"
    with tempfile.TemporaryDirectory() as folder:
        drift = Path(folder) / "drift.html"
        drift.write_text(made_up_history(), encoding="utf-8")
        for file in (
            shot(report, HERE / "report-light.png", width=1200, height=1500),
            shot(report, HERE / "report-dark.png", width=1200, height=1000, dark=True, heading="Worst mistakes"),
            shot(report, HERE / "report-phone.png", width=390, height=1200, heading="Attributes"),
            shot(drift, HERE / "drift.png", width=1200, height=2000),
        ):
            print(f"{file.name}: {file.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
