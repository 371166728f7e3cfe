"""libFuzzer's options go in: `python tests/fuzz/fuzz_decode.py -max_total_time=60` fuzzes the target `decode` of targets.py."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from tests.fuzz.run import fuzz

    fuzz("decode", sys.argv[1:])
