"""A small volume on a grid whose three lengths differ, for the tests of the laws of components."""

from __future__ import annotations

import torch

from medldm.data import Grid, Volume
from medldm.operators import Space

GRID = Grid.isotropic((3, 4, 5), (2.0, 1.0, 0.5))
VOLUME = Volume(1 + torch.rand(GRID.shape, generator=torch.Generator().manual_seed(1)), GRID, "HU", "CT", "scan")
SPACE = Space(("z", "y", "x"), GRID.shape)
