"""The simulated receive array and the phase of the object."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medldm.data import Grid
from medldm.inference import Noise
from medldm_mri.coils import CoilArray
from medldm_mri.interpolation import cubic_matrix
from medldm_mri.object_phase import SmoothPhase


@pytest.mark.parametrize("coils", [1, 2, 8, 15])
@pytest.mark.parametrize("shape", [(5, 24, 36), (1, 31, 20), (3, 60, 64)])
def test_maps_have_unit_sum_of_squares(coils: int, shape: tuple[int, int, int]) -> None:
    maps = CoilArray(Grid.isotropic(shape, (4, 1, 1)), coils).all()
    assert maps.shape == (shape[0], coils, *shape[1:])
    assert maps.dtype == torch.complex64
    torch.testing.assert_close(maps.abs().square().sum(1), torch.ones(shape))


def test_maps_are_smooth_differ_and_vary_along_z() -> None:
    maps = CoilArray(Grid.isotropic((9, 80, 64), (10, 2, 2)), 8).all()
    inside = maps[:, :, 10:-10, 10:-10]
    for axis in (-2, -1):
        assert float(inside.diff(dim=axis).abs().max()) < 0.12
    similarity = torch.einsum("zcyx,zdyx->cd", maps.conj(), maps).abs() / maps[:, 0].numel() * 8
    assert float((similarity - torch.diag(similarity.diagonal())).max()) < float(similarity.diagonal().min())
    assert float((maps[0] - maps[-1]).abs().mean()) > 0.05


def test_the_array_follows_the_patient_not_the_voxels() -> None:
    grid = Grid.isotropic((6, 20, 24), (5, 2, 2))
    flipped = grid.affine.copy()
    flipped[:3, 3] = grid.world((0, 19, 0))
    flipped[:3, 1] *= -1
    mirrored = CoilArray(Grid(grid.shape, flipped), 6).all()
    torch.testing.assert_close(mirrored.flip(-2), CoilArray(grid, 6).all(), rtol=1e-4, atol=1e-4)


def test_a_loop_alone_falls_off_along_its_axis_as_the_closed_form() -> None:
    from medldm_mri.coils import _received

    turn = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    wire = 50.0 * np.stack([np.zeros_like(turn), np.cos(turn), np.sin(turn)], axis=1)
    step = 50.0 * np.stack([np.zeros_like(turn), -np.sin(turn), np.cos(turn)], axis=1) * (2 * np.pi / 400)
    distance = np.array([0.0, 40.0, 80.0, 160.0])
    field = _received(np.stack([distance, 0 * distance, 0 * distance], axis=1), wire, step)
    # On the axis of a loop of radius a: B ~ 2 pi a^2 / (a^2 + d^2)^(3/2), with the wire's thickness added to d^2.
    expected = 2 * np.pi * 50.0**2 / (50.0**2 + distance**2 + (0.06 * 50.0) ** 2) ** 1.5
    np.testing.assert_allclose(field.real, expected, rtol=1e-6)
    np.testing.assert_allclose(field.imag, 0, atol=1e-9)


def test_phase_is_smooth_unit_and_reproducible() -> None:
    phase = SmoothPhase((4, 40, 50), Noise(1, "case"))
    factor = torch.stack([phase.at(z) for z in range(4)])
    torch.testing.assert_close(factor.abs(), torch.ones(4, 40, 50))
    assert float(factor.diff(dim=1).abs().max()) < 0.5
    assert float(factor.angle().std()) > 0.1
    assert factor[2].equal(SmoothPhase((4, 40, 50), Noise(1, "case")).at(2))
    assert not factor[2].equal(SmoothPhase((4, 40, 50), Noise(2, "case")).at(2))


@pytest.mark.parametrize(("points", "n"), [(9, 33), (5, 5), (3, 8), (2, 7), (1, 4), (64, 320), (7, 1)])
def test_cubic_interpolation_is_exact_for_parabolas(points: int, n: int) -> None:
    order = min(points - 1, 2)
    matrix = cubic_matrix(points, n, dtype=torch.float64)
    coarse, fine = (torch.linspace(0, 1, m, dtype=torch.float64) for m in (points, n))
    torch.testing.assert_close(matrix @ (1 - 2 * coarse**order), 1 - 2 * fine**order)
