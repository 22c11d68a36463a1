"""JSENSE: known coefficients and known maps recovered from undersampled k-space."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medldm.inference import Noise
from medldm_mri.calibration import calibration_region
from medldm_mri.cartesian import CartesianMri
from medldm_mri.coils import CoilArray
from medldm_mri.espirit import Espirit
from medldm_mri.examples import object_of
from medldm_mri.jsense import Jsense
from medldm_mri.masks import SamplingMask
from medldm_mri.object_phase import SmoothPhase
from medldm_mri.sense import Sense

SHAPE = (2, 96, 80)


def _mask(acceleration: float, calibration: float) -> Tensor:
    return SamplingMask(acceleration=acceleration, calibration=calibration).draw(SHAPE[1:], Noise(3))


def _scene(mask: Tensor, noise: float = 0.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """k-space, true maps, maps from the calibration lines, and where the object is."""
    volume = object_of(SHAPE)
    phase = SmoothPhase(SHAPE, Noise(5))
    image = torch.stack([volume.data[z] * phase.at(z) for z in range(SHAPE[0])])
    maps = CoilArray(volume.grid, 8).all()
    kspace = Sense(maps, mask).forward(image)
    kspace = kspace + mask * Noise(6).normal(tuple(kspace.shape), torch.complex64, "measurement", std=noise)
    ky, kx = calibration_region(mask)
    return kspace, maps, Espirit().maps(kspace[..., ky, kx], SHAPE[1:]), volume.data > 0


def _angle(maps: Tensor, true: Tensor, inside: Tensor) -> float:
    """Root mean square sine of the angle between estimated and true sensitivities."""
    cosine = (maps.conj() * true).sum(1).abs() / maps.abs().square().sum(1).sqrt().clamp(min=1e-9)
    return float((1 - cosine[inside].square()).clamp(min=0).mean().sqrt())


@pytest.mark.parametrize("acceleration", [1, 3])
def test_known_coefficients_are_recovered(acceleration: float) -> None:
    jsense = Jsense(order=3, penalty=1e-12)
    noise, (_, ny, nx) = Noise(2), SHAPE
    image = noise.normal((1, ny, nx), torch.complex128, "image")
    true = noise.normal((9, 4), torch.complex128, "coefficients")
    basis = jsense._basis(image[:, None])
    mask = _mask(acceleration, 0.1) if acceleration > 1 else torch.ones(ny, nx)
    coils = torch.einsum("kc,kyx->cyx", true, basis)
    kspace = Sense(coils[None], mask).forward(image)[0]
    probes = Sense(basis[None], mask).forward(image)[0]
    found = jsense._fit(probes, kspace, float(image.abs().square().sum()))
    torch.testing.assert_close(found, true, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_all_lines_say_more_of_the_maps_than_the_calibration_lines(noise: float) -> None:
    mask = _mask(4, 0.06)
    kspace, true, start, inside = _scene(mask, noise)
    refined = Jsense().refine(start, kspace, lambda maps: Sense(maps, mask))
    assert _angle(refined, true, inside) < 0.6 * _angle(start, true, inside)


def test_the_place_of_the_maps_and_their_sum_of_squares_stay() -> None:
    mask = _mask(4, 0.1)
    kspace, _, start, _ = _scene(mask)
    refined = Jsense().refine(start, kspace, lambda maps: Sense(maps, mask))
    squares = refined.abs().square().sum(1)
    assert torch.equal(squares > 0, start.abs().sum(1) > 0)
    assert float((squares * (squares - 1)).abs().max()) < 1e-5


def test_a_side_of_the_object_that_was_cut_off_comes_back() -> None:
    """Few calibration lines leave it without maps, and its signal folds into all the rest."""
    mask = _mask(4, 0.06)
    kspace, true, start, inside = _scene(mask, 0.1)
    columns = inside.any(0).any(0).nonzero()
    cut = start.clone()
    cut[..., int(columns[-1]) - 5 :] = 0
    missing = float((inside & (cut.abs().sum(1) == 0)).sum() / inside.sum())
    assert 0.005 < missing < 0.1
    found, kept = (Jsense(gain=gain).refine(cut, kspace, lambda maps: Sense(maps, mask)) for gain in (0.1, 1.0))
    assert not bool((inside & (found.abs().sum(1) == 0)).any())
    assert torch.equal(kept.abs().sum(1) > 0, cut.abs().sum(1) > 0)
    within = inside & (cut.abs().sum(1) > 0)  # where the cut maps are given too
    assert _angle(found, true, within) < 0.3 * _angle(kept, true, within)


def test_a_slice_does_not_depend_on_its_neighbours_and_an_empty_one_keeps_its_maps() -> None:
    mask = _mask(4, 0.1)
    kspace, _, start, _ = _scene(mask)
    together = Jsense(rounds=1).refine(start, kspace, lambda maps: Sense(maps, mask))
    alone = Jsense(rounds=1).refine(start[1:], kspace[1:], lambda maps: Sense(maps, mask))
    assert torch.equal(together[1:], alone)
    kspace[0] = 0
    assert torch.equal(Jsense(rounds=1).refine(start, kspace, lambda maps: Sense(maps, mask))[0], start[0])


def test_the_physics_explains_high_undersampling_better_with_them() -> None:
    volume = object_of(SHAPE)
    mask = SamplingMask(acceleration=6, calibration=0.06)
    chi = {}
    for maps in ("espirit", "jsense"):
        physics = CartesianMri(mask=mask, maps=maps)  # type: ignore[arg-type]
        measurement = physics.simulate(volume, Noise(4))
        operator = physics.operator(measurement, measurement.grid)
        likelihood = physics.likelihood(measurement, operator)
        image = likelihood.prox(operator.H(measurement.data)[None], 1e-3, iterations=100)
        chi[maps] = float(likelihood.chi(image))
    assert chi["jsense"] < 0.85 * chi["espirit"]
