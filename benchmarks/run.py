"""The benchmarks of `make bench` (short, under ten minutes) or `make bench-full` run one after the other; results and plots come out.

python benchmarks/run.py [--full]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
SHORT = {
    "startup.py": ["--runs", "5"], "scan.py": ["--runs", "3"], "annotation.py": ["--runs", "2"], "heads_vs_sklearn.py": ["--runs", "1"],
    "students.py": ["--runs", "1"], "search.py": ["--runs", "3"], "lake.py": ["--runs", "1"], "embedding.py": ["--runs", "1"],
    "dagster_overhead.py": ["--runs", "3"], "growth.py": [],
}  # fmt: skip
FULL = {
    "startup.py": ["--runs", "9"], "scan.py": ["--runs", "7", "--full"], "annotation.py": ["--runs", "5", "--full"],
    "heads_vs_sklearn.py": ["--runs", "5"], "students.py": ["--runs", "1", "--full"], "search.py": ["--runs", "3", "--full"],
    "lake.py": ["--runs", "1", "--full"], "embedding.py": ["--runs", "3", "--full"], "dagster_overhead.py": ["--runs", "3", "--full"],
    "growth.py": ["--full"], "lineage.py": [],
}  # fmt: skip


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    wanted.add_argument("--full", action="store_true", help="large sizes and more turns")
    chosen, failed = FULL if wanted.parse_args().full else SHORT, []
    for script, options in {**chosen, "plots.py": []}.items():
        started = time.monotonic()
        ended = subprocess.run([sys.executable, str(HERE / script), *options], check=False)
        print(f"-- {script}: {time.monotonic() - started:.0f} s, exit status {ended.returncode}", flush=True)
        failed += [script] if ended.returncode else []
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
