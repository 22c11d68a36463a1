"""Small instances of the plugin's physics for the conformance kit."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from medldm.data import Grid, Volume
from medldm.testing import PhysicsExample
from medldm_ct.cone.fdk import FeldkampOperator
from medldm_ct.cone.geometry import Detector, VoxelBox
from medldm_ct.cone.orbit import circular, helical
from medldm_ct.cone.physics import ConeBeamCt, HelicalCt
from medldm_ct.cone.projector import ConeTransform
from medldm_ct.geometry import FanBeam, ImagePlane, ParallelBeam
from medldm_ct.physics import FanBeamCt, ParallelBeamCt
from medldm_ct.projector import XRayTransform
from medldm_ct.redundancy import Redundancy


def body(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Volume:
    """A smooth body in HU: soft tissue with a denser and a lighter insert, in air."""
    z, y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1) for n in shape), indexing="ij")

    def blob(y0: float, x0: float, width: float) -> torch.Tensor:
        return torch.exp(-((y - y0) ** 2 + (x - x0) ** 2 + 0.2 * z**2) / (2 * width**2))

    hounsfield = -1000 + 1000 * torch.sigmoid((0.7 - torch.hypot(y / 0.9, x)) * 12)
    hounsfield = hounsfield + 300 * blob(0.2, -0.25, 0.12) - 400 * blob(-0.2, 0.2, 0.15)
    return Volume(hounsfield, Grid.isotropic(shape, spacing), quantity="HU", modality="CT", name="body")


def parallel() -> PhysicsExample:
    """60 views; also few views of odd sizes, a displaced detector, symmetric storage, float64."""
    plane = ImagePlane((9, 12), (1.5, 1.0))
    square = ImagePlane((10, 10), (1.0, 1.0))
    equispaced = tuple(math.pi * i / 12 for i in range(12))
    return PhysicsExample(
        ParallelBeamCt(views=60),
        body((3, 40, 48), (3.0, 2.0, 1.5)),
        (
            XRayTransform(ParallelBeam((0.3, 1.0, 2.9), 11, 1.7), plane, 2),
            XRayTransform(ParallelBeam((-0.1, 0.8, 1.6, 4.0), 14, 1.0, 3.3), plane, 3, dtype=torch.float64),
            XRayTransform(ParallelBeam(equispaced, 15, 1.0), square, 2, storage="symmetric"),
        ),
    )


def fan() -> PhysicsExample:
    """A curved detector over a full turn; also a flat one, displaced, symmetric, float64, and their FBP."""
    plane = ImagePlane((8, 11), (1.2, 1.0))
    square = ImagePlane((10, 10), (1.0, 1.0))
    turn = tuple(2 * math.pi * i / 16 for i in range(16))
    full = Redundancy.named("full-turn", 2 * math.pi)
    flat = XRayTransform(FanBeam(turn, 19, 1.9, 0.0, 30.0, 50.0), square, 2, redundancy=full, storage="symmetric")
    curved = FanBeam((0.2, 2.0, 5.1), 17, 1.8, 4.0, 25.0, 45.0, curved=True)
    return PhysicsExample(
        FanBeamCt(views=90, source_to_centre_mm=200.0, source_to_detector_mm=350.0),
        body((2, 36, 40), (3.0, 2.0, 1.5)),
        (
            flat,
            flat.filtered_adjoint("shepp-logan"),
            XRayTransform(curved, plane, 3, dtype=torch.float64),
        ),
    )


def cone() -> PhysicsExample:
    """A flat detector over a full turn; also a curved one, displaced, tilted, float64, and their FDK."""
    box = VoxelBox((5, 11, 9), (1.3, 1.0, 1.2), (0.5, -0.3, 0.2))
    turn = tuple(2 * math.pi * i / 10 for i in range(10))
    beam = circular(Detector(7, 12, 2.4, 2.0), turn, 25.0, 45.0, row_offset=0.7).beam()
    tilt = torch.linalg.matrix_exp(torch.tensor([[0, -0.2, 0.1], [0.2, 0, -0.3], [-0.1, 0.3, 0]], dtype=torch.float64))
    tilted = replace(beam, **{name: getattr(beam, name) @ tilt.T for name in ("source", "centre", "u", "v")})
    displaced = circular(Detector(6, 9, 2.4, 2.0, curved=True), turn, 25.0, 45.0, column_offset=4.0)
    weights = Redundancy.named("displaced", 2 * math.pi)
    return PhysicsExample(
        ConeBeamCt(views=60, source_to_centre_mm=200.0, source_to_detector_mm=350.0),
        body((9, 24, 20), (3.0, 2.0, 2.5)),
        (
            ConeTransform(beam.with_views(range(0, 10, 3)), box),
            ConeTransform(displaced.beam(), box, dtype=torch.float64),
            ConeTransform(tilted.with_views([0, 3]), box),
            FeldkampOperator(displaced, box, weights, "shepp-logan", truncated=True),
        ),
    )


def helix() -> PhysicsExample:
    """A curved detector of eight rows; also its start image as an operator, of a detector off centre too."""
    turns = tuple(2 * math.pi * i / 12 for i in range(36))
    orbit = helical(Detector(8, 14, 2.4, 2.0, curved=True), turns, 25.0, 45.0, feed=4.0, start=-6.0)
    box = VoxelBox((6, 9, 10), (1.2, 1.0, 1.0))
    off = replace(orbit, detector=replace(orbit.detector, columns=9), column_offset=4.0)
    return PhysicsExample(
        HelicalCt(rows=8, views_per_turn=40, pitch=0.6, source_to_centre_mm=200.0, source_to_detector_mm=350.0),
        body((11, 20, 24), (3.0, 2.5, 2.0)),
        (
            ConeTransform(orbit.beam(), box),
            FeldkampOperator(orbit, box, None),
            FeldkampOperator(off, box, None, truncated=True),
        ),
    )
