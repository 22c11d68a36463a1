"""One sparse matrix applied to many slices at a time: the slices are the columns of a dense matrix."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medldm.operators import SparseProduct
from medldm_ct.matrix import SystemMatrix
from medldm_ct.symmetry import Symmetry

# Columns at a time: enough to hide the reading of the matrix, few enough to stay in the third-level cache.
_COLUMNS = 64


class SliceStack(nn.Module):
    """``A`` and ``A^T`` of one slice, full or reduced by symmetry, applied to a stack.

    Args:
        matrix: of the kept views.
        symmetry: how the scan follows from the kept views; None when all are kept.
        pixels, rays: sizes of one slice's image and measurement.
    """

    turn: Tensor | None
    unturn: Tensor | None
    view: Tensor | None

    def __init__(self, matrix: SystemMatrix, symmetry: Symmetry | None, pixels: int, rays: int) -> None:
        super().__init__()
        self.pixels, self.rays = pixels, rays
        self.images = symmetry.images if symmetry else 1
        self.product, self.transposed = SparseProduct(matrix.forward), SparseProduct(matrix.transposed)
        self.kept_rays = matrix.forward.rows
        for name in ("turn", "unturn", "view"):
            self.register_buffer(name, getattr(symmetry, name) if symmetry else None, persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        """Of the matrix."""
        return self.product.value.dtype

    def project(self, x: Tensor) -> Tensor:
        """``(slice, pixel)`` -> ``(slice, ray)``."""
        return self._stacked(x, self.rays, self._project)

    def backproject(self, y: Tensor) -> Tensor:
        """``(slice, ray)`` -> ``(slice, pixel)``, the exact transpose of :meth:`project`."""
        return self._stacked(y, self.pixels, self._backproject)

    def _stacked(self, x: Tensor, size: int, apply: object) -> Tensor:
        assert callable(apply)
        out = x.new_empty(len(x), size)
        width = max(1, _COLUMNS // self.images)
        for start in range(0, len(x), width):
            part = x[start : start + width].to(self.dtype).t().contiguous()
            out[start : start + width] = apply(part).t()
        return out

    def _project(self, x: Tensor) -> Tensor:
        if self.turn is None or self.view is None:
            result: Tensor = self.product(x)
            return result
        width = x.shape[1]
        turned = x.index_select(0, self.turn).view(self.pixels, self.images * width)
        kept = self.product(turned).view(self.kept_rays * self.images, width)
        rays: Tensor = kept.index_select(0, self.view)
        return rays

    def _backproject(self, y: Tensor) -> Tensor:
        if self.unturn is None or self.view is None:
            result: Tensor = self.transposed(y)
            return result
        width = y.shape[1]
        kept = y.new_zeros(self.kept_rays * self.images, width).index_copy_(0, self.view.long(), y)
        turned = self.transposed(kept.view(self.kept_rays, self.images * width))
        parts = turned.view(self.pixels * self.images, width).index_select(0, self.unturn)
        image: Tensor = parts.view(self.pixels, self.images, width).sum(1)
        return image
