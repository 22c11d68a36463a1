"""RTK's cone beam in medldm's axes: a ball known in closed form, where it is and how dense."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

itk = pytest.importorskip("itk", reason="itk-rtk is not installed: pip install 'medldm[rtk]'")
if not hasattr(itk, "RTK"):
    pytest.skip("itk-rtk is not installed: pip install 'medldm[rtk]'", allow_module_level=True)

from medldm.data import Acquisition  # noqa: E402
from medldm.errors import InputRefused  # noqa: E402
from medldm.inference import Noise  # noqa: E402
from medldm_rtk import examples  # noqa: E402
from medldm_rtk.physics import RtkConeBeam  # noqa: E402
from medldm_rtk.projector import ConeScan, JosephProjector  # noqa: E402

SHAPE, SPACING = (32, 40, 44), (1.5, 1.2, 1.0)
CENTRE, WIDTH = np.array([6.0, -9.0, 7.0]), 4.0  # x, y, z in mm


def gaussian() -> torch.Tensor:
    z, y, x = (step * (np.arange(n) - (n - 1) / 2) for n, step in zip(SHAPE, SPACING, strict=True))
    zz, yy, xx = np.meshgrid(z, y, x, indexing="ij")
    square = (xx - CENTRE[0]) ** 2 + (yy - CENTRE[1]) ** 2 + (zz - CENTRE[2]) ** 2
    return torch.from_numpy(np.exp(-square / (2 * WIDTH**2))).float()


def exact(scan: ConeScan) -> np.ndarray:
    """Line integrals of the Gaussian along the rays to the centres of the detector's elements."""
    u = (np.arange(scan.bins) - (scan.bins - 1) / 2) * scan.pitch + scan.offset
    v = (np.arange(scan.rows) - (scan.rows - 1) / 2) * scan.row_pitch + scan.row_offset
    result = []
    for beta in scan.angles:
        across, towards = np.array([np.cos(beta), np.sin(beta), 0]), np.array([np.sin(beta), -np.cos(beta), 0])
        source = scan.source_to_centre * towards
        middle = source - scan.source_to_detector * towards
        points = middle + u[None, :, None] * across + v[:, None, None] * np.array([0, 0, 1.0])
        rays = points - source
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        to_centre = CENTRE - source
        square = (to_centre**2).sum() - (rays @ to_centre) ** 2
        result.append(WIDTH * math.sqrt(2 * math.pi) * np.exp(-square / (2 * WIDTH**2)))
    return np.stack(result)


def test_projections_are_line_integrals_of_medldms_geometry() -> None:
    scan = ConeScan((0.0, 0.7, 2.5, 4.0), 40, 60, 2.0, 1.8, 150.0, 220.0, 3.0, -2.0)
    found = JosephProjector(scan, SHAPE, SPACING)(gaussian()).numpy()
    truth = exact(scan)
    assert np.linalg.norm(found - truth) / np.linalg.norm(truth) < 0.02


def test_fdk_finds_the_ball_where_it_is() -> None:
    scan = ConeScan(tuple(2 * math.pi * i / 90 for i in range(90)), 60, 80, 2.0, 1.5, 150.0, 220.0)
    operator = JosephProjector(scan, SHAPE, SPACING)
    image = operator.fdk(torch.from_numpy(exact(scan)).float())
    truth = gaussian()
    assert float(torch.linalg.vector_norm(image - truth) / torch.linalg.vector_norm(truth)) < 0.12


def test_the_start_of_an_incomplete_scan_is_no_fdk() -> None:
    example = examples.cone()
    physics = replace(example.physics, arc_deg=120.0)
    acquisition: Acquisition = physics.simulate(example.volume, Noise(1))
    operator = physics.operator(acquisition, acquisition.grid)
    start = physics.start(acquisition, operator)
    back = operator.H(acquisition.data)
    torch.testing.assert_close(start / start.max(), back / back.max())


def test_what_cannot_be_is_refused() -> None:
    example = examples.cone()
    with pytest.raises(InputRefused, match="E-RTK-01"):
        RtkConeBeam(source_to_centre_mm=5.0, source_to_detector_mm=9.0).simulate(example.volume, Noise(1))
    with pytest.raises(InputRefused, match="E-RTK-02"):
        RtkConeBeam().simulate(replace(example.volume, quantity="arbitrary"), Noise(1))
    acquisition = example.physics.simulate(example.volume, Noise(1))
    for settings in ({"geometry": "cone-curved"}, {"pitch_mm": None}, {"photons": 0.0}):
        changed = replace(acquisition, settings={**acquisition.settings, **settings})
        with pytest.raises(InputRefused, match="E-RTK-03"):
            example.physics.likelihood(changed, example.physics.operator(changed, changed.grid))


@pytest.mark.parametrize("slices", [1, 2, 8])
def test_the_outer_half_voxels_are_seen_too(slices: int) -> None:
    # From far away each detector row looks along a slab: all of it is crossed by as much, whatever the slices.
    step, fine = 4.0, 8
    scan = ConeScan((0.0,), (slices + 2) * fine, 1, step / fine * 1.01, 1.0, 10000.0, 10100.0)
    seen = JosephProjector(scan, (slices, 64, 64), (step, 1.0, 1.0))(torch.full((slices, 64, 64), 0.02))
    assert float(seen.sum()) / fine == pytest.approx(0.02 * 64 * slices, rel=0.01)


def test_one_slice_is_an_image_of_its_own() -> None:
    physics = replace(examples.cone().physics, views=60)
    volume = examples.cone().volume
    one = replace(volume, data=volume.data[4:5], grid=volume.grid.cropped(slice(4, 5)))
    acquisition = physics.simulate(one, Noise(1))  # type: ignore[attr-defined]
    start = physics.start(acquisition, physics.operator(acquisition, one.grid))
    assert bool(start.isfinite().all()) and float(start.max()) > 0
