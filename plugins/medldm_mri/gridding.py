"""Non-uniform Fourier transform by gridding, in torch alone: exact adjoint, any device, any dtype.

    s_j = sum_m v_m exp(-2 pi i k_j (m - n // 2) / n)          k_j in cycles per field of view

A fast transform to a grid that is a little finer than k-space requires, and interpolation of every sample from its
neighbours there (Jackson et al. 1991, Beatty et al. 2005). The interpolation is a sparse matrix; the columns of the
dense matrix that it is applied to are coils and slices, so one pass over it serves them all. The image stands in the
middle of the fine grid, where centring is a sign per grid point, and the signs are in the matrix.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from medldm.operators import SparseProduct, SparseRows
from medldm_mri.kaiser_bessel import KaiserBessel, kernel_width

# Finer grids need narrower kernels and longer transforms. On a CPU 1.25 is a fifth quicker still, but its apodisation
# spans a range of 60 along each axis, which single precision pays for; that of 1.5 spans 6.
OVERSAMPLING = 1.5


def fine_size(n: int, oversampling: float) -> int:
    """The next even size with no prime factor above 5 for a grid ``oversampling`` times as fine."""
    size = 2 * math.ceil(n * oversampling / 2)
    while not _is_smooth(size):
        size += 2
    return size


def _is_smooth(n: int) -> bool:
    for prime in (2, 3, 5):
        while n % prime == 0:
            n //= prime
    return n == 1


class Kernel:
    """Where the samples fall on the fine grid of one image size, and with which weights.

    Args:
        shape: of the image (y, x).
        tolerance: relative error of the transform.
        oversampling: of the fine grid, at least.
    """

    def __init__(self, shape: tuple[int, int], tolerance: float, oversampling: float = OVERSAMPLING) -> None:
        self.shape = shape
        self.grid = tuple(fine_size(n, oversampling) for n in shape)
        width = kernel_width(tolerance, oversampling)
        self.axes = [KaiserBessel(min(width, g), g / n) for n, g in zip(shape, self.grid, strict=True)]

    @property
    def taps(self) -> int:
        """Grid points per sample."""
        return math.prod(axis.width for axis in self.axes)

    @property
    def apodisation(self) -> Tensor:
        """What undoes the kernel in the image (y, x), float64."""
        along_y, along_x = (
            1 / axis.transformed((torch.arange(n, dtype=torch.float64) - n // 2) / g)
            for axis, n, g in zip(self.axes, self.shape, self.grid, strict=True)
        )
        return along_y[:, None] * along_x

    def entries(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Flat index (sample, taps) int64 into the fine grid (kx, ky), and weight (sample, taps) float64.

        Args:
            points: (sample, 2), ky and kx in cycles per field of view.
        """
        indices, weights = [], []
        for k, n, g, axis in zip(points.double().unbind(1), self.shape, self.grid, self.axes, strict=True):
            place = k * (g / n)
            first = torch.ceil(place - axis.width / 2)
            near = first[:, None] + torch.arange(axis.width)
            near_index = near.long()
            sign = 1 - 2 * (near_index % 2).double()
            indices.append(near_index % g)
            weights.append(axis(place[:, None] - near) * sign)
        index = indices[1][:, :, None] * self.grid[0] + indices[0][:, None]
        weight = weights[1][:, :, None] * weights[0][:, None]
        return index.flatten(1), weight.flatten(1)


class Gridding(nn.Module):
    """Many images at once, (column, y, x) -> (column, sample), and the exact transpose; without apodisation.

    Images are multiplied by ``apodisation`` before :meth:`to_samples` and after :meth:`to_image`; whoever uses this
    folds more into it.

    Args:
        points: (sample, 2), ky and kx in cycles per field of view, -n/2 ... n/2.
        shape: of the image (y, x).
        dtype: complex64 or complex128.
        tolerance: relative error of the transform.
        oversampling: of the fine grid.
    """

    apodisation: Tensor

    def __init__(
        self,
        points: Tensor,
        shape: tuple[int, int],
        dtype: torch.dtype = torch.complex64,
        *,
        tolerance: float = 2e-5,
        oversampling: float = OVERSAMPLING,
    ) -> None:
        super().__init__()
        kernel = Kernel(shape, tolerance, oversampling)
        self.shape, self.grid, self.samples = shape, kernel.grid, len(points)
        real = torch.empty((), dtype=dtype).real.dtype
        self.register_buffer("apodisation", kernel.apodisation.to(real), persistent=False)
        index, weight = kernel.entries(points.cpu())
        rows = _rows(index, weight.to(real), math.prod(kernel.grid))
        self.interpolation, self.spreading = SparseProduct(rows), SparseProduct(_transposed(rows))

    def to_samples(self, images: Tensor) -> Tensor:
        """``(column, y, x)`` complex -> ``(column, sample)``."""
        (ny, nx), (gy, gx), columns = self.shape, self.grid, len(images)
        top, left = gy // 2 - ny // 2, gx // 2 - nx // 2
        wide = images.new_zeros((columns, ny, gx))
        wide[..., left : left + nx] = images
        # Rows outside the image are zero, so only those inside are transformed along x. Both transforms run along the
        # last axis, where they are quickest.
        fine = images.new_zeros((columns, gx, gy))
        fine[..., top : top + ny] = torch.fft.fft(wide).transpose(1, 2)
        spectrum = torch.fft.fft(fine).view(columns, gx * gy).t().contiguous()
        return _complex(self.interpolation(_real(spectrum))).t()

    def to_image(self, samples: Tensor) -> Tensor:
        """``(column, sample)`` complex -> ``(column, y, x)``."""
        (ny, nx), (gy, gx), columns = self.shape, self.grid, len(samples)
        top, left = gy // 2 - ny // 2, gx // 2 - nx // 2
        spectrum = _complex(self.spreading(_real(samples.t().contiguous())))
        fine = torch.fft.ifft(spectrum.t().contiguous().view(columns, gx, gy), norm="forward")
        rows = fine[..., top : top + ny].transpose(1, 2).contiguous()
        images: Tensor = torch.fft.ifft(rows, norm="forward")[..., left : left + nx]
        return images


def gridded_once(points: Tensor, weights: Tensor, shape: tuple[int, int], tolerance: float) -> Tensor:
    """``sum_j w_j exp(2 pi i k_j (m - n // 2) / n)`` (y, x), complex128 on the CPU: one adjoint without a matrix.

    Args:
        points: (sample, 2) in cycles per field of view.
        weights: (sample,), real.
        shape: of the image (y, x).
        tolerance: relative error.
    """
    kernel = Kernel(shape, tolerance, 2.0)
    (ny, nx), (gy, gx) = shape, kernel.grid
    spectrum = torch.zeros(gy * gx, dtype=torch.float64)
    # A part at a time: all entries together would be the matrix.
    for part, w in zip(points.cpu().split(2**16), weights.cpu().double().split(2**16), strict=True):
        index, value = kernel.entries(part)
        spectrum.index_add_(0, index.flatten(), (value * w[:, None]).flatten())
    top, left = gy // 2 - ny // 2, gx // 2 - nx // 2
    image = torch.fft.ifft2(spectrum.view(gx, gy).t().to(torch.complex128), norm="forward")
    inside: Tensor = image[top : top + ny, left : left + nx] * kernel.apodisation
    return inside


def matrix_bytes(samples: int, shape: tuple[int, int], tolerance: float, oversampling: float = OVERSAMPLING) -> int:
    """Bytes of the two matrices of a :class:`Gridding` in single precision, with the pointers of their rows."""
    kernel = Kernel(shape, tolerance, oversampling)
    return 2 * 8 * samples * kernel.taps + 4 * (samples + math.prod(kernel.grid))


def _rows(index: Tensor, weight: Tensor, columns: int) -> SparseRows:
    samples, taps = index.shape
    pointer = torch.arange(0, samples * taps + 1, taps, dtype=torch.int32)
    return SparseRows(pointer, index.flatten().int(), weight.flatten(), columns)


def _transposed(rows: SparseRows) -> SparseRows:
    order = torch.argsort(rows.index, stable=True)
    pointer = torch.zeros(rows.columns + 1, dtype=torch.int64)
    pointer[1:] = torch.bincount(rows.index, minlength=rows.columns).cumsum(0)
    sample = rows.row_of_entries(slice(None)).int()
    return SparseRows(pointer.int(), sample[order], rows.value[order], rows.rows)


def _real(columns: Tensor) -> Tensor:
    """Complex columns as twice as many real ones: the matrix is real."""
    return torch.view_as_real(columns).flatten(1)


def _complex(columns: Tensor) -> Tensor:
    return torch.view_as_complex(columns.unflatten(1, (-1, 2)))
