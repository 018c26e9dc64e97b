"""Sums of errors over known pixels: add images, merge parts, divide at the end."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

RATIO = 1.25


@dataclass(frozen=True)
class ValueErrors:
    """Errors of numbers per pixel so far."""

    known: int = 0  # pixels with a label
    positive: int = 0  # of them, with a label above 0
    absolute: float = 0.0  # sum of |p - y|
    squared: float = 0.0  # sum of (p - y)²
    relative: float = 0.0  # sum of |p - y| / y where y > 0
    close: int = 0  # pixels with max(p / y, y / p) < 1.25

    def update(self, predicted: NDArray[np.floating], label: NDArray[np.floating]) -> ValueErrors:
        """These errors plus one image; both (H, W), the label NaN where unknown.

        Raises:
            ValueError: the sizes differ, or a known pixel has no finite prediction.
        """
        if predicted.shape != label.shape:
            raise ValueError(f"predicted {predicted.shape} and label {label.shape} differ in size")
        seen = np.isfinite(label)
        p, y = predicted[seen].astype(np.float64), label[seen].astype(np.float64)
        if not np.isfinite(p).all():
            raise ValueError(
                f"no finite number at {(~np.isfinite(p)).sum():,} of {p.size:,} pixels"
            )
        apart = np.abs(p - y)
        above = y > 0
        close = above & (p > 0) & (p < RATIO * y) & (y < RATIO * p)
        return self.merge(
            ValueErrors(
                len(y),
                int(above.sum()),
                float(apart.sum()),
                float(np.square(apart).sum()),
                float((apart[above] / y[above]).sum()),
                int(close.sum()),
            )
        )

    def merge(self, other: ValueErrors) -> ValueErrors:
        """Both parts together."""
        return ValueErrors(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def compute(self) -> dict[str, float]:
        """`mean_absolute_error`, `abs_rel`, `rmse`, `delta_1.25`; NaN without a known pixel."""
        return {
            "mean_absolute_error": _mean(self.absolute, self.known),
            "abs_rel": _mean(self.relative, self.positive),
            "rmse": float(np.sqrt(_mean(self.squared, self.known))),
            "delta_1.25": _mean(self.close, self.positive),
        }


def _mean(total: float, count: int) -> float:
    return total / count if count else float("nan")
