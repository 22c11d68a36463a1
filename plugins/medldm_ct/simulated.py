"""Projections of an image as the measurement that they stand for: noise, what the scan states of itself, history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor

from medldm.data import Acquisition, Volume
from medldm.data.intensity import attenuation_from
from medldm.inference import Noise
from medldm_ct.photons import DetectorNoise


@dataclass(frozen=True, eq=False)
class StatedScan:
    """What an acquisition keeps of a scan: numbers of each view as tensors, those of all views as settings."""

    axes: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    settings: Mapping[str, Any]


class Scanner(Protocol):
    """The options of a recipe that all beams share."""

    name: ClassVar[str]

    @property
    def noise(self) -> DetectorNoise: ...

    @property
    def mu_water_per_mm(self) -> float: ...

    @property
    def oversample(self) -> int: ...


def simulated(scanner: Scanner, volume: Volume, projections: Tensor, scan: StatedScan, noise: Noise) -> Acquisition:
    """The measurement of a volume.

    Args:
        scanner: whose detector adds its noise.
        volume: that was scanned.
        projections: its line integrals without noise.
        scan: geometry and weights.
        noise: to draw from.
    """
    data, counts = scanner.noise.measured(projections, noise)
    settings = {
        **scan.settings,
        **scanner.noise.settings(),
        "mu_water_per_mm": scanner.mu_water_per_mm,
        "oversample": scanner.oversample,
    }
    views = projections.shape[scan.axes.index("view")]
    return Acquisition(
        physics=scanner.name,
        data=data,
        axes=scan.axes,
        grid=volume.grid,
        quantity="1/mm",
        modality="CT",
        output=attenuation_from(volume.quantity, scanner.mu_water_per_mm).inverse,  # the unit that was scanned
        tensors=scan.tensors if counts is None else {**scan.tensors, "counts": counts},
        settings=settings,
        noise_std=scanner.noise.line_integral_std,
        simulated=True,
        name=volume.name,
        history=volume.history.then("simulate", physics=scanner.name, views=views, **settings),
        source=volume.source,
    )
