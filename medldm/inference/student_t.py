"""Student's t: how wide an interval must be when the spread itself is known from a few samples only."""

from __future__ import annotations

import math
from functools import lru_cache


def two_sided(t: float, degrees: int) -> float:
    """``P(|T| <= t)`` for whole degrees of freedom, in closed form (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4)."""
    theta = math.atan(t / math.sqrt(degrees))
    sine, cosine = math.sin(theta), math.cos(theta)
    odd = degrees % 2 == 1
    term = cosine if odd else 1.0
    total = 0.0
    for k in range(2 + odd, degrees + 1, 2):
        total += term
        term *= cosine**2 * (k - 1) / k
    return 2 / math.pi * (theta + sine * total) if odd else sine * total


@lru_cache(maxsize=1024)
def quantile(level: float, degrees: int) -> float:
    """The ``t`` with ``P(|T| <= t) = level``, by bisection."""
    if not 0 < level < 1 or degrees < 1:
        raise ValueError(f"a level between 0 and 1 and at least one degree of freedom, not {level} and {degrees}")
    low, high = 0.0, 1.0
    while two_sided(high, degrees) < level:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided(middle, degrees) < level else (low, middle)
    return (low + high) / 2
