"""Non-uniform Fourier transform by FINUFFT (Barnett, Magland and af Klinteberg 2019), an optional library.

The same conventions as :class:`medldm_mri.gridding.Gridding`. It keeps no matrix, so its memory does not grow with the
width of a kernel; plans are made once for each number of columns and kept.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medldm.errors import ComponentMissing

PAPER = (
    "A. H. Barnett, J. Magland, L. af Klinteberg. A parallel nonuniform fast Fourier transform library based on an "
    '"exponential of semicircle" kernel. SIAM Journal on Scientific Computing 41(5), C479-C504, 2019.'
)
# How much finer FINUFFT's grid is. Its own choice at this accuracy is 2, and takes more than twice as long here.
_UPSAMPLING = 1.5


class FinufftTransform(nn.Module):
    """Many images at once, (column, y, x) -> (column, sample), and the exact transpose, on the CPU.

    Args:
        points: (sample, 2), ky and kx in cycles per field of view.
        shape: of the image (y, x).
        dtype: complex64 or complex128.
        tolerance: relative error of the transform. In single precision the positions of the samples alone cost 2e-5.

    Raises:
        ComponentMissing: E-MRI-12 when the package is not installed.
    """

    apodisation: Tensor
    angles: Tensor

    def __init__(
        self,
        points: Tensor,
        shape: tuple[int, int],
        dtype: torch.dtype = torch.complex64,
        *,
        tolerance: float = 2e-5,
    ) -> None:
        super().__init__()
        _finufft()
        self.shape, self.samples, self.tolerance = shape, len(points), tolerance
        real = torch.empty((), dtype=dtype).real.dtype
        # FINUFFT undoes its kernel itself.
        self.register_buffer("apodisation", torch.ones((1, 1), dtype=real), persistent=False)
        turns = points.double().cpu() / torch.tensor(shape, dtype=torch.float64)
        self.register_buffer("angles", 2 * math.pi * turns, persistent=False)
        self._plans: dict[tuple[int, int, torch.dtype], Any] = {}

    def to_samples(self, images: Tensor) -> Tensor:
        """``(column, y, x)`` complex -> ``(column, sample)``."""
        return self._execute(2, images)

    def to_image(self, samples: Tensor) -> Tensor:
        """``(column, sample)`` complex -> ``(column, y, x)``."""
        return self._execute(1, samples)

    def _execute(self, kind: int, values: Tensor) -> Tensor:
        given = values.detach().resolve_conj().cpu().contiguous().numpy()
        result = self._plan(kind, len(values), values.dtype).execute(given)
        return torch.from_numpy(np.asarray(result)).reshape(len(values), *self._sizes(kind)).to(values.device)

    def _sizes(self, kind: int) -> tuple[int, ...]:
        return (self.samples,) if kind == 2 else self.shape

    def _plan(self, kind: int, columns: int, dtype: torch.dtype) -> Any:
        key = (kind, columns, dtype)
        if key not in self._plans:
            single = dtype == torch.complex64
            plan = _finufft().Plan(
                kind,
                self.shape,
                n_trans=columns,
                eps=self.tolerance / 2,
                isign=-1 if kind == 2 else 1,
                dtype="complex64" if single else "complex128",
                nthreads=torch.get_num_threads(),
                **({"upsampfac": _UPSAMPLING} if single else {}),
            )
            points = self.angles.cpu().numpy().astype(np.float32 if single else np.float64)
            plan.setpts(*(np.ascontiguousarray(axis) for axis in points.T))
            self._plans[key] = plan
        return self._plans[key]

    def __getstate__(self) -> dict[str, Any]:
        """A copy makes plans of its own: those of the library can be neither copied nor stored."""
        return {**self.__dict__, "_plans": {}}


def has_finufft() -> bool:
    """Whether the package is installed."""
    try:
        _finufft()
    except ComponentMissing:
        return False
    return True


def _finufft() -> Any:
    try:
        import finufft
    except ImportError as error:
        raise ComponentMissing(
            "E-MRI-12",
            "The package finufft is not installed.",
            why="operator.nufft: finufft asks for it.",
            fix="pip install 'medldm[nufft]', or operator.nufft: gridding.",
        ) from error
    return finufft
