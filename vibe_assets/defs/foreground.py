"""What the daemon would do, done here: look, run, judge, until nothing is wanted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TextIO

import dagster as dg

from vibe_assets.defs.automation import NO_LIBRARY, untried_candidate
from vibe_assets.defs.drive import Driver, Tally
from vibe_assets.defs.orders import BY_NAME
from vibe_assets.defs.partitions import folders as photo_folders
from vibe_assets.operate.instance import open_instance, refuse_daemon, working
from vibe_assets.progress import stepped
from vibe_assets.settings import SettingsError
from vibe_assets.stages.platform import Platform


def run_graph(
    defs: dg.Definitions, *, assets: Sequence[str] = (), folders: Sequence[str] = (), progress: bool = True, log: TextIO | None = None
) -> Tally:
    """Let the library's graph come to rest; what the runs did. `assets` are made again first, of `folders` only where these are given.

    `log` gets a line for every step that is done.

    Raises InstanceError where a daemon works on it already, SettingsError without a photo root, LookupError for an asset or folder that
    does not exist.
    """
    platform = Platform.open(run_id="vibe run", progress=False)
    if platform.settings.library.root is None:
        raise SettingsError(NO_LIBRARY)
    logging.getLogger("dagster").setLevel(logging.ERROR)
    with working(platform.settings, "`vibe run`"), open_instance(platform.settings) as instance:
        refuse_daemon(instance)
        driver = Driver(instance, defs, progress=progress, log=log)
        driver.close_interrupted()
        driver.take_over()
        driver.look(platform)
        for key, partition in stepped(
            wanted(defs, instance, assets, folders), "asked for by name", unit="run", shown=progress, log=driver.log
        ):
            driver.run([key], partition, tags=BY_NAME)
        driver.refresh(platform)
        driver.drain()
        while driver.look(platform) or try_candidate(platform, driver):  # what came while it ran, and the trial that an audit allows
            driver.drain()
        return driver.tally


def wanted(
    defs: dg.Definitions, instance: dg.DagsterInstance, assets: Sequence[str], folders: Sequence[str]
) -> list[tuple[dg.AssetKey, str | None]]:
    """Runs for assets that a person named. Raises LookupError naming what exists."""
    graph = defs.resolve_asset_graph()
    known = {key.to_user_string(): key for key in graph.materializable_asset_keys}
    shelves = instance.get_dynamic_partitions(photo_folders.name or "")
    if unknown := [name for name in assets if name not in known]:
        raise LookupError(f"no such asset {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    if unknown := [name for name in folders if name not in shelves]:
        raise LookupError(f"no such folder {', '.join(unknown)}; `vibe folders` lists them")
    runs: list[tuple[dg.AssetKey, str | None]] = []
    for name in assets:
        made = graph.get(known[name]).partitions_def
        if made is None:
            runs.append((known[name], None))
        elif made == photo_folders:
            runs += [(known[name], key) for key in (folders or shelves)]
        else:
            raise LookupError(f"{name} is not made by folders: start it with the command of its study (`vibe --help`), or in `vibe ui`")
    return runs


def try_candidate(platform: Platform, driver: Driver) -> bool:
    """Try the candidate teacher once, as the source sensor would; whether it was tried now."""
    if not untried_candidate(platform, driver.instance):
        return False
    for key in stepped([dg.AssetKey("teacher_trial")], "teacher_trial", unit="run", shown=driver.progress, log=driver.log):
        return driver.run([key])
    return False
