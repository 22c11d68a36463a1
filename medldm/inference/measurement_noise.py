"""The noise level of a measurement: stated by the scan, or by the user, or refused."""

from __future__ import annotations

from typing import Literal

from medldm.data import Acquisition
from medldm.errors import UsageError


def measurement_noise(acquisition: Acquisition, stated: float | Literal["acquisition"]) -> float:
    """The standard deviation per real component in units of the measurement.

    Args:
        acquisition: whose own noise level counts for ``"acquisition"``.
        stated: the recipe's ``likelihood.std``.

    Raises:
        UsageError: E-LIK-09 when the noise is neither known nor given.
    """
    std = acquisition.noise_std if stated == "acquisition" else stated
    if std is None:
        raise UsageError(
            "E-LIK-09",
            "The noise of the measurement is not known.",
            why="Without it data and prior cannot be weighed against each other.",
            fix="State it per real component, in units of the measurement: --set likelihood.std=12.5",
        )
    return float(std)
