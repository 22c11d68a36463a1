"""One linear map from values to 16-bit integers for a whole series."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEVELS = 2**16 - 1
# The finest slope whose decimal expansion fits the 16 characters of a DICOM decimal string.
_FINEST_HU = 2.0**-10


@dataclass(frozen=True)
class Quantisation:
    """``value = slope * stored + intercept`` with an error of at most ``slope / 2``.

    Attributes:
        slope: a power of two, so that it is exact in binary and in decimal.
        intercept: whole number.
        signed: of the stored 16-bit integers.
    """

    slope: float
    intercept: float
    signed: bool

    def store(self, values: NDArray[np.float32]) -> NDArray[Any]:
        """Little-endian 16-bit integers."""
        stored = np.rint((values.astype(np.float64) - self.intercept) / self.slope)
        low, high = (-(2**15), 2**15 - 1) if self.signed else (0, _LEVELS)
        return np.asarray(np.clip(stored, low, high).astype("<i2" if self.signed else "<u2"))


def for_hounsfield(low: float, high: float, whole: bool) -> Quantisation:
    """For CT: unsigned, intercept at or below the smallest value; slope 1 for values that are whole numbers."""
    intercept = float(math.floor(low))
    slope = _power_of_two((high - intercept) / _LEVELS)
    slope = 1.0 if whole and slope <= 1 else max(slope, _FINEST_HU)
    return Quantisation(slope, intercept, signed=False)


def for_arbitrary(low: float, high: float, whole: bool) -> Quantisation:
    """For MR and maps: intercept zero, signed when there are negative values."""
    signed = low < 0
    slope = _power_of_two(max(high / (2**15 - 1), -low / 2**15) if signed else high / _LEVELS)
    return Quantisation(1.0 if whole and slope <= 1 else slope, 0.0, signed)


def _power_of_two(least: float) -> float:
    return 2.0 ** math.ceil(math.log2(least)) if least > 0 else 1.0
