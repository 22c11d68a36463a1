"""A sparse matrix of one slice, applied to a stack of slices, with its transpose."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from medldm.operators import LinearOperator, Space


class SliceMatrix(LinearOperator):
    """``(*batch, z, y, x) -> (*batch, z, view, bin)``: every slice by the same matrix, the adjoint by its transpose.

    ASTRA's own back-projection is the transpose of its projection to single precision only, one slice at a time, and
    has no double precision. The stored matrix gives both directions exactly, for all slices at once.

    Args:
        matrix: (ray, pixel).
        shape: slices, rows and columns.
        views: number of views.
        dtype: of the operator.
    """

    def __init__(
        self, matrix: csr_matrix, shape: tuple[int, int, int], views: int, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        rays, pixels = matrix.shape
        self.domain = Space(("z", "y", "x"), shape, dtype)
        self.codomain = Space(("z", "view", "bin"), (shape[0], views, rays // views), dtype)
        self.rays, self.pixels = rays, pixels
        self._store("forward", matrix.tocsr(), dtype)
        self._store("transposed", matrix.T.tocsr(), dtype)

    def _store(self, name: str, matrix: csr_matrix, dtype: torch.dtype) -> None:
        matrix.sort_indices()
        index = np.int32 if matrix.nnz < 2**31 else np.int64
        self.register_buffer(f"{name}_rows", torch.from_numpy(matrix.indptr.astype(index)), persistent=False)
        self.register_buffer(f"{name}_columns", torch.from_numpy(matrix.indices.astype(index)), persistent=False)
        self.register_buffer(f"{name}_values", torch.from_numpy(matrix.data).to(dtype), persistent=False)

    def _product(self, name: str, x: Tensor, size: int) -> Tensor:
        rows, columns, values = (getattr(self, f"{name}_{part}") for part in ("rows", "columns", "values"))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*[Ss]parse")
            matrix = torch.sparse_csr_tensor(rows, columns, values, size=(size, x.shape[1]), check_invariants=False)
            product: Tensor = matrix @ x.to(values.dtype).t().contiguous()
        return product.t().contiguous()

    def forward(self, x: Tensor) -> Tensor:
        batch = self.domain.batch_shape(x)
        return self._product("forward", x.reshape(-1, self.pixels), self.rays).view(*batch, *self.codomain.shape)

    def adjoint(self, y: Tensor) -> Tensor:
        batch = self.codomain.batch_shape(y)
        return self._product("transposed", y.reshape(-1, self.rays), self.pixels).view(*batch, *self.domain.shape)
