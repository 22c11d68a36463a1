"""What the scanner measured, with all that the physics needs to explain it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from medldm.data.grid import Grid
from medldm.data.history import History
from medldm.data.intensity import AffineMap
from medldm.data.volume import Modality, Quantity, Source
from medldm.errors import InputRefused


@dataclass(frozen=True, eq=False)
class Acquisition:
    """A measurement ``y = A x + n`` before anybody inverted it.

    Attributes:
        physics: registered name of the physics that explains it, e.g. ``"mri-cartesian"``.
        data: the measurement, native complex for k-space; ragged data is one padded tensor with zero weights.
        axes: one name per axis of ``data``, e.g. ``("z", "coil", "ky", "kx")`` or ``("z", "view", "bin")``.
        grid: of the image to reconstruct.
        quantity: unit of the image that the operator maps (``1/mm`` for CT, ``arbitrary`` for MR).
        modality: ``CT``, ``MR`` or ``OT``.
        output: affine map from ``quantity`` to the unit in which images are written (1/mm -> HU).
        tensors: named arrays of the physics: angles in radians, sampling mask, coil maps, weights, ...
        settings: named numbers and words of the physics: detector pitch in mm, photons, mu of water, ...
        noise_std: standard deviation of the noise **per real component**, in units of ``data``; None where
            the noise is not Gaussian (photon counts) or not known.
        simulated: True when ``data`` was computed from an image. It is never reset.
        name: short name for tables and files; never a patient's.
    """

    physics: str
    data: Tensor
    axes: tuple[str, ...]
    grid: Grid
    quantity: Quantity
    modality: Modality
    output: AffineMap
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    noise_std: float | None = None
    simulated: bool = False
    name: str = "scan"
    history: History = field(default_factory=History)
    source: Source | None = None

    def __post_init__(self) -> None:
        if len(self.axes) != self.data.ndim:
            raise InputRefused(
                "E-ACQ-01",
                f"The measurement has {self.data.ndim} axes but {len(self.axes)} names: {self.axes}.",
                fix="Name every axis of the measurement once.",
            )
        if self.data.numel() == 0:
            raise InputRefused(
                "E-ACQ-02",
                f"The measurement is empty: {dict(zip(self.axes, self.data.shape, strict=True))}.",
                why="There is nothing to reconstruct from.",
                fix="Check the number of views, lines and slices.",
            )
        if self.noise_std is not None and not self.noise_std >= 0:
            raise InputRefused(
                "E-ACQ-03",
                f"The noise standard deviation is {self.noise_std}; it must be zero or positive.",
                fix="Give the standard deviation per real component.",
            )

    def tensor(self, name: str) -> Tensor:
        """The named array; refused with the names there are when it is missing."""
        if name not in self.tensors:
            raise InputRefused(
                "E-ACQ-04",
                f"The acquisition has no {name!r}; it has {sorted(self.tensors)}.",
                why=f"The physics {self.physics!r} cannot be computed without it.",
                fix="Store it with the measurement.",
            )
        return self.tensors[name]

    def size(self, axis: str) -> int:
        """Length of a named axis of the measurement."""
        return int(self.data.shape[self.axes.index(axis)])

    def as_record(self) -> Mapping[str, Any]:
        """Facts for ``run.json``; nothing of the patient."""
        return {
            "physics": self.physics,
            "grid": {
                "shape": list(self.grid.shape),
                "spacing_mm": list(self.grid.spacing),
                "orientation": self.grid.orientation,
                "affine_lps": self.grid.as_rows(),
            },
            "measurement": dict(zip(self.axes, map(int, self.data.shape), strict=True)),
            "noise_std": self.noise_std,
            "settings": dict(self.settings),
            "simulated": self.simulated,
            "history": self.history.as_list(),
        }
