"""Every sample must explain its measurement."""

from __future__ import annotations

import math

import pytest

from medldm.errors import GateFailed
from medldm.pipeline.checks import Fit, doubts, failed_gates, require_passed

NAN = math.nan


def fit(*chi: float, slices: list[list[float | None]] | None = None, degrees: int | None = 10**6) -> Fit:
    return Fit(list(chi), slices or [], degrees)


def test_one_sample_that_does_not_fit_is_enough() -> None:
    gates = {"chi_max": 1.2}
    require_passed(failed_gates(fit(1.1, 1.0, 0.3), gates))
    with pytest.raises(GateFailed, match=r"E-GATE-02.*chi of sample 1 is 1\.5, above chi_max 1\.2"):
        require_passed(failed_gates(fit(1.0, 1.5, 1.0), gates))
    assert failed_gates(fit(1.5, 1.0, 1.7, 1.6), gates)[0].startswith("chi of samples 0, 2 to 3 is 1.5 to 1.7, ")
    assert failed_gates(fit(1.5), gates)[0].startswith("chi is 1.5, ")
    assert failed_gates(fit(NAN), gates)
    assert GateFailed.exit_code == 6


def test_chance_may_add_five_standard_deviations() -> None:
    gates = {"chi_max": 1.0}
    assert not failed_gates(fit(1 + 4.9 * math.sqrt(2 / 50), degrees=50), gates)
    assert failed_gates(fit(1 + 5.1 * math.sqrt(2 / 50), degrees=50), gates)
    assert failed_gates(fit(1.01, degrees=None), gates)


def test_without_a_gate_nothing_fails() -> None:
    assert not failed_gates(fit(100.0), {})
    assert not doubts(fit(1.9, slices=[[100.0]]), {}, exact=True)


def test_without_a_gate_what_does_not_fit_is_doubted() -> None:
    (found,) = doubts(fit(1.0, 5.37), {}, exact=False)
    assert found == "chi of sample 1 is 5.37, above 2: the image does not explain its measurement"
    assert doubts(fit(NAN), {}, exact=False)
    assert not doubts(fit(2 + 4.9 * math.sqrt(2 / 50), degrees=50), {}, exact=False)
    assert not doubts(fit(1.5, 5.37), {"chi_max": 1.0}, exact=False), "the gate has failed already"


def test_a_sampler_that_fits_the_noise_is_doubted_and_a_mean_is_not() -> None:
    gates = {"chi_max": 1.25}
    (found,) = doubts(fit(1.0, 0.7), gates, exact=True)
    assert found.startswith("chi of sample 1 is 0.7, far below 1")
    assert not doubts(fit(1.0, 0.82), gates, exact=True)
    assert not doubts(fit(1.0, 0.1), gates, exact=False)


def test_slices_that_do_not_fit_are_named() -> None:
    curves: list[list[float | None]] = [[1.0, 3.0, 3.1, None, 1.0], [1.0, 1.0, 1.0, None, 9.0]]
    (found,) = doubts(fit(1.0, 1.0, slices=curves), {"chi_max": 2.0}, exact=False)
    assert "slices 1 to 2, 4 " in found
