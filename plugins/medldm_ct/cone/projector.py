"""The cone-beam transform of a volume."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Protocol

import torch
from torch import Tensor

from medldm.errors import UsageError
from medldm.operators import LinearOperator, NearlyShiftInvariant, Space
from medldm_ct.cone.geometry import ConeBeam, VoxelBox
from medldm_ct.cone.rays import RayPair

AXES = ("view", "row", "column")
_log = logging.getLogger("medldm.ct")


class _Pair(Protocol):
    """``A`` and ``A^T`` of one volume, float32 or float64, without a batch."""

    def project(self, x: Tensor) -> Tensor: ...

    def backproject(self, y: Tensor) -> Tensor: ...


class ConeTransform(NearlyShiftInvariant):
    """Line integrals ``(*batch, z, y, x) -> (*batch, view, row, column)`` of attenuation in 1/mm, the mean over a bin.

    Nothing is stored but the geometry, so memory does not grow with the number of views. On the CPU, where the
    detector's columns run along the axis ``z``, as on every gantry, compiled loops do the work (package ``numba``,
    extra ``cone``); a tilted detector, a GPU or a missing compiler take the same coefficients ray by ray in torch,
    slower.
    Precision follows the image: float64 is computed in float64, anything else in float32.

    Args:
        beam: source and detector of each view.
        box: the voxels.
        dtype: of the spaces, float32 or float64.
        filtered: how to invert it, for trajectories that filtered back-projection knows.

    Raises:
        InputRefused: ``E-CT-04`` when a source stands in the volume.
    """

    placed: Tensor

    def __init__(
        self,
        beam: ConeBeam,
        box: VoxelBox,
        *,
        dtype: torch.dtype = torch.float32,
        filtered: Callable[[str], LinearOperator] | None = None,
    ) -> None:
        super().__init__()
        beam.check(box)
        self.beam, self.box, self.filtered = beam, box, filtered
        self.domain = Space(("z", "y", "x"), box.shape, dtype)
        self.codomain = Space(AXES, beam.shape, dtype)
        self.rays = RayPair(beam, box)
        self.compiled = _compiled(beam, box)
        # Holds nothing: it goes where the operator goes, and what is made of the operator follows it.
        self.register_buffer("placed", torch.empty(0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self._over_batch(x, self.domain, self.codomain, lambda pair: pair.project)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._over_batch(y, self.codomain, self.domain, lambda pair: pair.backproject)

    def filtered_adjoint(self, window: str = "hann") -> LinearOperator:
        """Filtered back-projection with a named window, see :class:`medldm_ct.cone.fdk.FeldkampOperator`.

        Raises:
            UsageError: ``E-CT-12`` for a trajectory that is no orbit, or an orbit whose redundancy is not stated.
        """
        if self.filtered is None:
            raise UsageError(
                "E-CT-12",
                "Filtered back-projection was asked for, but the scan is no circle or helix with stated weights.",
                why="How often each line was measured cannot be told from the positions alone.",
                fix="Name the weights of a circle, or start from zero with an iterative solver (cgls, sart, tv).",
            )
        return self.filtered(window).to(self.placed.device)

    def subsets(self, n: int) -> Sequence[tuple[LinearOperator, Tensor]]:
        """``n`` operators of every n-th view each, with the indices of their views."""
        if not 1 <= n <= self.beam.views:
            raise UsageError(
                "E-CT-07",
                f"{n} subsets were asked for, the scan has {self.beam.views} views.",
                fix="Choose a number of subsets from 1 to the number of views.",
            )
        device, dtype = self.placed.device, self.domain.dtype
        parts = [range(i, self.beam.views, n) for i in range(n)]
        return [
            (
                ConeTransform(self.beam.with_views(part), self.box, dtype=dtype).to(device),
                torch.tensor(part, device=device),
            )
            for part in parts
        ]

    def _over_batch(
        self, x: Tensor, space: Space, target: Space, direction: Callable[[_Pair], Callable[[Tensor], Tensor]]
    ) -> Tensor:
        batch = space.batch_shape(x)
        pair: _Pair = self.compiled if self.compiled is not None and x.device.type == "cpu" else self.rays
        working = torch.float64 if x.dtype == torch.float64 else torch.float32
        items = x.detach().to(working).reshape(-1, *space.shape)
        out = items.new_empty(len(items), *target.shape)
        apply = direction(pair)
        for item, place in zip(items, out, strict=True):
            place.copy_(apply(item))
        return out.to(x.dtype).view(*batch, *target.shape)


def _compiled(beam: ConeBeam, box: VoxelBox) -> _Pair | None:
    if not beam.upright:
        return None
    if find_spec("numba") is None:
        _warn_of_no_compiler()
        return None
    from medldm_ct.cone.compiled import CompiledPair

    return CompiledPair(beam, box)


@cache
def _warn_of_no_compiler() -> None:
    _log.warning("the package numba is not installed: cone-beam projections take about 50 times as long")
