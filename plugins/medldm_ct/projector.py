"""The X-ray transform of a stack of slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from medldm.errors import UsageError
from medldm.operators import LinearOperator, NearlyShiftInvariant, Space
from medldm_ct.columns import SliceStack
from medldm_ct.geometry import Geometry, ImagePlane
from medldm_ct.matrix import matrix_bytes, system_matrix
from medldm_ct.redundancy import Redundancy
from medldm_ct.symmetry import Symmetry, find_symmetry

Storage = Literal["auto", "full", "symmetric"]

# "auto" reduces a matrix by its symmetry for few slices, where that is faster, and above this size, where it is needed.
_FEW_SLICES = 8
_LARGE = 2 << 30


class XRayTransform(NearlyShiftInvariant):
    """Line integrals ``(*batch, z, y, x) -> (*batch, z, view, bin)`` of attenuation in 1/mm, averaged over each bin.

    Every slice is scanned alike. The matrix is built at construction, once for all operators of equal geometry; the
    adjoint is its transpose. Values of another precision than ``dtype`` are converted on the way in and out.

    Args:
        geometry: of the scan of one slice.
        plane: pixels of one slice.
        slices: number of slices.
        dtype: of matrix and spaces, float32 or float64.
        redundancy: how often the scan measures each line; what filtered back-projection needs to know, see
            :mod:`medldm_ct.redundancy`.
        storage: ``full`` matrix, ``symmetric``: only the views that are not turned or mirrored copies, or ``auto``.
        truncated: whether the detector cut the object off, so that filtered back-projection continues the rows.

    Raises:
        UsageError: ``E-CT-06`` when ``symmetric`` is asked for and the views are not copies of one another.
    """

    def __init__(
        self,
        geometry: Geometry,
        plane: ImagePlane,
        slices: int,
        *,
        dtype: torch.dtype = torch.float32,
        redundancy: Redundancy | None = None,
        storage: Storage = "auto",
        truncated: bool = False,
    ) -> None:
        super().__init__()
        self.truncated = truncated
        self.geometry, self.plane, self.redundancy, self.storage = geometry, plane, redundancy, storage
        self.domain = Space(("z", "y", "x"), (slices, *plane.shape), dtype)
        self.codomain = Space(("z", "view", "bin"), (slices, geometry.views, geometry.bins), dtype)
        self.symmetry = chosen_symmetry(geometry, plane, slices, dtype, storage)
        kept = self.symmetry.geometry if self.symmetry else geometry
        self.matrix = system_matrix(kept, plane, dtype)
        self.stack = SliceStack(self.matrix, self.symmetry, plane.size, geometry.rays)

    def forward(self, x: Tensor) -> Tensor:
        batch = self.domain.batch_shape(x)
        y = self.stack.project(x.reshape(-1, self.plane.size))
        return y.view(*batch, *self.codomain.shape)

    def adjoint(self, y: Tensor) -> Tensor:
        batch = self.codomain.batch_shape(y)
        x = self.stack.backproject(y.reshape(-1, self.geometry.rays))
        return x.view(*batch, *self.domain.shape)

    @property
    def bytes_needed(self) -> int:
        """Memory of the matrix in bytes; shared by operators of equal geometry."""
        return self.matrix.forward.bytes + self.matrix.transposed.bytes

    def filtered_adjoint(self, window: str = "hann") -> LinearOperator:
        """Filtered back-projection with a named window, see :class:`medldm_ct.fbp.FilteredBackProjection`."""
        from medldm_ct.fbp import FilteredBackProjection

        return FilteredBackProjection(self, window)

    def subsets(self, n: int) -> Sequence[tuple[LinearOperator, Tensor]]:
        """``n`` operators of every n-th view each, with the indices of their views."""
        if not 1 <= n <= self.geometry.views:
            raise UsageError(
                "E-CT-07",
                f"{n} subsets were asked for, the scan has {self.geometry.views} views.",
                fix="Choose a number of subsets from 1 to the number of views.",
            )
        slices, device = self.domain.shape[0], self.stack.product.value.device
        parts = [range(i, self.geometry.views, n) for i in range(n)]
        return [
            (
                XRayTransform(
                    self.geometry.with_views(part), self.plane, slices, dtype=self.domain.dtype, storage="full"
                ).to(device),
                torch.tensor(part, device=device),
            )
            for part in parts
        ]


def chosen_symmetry(
    geometry: Geometry, plane: ImagePlane, slices: int, dtype: torch.dtype, storage: Storage
) -> Symmetry | None:
    """The reduction that ``storage`` asks for; None for the full matrix."""
    if storage == "full":
        return None
    if storage == "auto" and slices > _FEW_SLICES and matrix_bytes(geometry, plane, dtype) <= _LARGE:
        return None
    symmetry = find_symmetry(geometry, plane)
    if symmetry is None and storage == "symmetric":
        raise UsageError(
            "E-CT-06",
            f"The {geometry.views} views over {plane.shape[0]} x {plane.shape[1]} pixels are not turned or mirrored "
            "copies of one another.",
            why="Only equispaced views around square pixels in a square image can be stored as a part of them.",
            fix="Use storage: auto or full.",
        )
    return symmetry


def operator_bytes(
    geometry: Geometry,
    plane: ImagePlane,
    slices: int,
    *,
    dtype: torch.dtype = torch.float32,
    storage: Storage = "auto",
) -> int:
    """Predicted memory of an :class:`XRayTransform`'s matrix in bytes, for the memory plan; nothing is built.

    While the matrix is set up, up to half as much again is in use.
    """
    symmetry = chosen_symmetry(geometry, plane, slices, dtype, storage)
    return matrix_bytes(symmetry.geometry if symmetry else geometry, plane, dtype)
