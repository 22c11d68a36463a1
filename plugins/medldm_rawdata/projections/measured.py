"""From line integrals and a stated geometry to an acquisition of the physics ``ct-parallel`` or ``ct-fan``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from medldm.data import Acquisition, AffineMap, Grid, History, Source
from medldm.data.intensity import attenuation_from_hu
from medldm.errors import InputRefused, Problem
from medldm_rawdata.projections.plausible import doubts, out_of_scale, require_content
from medldm_rawdata.projections.views import Views, fan_opening
from medldm_rawdata.projections.weights import require_weights

GeometryName = Literal["parallel", "fan-flat", "fan-curved"]
# Of a detector whose noise is not known: a laboratory scan of ordinary quality.
DEFAULT_PHOTONS = 1.0e4


@dataclass(frozen=True)
class Detector:
    """Lengths in mm along one detector row, and where the source is.

    Attributes:
        source: distances from the source to the axis and to the detector; None for parallel rays.
    """

    geometry: GeometryName
    bins: int
    pitch: float
    offset: float = 0.0
    source: tuple[float, float] | None = None

    @property
    def magnification(self) -> float:
        """Of the axis of rotation on the detector."""
        return self.source[1] / self.source[0] if self.source else 1.0

    @property
    def width(self) -> float:
        """Of the detector, seen at the axis, in mm."""
        return self.bins * self.pitch / self.magnification

    @property
    def fan(self) -> bool:
        """Whether the rays diverge."""
        return self.source is not None

    def grid(self, rows: int, row_pitch: float | None = None) -> Grid:
        """Square pixels of one bin at the axis, as many as there are bins, centred on the axis."""
        pixel = self.pitch / self.magnification
        return Grid.isotropic((rows, self.bins, self.bins), (row_pitch or pixel, pixel, pixel))

    @property
    def displacement(self) -> float:
        """Of the detector's middle, as a share of the detector."""
        return self.offset / (self.bins * self.pitch)

    def settings(self, views: Views, weights: str | None = None) -> tuple[dict[str, Any], tuple[Problem, ...]]:
        """The settings of the physics and warnings about its weights.

        Raises:
            InputRefused: E-PRJ-17 when the weights do not fit the scan.
        """
        opening = 0.0
        if self.source:
            curved = self.geometry == "fan-curved"
            opening = fan_opening(self.bins, self.pitch, self.offset, self.source[1], curved=curved)
        kind, arc, problems = views.weights(opening_deg=opening, fan=self.fan, offset=self.displacement)
        kind = weights or kind
        require_weights(kind, arc, opening_deg=opening, fan=self.fan, offset=self.displacement)
        settings: dict[str, Any] = {
            "geometry": self.geometry,
            "pitch_mm": self.pitch,
            "offset_mm": self.offset,
            "angle_unit": "rad",
            "arc_deg": arc,
            "weights": kind,
        }
        if self.source:
            settings["source_to_centre_mm"], settings["source_to_detector_mm"] = self.source
        return settings, problems


@dataclass(frozen=True, eq=False)
class Projections:
    """What a reader found: line integrals ``(z, view, bin)`` float32, and how they were measured.

    Attributes:
        photons: per bin without an object, as stated or as estimated from the noise.
        counts: photons of each bin where they do not follow from the line integrals; 0 where nothing was measured.
        facts: for the history.
        mu_water: to write HU; None writes 1/mm.
        oriented: whether the file says how the patient lies.

    Raises:
        InputRefused: E-PRJ-26 when all line integrals are zero, E-PRJ-17 when the weights do not fit the scan.
    """

    values: NDArray[np.float32]
    views: Views
    detector: Detector
    grid: Grid
    photons: float
    electronic_std: float = 0.0
    counts: NDArray[np.float32] | None = None
    weights: str | None = None
    mu_water: float | None = None
    simulated: bool = False
    oriented: bool = False
    problems: tuple[Problem, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_content(self.values)
        self.detector.settings(self.views, self.weights)

    @property
    def noticed(self) -> tuple[Problem, ...]:
        """All warnings but those of the weights."""
        found = doubts(self.values, self.photons, self.detector.displacement, self.counts)
        found += out_of_scale(self.values, self.detector.width, self.mu_water, self.counts)
        return (*self.views.problems, *self.problems, *found)

    def acquisition(self, path: Path, format_: str) -> Acquisition:
        """The measurement; warnings become events of its history."""
        settings, more = self.detector.settings(self.views, self.weights)
        settings |= {"photons": self.photons, "electronic_std": self.electronic_std}
        if self.mu_water is not None:
            settings["mu_water_per_mm"] = self.mu_water
        tensors = {"angles": torch.from_numpy(self.views.radians.copy())}
        if self.counts is not None:
            tensors["counts"] = torch.from_numpy(self.counts)
        history = History().then("read", format=format_, **self.facts)
        history = history.noticed((*self.noticed, *more))
        if not self.oriented:
            history = history.orientation_assumed()
        return Acquisition(
            physics="ct-fan" if self.detector.fan else "ct-parallel",
            data=torch.from_numpy(self.values),
            axes=("z", "view", "bin"),
            grid=self.grid,
            quantity="1/mm",
            modality="CT",
            output=AffineMap.identity("1/mm") if self.mu_water is None else attenuation_from_hu(self.mu_water).inverse,
            tensors=tensors,
            settings=settings,
            simulated=self.simulated,
            name=format_,
            history=history,
            source=Source(format_, (path,)),
        )


def require_memory(needed: int, allowed: int, file: str) -> None:
    """Refuse before anything is allocated.

    Raises:
        InputRefused: E-PRJ-06.
    """
    if needed > allowed:
        raise InputRefused(
            "E-PRJ-06",
            f"{file} needs {needed / 2**30:.3g} GiB of memory to read, {allowed / 2**30:.3g} GiB are allowed.",
            why="Reading on could bring the machine to a halt.",
            fix="Allow more memory, or store fewer rows.",
        )


def require_finite(values: NDArray[Any], what: str, file: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        InputRefused: E-PRJ-07.
    """
    bad = int(values.size - np.isfinite(values).sum())
    if bad:
        raise InputRefused(
            "E-PRJ-07",
            f"{bad} of {values.size} values of {what} in {file} are NaN or infinite.",
            why="They would spread over the whole image.",
            fix="Export the scan again, or remove the views or rows that hold them.",
        )


def photons_from_air(values: NDArray[np.float32]) -> float | None:
    """Photons per bin from the noise of rays through air; None where there is too little air.

    The line integral of air has variance 1 / photons, and the difference of two neighbouring views twice that.
    """
    if values.shape[1] < 3:
        return None
    peak = float(values.max())
    air = np.abs(values).max(axis=1, keepdims=True) < 0.02 * max(peak, 1e-6)
    difference = np.diff(values.astype(np.float64), axis=1)[np.broadcast_to(air, values[:, 1:].shape)]
    if difference.size < 200 or not difference.any():
        return None
    # The median of the magnitudes, so that a few rays through the object change nothing.
    std = float(np.median(np.abs(difference))) / 0.6745 / np.sqrt(2)
    return None if std == 0 else float(1 / std**2)


def assumed_photons() -> Problem:
    """The warning that photons are a default."""
    return Problem(
        "E-PRJ-15",
        "warning",
        f"The photons per bin are neither stated nor seen in the noise; {DEFAULT_PHOTONS:g} are assumed.",
        "They weigh the rays against each other and the data against the regularisation; state photons beside it.",
    )
