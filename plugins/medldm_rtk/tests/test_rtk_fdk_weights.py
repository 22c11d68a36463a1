"""Our filtered back-projection of cones beside RTK's, with explicit weights of each kind of scan."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

itk = pytest.importorskip("itk", reason="itk-rtk is not installed: pip install 'medldm[rtk]'")
if not hasattr(itk, "RTK"):
    pytest.skip("itk-rtk is not installed: pip install 'medldm[rtk]'", allow_module_level=True)

from itk import RTK  # noqa: E402

from medldm_ct.cone.fdk import FeldkampOperator  # noqa: E402
from medldm_ct.cone.geometry import Detector, VoxelBox  # noqa: E402
from medldm_ct.cone.orbit import Orbit, circular  # noqa: E402
from medldm_ct.cone.phantom import blobs, projected, sampled  # noqa: E402
from medldm_ct.redundancy import Redundancy, RedundancyName  # noqa: E402
from medldm_rtk.projector import ConeScan, JosephProjector, _from_rtk, _updated  # noqa: E402

SIZE, VIEWS, BINS = 48, 90, 72
PITCH, NEAR, FAR = 2.0, 96.0, 192.0
BOX = VoxelBox((SIZE, SIZE, SIZE), (1.0, 1.0, 1.0))
TURN = 2 * math.pi
SHORT = math.pi + 2 * math.atan(BINS * PITCH / 2 / FAR) + 0.2


def orbit_of(weights: RedundancyName) -> tuple[Orbit, float]:
    arc, columns, offset = TURN, BINS, 0.0
    if weights == "short-scan":
        arc = SHORT
    if weights == "displaced":
        columns, offset = int(0.7 * BINS), 0.15 * BINS * PITCH
    angles = tuple(arc * i / VIEWS for i in range(VIEWS))
    return circular(Detector(BINS, columns, PITCH, PITCH), angles, NEAR, FAR, column_offset=offset), arc


def by_rtk(orbit: Orbit, projections: torch.Tensor, weights: RedundancyName) -> torch.Tensor:
    """RTK's own weights (Parker 1982; Wang 2002) before its own FDK."""
    rows, columns = orbit.detector.rows, orbit.detector.columns
    scan = ConeScan(tuple(orbit.angles), rows, columns, PITCH, PITCH, NEAR, FAR, orbit.column_offset)
    image = itk.Image[itk.F, 3]
    weighting: dict[RedundancyName, Any] = {
        "short-scan": RTK.ParkerShortScanImageFilter[image],
        "displaced": RTK.DisplacedDetectorImageFilter[image],
    }
    rays = scan.image(projections.float().numpy())
    if weights in weighting:
        filtered = weighting[weights].New()
        filtered.SetInput(rays)
        filtered.SetGeometry(scan.geometry())
        filtered.Update()
        rays = filtered.GetOutput()
    fdk = RTK.FDKConeBeamReconstructionFilter[image].New()
    fdk.SetInput(0, JosephProjector(scan, BOX.shape, BOX.spacing)._volume(np.zeros(BOX.shape, np.float32)))
    fdk.SetInput(1, rays)
    fdk.SetGeometry(scan.geometry())
    return torch.from_numpy(_from_rtk(_updated(fdk)))


@pytest.mark.parametrize("weights", ["full-turn", "short-scan", "displaced"])
def test_images_agree_where_all_rays_pass(weights: RedundancyName) -> None:
    """Both interpolate in their own ways, by 1 % at this size; RTK without its weights is far off."""
    orbit, arc = orbit_of(weights)
    bodies = blobs(0.4 * SIZE)
    y = projected(bodies, orbit.beam(), 1)
    n = torch.arange(SIZE) - (SIZE - 1) / 2
    inside = torch.hypot(n[:, None], n[None, :]) < 0.45 * SIZE
    ours = FeldkampOperator(orbit, BOX, Redundancy.named(weights, arc), "ram-lak")(y.float())[:, inside]
    theirs, unweighted = (by_rtk(orbit, y, used)[:, inside] for used in (weights, "full-turn"))
    size = sampled(bodies, BOX, 2)[:, inside].norm()
    assert float((ours - theirs).norm() / size) < 0.015
    assert float(ours.sum() / theirs.sum()) == pytest.approx(1, abs=2e-3)
    if weights != "full-turn":
        assert float((unweighted - theirs).norm() / size) > 0.1
