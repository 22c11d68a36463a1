"""The centre of rotation of fans, from analytic projections of discs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from medldm_rawdata.projections.fan_centre import find_fan_centre

BINS, PITCH, NEAR, FAR = 96, 1.4, 90.0, 160.0
# x, y, radius in mm and attenuation.
DISCS = ((0.0, 2.0, 22.0, 1.0), (9.0, -6.0, 6.0, 0.7), (-8.0, 7.0, 4.0, -0.5))


def fan(degrees: NDArray[np.float64], centre: float, *, curved: bool) -> NDArray[np.float64]:
    ratio = (np.arange(BINS) - centre) * PITCH / FAR
    gamma = ratio if curved else np.arctan(ratio)
    theta, s = np.deg2rad(degrees)[:, None] - gamma, NEAR * np.sin(gamma)
    total = np.zeros((1, len(degrees), BINS))
    for x, y, radius, value in DISCS:
        off = s - x * np.cos(theta) - y * np.sin(theta)
        total[0] += 2 * value * np.sqrt(np.clip(radius**2 - off**2, 0, None))
    return total


def find(projections: NDArray[np.float64], degrees: NDArray[np.float64], *, curved: bool) -> float | None:
    found = find_fan_centre(projections, degrees, pitch=PITCH, source_to_detector=FAR, curved=curved)
    return None if found is None else found.bin


@pytest.mark.parametrize("curved", [False, True])
@pytest.mark.parametrize("centre", [47.5, 44.3, 55.8])
def test_the_centre_of_a_full_turn_is_found(curved: bool, centre: float) -> None:
    degrees = np.arange(120) * 3.0 - 40
    noise = np.random.default_rng(0).normal(0, 0.3, (1, 120, BINS))
    measured = fan(degrees, centre, curved=curved) + noise
    assert find(measured, degrees, curved=curved) == pytest.approx(centre, abs=0.15)
    shuffled = np.random.default_rng(1).permutation(120)
    assert find(measured[:, shuffled], degrees[shuffled], curved=curved) == pytest.approx(centre, abs=0.15)


def test_what_cannot_tell_gives_none() -> None:
    part = np.arange(100) * 2.5
    assert find(fan(part, 50.0, curved=True), part, curved=True) is None
    whole = np.arange(100) * 3.6
    assert find(np.zeros((1, 100, BINS)), whole, curved=True) is None
    assert find(np.random.default_rng(2).normal(size=(1, 100, BINS)), whole, curved=True) is None
