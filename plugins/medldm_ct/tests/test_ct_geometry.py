"""Where rays run: angle sign, detector direction, centre of rotation, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch

from medldm.errors import InputRefused
from medldm_ct.geometry import FanBeam, ImagePlane, ParallelBeam
from medldm_ct.projector import XRayTransform


def centroids(geometry: ParallelBeam | FanBeam, plane: ImagePlane, row: int, column: int) -> list[float]:
    """Mean detector position in mm of one bright pixel, view by view."""
    operator = XRayTransform(geometry, plane, 1, dtype=torch.float64)
    x = operator.domain.zeros()
    x[0, row, column] = 1
    y = operator(x)[0]
    return [float((view * geometry.centres()).sum() / view.sum()) for view in y]


@pytest.mark.parametrize("shape", [(8, 8), (9, 9), (8, 11), (7, 10)])
@pytest.mark.parametrize("bins", [200, 201])
def test_parallel_rays_meet_the_pixel_where_the_convention_says(shape: tuple[int, int], bins: int) -> None:
    plane = ImagePlane(shape, (1.25, 0.8))
    angles = (0.0, 0.4, math.pi / 2, 2.2, math.pi, 4.0)
    row, column = 1, shape[1] - 2
    y = (row - (shape[0] - 1) / 2) * 1.25
    x = (column - (shape[1] - 1) / 2) * 0.8
    found = centroids(ParallelBeam(angles, bins, 0.1, offset=0.3), plane, row, column)
    expected = [x * math.cos(a) + y * math.sin(a) for a in angles]
    assert found == pytest.approx(expected, abs=4e-3)


def test_view_zero_looks_along_the_columns() -> None:
    plane = ImagePlane((5, 7), (2.0, 1.0))
    x = torch.arange(35, dtype=torch.float64).view(1, 5, 7)
    operator = XRayTransform(ParallelBeam((0.0, math.pi / 2), 7, 1.0), plane, 1, dtype=torch.float64)
    assert torch.allclose(operator(x)[0, 0], 2.0 * x[0].sum(0))
    turned = XRayTransform(ParallelBeam((math.pi / 2,), 5, 2.0), plane, 1, dtype=torch.float64)
    assert torch.allclose(turned(x)[0, 0], x[0].sum(1))


@pytest.mark.parametrize("curved", [False, True])
def test_fan_source_stands_above_the_image_and_the_detector_runs_along_x(curved: bool) -> None:
    plane = ImagePlane((9, 8), (1.0, 1.0))
    geometry = FanBeam((0.0, 0.7, math.pi / 2, 3.0), 400, 0.1, 0.0, 60.0, 100.0, curved)
    row, column = 1, 6
    y, x = row - 4.0, column - 3.5
    expected = []
    for beta in geometry.angles:
        across = x * math.cos(beta) + y * math.sin(beta)
        depth = 60.0 - x * math.sin(beta) + y * math.cos(beta)
        expected.append(100 * math.atan2(across, depth) if curved else 100 * across / depth)
    # Near the source at (0, -60): magnification above 100 / 60.
    assert abs(expected[0]) > abs(x) * 100 / 60
    assert centroids(geometry, plane, row, column) == pytest.approx(expected, abs=2e-2)


@pytest.mark.parametrize("curved", [False, True])
def test_a_fan_ray_is_a_parallel_ray(curved: bool) -> None:
    geometry = FanBeam((0.5, 2.0), 9, 2.0, 1.0, 50.0, 90.0, curved)
    theta, s = geometry.lines(geometry.centres())
    for view, beta in enumerate(geometry.angles):
        source = torch.tensor([50 * math.sin(beta), -50 * math.cos(beta)], dtype=torch.float64)
        on_line = source[0] * theta[view].cos() + source[1] * theta[view].sin() - s[view]
        assert float(on_line.abs().max()) < 1e-12
        y, x = (s[view] * theta[view].sin())[:, None], (s[view] * theta[view].cos())[:, None]
        assert torch.allclose(geometry.positions(y, x)[:, view], geometry.centres())


def test_rays_carry_lengths_in_mm() -> None:
    plane = ImagePlane((40, 40), (0.5, 0.5))
    y = XRayTransform(ParallelBeam((0.0, 0.3), 61, 0.5), plane, 1, dtype=torch.float64)(torch.ones(1, 40, 40).double())
    assert float(y[0, 0, 30]) == pytest.approx(20.0)
    assert float(y[0, 1, 30]) == pytest.approx(20.0 / math.cos(0.3), rel=1e-6)


@pytest.mark.parametrize("ratio", [0.25, 1.0, 3.7])
def test_every_view_collects_all_attenuation_whatever_the_size_of_its_bins(ratio: float) -> None:
    plane = ImagePlane((12, 10), (1.0, 1.3))
    geometry = ParallelBeam((0.1, 0.9, 2.5), math.ceil(24 / ratio), ratio)
    x = torch.rand(1, 12, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mass = XRayTransform(geometry, plane, 1, dtype=torch.float64)(x)[0].sum(1) * ratio
    assert torch.allclose(mass, (x.sum() * 1.3).expand(3))


def test_angles_may_be_a_tensor() -> None:
    assert ParallelBeam(torch.tensor([0.0, 0.5]), 3, 1.0) == ParallelBeam((0.0, 0.5), 3, 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: ParallelBeam((), 5, 1.0), "E-CT-01"),
        (lambda: ParallelBeam((0.0,), 0, 1.0), "E-CT-01"),
        (lambda: ParallelBeam((0.0,), 5, 0.0), "E-CT-02"),
        (lambda: ParallelBeam((math.nan,), 5, 1.0), "E-CT-02"),
        (lambda: FanBeam((0.0,), 5, 1.0, 0.0, 100.0, 90.0), "E-CT-03"),
        (lambda: FanBeam((0.0,), 50, 10.0, 0.0, 90.0, 100.0, curved=True), "E-CT-03"),
        (
            lambda: XRayTransform(FanBeam((0.0,), 5, 1.0, 0.0, 10.0, 20.0), ImagePlane((20, 20), (1.0, 1.0)), 1),
            "E-CT-04",
        ),
        (
            lambda: XRayTransform(ParallelBeam((0.0,) * 9000, 999, 1.0), ImagePlane((999, 999), (1.0, 1.0)), 1),
            "E-CT-05",
        ),
    ],
)
def test_impossible_geometries_are_refused(make: object, code: str) -> None:
    assert callable(make)
    with pytest.raises(Exception, match=code) as caught:
        make()
    assert isinstance(caught.value, InputRefused) or code == "E-CT-05"
