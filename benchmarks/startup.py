"""Commands go in; how long they take from nothing, in turns with an empty interpreter, comes out.

    python benchmarks/startup.py [--runs 9]

`code location` imports vibe_assets.definitions and builds the repository, which is what the Dagster webserver and daemon wait for;
`dagster alone` imports the framework only. Byte code is cached as in any installation.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import Bench, Figures, Variant, parser

VIBE = Path(sys.executable).with_name("vibe")
LIMITS_S = {"vibe --help": 0.3, "code location": 3.0}
COMMANDS = {
    "empty interpreter": [sys.executable, "-c", "pass"],
    "vibe --help": [str(VIBE), "--help"],
    "dagster alone": [sys.executable, "-c", "import dagster"],
    "code location": [sys.executable, "-c", "from vibe_assets.definitions import defs; defs.get_repository_def()"],
}


def started(command: list[str], caches: str) -> Variant:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def run() -> Figures:
        before, at = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment | {"PYTHONPYCACHEPREFIX": caches})
        took, after = time.perf_counter() - at, resource.getrusage(resource.RUSAGE_CHILDREN)
        return {"s": took, "cpu s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}

    return run


def main() -> None:
    options = parser(__doc__, runs=9).parse_args()
    bench = Bench("startup", options, seed=0, packages=("dagster", "click", "polars", "duckdb"))
    with tempfile.TemporaryDirectory(prefix="vibe-bench-") as caches:
        bench.turns({name: started(command, caches) for name, command in COMMANDS.items()}, warm=True)
    for name, limit_s in LIMITS_S.items():
        bench.versus_limit(f"{name.replace('vibe --', '').replace(' ', '_')}_vs_limit", name, limit_s, unit="s")
        bench.versus_limit(f"{name.replace('vibe --', '').replace(' ', '_')}_cpu_vs_limit", name, limit_s, unit="cpu s")
    bench.ratio("code_location_vs_dagster_alone_cpu", "dagster alone", "code location", unit="cpu s")
    bench.work = {"limits_s": LIMITS_S}
    bench.write()


if __name__ == "__main__":
    main()
