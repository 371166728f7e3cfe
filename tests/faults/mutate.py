"""Show that every row of docs/reliability.md has a test that fails without its protection.

    .venv/bin/python tests/faults/mutate.py            all rows but those marked slow
    .venv/bin/python tests/faults/mutate.py ROW...     these rows
    .venv/bin/python tests/faults/mutate.py --write    and put what was seen into the page's last column

A mutation is a piece of source taken out in a temporary copy of package and tests. The row's test must fail there; a mutation whose
source is no longer found, or whose test passes, ends the script with status 1. Where a row names several tests, the first one is run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.faults.mutations import MUTATIONS, Mutation
from tests.faults.table import PAGE, ROOT, Row, rows

LIMIT_S, SLOW_LIMIT_S = 120, 900


def mutated(folder: Path, mutation: Mutation) -> None:
    """Apply it in a copy. Raises ValueError when the source is not there exactly once."""
    file = folder / mutation.file
    text = file.read_text(encoding="utf-8")
    for old, new in mutation.edits:
        if text.count(old) != 1:
            raise ValueError(
                f"{mutation.file}: expected once, found {text.count(old)} times: {old!r}; bring tests/faults/mutate.py up to date"
            )
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")


def show(row: Row, mutation: Mutation) -> str:
    """Run the row's first test on the mutated copy: 'fails: N of M tests', or why that is not so."""
    with tempfile.TemporaryDirectory(prefix=f"without-{row.name}-") as place:
        copy = Path(place)
        for name in ("vibe_assets", "tests"):
            shutil.copytree(ROOT / name, copy / name)
        for name in ("pyproject.toml", "README.md", "docs", "dagster_home"):  # read by tests
            (copy / name).symlink_to(ROOT / name)
        mutated(copy, mutation)
        environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        options = ["-q", "-p", "no:cacheprovider", f"--timeout={SLOW_LIMIT_S if mutation.slow else LIMIT_S}", f"--basetemp={copy}/t"]
        command = [sys.executable, "-m", "pytest", *options, row.tests[0]]
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
        last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-300:]
        failed, passed = (int(found[1]) if (found := re.search(rf"(\d+) {word}", last)) else 0 for word in ("failed", "passed"))
        if re.search(r"Timeout (\(>|\+)", done.stdout):  # as pytest-timeout says it, by signal or by thread
            return "fails: does not end"
        return f"fails: {failed} of {failed + passed} tests" if done.returncode == 1 and failed else f"PASSES ({last})"


def main() -> int:
    write, wanted = "--write" in sys.argv, [name for name in sys.argv[1:] if not name.startswith("--")]
    table = {row.name: row for row in rows()}
    wrong = 0
    for name, mutation in MUTATIONS.items():
        if (wanted and name not in wanted) or (mutation.slow and not wanted):
            continue
        row = table[name]
        seen = show(row, mutation)
        wrong += not seen.startswith("fails")
        print(f"{name}: without {row.without}: {seen}", flush=True)
        if write and seen.startswith("fails"):
            text = PAGE.read_text(encoding="utf-8")
            PAGE.write_text(re.sub(rf"^(\| `{name}` \|.*\| )[^|]*( \|)$", rf"\g<1>{seen}\g<2>", text, flags=re.MULTILINE), encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
