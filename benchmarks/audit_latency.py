"""Enter on the audit page -> the next photo painted: milliseconds over 50 photos in headless Chromium come out.

    python benchmarks/audit_latency.py

Measured in the page: from the keydown event to the second animation frame after the next photo is decoded and in the document. The photos
are painted ones scaled to 2880 x 2160 pixels with sensor noise; the page serves them at 1600. The peer is the plain way to build such a
page: send the verdict, ask for the next photo, load it, paint it. It runs in the same browser against the same server, after the others,
so that the server has its pictures made already; the page itself had to have them made.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

from tests.audit.library import build  # noqa: E402
from tests.e2e.browser import chromium  # noqa: E402
from tests.e2e.processes import VIBE, running, until  # noqa: E402

SEED, PHOTOS, LARGER, WARM = 42, 50, 6, 2
RESULT = Path(__file__).parent / "results" / "audit_latency.json"
WATCH = """
window.taken = [];
let from = null;
const painted = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
addEventListener("keydown", (event) => { if (event.key === "Enter") from = performance.now(); }, true);
new MutationObserver(async () => {
  const photo = document.querySelector("#frame img");
  if (!photo || from === null) return;
  const began = from;
  from = null;
  await photo.decode();
  await painted();
  window.taken.push(performance.now() - began);
}).observe(document.querySelector("#frame"), { childList: true });
"""
PEER = """
const done = arguments[arguments.length - 1], name = arguments[0], wanted = arguments[1];
const painted = () => new Promise((then) => requestAnimationFrame(() => requestAnimationFrame(then)));
const ask = async () => (await (await fetch(`/api/queue?annotator=${name}`)).json()).items[0];
(async () => {
  const taken = [];
  let item = await ask();
  while (taken.length < wanted) {
    const from = performance.now();
    const labels = item.teacher ?? { scene: null, attributes: {}, objects: [] };
    const said = { verdict_id: `${name}-${item.image_id}`, image_id: item.image_id, annotator: name, act: "label", spent_ms: 1, labels };
    await fetch("/api/verdicts", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(said) });
    item = await ask();
    const photo = new Image();
    photo.src = `/photo/${item.image_id}?peer`;
    await photo.decode();
    document.querySelector("#frame").replaceChildren(photo);
    await painted();
    taken.push(performance.now() - from);
  }
  done(taken);
})();
"""


def at_the_page(driver: webdriver.Chrome, address: str, name: str, *, pause_s: float, photos: int) -> list[float]:
    """Milliseconds of every Enter of one person who looks at each photo for `pause_s`."""
    driver.get(f"{address}/?annotator={name}")
    until(lambda: driver.execute_script("return document.querySelector('#frame img')?.complete"), seconds=30, what="the first photo")
    time.sleep(2)  # a person reads the page before the first answer
    driver.execute_script(WATCH)
    for at in range(1, photos + WARM + 1):
        ActionChains(driver, duration=0).send_keys(Keys.ENTER).perform()
        until(partial(_taken, driver, at), seconds=30, what="the next photo", every=0.01)
        time.sleep(pause_s)
    return [float(value) for value in driver.execute_script("return window.taken")][WARM:]


def _taken(driver: webdriver.Chrome, count: int) -> bool:
    return int(driver.execute_script("return window.taken.length")) >= count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=PHOTOS)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        home = Path(folder) / "home"
        build(home, photos=options.photos + 40, sample=options.photos + 20, blind=0.0, larger=LARGER)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        command = [*VIBE, "audit", "--port", str(port)]
        environment = {"VIBE_CONFIG": str(home / "vibe.toml")}
        with running(command, home / "server.log", environment=environment, cwd=home) as server, chromium(width=1440, height=900) as driver:
            until(lambda: "the audit page is at" in server.said, seconds=60, what="the server", process=server)
            driver.set_script_timeout(300)
            address = f"http://127.0.0.1:{port}"
            taken = {
                "a photo a second": at_the_page(driver, address, "steady", pause_s=1.0, photos=options.photos),
                "three photos a second": at_the_page(driver, address, "hasty", pause_s=0.3, photos=options.photos),
                "no prefetch: verdict, then photo": driver.execute_async_script(PEER, "peer", options.photos),
            }
            browser = str(driver.capabilities["browserVersion"])
    for name, values in taken.items():
        print(f"{name}: median {statistics.median(values):.0f} ms, {min(values):.0f} to {max(values):.0f}, n {len(values)}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report(options.photos, taken, browser), indent=1) + "\n", encoding="utf-8")
    print(options.out)


def report(photos: int, taken: dict[str, list[float]], browser: str) -> dict[str, Any]:
    found = {name: statistics.median(values) for name, values in taken.items()}
    steady, hasty, peer = found.values()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=False).stdout.strip()
    return {
        "name": "audit_latency",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "hardware": {"cpu": _cpu(), "cores": os.cpu_count(), "load_at_end": [round(value, 2) for value in os.getloadavg()]},
        "versions": {
            "python": platform.python_version(), "chromium": browser, "starlette": version("starlette"), "uvicorn": version("uvicorn"),
        },
        "command": f"python benchmarks/audit_latency.py --photos {photos}",
        "seed": SEED,
        "work": {"photos": photos, "pixels": [2880, 2160], "shown_px": 1600, "warm_up": WARM, "window": [1440, 900]},
        "rows": [
            {
                "variant": name, "value": round(found[name], 1), "unit": "ms",
                "min": round(min(values), 1), "max": round(max(values), 1), "runs": len(values),
            }
            for name, values in taken.items()
        ],
        "ratios": {"no_prefetch_vs_steady": round(peer / steady, 2), "no_prefetch_vs_hasty": round(peer / hasty, 2)},
    }  # fmt: skip


def _cpu() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    main()
