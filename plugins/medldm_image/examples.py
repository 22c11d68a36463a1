"""Small instances of the plugin's physics for the conformance kit."""

from __future__ import annotations

import numpy as np
import torch

from medldm.data import Grid, Volume
from medldm.testing import PhysicsExample
from medldm_image.from_grid import on_grid
from medldm_image.identity import IdentityPhysics
from medldm_image.noise_model import NoiseOptions
from medldm_image.slice_profile import SliceProfile, profile_matrix, slice_positions
from medldm_image.thick_slice import ThickSlicePhysics


def blob(dtype: torch.dtype = torch.float32) -> Volume:
    """A bright off-centre ellipsoid with a smooth phase where it is complex; 12 x 7 x 9 voxels of 1 x 1.5 x 2 mm."""
    grid = Grid.isotropic((12, 7, 9), (1.0, 1.5, 2.0))
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in grid.shape), indexing="ij")
    magnitude = torch.from_numpy(100 * np.exp(-2 * ((z - 0.2) ** 2 + (y + 0.1) ** 2 + 1.5 * x**2)))
    if dtype.is_complex:
        magnitude = torch.polar(magnitude, torch.from_numpy(0.5 * z - y + 0.3 * x))
    return Volume(magnitude.to(dtype), grid, modality="MR", name="blob")


def identity() -> PhysicsExample:
    """A complex image; also seen from a coarser grid."""
    physics = IdentityPhysics(noise=NoiseOptions(std=0.02, of="object-mean"))
    volume = blob(torch.complex64)
    return PhysicsExample(physics, volume)


def thick_slice() -> PhysicsExample:
    """Overlapping Gaussian slices; also boxes with gaps, complex, and from another grid."""
    physics = ThickSlicePhysics(slice_mm=3.0, spacing_mm=2.0, profile="gaussian", noise=NoiseOptions(std=0.01))
    volume = blob()
    grid = volume.grid
    gaps = profile_matrix(slice_positions(12, 1.0, 3.0), 12, 1.0, 2.0, "box")
    complex_boxes = SliceProfile(gaps, (7, 9), torch.complex64)
    coarser = Grid.isotropic((8, 5, 6), (1.4, 2.0, 2.9))
    return PhysicsExample(physics, volume, (complex_boxes, on_grid(SliceProfile(gaps, (7, 9)), coarser, grid)))
