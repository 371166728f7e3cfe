"""One simulated figure and the range that is claimed for it."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """`value` over `libraries` simulated ones must lie in [low, high]; `before`: the same simulation with what was there earlier.

    `share`: the value is a share of the libraries (a coverage, a rate of errors), so that few of them blur it: the range is widened by
    three standard errors at its ends. Other values bring their standard error themselves.
    """

    setting: str
    value: float
    low: float
    high: float
    libraries: int
    before: float | None = None
    error: float | None = None  # standard error of a value that is no share

    @property
    def holds(self) -> bool:
        def slack(end: float) -> float:
            if self.error is not None:
                return 3 * self.error
            return 3 * math.sqrt(max(end * (1 - end), 1 / self.libraries) / self.libraries) if 0 <= end <= 1 else 0.0

        return bool(self.low - slack(self.low) <= self.value <= self.high + slack(self.high))

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "DOES NOT HOLD"
        before = "" if self.before is None else f", before {self.before:.4g}"
        return f"{self.setting}: {self.value:.4g} of [{self.low:.4g}, {self.high:.4g}]{before}, {self.libraries} libraries: {verdict}"
