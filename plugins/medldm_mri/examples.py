"""Small instances of the plugin's physics for the conformance kit."""

from __future__ import annotations

import math

import numpy as np
import torch

from medldm.data import Grid, Volume
from medldm.inference import Noise
from medldm.testing import PhysicsExample
from medldm_mri.cartesian import CartesianMri
from medldm_mri.cartesian_3d import CartesianMri3d
from medldm_mri.coils import CoilArray
from medldm_mri.gridding import Gridding
from medldm_mri.masks import SamplingMask
from medldm_mri.nonuniform import NonuniformMri
from medldm_mri.nonuniform_sense import NonuniformSense
from medldm_mri.sense import Sense
from medldm_mri.simultaneous_slices import SimultaneousSlices
from medldm_mri.slice_bands import SliceBands
from medldm_mri.toeplitz import PointSpread
from medldm_mri.trajectory import Trajectory, cycles_per_field_of_view, plane_of
from medldm_mri.volume_sense import VolumeSense


def object_of(shape: tuple[int, int, int], spacing: tuple[float, float, float] = (3.0, 1.2, 1.0)) -> Volume:
    """A magnitude volume: a bright ellipsoid with a rim, a dark and a bright insert, in air."""
    grid = Grid.isotropic(shape, spacing)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape), indexing="ij")

    def inside(a: float, b: float, y0: float = 0.0, x0: float = 0.0) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        return np.asarray(0.3 * z**2 + ((y - y0) / a) ** 2 + ((x - x0) / b) ** 2 < 1)

    image = 90.0 * inside(0.85, 0.7) - 30.0 * inside(0.75, 0.6)
    image = image - 40.0 * inside(0.25, 0.15, 0.1, -0.2) + 25.0 * inside(0.12, 0.2, -0.35, 0.2)
    return Volume(torch.from_numpy(image.astype(np.float32)), grid, modality="MR", name="ellipsoid")


def cartesian() -> PhysicsExample:
    """Four coils, estimated maps; also odd sizes, 2-D masks, shared maps, chunks and double precision."""
    physics = CartesianMri(coils=4, mask=SamplingMask(acceleration=2.0, calibration=0.3))
    odd = Grid.isotropic((3, 9, 7), (4.0, 1.0, 1.3))
    disc = SamplingMask(kind="poisson-disc-2d", acceleration=2.5, calibration=0.3).draw((9, 7), Noise(1))
    columns = SamplingMask(kind="uniform", acceleration=2.0, calibration=0.2, axis="x").draw((9, 7), Noise(1))
    maps = CoilArray(odd, 3).all()
    return PhysicsExample(
        physics,
        object_of((4, 40, 32)),
        (
            Sense(maps, disc),
            Sense(maps[:1], columns, slices=5, slices_at_once=2),
            Sense(maps.to(torch.complex128) * math.sqrt(2), disc, slices_at_once=3),
        ),
    )


def nonuniform() -> PhysicsExample:
    """A spiral with estimated maps; also spokes on odd sizes, missing samples, shared maps, chunks, doubles."""
    physics = NonuniformMri(coils=4, trajectory=Trajectory(kind="spiral", shots=6, turns=3.0), maps="espirit")
    odd = Grid.isotropic((3, 11, 13), (4.0, 1.0, 1.3))
    spokes = Trajectory(shots=9).draw(odd)
    missing = torch.ones(spokes.shape[:2])
    missing[1, 5:] = 0
    maps = CoilArray(odd, 3).all()

    def sense(
        maps: torch.Tensor, mask: torch.Tensor, *, tolerance: float, slices: int, at_once: int
    ) -> NonuniformSense:
        points = cycles_per_field_of_view(spokes, odd)
        transform = Gridding(points, plane_of(odd), maps.dtype, tolerance=tolerance)
        spread = PointSpread(points, mask.flatten(), plane_of(odd), maps.dtype)
        return NonuniformSense(maps, transform, mask, spread, slices=slices, slices_at_once=at_once)

    return PhysicsExample(
        physics,
        object_of((4, 40, 32)),
        (
            sense(maps, missing, tolerance=2e-5, slices=3, at_once=1),
            sense(maps[:1], torch.ones_like(missing), tolerance=2e-5, slices=5, at_once=2),
            sense(maps.to(torch.complex128) * math.sqrt(2), missing, tolerance=1e-12, slices=3, at_once=3),
        ),
    )


def cartesian_3d() -> PhysicsExample:
    """Four coils, estimated maps; also odd sizes and double precision."""
    mask = SamplingMask(kind="variable-density-2d", acceleration=2.0, calibration=0.4)
    odd = Grid.isotropic((5, 9, 7), (2.0, 1.0, 1.3))
    maps = CoilArray(odd, 3).all().permute(3, 1, 0, 2).contiguous()
    weights = mask.draw((5, 9), Noise(1))
    return PhysicsExample(
        CartesianMri3d(coils=4, mask=mask, maps="espirit"),
        object_of((16, 24, 20)),
        (VolumeSense(maps, weights), VolumeSense(maps.to(torch.complex128), weights)),
    )


def simultaneous_slices() -> PhysicsExample:
    """Two bands, estimated maps; also three bands of odd sizes and double precision, shifted by a quarter."""
    physics = SimultaneousSlices(coils=6, bands=2, shift=2, reference=16)
    mask = SamplingMask(kind="uniform", acceleration=1.5, calibration=0.0, axis="y").draw((9, 7), Noise(1))
    shape = (6, 2, 9, 7)
    return PhysicsExample(
        physics,
        object_of((6, 40, 32)),
        (
            SliceBands(shape, mask, bands=3, shift=3),
            SliceBands(shape, mask, bands=3, shift=4, dtype=torch.complex128),
        ),
    )
