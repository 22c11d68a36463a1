"""Filtered back-projection of cone beams as an operator of its own (Feldkamp, Davis and Kress 1984)."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from medldm.operators import LinearOperator, Space
from medldm_ct.cone.geometry import VoxelBox
from medldm_ct.cone.helix import check_pitch, one_sided, row_feather
from medldm_ct.cone.orbit import Orbit
from medldm_ct.cone.projector import AXES, ConeTransform
from medldm_ct.extrapolation import Continuation
from medldm_ct.fbp import widened
from medldm_ct.ramp import padded_length, ramp_response
from medldm_ct.redundancy import Redundancy, displaced_weights

# Voxels seen for less than this share of a turn have no image from a helix.
_LEAST_COVER = 0.4


class FeldkampOperator(LinearOperator):
    """``(*batch, view, row, column) -> (*batch, z, y, x)`` in 1/mm: an approximate inverse of the cone-beam transform.

    Weights of the rays (redundancy in the fan, cosine of the angle with the central ray), the windowed ramp along
    each row, and back-projection. The transpose of the distance-driven transform already spreads each ray with the
    inverse square of the distance from the source, as Feldkamp's formula asks; what differs depends on the ray alone.
    All of it is linear and :meth:`adjoint` its exact transpose. Never the adjoint of the transform itself.

    On a circle the middle plane is exact; away from it the cone angle leaves shading and blur along the axis. On a
    helix each view is feathered over the detector's rows, and each voxel divided by the turns that it was seen for:
    a start image for a pitch up to about one, with some shading where opposite views count unequally. Of a helix
    whose object a detector off centre cut off, rays are weighted as under a displaced detector.

    Args:
        orbit: circle or helix.
        box: the voxels.
        redundancy: how often each line is measured; does not matter on a helix.
        window: ``ram-lak``, ``shepp-logan``, ``cosine``, ``hamming`` or ``hann``.
        truncated: continue the rows smoothly beyond a detector that cut the object off.
        dtype: of the spaces.

    Raises:
        UsageError: ``E-CT-11`` for an unknown window, ``E-CT-10`` for a detector that does not see the axis, and the
            errors of :class:`Redundancy`.
        InputRefused: ``E-CT-24`` for a helix with gaps.
    """

    before: Tensor
    response: Tensor
    after: Tensor
    scale: Tensor

    def __init__(
        self,
        orbit: Orbit,
        box: VoxelBox,
        redundancy: Redundancy | None,
        window: str = "hann",
        *,
        truncated: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.domain = Space(AXES, (orbit.views, orbit.detector.rows, orbit.detector.columns), dtype)
        self.codomain = Space(("z", "y", "x"), box.shape, dtype)
        wide, self.padding = orbit, (0, 0)
        # A helix names no weights: what a detector off centre cut off on its short side, the long one measures alone.
        displaced = truncated and one_sided(orbit) if redundancy is None else redundancy.kind == "displaced"
        if displaced:
            fan, self.padding = widened(orbit.fan)
            wide = replace(
                orbit, detector=replace(orbit.detector, columns=fan.bins), column_offset=fan.offset
            )  # the filter carries what was measured over the detector's short end
        columns = wide.detector.columns
        self.rows = Continuation.of(columns, truncated=truncated)
        self.transform = ConeTransform(wide.beam(), box, dtype=dtype)
        ends = replace(wide.fan, bins=columns + 2 * self.rows.added)
        self.length = padded_length(ends.bins)
        after = _after(wide, box)
        scale = torch.ones((), dtype=torch.float64)
        if redundancy is None:
            check_pitch(orbit, box)
            alike = torch.full((orbit.detector.columns,), 0.5, dtype=torch.float64)
            before = (displaced_weights(orbit.fan) if displaced else alike).expand(orbit.views, -1)
            after = after * _steps(orbit)[:, None, None] * row_feather(orbit)[:, None]
            scale = _over_turns(self.transform, orbit, after)
        else:
            before = redundancy.weights(orbit.fan)
            after = after * redundancy.spacing(orbit.fan)[:, None, None]
        before = before[:, None, :] * _before(orbit)
        for name, tensor in (("before", before), ("after", after), ("scale", scale)):
            self.register_buffer(name, tensor.to(dtype), persistent=False)
        self.register_buffer("response", ramp_response(ends, window).to(dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        batch = self.domain.batch_shape(x)
        out = [self._image(item) for item in x.reshape(-1, *self.domain.shape)]
        return torch.stack(out).view(*batch, *self.codomain.shape)

    def adjoint(self, y: Tensor) -> Tensor:
        batch = self.codomain.batch_shape(y)
        out = [self._rays(item) for item in y.reshape(-1, *self.codomain.shape)]
        return torch.stack(out).view(*batch, *self.domain.shape)

    def _image(self, rays: Tensor) -> Tensor:
        weighted = nn.functional.pad(rays * self.before, self.padding)
        for view, rows in enumerate(weighted):  # a view at a time: the padded spectra are several times the data
            weighted[view] = self.rows.crop(self._filter(self.rows.extend(rows)))
        image: Tensor = self.transform.adjoint(weighted * self.after) * self.scale
        return image

    def _rays(self, image: Tensor) -> Tensor:
        weighted = self.transform.forward(image * self.scale) * self.after
        for view, rows in enumerate(weighted):
            weighted[view] = self.rows.fold(self._filter(self.rows.pad(rows)))
        first = self.padding[0]
        rays: Tensor = weighted[..., first : first + self.domain.shape[2]] * self.before
        return rays

    def _filter(self, y: Tensor) -> Tensor:
        filtered: Tensor = torch.fft.irfft(torch.fft.rfft(y, self.length) * self.response, self.length)
        return filtered[..., : y.shape[-1]]


def _before(orbit: Orbit) -> Tensor:
    """(row, column) weights before the filter: the cosine of the angle with the central ray."""
    far = orbit.source_to_detector
    column = orbit.fan.centres()[None]
    row = (orbit.detector.row_positions() + orbit.row_offset)[:, None]
    if not orbit.detector.curved:
        return far / (far**2 + column.square() + row.square()).sqrt()
    return orbit.source_to_centre * (column / far).cos() * far / (far**2 + row.square()).sqrt()


def _after(orbit: Orbit, box: VoxelBox) -> Tensor:
    """(1, row, column) weights after the filter, which make back-projection an integral over the views.

    The coefficients of a voxel add up, over the bins of a view, to ``volume D^2 / (U^2 pitches cosine)`` with its
    distance ``U`` from the source (its part along the central ray on a flat detector).
    """
    d, far = orbit.detector, orbit.source_to_detector
    area = d.row_pitch * d.column_pitch / math.prod(box.spacing) / far**2
    column = orbit.fan.centres()[None]
    row = (d.row_positions() + orbit.row_offset)[:, None]
    if d.curved:
        return (area * far / (far**2 + row.square()).sqrt()).expand(d.rows, d.columns)[None]
    weights: Tensor = area * orbit.source_to_centre**2 * far / (far**2 + column.square() + row.square()).sqrt()
    return weights[None]


def _steps(orbit: Orbit) -> Tensor:
    """(view,) angle in radians that each view of a helix stands for."""
    angles = torch.tensor(orbit.angles, dtype=torch.float64)
    order = angles.argsort()
    gaps = angles[order].diff()
    both = torch.cat([gaps[:1], gaps]) / 2 + torch.cat([gaps, gaps[-1:]]) / 2
    return torch.empty_like(angles).scatter_(0, order, both)


def _over_turns(transform: ConeTransform, orbit: Orbit, after: Tensor) -> Tensor:
    """(z, y, x) one over the turns that each voxel was seen for, feathered; 0 where it was hardly seen."""
    box, radius = transform.box, orbit.source_to_centre
    weighted = after.expand(transform.beam.shape).contiguous() / (2 * math.pi)
    if orbit.detector.curved:
        weighted = weighted * radius**2
    seen = transform.adjoint(weighted)
    x = box.first(0) + torch.arange(box.shape[2], dtype=torch.float64) * box.spacing[2]
    y = box.first(1) + torch.arange(box.shape[1], dtype=torch.float64) * box.spacing[1]
    off = (y[:, None].square() + x[None].square()) / radius**2
    # Mean of the inverse square distance over a turn, times R^2: of the depth, or of the distance itself.
    mean = (1 - off.clamp(max=0.99)) ** (-1.0 if orbit.detector.curved else -1.5)
    turns = seen / mean
    return torch.where(turns > _LEAST_COVER, 1 / turns, 0.0)
