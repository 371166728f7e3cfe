"""What our figures claim, proved by simulation: libraries of known truth go through the product's own functions, seeded.

    python benchmarks/truth.py                     every row, 2,000 libraries each; hours on two cores
    python benchmarks/truth.py bursts gates        these rows
    python benchmarks/truth.py --quick             10 libraries a setting, minutes; the range is widened by what so few can tell

A row is a module of benchmarks/truths: TITLE, CLAIM and `simulate(libraries, seed)`, which yields a `Result` for every setting. Results
go row by row to benchmarks/results/truth.json and, unless --quick, into the table of docs/truth.md. Ends with status 1 where a claim does
not hold.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROWS = sorted(path.stem for path in (HERE / "truths").glob("*.py") if path.stem not in ("__init__", "library", "result"))
RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "truth.md"
QUICK = 10
START, END = "<!-- rows: written by benchmarks/truth.py -->\n", "<!-- end of rows -->"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; all by default")
    parser.add_argument("--libraries", type=int, default=2000, help="simulated libraries a setting (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} libraries a setting, and no page")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of truth.json; the page shows the default one")
    options = parser.parse_args()
    if unknown := sorted(set(options.rows) - set(ROWS)):
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    file = options.out / "truth.json"
    options.out.mkdir(parents=True, exist_ok=True)
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() and not options.quick else {}
    broken = 0
    for name in options.rows or ROWS:
        row, began = importlib.import_module(f"truths.{name}"), time.monotonic()
        results = []
        for result in row.simulate(QUICK if options.quick else options.libraries, options.seed):
            results.append(result)
            print(f"{name}: {result}", flush=True)
        seconds = round(time.monotonic() - began, 1)
        broken += sum(not result.holds for result in results)
        print(f"{name}: {len(results)} settings in {seconds} s", flush=True)
        told = [{**asdict(one), "value": float(one.value), "holds": one.holds} for one in results]
        found[name] = {"title": row.TITLE, "claim": row.CLAIM, "s": seconds, "results": told}
        file.write_text(json.dumps(dict(sorted(found.items())), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if not options.quick and options.out == RESULTS:  # after every row: whoever stops it keeps what was measured
            text = PAGE.read_text(encoding="utf-8")
            head, tail = text.index(START) + len(START), text.index(END)
            PAGE.write_text(f"{text[:head]}{table(found)}{text[tail:]}", encoding="utf-8")
    return 1 if broken else 0


def table(found: dict[str, Any]) -> str:
    """Markdown: in how many settings each claim is true, then every setting of every row. Before: where there is a figure of it."""
    lines = ["| row | claim | settings | true before | true now | libraries a setting |", "|---|---|---:|---:|---:|---:|"]
    for name, row in sorted(found.items()):
        told = row["results"]
        before = [one["low"] <= one["before"] <= one["high"] for one in told if one["before"] is not None]
        was = f"{sum(before)} of {len(before)}" if before else ""
        now, libraries = sum(one["holds"] for one in told), _ends([one["libraries"] for one in told], ",")
        lines.append(f"| [{name}](#{name}) | {row['claim']} | {len(told)} | {was} | {now} of {len(told)} | {libraries} |")
    for name, row in sorted(found.items()):
        lines += ["", f"### {name}", "", f"{row['title']}: {row['claim']}.", "", "| setting | claimed | before | now | libraries |"]
        lines += ["|---|---:|---:|---:|---:|"]
        for one in row["results"]:
            was = "" if one["before"] is None else f"{one['before']:.3g}"
            claimed = _ends([one["low"], one["high"]], ".3g")
            lines.append(f"| {one['setting']} | {claimed} | {was} | {one['value']:.3g} | {one['libraries']:,} |")
    return "\n".join(lines) + "\n"


def _ends(values: Sequence[float], form: str) -> str:
    """The smallest and the largest, one where they read alike."""
    shown = [format(value, form) for value in (min(values), max(values))] if values else [""]
    return " to ".join(dict.fromkeys(shown))


if __name__ == "__main__":
    sys.exit(main())
