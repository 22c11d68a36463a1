"""Sampling masks: how many samples, where the calibration region is, distances, densities, refusals."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest
import torch
from torch import Tensor

from medldm.errors import UsageError
from medldm.inference import Noise
from medldm_mri.calibration import calibration_region
from medldm_mri.masks import Kind, SamplingMask, acceleration_of

KINDS = get_args(Kind)
SHAPES = [(128, 160), (99, 160), (160, 101)]


def _options(kind: str, **changes: object) -> SamplingMask:
    return dataclasses.replace(SamplingMask(), kind=kind, **changes)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("acceleration", "calibration"), [(4.0, 0.08), (8.0, 0.04), (2.5, 0.1), (1.0, 0.08)])
def test_overall_acceleration_is_the_one_asked_for(
    kind: str, shape: tuple[int, int], acceleration: float, calibration: float
) -> None:
    mask = _options(kind, acceleration=acceleration, calibration=calibration).draw(shape, Noise(3))
    assert mask.shape == shape
    assert mask.dtype == torch.float32
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    whole = mask.numel() if kind.endswith("2d") else shape[1]
    # The nearest whole number of samples or lines: within 2 % here, where a line is at most 2 % of the budget or
    # the rounding is smaller than that.
    assert round(float(mask.mean()) * whole) == round(whole / acceleration)
    assert abs(acceleration_of(mask) / acceleration - 1) < (0.02 if shape[1] == 160 else 0.05)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_calibration_region_is_full_and_centred(kind: str, shape: tuple[int, int]) -> None:
    mask = _options(kind, calibration=0.1).draw(shape, Noise(3))
    lines = round(0.1 * shape[1])
    columns = slice(shape[1] // 2 - lines // 2, shape[1] // 2 - lines // 2 + lines)
    rows = slice(None)
    if kind.endswith("2d"):
        lines = round(0.1 * shape[0])
        rows = slice(shape[0] // 2 - lines // 2, shape[0] // 2 - lines // 2 + lines)
    assert bool(mask[rows, columns].all())
    ky, kx = calibration_region(mask)
    assert bool(mask[ky, kx].all())
    for found, n in ((ky, shape[0]), (kx, shape[1])):
        assert found.stop - found.start >= min(24, round(0.1 * n))
        assert found.start <= n // 2 < found.stop


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("axis", ["y", "x"])
def test_lines_run_along_the_other_axis(kind: str, axis: str) -> None:
    mask = _options(kind, axis=axis).draw((60, 72), Noise(1))
    constant_along_y, constant_along_x = bool((mask == mask[:1]).all()), bool((mask == mask[:, :1]).all())
    if kind.endswith("2d"):
        assert not constant_along_y
        assert not constant_along_x
    else:
        assert (constant_along_y, constant_along_x) == ((False, True) if axis == "y" else (True, False))


@pytest.mark.parametrize("kind", KINDS)
def test_the_draw_depends_on_seed_and_case_only(kind: str) -> None:
    options = _options(kind)
    first = options.draw((64, 96), Noise(3, "a"))
    assert first.equal(options.draw((64, 96), Noise(3, "a")))
    assert not first.equal(options.draw((64, 96), Noise(4, "a")))
    assert not first.equal(options.draw((64, 96), Noise(3, "b")))


def test_uniform_lines_have_equal_distances() -> None:
    mask = _options("uniform", acceleration=4, calibration=0.0).draw((4, 128), Noise(1))
    assert set(torch.nonzero(mask[0])[:, 0].diff().tolist()) == {4}


def _distances(mask: Tensor) -> Tensor:
    """Distance of each sample to its nearest neighbour."""
    points = torch.nonzero(mask).float()
    distances = torch.cdist(points, points)
    return distances.fill_diagonal_(float("inf")).min(dim=1).values


@pytest.mark.parametrize("acceleration", [3.0, 6.0, 10.0])
def test_poisson_disc_keeps_its_distance_where_random_sampling_does_not(acceleration: float) -> None:
    options = _options("poisson-disc-2d", acceleration=acceleration, calibration=0.0, decay=0.0)
    disc = _distances(options.draw((60, 72), Noise(1)))
    random = _distances(dataclasses.replace(options, kind="random-2d").draw((60, 72), Noise(1)))
    # Maximal Poisson-disc sets of radius r cover the plane with discs of radius r, so one sample has at most the area
    # of a hexagon with that circumradius, 2.6 r^2; darts stop before that, and a thinned set keeps every distance.
    radius = (acceleration / 2.6) ** 0.5
    assert float(disc.min()) > radius
    assert float(random.min()) == 1.0


def test_poisson_disc_lines_keep_their_distance() -> None:
    mask = _options("poisson-disc-1d", acceleration=8.0, calibration=0.0, decay=0.0).draw((3, 256), Noise(2))
    assert int(torch.nonzero(mask[0])[:, 0].diff().min()) >= 4


@pytest.mark.parametrize("kind", ["variable-density-1d", "variable-density-2d", "poisson-disc-1d", "poisson-disc-2d"])
def test_variable_density_thins_out_towards_the_edge(kind: str) -> None:
    mask = torch.stack([_options(kind, calibration=0.0).draw((64, 256), Noise(seed)) for seed in range(8)]).mean(0)
    inner, outer = mask[24:40, 96:160].mean(), mask[:, :32].mean()
    assert float(inner) > 1.5 * float(outer)


def test_a_calibration_region_beyond_the_budget_is_refused() -> None:
    with pytest.raises(UsageError, match="acceleration 8 leaves 16") as refusal:
        SamplingMask(acceleration=8, calibration=0.2).draw((64, 128), Noise(1))
    assert refusal.value.code == "E-MRI-01"
