"""libFuzzer's options go in: `python tests/fuzz/fuzz_audit.py -max_total_time=60` fuzzes the target `audit` of targets.py."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from tests.fuzz.run import fuzz

    fuzz("audit", sys.argv[1:])
