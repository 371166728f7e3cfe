"""Every target survives its corpus, what was found before, and two seconds of new inputs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS, seeds

SECONDS = 2


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_every_seed_and_every_cut_of_it_is_survived(name: str) -> None:
    for seed in seeds(name):
        for cut in {0, 1, 2, len(seed) // 3, len(seed) // 2, len(seed) - 1, len(seed)}:
            TARGETS[name](seed[: max(0, cut)])
        TARGETS[name](seed[::-1])
        TARGETS[name](seed + seed)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_two_seconds_of_fuzzing_find_nothing(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed (Linux with Python below 3.14 only)")
    script = Path(__file__).with_name(f"fuzz_{name}.py")
    # The peak that libFuzzer reads is inherited from this process, large after other tests: single requests are capped instead.
    limits = ["-rss_limit_mb=0", "-malloc_limit_mb=1500"]
    command = [sys.executable, str(script), f"-max_total_time={SECONDS}", "-seed=1", *limits, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert "DONE" in done.stderr, "libFuzzer said that it ran"
