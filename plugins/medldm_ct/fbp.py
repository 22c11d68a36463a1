"""Filtered back-projection as an operator of its own, for parallel and fan beams."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from medldm.errors import UsageError
from medldm.operators import LinearOperator, SparseRows
from medldm_ct.columns import SliceStack
from medldm_ct.extrapolation import Continuation
from medldm_ct.geometry import FanBeam, Geometry, ImagePlane
from medldm_ct.matrix import SystemMatrix, reweighted, system_matrix
from medldm_ct.projector import XRayTransform, chosen_symmetry
from medldm_ct.ramp import padded_length, ramp_response
from medldm_ct.redundancy import Redundancy

# Entries reweighted at a time.
_CHUNK = 1 << 19


class FilteredBackProjection(LinearOperator):
    """``(*batch, z, view, bin) -> (*batch, z, y, x)`` in 1/mm: an approximate inverse of the X-ray transform.

    Four steps, all linear and all transposed exactly by :meth:`adjoint`: weights of the rays (redundancy, cosine of
    the fan angle), the windowed ramp along the bins, the angle that each view stands for, and back-projection onto
    the area of each pixel, for fan beams with Feldkamp's inverse-distance weight (Kak and Slaney 1988, chapter 3).

    Args:
        projector: the transform to invert; its redundancy weights are used.
        window: ``ram-lak``, ``shepp-logan``, ``cosine``, ``hamming`` or ``hann``.
        redundancy: weights to use in place of the projector's.
        truncated: continue the rows smoothly beyond a detector that cut the object off; None as the projector says.

    Raises:
        UsageError: ``E-CT-11`` for an unknown window, ``E-CT-12`` when no redundancy weights are named, and the
            errors of :class:`Redundancy`.
    """

    before: Tensor
    response: Tensor
    after: Tensor

    def __init__(
        self,
        projector: XRayTransform,
        window: str = "hann",
        redundancy: Redundancy | None = None,
        *,
        truncated: bool | None = None,
    ) -> None:
        super().__init__()
        redundancy = redundancy or projector.redundancy
        if redundancy is None:
            raise UsageError(
                "E-CT-12",
                "Filtered back-projection was asked for, but the scan's redundancy is not stated.",
                why="How often each line was measured cannot be told from the angles alone.",
                fix="Name the weights: half-turn, full-turn, short-scan, displaced or limited.",
            )
        geometry, plane, symmetry = projector.geometry, projector.plane, projector.symmetry
        self.domain, self.codomain = projector.codomain, projector.domain
        wide, self.padding = widened(geometry) if redundancy.kind == "displaced" else (geometry, (0, 0))
        self.bins = wide.bins
        self.rows = Continuation.of(wide.bins, truncated=projector.truncated if truncated is None else truncated)
        ends = replace(wide, bins=wide.bins + 2 * self.rows.added)
        self.length = padded_length(ends.bins)
        before = redundancy.weights(geometry) * _cosines(geometry)
        after = redundancy.spacing(geometry)[:, None] * _strip_widths(wide, plane)
        dtype, device = projector.domain.dtype, projector.stack.product.value.device
        for name, tensor in (("before", before), ("after", after), ("response", ramp_response(ends, window))):
            self.register_buffer(name, tensor.to(device, dtype), persistent=False)
        if wide is not geometry:
            symmetry = chosen_symmetry(wide, plane, self.domain.shape[0], dtype, "auto")
        kept = symmetry.geometry if symmetry else wide
        matrix = projector.matrix if wide is geometry else system_matrix(kept, plane, dtype)
        if isinstance(kept, FanBeam):
            matrix = _divided_by_distance(matrix, kept, plane)
        if matrix is projector.matrix:
            self.stack = projector.stack
        else:
            self.stack = SliceStack(matrix, symmetry, plane.size, wide.rays).to(device)

    def forward(self, x: Tensor) -> Tensor:
        batch = self.domain.batch_shape(x)
        weighted = nn.functional.pad(x * self.before, self.padding)
        filtered = self.rows.crop(self._filter(self.rows.extend(weighted))) * self.after
        image = self.stack.backproject(filtered.reshape(-1, self.domain.shape[1] * self.bins))
        return image.view(*batch, *self.codomain.shape)

    def adjoint(self, y: Tensor) -> Tensor:
        batch = self.codomain.batch_shape(y)
        sinogram = self.stack.project(y.reshape(-1, self.codomain.shape[1] * self.codomain.shape[2]))
        sinogram = sinogram.view(*batch, *self.domain.shape[:2], self.bins)
        first = self.padding[0]
        weighted = self.rows.fold(self._filter(self.rows.pad(sinogram * self.after)))
        rays: Tensor = weighted[..., first : first + self.domain.shape[2]] * self.before
        return rays

    def _filter(self, y: Tensor) -> Tensor:
        filtered: Tensor = torch.fft.irfft(torch.fft.rfft(y, self.length) * self.response, self.length)
        return filtered[..., : y.shape[-1]]


def widened(geometry: Geometry) -> tuple[Geometry, tuple[int, int]]:
    """The scan with its detector extended to reach as far on both sides, and the bins added in front and behind.

    The filter carries what a displaced detector measured over its short end, to where it is back-projected.
    """
    edges = geometry.edges()
    short = math.ceil(abs(float(edges[0] + edges[-1])) / geometry.pitch - 1e-9)
    padding = (short, 0) if geometry.offset > 0 else (0, short)
    offset = geometry.offset + (padding[1] - padding[0]) * geometry.pitch / 2
    return replace(geometry, bins=geometry.bins + short, offset=offset), padding


def _cosines(geometry: Geometry) -> Tensor:
    """(bin,) weights before the filter."""
    if not isinstance(geometry, FanBeam):
        return torch.ones(geometry.bins, dtype=torch.float64)
    cosines = geometry.fan_angles(geometry.centres()).cos()
    return cosines * geometry.source_to_centre if geometry.curved else cosines


def _strip_widths(geometry: Geometry, plane: ImagePlane) -> Tensor:
    """(bin,) weights after the filter that turn footprints into an integral over the views.

    The footprints of a pixel add up, over the bins of a view, to its area over the width of the strip that a bin
    spans where the pixel is; these weights, and :func:`_divided_by_distance`, take that width out again.
    """
    area = math.prod(plane.spacing)
    if not isinstance(geometry, FanBeam):
        return torch.full((geometry.bins,), geometry.pitch / area, dtype=torch.float64)
    strip = geometry.pitch / geometry.source_to_detector / area
    if geometry.curved:
        return torch.full((geometry.bins,), strip, dtype=torch.float64)
    return strip * geometry.source_to_centre**2 * geometry.fan_angles(geometry.centres()).cos()


def _divided_by_distance(matrix: SystemMatrix, geometry: FanBeam, plane: ImagePlane) -> SystemMatrix:
    """The matrix with every coefficient over the distance of its pixel from the source in mm.

    On a curved detector that is the distance itself, on a flat one its part along the central ray.
    """
    (ny, nx), (dy, dx) = plane.shape, plane.spacing
    y = ((torch.arange(ny, dtype=torch.float64) - (ny - 1) / 2) * dy)[:, None].expand(ny, nx).flatten()
    x = ((torch.arange(nx, dtype=torch.float64) - (nx - 1) / 2) * dx).repeat(ny)
    cos, sin = geometry.directions()

    def distance(view: Tensor, pixel: Tensor) -> Tensor:
        c, s, py, px = cos[view], sin[view], y[pixel], x[pixel]
        depth = geometry.source_to_centre + py * c - px * s
        return torch.hypot(depth, px * c + py * s) if geometry.curved else depth

    def divided(rows: SparseRows, *, rows_are_pixels: bool) -> SparseRows:
        value = torch.empty_like(rows.value)
        size = max(1, _CHUNK * rows.rows // max(1, len(value)))
        for start in range(0, rows.rows, size):
            part = slice(start, min(start + size, rows.rows))
            row = rows.row_of_entries(part)
            entries = slice(int(rows.pointer[part.start]), int(rows.pointer[part.stop]))
            column = rows.index[entries].long()
            pixel, ray = (row, column) if rows_are_pixels else (column, row)
            weight = distance(ray // geometry.bins, pixel)
            value[entries] = (rows.value[entries].double() / weight).to(value.dtype)
        return reweighted(rows, value)

    return SystemMatrix(
        divided(matrix.forward, rows_are_pixels=False), divided(matrix.transposed, rows_are_pixels=True)
    )
