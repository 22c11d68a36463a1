"""Detector counts with flats and darks -> line integrals, photons, and what is wrong with either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused, Problem
from medldm_rawdata.projections.measured import DEFAULT_PHOTONS, assumed_photons
from medldm_rawdata.projections.saturation import limit_of, plateau, saturated

Array = NDArray[np.float64]
# More bins than this without a measurement are no few dead pixels.
_DEAD_SHARE = 0.05
# Of the squared mean count: a variance below it, of more than a billion photons, is rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class FlatField:
    """Mean dark and flat of each bin ``(row, bin)``, and what their spread tells of the noise.

    Attributes:
        dark, flat: mean counts of the detector, dark subtracted from the flat.
        dead: bins whose flat is zero, negative or saturated.
        photons: per bin in the flat.
        electronic_std: of the read-out in photons.
        limit: counts at which the detector saturates; None for floating point.
        problems: warnings.
    """

    dark: Array
    flat: Array
    dead: NDArray[np.bool_]
    photons: float
    electronic_std: float
    limit: float | None
    problems: tuple[Problem, ...]

    @classmethod
    def of(cls, flats: NDArray[Any], darks: NDArray[Any] | None, file: str, photons: float | None = None) -> FlatField:
        """From flats and darks ``(frame, row, bin)``.

        Args:
            flats: the beam without an object.
            darks: the detector without beam; None takes zero.
            file: name for messages.
            photons: as stated; None estimates them from the spread of at least four flats.

        Raises:
            InputRefused: E-PRJ-10 when too many bins have no usable flat.
        """
        limit = limit_of(flats.dtype)
        values = flats.astype(np.float64)
        dark = np.zeros(values.shape[1:]) if darks is None else darks.astype(np.float64).mean(0)
        flat = values.mean(0) - dark
        dead = flat <= 0
        if limit is not None:
            dead |= (flats == limit).any(0)
        share = float(dead.mean())
        if share > _DEAD_SHARE:
            raise InputRefused(
                "E-PRJ-10",
                f"{share:.0%} of the bins of {file} have a flat field that is zero, below the dark field or saturated.",
                why="The share of the beam that passes the object cannot be told there.",
                fix="Check that data_white and data_dark are not exchanged, and that the beam was on.",
            )
        problems: list[Problem] = []
        if share:
            sentence = f"{int(dead.sum())} of {dead.size} bins have no usable flat field."
            problems.append(Problem("E-PRJ-10", "warning", sentence, "They are interpolated and given no weight."))
        problems += _clipped(flats)
        found = _photons(values - dark, dead) if photons is None else (photons, _gain(photons, flat, dead))
        if found is None:
            problems.append(assumed_photons())
            found = DEFAULT_PHOTONS, _gain(DEFAULT_PHOTONS, flat, dead)
        number, gain = found
        electronic = 0.0
        if darks is not None and len(darks) > 3:
            electronic = float(np.sqrt(np.median(darks.astype(np.float64).var(0, ddof=1)))) * gain
        return cls(dark, flat, dead, number, electronic, limit, tuple(problems))

    def line_integrals(
        self, data: NDArray[Any], file: str
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], tuple[Problem, ...]]:
        """Line integrals and photons ``(row, view, bin)`` of counts ``(view, row, bin)``, and warnings.

        Raises:
            InputRefused: E-PRJ-11 when too much is saturated, E-PRJ-12 when the beam is not seen at all.
        """
        safe = np.where(self.dead, 1.0, self.flat)
        transmission = ((data - self.dark) / safe).transpose(1, 0, 2)
        over, problems = saturated(data, self.flat + self.dark, self.limit, file)
        over = over.transpose(1, 0, 2)
        dead = np.broadcast_to(self.dead[:, None], over.shape)
        starved = (transmission <= 0) & ~dead
        if starved.mean() > 0.5:
            raise InputRefused(
                "E-PRJ-12",
                f"{starved.mean():.0%} of the counts of {file} are not above the dark field.",
                why="There is hardly any beam behind the object, and nothing to reconstruct from.",
                fix="Check that the data and the dark field belong together.",
            )
        if starved.any():
            sentence = f"{int(starved.sum())} of {starved.size} counts are zero or below the dark field."
            problems += (Problem("E-PRJ-12", "warning", sentence, "Their logarithm takes them as one photon."),)
        integrals = -np.log(np.maximum(transmission, 1.0 / self.photons))
        relative = np.where(self.dead, 0.0, self.flat / np.median(self.flat[~self.dead]))[:, None]
        counts = np.maximum(transmission, 0) * relative * self.photons
        counts[dead | over] = 0
        _interpolate(integrals, dead)
        return integrals.astype(np.float32), counts.astype(np.float32), problems


def _clipped(flats: NDArray[Any]) -> tuple[Problem, ...]:
    """A warning where the flats end at the range of a camera's converter, below that of their type."""
    limit = plateau(flats, flats.mean(0, dtype=np.float64))
    if limit is None or limit == limit_of(flats.dtype):
        return ()
    share = float((flats == limit).any(0).mean())
    sentence = f"The flat field of {share:.0%} of the bins is at {limit:g}, the camera's limit: the beam is stronger."
    remedy = "Line integrals come out too small there; measure the flats with a shorter exposure."
    return (Problem("E-PRJ-10", "warning", sentence, remedy),)


def _gain(photons: float, flat: Array, dead: NDArray[np.bool_]) -> float:
    """Photons per count of the detector."""
    return photons / float(np.median(flat[~dead]))


def _photons(flats: Array, dead: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Photons per bin in the flat and per count, by photon transfer: the variance of a count over its mean.

    Frames are scaled to the same mean first, since the beam's intensity drifts. None where they are too few, or alike.
    """
    frames = len(flats)
    if frames < 4:
        return None
    mean = flats[:, ~dead].mean(1)
    if not (mean > 0).all():
        return None
    level = flats[:, ~dead] * (mean.mean() / mean)[:, None]
    variance, average = level.var(0, ddof=1), level.mean(0)
    if float(np.median(variance / average**2)) < _ROUNDING:
        return None
    spread = float(np.median(variance / average))
    # The median of a chi-square variable of k degrees of freedom lies below its mean (Wilson and Hilferty 1931).
    k = frames - 1
    spread /= (1 - 2 / (9 * k)) ** 3
    return float(np.median(average)) / spread, 1 / spread


def _interpolate(integrals: Array, dead: NDArray[np.bool_]) -> None:
    """Fill dead bins from their neighbours along the detector, in place."""
    for row in np.flatnonzero(dead.any((1, 2))):
        gone = np.flatnonzero(dead[row, 0])
        good = np.flatnonzero(~dead[row, 0])
        if not len(good):
            integrals[row] = 0
            continue
        right = np.clip(np.searchsorted(good, gone), 0, len(good) - 1)
        left = np.clip(right - 1, 0, len(good) - 1)
        near, far = good[left], good[right]
        share = np.clip((gone - near) / np.maximum(far - near, 1), 0, 1)
        integrals[row][:, gone] = integrals[row][:, near] * (1 - share) + integrals[row][:, far] * share
