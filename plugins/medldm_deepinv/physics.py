"""Any linear physics of deepinv (Tachella et al. 2025) by its name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from medldm.data import Acquisition, AffineMap, Grid, Volume
from medldm.errors import InputRefused
from medldm.inference import Gaussian, Noise
from medldm.operators import LinearOperator
from medldm_deepinv.slicewise_physics import Adjoint, SlicewisePhysics, built, tensor_of

_DEEPINV = (
    "J. Tachella, M. Terris, S. Hurault et al. DeepInverse: a Python package for solving imaging inverse problems with "
    "deep learning. arXiv:2505.20160, 2025."
)
_PREFIX = "array/"


@dataclass(frozen=True)
class DeepinvPhysics:
    """Slices measured by a physics of deepinv, with white noise.

    Attributes:
        name: of a class of ``deepinv.physics`` that is a ``LinearPhysics``.
        options: numbers, words and lists that the class takes; a list stands for a tuple.
        arrays: options that are tensors, as nested lists: a mask, a filter.
        complex: whether images are complex, two channels to deepinv, as for its MRI.
        adjoint: ``own``, deepinv's, which is checked; ``derivative``, by automatic differentiation.
        noise_std: standard deviation of the simulated noise per real component, in the measurement's unit.
    """

    references: ClassVar[tuple[str, ...]] = (_DEEPINV,)

    name: str = "Denoising"
    options: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Any] = field(default_factory=dict)
    complex: bool = False
    adjoint: Adjoint = "own"
    noise_std: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01

    def simulate(self, volume: Volume, noise: Noise) -> Acquisition:
        """Measure an image by the operator that will explain it.

        deepinv's physics know no finer grid, so this commits the inverse crime, and the history says so.

        Raises:
            InputRefused: E-PIX-01 for voxels that are not finite.
        """
        image = volume.require_finite().data.cpu()
        if self.complex:
            image = image.to(torch.complex64)
        arrays = {name: tensor_of(values, name) for name, values in self.arrays.items()}
        clean = self._operator(self.name, self.options, arrays, volume.grid)(image)
        settings = {"name": self.name, "options": self.options, "complex": self.complex, "inverse_crime": True}
        return Acquisition(
            physics="deepinv",
            data=clean + noise.normal(tuple(clean.shape), clean.dtype, "measurement", std=self.noise_std),
            axes=("z", *(f"m{index}" for index in range(clean.ndim - 1))),
            grid=volume.grid,
            quantity=volume.quantity,
            modality=volume.modality,
            output=AffineMap.identity(volume.quantity),
            tensors={f"{_PREFIX}{name}": value for name, value in arrays.items()},
            settings=settings,
            noise_std=self.noise_std,
            simulated=True,
            name=volume.name,
            history=volume.history.then("simulate", physics="deepinv", deepinv=self.name, inverse_crime=True),
            source=volume.source,
        )

    def operator(self, acquisition: Acquisition, grid: Grid) -> LinearOperator:
        """The physics that the measurement names; its options do not change it.

        Raises:
            InputRefused: E-DIN-04 when the measurement names none.
            UsageError: E-DIN-01 to E-DIN-03.
        """
        name, options = acquisition.settings.get("name"), acquisition.settings.get("options")
        if not isinstance(name, str) or not isinstance(options, dict):
            raise InputRefused(
                "E-DIN-04",
                "The measurement does not name a physics of deepinv and its options.",
                fix="Store settings['name'] and settings['options'].",
            )
        parts = {key: value.cpu() for key, value in acquisition.tensors.items() if key.startswith(_PREFIX)}
        arrays = {key.removeprefix(_PREFIX): value for key, value in parts.items()}
        complex_ = bool(acquisition.settings.get("complex", False))
        return self._operator(name, options, arrays, grid, complex_)

    def likelihood(self, acquisition: Acquisition, operator: LinearOperator) -> Gaussian:
        """White noise of the standard deviation that the measurement states."""
        return Gaussian(operator, acquisition.data, std=acquisition.noise_std or 0.0)

    def start(self, acquisition: Acquisition, operator: LinearOperator) -> Tensor:
        """``A^H y``, scaled to explain as much of the measurement as it can."""
        back = operator.H(acquisition.data)
        seen = operator(back)
        power = float(torch.linalg.vector_norm(seen)) ** 2
        scale = float((seen.conj() * acquisition.data).sum().real) / power if power else 0.0
        return scale * back

    def _operator(
        self, name: str, options: dict[str, Any], arrays: dict[str, Tensor], grid: Grid, complex_: bool | None = None
    ) -> SlicewisePhysics:
        plain = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
        is_complex = self.complex if complex_ is None else complex_
        shape = (grid.shape[0], grid.shape[1], grid.shape[2])
        physics = built(name, plain | arrays)
        return SlicewisePhysics(physics, shape, complex_image=is_complex, adjoint=self.adjoint)
