"""Student's t in closed form against tables and against draws."""

from __future__ import annotations

import pytest

from medldm.inference.student_t import quantile, two_sided


@pytest.mark.parametrize(
    ("level", "degrees", "table"),
    # Abramowitz and Stegun, table 26.10.
    [(0.8, 1, 3.078), (0.8, 3, 1.638), (0.5, 2, 0.816), (0.95, 1, 12.706), (0.95, 7, 2.365), (0.95, 30, 2.042)],
)
def test_quantiles_are_those_of_the_tables(level: float, degrees: int, table: float) -> None:
    assert quantile(level, degrees) == pytest.approx(table, abs=5e-4)


def test_many_degrees_are_normal() -> None:
    assert two_sided(1.959964, 4000) == pytest.approx(0.95, abs=2e-4)
    assert two_sided(0.0, 5) == 0


@pytest.mark.parametrize(("level", "degrees"), [(0.0, 3), (1.0, 3), (0.8, 0)])
def test_what_has_no_quantile_is_refused(level: float, degrees: int) -> None:
    with pytest.raises(ValueError, match="level"):
        quantile(level, degrees)
