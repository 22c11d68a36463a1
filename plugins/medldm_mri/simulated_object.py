"""What a simulated scanner looks at: the image with a phase, and the sensitivities of its receive array."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from medldm.data import Acquisition, AffineMap, Volume
from medldm.errors import InputRefused
from medldm.inference import Noise
from medldm_mri.coils import CoilArray
from medldm_mri.object_phase import SmoothPhase

PhaseOption = Literal["smooth", "none"]


class SimulatedObject:
    """A magnetic resonance image as coils receive it, one slice at a time.

    Args:
        volume: magnitude or complex, of arbitrary unit.
        coils: number of simulated receive coils.
        phase: ``smooth`` gives a magnitude a smooth random phase; an image that is complex already keeps its own.
        noise: addresses the draws of the phase.

    Attributes:
        phase: ``smooth``, ``own`` or ``none``: what became of it.

    Raises:
        InputRefused: E-MRI-03 for an image in HU or 1/mm, E-PIX-01 for voxels that are not finite.
    """

    def __init__(self, volume: Volume, coils: int, phase: PhaseOption, noise: Noise) -> None:
        if volume.quantity != "arbitrary":
            raise InputRefused(
                "E-MRI-03",
                f"The image is in {volume.quantity}, so it is no magnetic resonance image.",
                why="It has no k-space that a scanner could measure.",
                fix="Choose a recipe of its modality.",
            )
        self.volume = volume
        self.magnitude = volume.require_finite().data.cpu()
        self.array = CoilArray(volume.grid, coils)
        self.phase = "own" if self.magnitude.is_complex() else phase
        self._smooth = SmoothPhase(volume.grid.shape, noise)

    def image(self, z: int) -> Tensor:
        """Slice (y, x) complex64 with its phase."""
        image = self.magnitude[z]
        return image * self._smooth.at(z) if self.phase == "smooth" else image.to(torch.complex64)

    def maps(self, z: int) -> Tensor:
        """Coil maps (coil, y, x) complex64 of slice ``z``, sum of squares 1."""
        return self.array.at(z)

    def measured(
        self,
        physics: str,
        data: Tensor,
        axes: tuple[str, ...],
        *,
        tensors: Mapping[str, Tensor],
        settings: Mapping[str, Any],
        noise_std: float,
    ) -> Acquisition:
        """The simulated measurement of the volume, on its grid.

        Args:
            physics: registered name.
            data: k-space, of ``axes``.
            axes: names of its axes.
            tensors: that belong to it.
            settings: of the measurement, also told in its history.
            noise_std: standard deviation of its noise per real component.
        """
        volume = self.volume
        return Acquisition(
            physics=physics,
            data=data,
            axes=axes,
            grid=volume.grid,
            quantity="arbitrary",
            modality="MR",
            output=AffineMap.identity("arbitrary"),
            tensors=tensors,
            settings=settings,
            noise_std=noise_std,
            simulated=True,
            name=volume.name,
            history=volume.history.then("simulate", physics=physics, noise_std=noise_std, **settings),
            source=volume.source,
        )
