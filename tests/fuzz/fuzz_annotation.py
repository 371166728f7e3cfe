"""libFuzzer's options go in: `python tests/fuzz/fuzz_annotation.py -max_total_time=60` fuzzes the target `annotation` of targets.py."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from tests.fuzz.run import fuzz

    fuzz("annotation", sys.argv[1:])
