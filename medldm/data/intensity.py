"""Named affine maps between quantities: HU and attenuation, physical values and a prior's range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import overload

from torch import Tensor

# Linear attenuation of water at 70 keV, about the mean energy of a 120 kVp beam: 0.1928 cm^2/g at 1 g/cm^3
# (NIST XCOM). Every file that medldm writes states the value used.
MU_WATER_PER_MM = 0.01928


@dataclass(frozen=True)
class AffineMap:
    """``target = scale * source + offset`` with the names of both quantities.

    Attributes:
        name: how the record calls it, e.g. ``"HU -> 1/mm"``.
        scale: source unit to target unit; not zero.
        offset: in the target's unit.
        source, target: names of the quantities.
    """

    name: str
    scale: float
    offset: float
    source: str
    target: str

    def __post_init__(self) -> None:
        if self.scale == 0:
            raise ValueError(f"the intensity map {self.name!r} has scale zero and cannot be inverted")

    @overload
    def __call__(self, values: Tensor) -> Tensor: ...
    @overload
    def __call__(self, values: float) -> float: ...
    def __call__(self, values: Tensor | float) -> Tensor | float:
        """A number or values of any shape, source unit -> target unit."""
        return values * self.scale + self.offset

    @property
    def inverse(self) -> AffineMap:
        """The map back."""
        return AffineMap(
            f"{self.target} -> {self.source}",
            1 / self.scale,
            0.0 - self.offset / self.scale,  # and not -0, which would be read in records
            self.target,
            self.source,
        )

    def then(self, following: AffineMap) -> AffineMap:
        """This map and, on its result, another one.

        Raises:
            ValueError: the other one does not begin where this one ends.
        """
        if following.source != self.target:
            raise ValueError(f"map {following.name!r} does not continue {self.name!r}")
        return AffineMap(
            f"{self.source} -> {following.target}",
            following.scale * self.scale,
            following(self.offset),
            self.source,
            following.target,
        )

    @classmethod
    def identity(cls, quantity: str) -> AffineMap:
        """No change."""
        return cls(f"{quantity} -> {quantity}", 1.0, 0.0, quantity, quantity)


def attenuation_from_hu(mu_water: float = MU_WATER_PER_MM) -> AffineMap:
    """HU -> linear attenuation in 1/mm: ``mu = mu_water (1 + HU / 1000)``.

    Args:
        mu_water: attenuation of water in 1/mm at the scan's effective energy.
    """
    return AffineMap("HU -> 1/mm", mu_water / 1000, mu_water, "HU", "1/mm")


def attenuation_from(quantity: str, mu_water: float = MU_WATER_PER_MM) -> AffineMap:
    """Values in HU, or in 1/mm already, -> linear attenuation in 1/mm; its inverse gives the unit back.

    Args:
        quantity: of the values, ``HU`` or ``1/mm``.
        mu_water: as in :func:`attenuation_from_hu`.

    Raises:
        ValueError: another quantity, which says nothing of attenuation.
    """
    if quantity not in ("HU", "1/mm"):
        raise ValueError(f"no attenuation follows from {quantity!r}")
    return attenuation_from_hu(mu_water) if quantity == "HU" else AffineMap.identity("1/mm")
