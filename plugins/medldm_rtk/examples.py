"""Small instances for the conformance kit."""

from __future__ import annotations

import math

import torch

from medldm.data import Grid, Volume
from medldm.testing import PhysicsExample
from medldm_rtk.physics import RtkConeBeam
from medldm_rtk.projector import ConeScan, JosephProjector


def cone() -> PhysicsExample:
    """A full turn; also a few views of a displaced detector."""
    shape = (10, 14, 16)
    z, y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape), indexing="ij")
    hounsfield = -1000 + 1000 * torch.sigmoid((0.7 - torch.sqrt((y / 0.9) ** 2 + x**2 + (z / 1.1) ** 2)) * 12)
    volume = Volume(hounsfield, Grid.isotropic(shape, (2.5, 2.0, 2.0)), quantity="HU", modality="CT", name="ball")
    displaced = ConeScan(tuple(math.pi * i / 3 for i in range(5)), 7, 12, 3.0, 2.5, 60.0, 90.0, 4.0, -1.0)
    return PhysicsExample(
        RtkConeBeam(views=40, source_to_centre_mm=120.0, source_to_detector_mm=200.0),
        volume,
        (JosephProjector(displaced, (6, 8, 9), (2.0, 1.5, 1.2)),),
    )
