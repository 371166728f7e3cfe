"""Named variants go in; they run in turns (A B A B ...), and medians, spreads and paired ratios come out as `results/<name>.json`.

A ratio is the median over the turns of peer / own, both taken within one turn: what else the machine does at that moment slows both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
Figures = Mapping[str, float]  # unit -> value of one run; "s" is wall-clock time
Variant = Callable[[], object]  # returns Figures; anything else: only its time counts


def parser(doc: str | None, *, runs: int = 5) -> argparse.ArgumentParser:
    """What every benchmark's command takes."""
    wanted = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    wanted.add_argument("--runs", type=int, default=runs, help="turns of all variants")
    wanted.add_argument("--full", action="store_true", help="the large sizes, too")
    wanted.add_argument("--out", type=Path, default=RESULTS, help="folder of the result file")
    return wanted


class Bench:
    """The runs of one question. `packages` are those whose versions decide the answer."""

    def __init__(self, name: str, options: argparse.Namespace, *, seed: int, packages: tuple[str, ...] = ()) -> None:
        self.name, self.options, self.seed, self.packages = name, options, seed, packages
        self.taken: dict[str, list[Figures]] = {}
        self.ratios: dict[str, float] = {}
        self.work: dict[str, Any] = {}
        self.load = _load()

    def turns(self, variants: Mapping[str, Variant], *, runs: int | None = None, warm: bool = False) -> None:
        """Run all variants in turns; `warm`: once before, uncounted."""
        for variant in variants.values() if warm else ():
            variant()
        count = runs or self.options.runs
        for turn in range(count):
            for name, variant in variants.items():
                started = time.perf_counter()
                returned = variant()
                figures = returned if isinstance(returned, Mapping) else {}
                figures = figures if "s" in figures else {"s": time.perf_counter() - started, **figures}
                self.taken.setdefault(name, []).append(figures)
                said = ", ".join(f"{value:.4g} {unit}" for unit, value in figures.items())
                print(f"{self.name} {turn + 1}/{count} {name}: {said}", flush=True)

    def ratio(self, name: str, peer: str, own: str, *, unit: str = "s") -> float:
        """Keep and return the median of peer / own per turn: above 1 where the own variant needs less of the unit."""
        pairs = zip(self.taken[peer], self.taken[own], strict=True)
        self.ratios[name] = round(statistics.median(p[unit] / o[unit] for p, o in pairs), 3)
        print(f"{self.name} {name} = {self.ratios[name]:g}", flush=True)
        return self.ratios[name]

    def versus_limit(self, name: str, own: str, limit: float, *, unit: str) -> float:
        """Keep and return the median of own / limit."""
        self.ratios[name] = round(self.median(own, unit) / limit, 3)
        print(f"{self.name} {name} = {self.ratios[name]:g}", flush=True)
        return self.ratios[name]

    def median(self, variant: str, unit: str = "s") -> float:
        return statistics.median(figures[unit] for figures in self.taken[variant])

    def write(self) -> Path:
        """`<out>/<name>.json`; returns its path."""
        path = self.options.out / f"{self.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.report(), indent=1) + "\n", encoding="utf-8")
        print(path)
        return path

    def report(self) -> dict[str, Any]:
        rows = []
        for name, runs in self.taken.items():
            for unit in runs[0]:
                values = [figures[unit] for figures in runs]
                rows.append(
                    {"variant": name, "value": _short(statistics.median(values)), "unit": unit, "min": _short(min(values)),
                     "max": _short(max(values)), "runs": len(values)}
                )  # fmt: skip
        return {
            "name": self.name,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": _commit(),
            "hardware": {
                "cpu": _cpu(), "cores": os.cpu_count(), "memory_gb": _memory_gb(), "load_before": self.load, "load_after": _load(),
            },
            "versions": {"python": platform.python_version(), **{name: _version(name) for name in self.packages}},
            "command": self._command(), "seed": self.seed, "work": self.work, "rows": rows, "ratios": self.ratios,
        }  # fmt: skip

    def _command(self) -> str:
        """As it was called; of paths only the last part, since they mean nothing elsewhere."""
        return " ".join(
            [f"python benchmarks/{Path(sys.argv[0]).name}", *(Path(word).name if "/" in word else word for word in sys.argv[1:])]
        )


def seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall-clock time of one call, and the CPU time of this process (all threads, no children) in it."""
    started, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - cpu


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _commit() -> str:
    def git(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *words], capture_output=True, text=True, cwd=RESULTS.parent, check=False)

    return git("rev-parse", "HEAD").stdout.strip() + ("-dirty" if git("diff", "--quiet", "HEAD").returncode else "")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _load() -> list[float]:
    return [round(value, 2) for value in os.getloadavg()]


def _memory_gb() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)


def _cpu() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
