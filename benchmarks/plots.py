"""Result files go in; the plots of docs/performance.md come out as SVG.

python benchmarks/plots.py
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from measure import RESULTS

DOCS = Path(__file__).parent.parent / "docs"
INK = "#777777"  # readable on white and on black
BARS = [  # result file, ratio, label, target (None: no target of its own)
    ("scan", "vs_plain_loop_12_mp", "scan, 12 MP, against a plain loop", 3.0),
    ("scan", "vs_plain_loop_2_mp", "scan, 2 MP, against a plain loop", 3.0),
    ("scan", "rescan_vs_50000_files_a_second", "re-scan, against 50,000 files/s", 1.0),
    ("scan", "folders_vs_workers_anew", "small folders, against workers anew", None),
    ("annotation", "encode_vs_plain_cpu", "encoding 12 MP for the teacher, against Pillow", None),
    ("annotation", "vs_sequential", "annotation, against a sequential script", None),
    ("embedding", "vs_transformers_loop_12_mp", "embedding, 12 MP, against a transformers loop", 4.0),
    ("embedding", "int8_vs_transformers_loop_12_mp", "the same in 8 bits", 4.0),
    ("embedding", "vs_open_clip_12_mp", "embedding, 12 MP, against open_clip", 4.0),
    ("embedding", "vs_transformers_loop_2_mp", "embedding, 2 MP, against a transformers loop", 4.0),
    ("embedding", "int8_vs_transformers_loop_2_mp", "the same in 8 bits, 2 MP", 4.0),
    ("students", "vs_sklearn_to_same_validation_loss", "a head to scikit-learn's loss, a million vectors", 5.0),
    ("heads_vs_sklearn", "vs_sklearn_path_to_same_validation_loss", "a head to scikit-learn's path, 11,551 vectors", 5.0),
    ("students_cleanlab", "vectors_vs_cleanlab", "near-duplicates of 20,000 vectors, against cleanlab", 5.0),
    ("students", "pairs_vs_nearest_neighbours", "near-duplicates of 100,000 hashes, against faiss", None),
    ("search", "vs_numpy", "top 10 of a million, against numpy", None),
    ("search", "vs_duckdb", "top 10 of a million, against DuckDB", None),
    ("dagster_overhead", "warm_start_vs_cold_cpu_1", "a tiny run, against Dagster's own launcher", None),
]


def read(name: str) -> dict[str, Any]:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": [], "ratios": {}}


def ratios() -> None:
    found = [(label, read(name)["ratios"].get(key), target) for name, key, label, target in BARS]
    shown = [(label, value, target) for label, value, target in reversed(found) if value is not None]
    figure, axes = plt.subplots(figsize=(8, 0.45 * len(shown) + 1), layout="constrained")
    axes.barh([label for label, _, _ in shown], [value for _, value, _ in shown], color="#4c78a8", height=0.6)
    for at, (_, value, target) in enumerate(shown):
        axes.text(max(value, target or 0) * 1.07, at, f"{value:.3g}", va="center", color=INK)
        if target is not None:
            axes.plot([target, target], [at - 0.4, at + 0.4], color="#e45756", linewidth=2)
    axes.set_xscale("log")
    axes.set_xlim(0.5, max(value for _, value, _ in shown) * 3)
    axes.axvline(1, color=INK, linewidth=0.8)
    axes.set_xlabel("times as fast (red: target)")
    save(figure, axes, "performance-ratios.svg")


def growth() -> None:
    lines: dict[str, list[tuple[int, float]]] = defaultdict(list)
    rows = read("growth")["rows"]
    has_cpu = any(row["unit"] == "cpu s" for row in rows)  # older files have wall-clock times only
    for row in rows:
        name, _, size = row["variant"].partition(", ")
        if row["unit"] == ("cpu s" if has_cpu and name != "scan" else "s"):  # the scan's work is in other processes
            lines[name].append((int(size), row["value"]))
    figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    for name, points in lines.items():
        axes.plot(*zip(*sorted(points), strict=True), marker="o", label=name)
    sizes = sorted({size for points in lines.values() for size, _ in points})
    axes.plot(sizes, [1e-5 * size for size in sizes], color=INK, linestyle=":", label="linear (10 µs a photo)")
    axes.set(xscale="log", yscale="log", xlabel="photos", ylabel="CPU seconds (scan: seconds)" if has_cpu else "seconds")
    axes.legend(frameon=False, labelcolor=INK, loc="center left", bbox_to_anchor=(1.0, 0.5))
    save(figure, axes, "performance-growth.svg")


def save(figure: plt.Figure, axes: plt.Axes, name: str) -> None:
    axes.tick_params(colors=INK, which="both")
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    for side, spine in axes.spines.items():
        spine.set_color(INK)
        spine.set_visible(side in ("left", "bottom"))
    figure.savefig(DOCS / name, transparent=True, metadata={"Date": None})
    plt.close(figure)
    print(DOCS / name)


def main() -> None:
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "vibe"  # the same figures give the same file
    ratios()
    growth()


if __name__ == "__main__":
    main()
