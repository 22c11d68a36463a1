"""Small instances for the conformance kit."""

from __future__ import annotations

import math

import torch

from medldm.data import Grid, Volume
from medldm.testing import PhysicsExample
from medldm_astra.geometry import AstraScan
from medldm_astra.matrix_operator import SliceMatrix
from medldm_astra.physics import AstraCt


def body(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Volume:
    """A smooth body in HU: soft tissue with a denser insert, in air."""
    z, y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape), indexing="ij")
    hounsfield = -1000 + 1000 * torch.sigmoid((0.7 - torch.hypot(y / 0.9, x)) * 12)
    hounsfield = hounsfield + 300 * torch.exp(-((y - 0.2) ** 2 + (x + 0.25) ** 2 + 0.2 * z**2) / 0.03)
    return Volume(hounsfield, Grid.isotropic(shape, spacing), quantity="HU", modality="CT", name="body")


def parallel() -> PhysicsExample:
    """60 parallel views; also strips with a displaced detector, a fan, and a fan in double precision."""
    turn = tuple(2 * math.pi * i / 7 for i in range(7))
    strip = AstraScan((0.3, 1.0, 2.9), 11, 1.7, 0.8)
    fan = AstraScan(turn, 19, 1.9, 1.0, (30.0, 50.0))
    return PhysicsExample(
        AstraCt(views=60),
        body((3, 30, 36), (3.0, 1.5, 1.5)),
        (
            SliceMatrix(strip.matrix((8, 11), 1.2, "strip"), (2, 8, 11), 3),
            SliceMatrix(fan.matrix((9, 12), 1.0, "line"), (2, 9, 12), 7),
            SliceMatrix(fan.matrix((9, 12), 1.0, "line"), (3, 9, 12), 7, torch.float64),
        ),
    )
