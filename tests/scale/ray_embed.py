"""`python -m tests.scale.ray_embed VIBE.TOML`: embed every folder on the engine of the settings, and say when a result has arrived."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vibe_assets.engine.ray_engine import RayEngine
from vibe_assets.records import FOLDER_SET
from vibe_assets.settings import load_settings
from vibe_assets.stages.embeddings import embed_folders
from vibe_assets.stages.platform import Platform


class Telling(RayEngine):
    def arrivals(self, *arguments: Any, **options: Any) -> Iterator[tuple[int, Any]]:
        for number, arrival in enumerate(super().arrivals(*arguments, **options), start=1):
            print(f"arrived {number}", flush=True)
            yield arrival


def main(config: Path) -> None:
    platform = Platform(load_settings(config), progress=False)
    platform.__dict__["engine"] = Telling(platform.settings.engine)
    started = time.monotonic()
    rows = embed_folders(platform, platform.lake.read(FOLDER_SET)["folder_key"].to_list())
    print(f"embedded {sum(frame.height for frame in rows.values())} in {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
