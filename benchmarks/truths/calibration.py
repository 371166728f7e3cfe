"""Sources of known calibration: does the interval of their calibration error hold the truth, and is a calibrated one told so?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from truths.result import Result
from vibe_assets.evaluate.intervals import percentile_estimate, ratio, resampled_totals
from vibe_assets.evaluate.metrics import CALIBRATION_BINS, calibration_error

TITLE = "Calibration error"
CLAIM = "the 95 % interval holds the error of the bins; a calibrated source has an error of 0 on average"
BOAST = {"calibrated": 1.0, "boasting": 0.5, "boasting a little": 0.85}  # stated confidence = true one to this power


def simulate(libraries: int, seed: int) -> Iterator[Result]:
    for name, power in BOAST.items():
        for photos, burst in ((100, 1), (500, 1), (500, 5)):
            yield _coverage(
                f"{name}, {photos} photos" + (f" in bursts of {burst}" if burst > 1 else ""), power, photos, burst, libraries, seed
            )
    values = [_judged(np.random.default_rng([seed, at]), 1.0, 100, 1) for at in range(libraries)]
    found, were = (np.array([one[k] for one in values]) for k in (0, 1))
    yield Result("calibrated, 100 photos: mean of the value", found.mean(), 0.0, 0.02, libraries, were.mean(), found.std() / libraries**0.5)


def _coverage(setting: str, power: float, photos: int, burst: int, libraries: int, seed: int) -> Result:
    truth = _truth(power)
    now = before = 0
    for at in range(libraries):
        confidence, right, groups = _draw(np.random.default_rng([seed, at]), power, photos, burst)
        found, old = calibration_error(confidence, right, groups=groups), _before(confidence, right, groups)
        now += found is not None and found.low <= truth <= found.high
        before += old[0] <= truth <= old[1]
    return Result(setting, now / libraries, 0.95, 1.0, libraries, before / libraries)


def _judged(rng: np.random.Generator, power: float, photos: int, burst: int) -> tuple[float, float]:
    confidence, right, groups = _draw(rng, power, photos, burst)
    found = calibration_error(confidence, right, groups=groups)
    assert found is not None
    return found.value, _before(confidence, right, groups)[2]


def _draw(rng: np.random.Generator, power: float, photos: int, burst: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stated confidences, whether right, and bursts, whose photos are alike and right or wrong together."""
    true, luck = rng.beta(4, 1.5, photos // burst), rng.random(photos // burst)
    return np.repeat(true**power, burst), np.repeat(luck < true, burst).astype(float), np.arange(photos) // burst


def _truth(power: float) -> float:
    """The error of the bins, without the luck of the draw."""
    true = np.random.default_rng(0).beta(4, 1.5, 500_000)
    code = np.minimum((true**power * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return float(np.abs(np.bincount(code, true**power - true)).sum() / len(true))


def _before(confidence: np.ndarray, right: np.ndarray, groups: np.ndarray) -> tuple[float, float, float]:
    """As it was: plain bins with a percentile interval. Low, high, value."""
    code = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    terms = {str(k): (code == k) * (confidence - right) for k in range(CALIBRATION_BINS)}
    totals = resampled_totals(terms | {"one": np.ones(len(code))}, groups=groups, resamples=200)
    gaps = np.abs(np.stack([totals[str(k)] for k in range(CALIBRATION_BINS)])).sum(axis=0)
    found = percentile_estimate(ratio(gaps, totals["one"]), n=len(code))
    assert found is not None
    return found.low, found.high, found.value
