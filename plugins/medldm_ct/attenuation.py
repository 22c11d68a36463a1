"""From an image to the attenuation that a simulated scan measures."""

from __future__ import annotations

from torch import Tensor

from medldm.data import Volume
from medldm.data.intensity import attenuation_from
from medldm.errors import InputRefused


def attenuation_of(volume: Volume, mu_water_per_mm: float) -> Tensor:
    """The voxels in 1/mm, never below zero, on the CPU.

    Raises:
        InputRefused: ``E-CT-21`` for an image in another unit, ``E-PIX-01`` for voxels that are not finite.
    """
    if volume.quantity == "arbitrary" or volume.data.is_complex():
        raise InputRefused(
            "E-CT-21",
            "The image is neither in HU nor in 1/mm, or it is complex.",
            why="The attenuation of its voxels is not known.",
            fix="Choose a recipe of its modality."
            if volume.modality == "MR"
            else "Give a CT image, or state its modality when it is read.",
        )
    image = volume.require_finite().data.cpu()
    return attenuation_from(volume.quantity, mu_water_per_mm)(image).clamp(min=0)
