"""A head and two workers, processes and networks of their own, embed the real library; one worker dies mid-run and nothing is missing."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.scale.ray_cluster import Cluster, may_make_namespaces, running_cluster
from vibe_assets.records import FOLDER_SET, IMAGE_EMBEDDINGS
from vibe_assets.settings import load_settings
from vibe_assets.stages.embeddings import embed_folders
from vibe_assets.stages.library import look_at_folders, scan_folder
from vibe_assets.stages.platform import Platform

pytestmark = [
    pytest.mark.scale,
    pytest.mark.timeout(900),
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra `ray` is not installed"),
]

SHORT = ("2024/kitchen", "scans")  # of the real library, for every run of the tests
SETTINGS = """[library]
root = "{root}"
home = "{home}"
scan_workers = 1

[encoder]
batch_size = 8
decode_workers = 1

[engine]
kind = "{kind}"
address = "{address}"
min_workers = 1
max_workers = 2
chunk = 8
"""


def installation(folder: Path, root: Path, name: str, *, kind: str = "local", address: str = "") -> Platform:
    config = folder / f"{name}.toml"
    config.write_text(SETTINGS.format(root=root, home=folder / name, kind=kind, address=address), encoding="utf-8")
    return Platform(load_settings(config), progress=False)


def linked(library: Path, folders: tuple[str, ...], into: Path, limit: int) -> Path:
    """A photo root with a part of the library."""
    for folder in folders:
        (into / folder).mkdir(parents=True)
        for file in sorted(path for path in (library / folder).iterdir() if path.is_file())[:limit]:
            shutil.copy2(file, into / folder / file.name)
    return into


def scanned(folder: Path, root: Path) -> Platform:
    """The in-process installation, scanned, and beside it a copy for the cluster."""
    own = installation(folder, root, "own")
    for key in look_at_folders(own).folders["folder_key"]:
        scan_folder(own, key)
    shutil.copytree(folder / "own", folder / "ray")
    return own


def embedded(platform: Platform) -> pl.DataFrame:
    return platform.lake.read(IMAGE_EMBEDDINGS).sort("folder_key", "image_id")


def same_rows(own: pl.DataFrame, other: pl.DataFrame) -> float:
    """Compare row for row; the largest difference between two vectors' numbers."""
    rest = [column for column in own.columns if column != "embedding"]
    assert other.select(rest).equals(own.select(rest))
    have = own["embedding"].is_not_null()
    assert other["embedding"].is_not_null().equals(have)
    one, two = (np.stack(rows.filter(have)["embedding"].to_list()) for rows in (own, other))
    return float(np.abs(one - two).max())


def embed_and_harm(cluster: Cluster, config: Path, harm: Any, *, after: int) -> list[str]:
    """What the run on the cluster said; `harm` is done once `after` batches have arrived."""
    said = []
    with cluster.command(sys.executable, "-m", "tests.scale.ray_embed", str(config)) as run:
        assert run.stdout is not None
        for line in run.stdout:
            said.append(line.strip())
            if line.startswith(f"arrived {after}\n"):
                harm()
    assert run.returncode == 0, cluster.log.read_text(errors="replace")[-4000:]
    return said


def run_with_a_death(folder: Path, library: Path, *, namespaces: bool, cut: bool = False) -> None:
    own = scanned(folder, library)
    killed: list[str] = []
    with running_cluster(folder / "cluster", namespaces=namespaces) as cluster:
        config = installation(folder, library, "ray", kind="ray", address=cluster.address).settings.config_file
        assert config is not None

        def harm() -> None:
            victim = next(name for name in ("worker2", "worker1") if cluster.nodes[name].works())
            if cut:
                cluster.cut(victim)
            killed.extend([] if cut else cluster.nodes[victim].kill())

        said = embed_and_harm(cluster, config, harm, after=2)
    folders = embed_folders(own, own.lake.read(FOLDER_SET)["folder_key"].to_list())
    rows = embedded(own)
    assert rows.height == sum(frame.height for frame in folders.values())
    assert cut or any("raylet" in name for name in killed), killed
    batches = sum(line.startswith("arrived ") for line in said)
    assert batches == -(-rows["image_id"].n_unique() // 8), "every batch comes back once"
    difference = same_rows(rows, embedded(installation(folder, library, "ray")))
    print(f"{next(line for line in said if line.startswith('embedded'))}; largest difference {difference:g}")
    assert difference <= 1e-6


@pytest.mark.skipif(not may_make_namespaces(), reason="network namespaces need root and iproute2")
def test_a_worker_in_its_own_network_is_killed_and_nothing_is_lost_or_doubled(tmp_path: Path, real_data: Path) -> None:
    library = linked(real_data / "library", SHORT, tmp_path / "photos", 48)
    run_with_a_death(tmp_path, library, namespaces=True)


@pytest.mark.soak
@pytest.mark.skipif(not may_make_namespaces(), reason="network namespaces need root and iproute2")
def test_a_worker_whose_network_is_cut_is_replaced(tmp_path: Path, real_data: Path) -> None:
    library = linked(real_data / "library", SHORT, tmp_path / "photos", 48)
    run_with_a_death(tmp_path, library, namespaces=True, cut=True)


@pytest.mark.soak
@pytest.mark.skipif(not may_make_namespaces(), reason="network namespaces need root and iproute2")
def test_the_whole_library_survives_the_death_of_a_worker(tmp_path: Path, real_data: Path) -> None:
    run_with_a_death(tmp_path, real_data / "library", namespaces=True)
