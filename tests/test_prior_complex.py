"""Complex images, as channels or with their phase frozen; their noise has the standard deviation sigma per part."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from wrapper_scene import (
    COLUMNS,
    DEPTH,
    MEAN,
    ROWS,
    SIGMA,
    STD,
    column,
    gaussian_denoiser,
    latent_prior,
    normal,
    pixel_prior,
    random_phase,
    state_of,
)

from medldm.inference import ComplexAsChannels, PhaseFrozen, PixelPrior, SlicewisePrior
from medldm.testing.closed_form import gaussian_mean


def test_channels_give_the_posterior_mean_of_both_parts() -> None:
    means = torch.tensor([0.4, -0.2], dtype=torch.float64).reshape(2, 1, 1)
    stds = torch.tensor([0.5, 0.1], dtype=torch.float64).reshape(2, 1, 1)
    prior = ComplexAsChannels(PixelPrior(gaussian_denoiser(means, stds), (ROWS, COLUMNS), channels=2, multiple=4))
    x = state_of(prior)
    level = column(SIGMA, x)
    real = gaussian_mean(x.real, level, 0.4, 0.5)
    imaginary = gaussian_mean(x.imag, level, -0.2, 0.1)
    torch.testing.assert_close(prior.denoise(x, SIGMA), torch.complex(real, imaginary), rtol=0, atol=1e-9)


def test_channels_of_a_slab_keep_their_slices() -> None:
    # One mean per slice and part: real parts of the three slices first, then their imaginary parts.
    means = torch.arange(6.0).double().reshape(6, 1, 1)
    prior = ComplexAsChannels(PixelPrior(gaussian_denoiser(means, 1e-4), (ROWS, COLUMNS), channels=6))
    clean = prior.denoise(state_of(prior), SIGMA)
    for z in range(3):
        torch.testing.assert_close(clean[:, z], torch.full_like(clean[:, z], complex(z, z + 3)), rtol=0, atol=1e-5)


def test_frozen_phase_gives_the_posterior_mean_of_the_magnitude() -> None:
    phase = random_phase()
    prior = PhaseFrozen(SlicewisePrior(pixel_prior(gaussian_denoiser()), DEPTH), phase, non_negative=False)
    magnitude = MEAN + STD * normal(2, DEPTH, ROWS, COLUMNS)
    noise = torch.view_as_complex(normal(2, DEPTH, ROWS, COLUMNS, 2, seed=5))
    x = phase * magnitude + column(SIGMA, magnitude) * noise
    along = magnitude + column(SIGMA, magnitude) * (phase.conj() * noise).real
    expected = phase * gaussian_mean(along, column(SIGMA, along), MEAN, STD)
    torch.testing.assert_close(prior.denoise(x, SIGMA), expected, rtol=0, atol=1e-7)


def test_frozen_phase_keeps_the_truth_and_removes_what_is_in_quadrature() -> None:
    phase = random_phase()
    prior = PhaseFrozen(SlicewisePrior(pixel_prior(gaussian_denoiser(std=50.0)), DEPTH), phase)
    truth = normal(1, DEPTH, ROWS, COLUMNS).abs()
    # Noise far below the spread of the prior: the denoiser is the identity on magnitudes.
    little = torch.full((1,), 0.002, dtype=torch.float64)
    noisy = phase * (truth + 1j * normal(1, DEPTH, ROWS, COLUMNS, seed=7))
    torch.testing.assert_close(prior.denoise(noisy, little), phase * truth, rtol=0, atol=1e-6)


def test_what_an_uncertain_phase_leaves_in_quadrature_has_the_posterior_mean_of_a_gaussian() -> None:
    phase, spread = random_phase(), 0.3
    inner = SlicewisePrior(pixel_prior(gaussian_denoiser()), DEPTH)
    prior = PhaseFrozen(inner, phase, non_negative=False, quadrature=spread)
    x = torch.view_as_complex(normal(2, DEPTH, ROWS, COLUMNS, 2, seed=5))
    along, across = (phase.conj() * x).real, (phase.conj() * x).imag
    sigma = column(SIGMA, along)
    expected = gaussian_mean(along, sigma, MEAN, STD) + 1j * gaussian_mean(across, sigma, 0.0, spread)
    torch.testing.assert_close(prior.denoise(x, SIGMA), phase * expected, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="latent"):
        PhaseFrozen(SlicewisePrior(latent_prior(), DEPTH), phase, quadrature=spread)


def test_frozen_phase_knows_no_negative_magnitudes() -> None:
    phase = random_phase()
    inner = SlicewisePrior(pixel_prior(gaussian_denoiser()), DEPTH)
    x = -2 * phase[None]
    sigma = SIGMA[:1] * 0.01
    assert bool((PhaseFrozen(inner, phase).denoise(x, sigma) == 0).all())
    negative = PhaseFrozen(inner, phase, non_negative=False).denoise(x, sigma)
    assert float((phase.conj() * negative).real.max()) < -1.9


def test_where_there_is_no_phase_nothing_is_made_up() -> None:
    phase = random_phase().clone()
    phase[:, :3] = 0
    prior = PhaseFrozen(SlicewisePrior(pixel_prior(gaussian_denoiser()), DEPTH), phase)
    x = torch.view_as_complex(normal(1, DEPTH, ROWS, COLUMNS, 2))
    found = prior.denoise(x, SIGMA[:1])
    assert bool((found[:, :, :3] == 0).all()) and bool((found[:, :, 3:] != 0).any())
    other = x.clone()
    other[:, :, :3] += 5
    assert torch.equal(prior.denoise(other, SIGMA[:1]), found)


def test_into_and_out_of_the_frozen_phase_are_adjoint_and_inverse() -> None:
    prior = PhaseFrozen(SlicewisePrior(pixel_prior(), DEPTH), random_phase(), non_negative=False)
    r = normal(1, DEPTH, ROWS, COLUMNS)
    x = torch.view_as_complex(normal(1, DEPTH, ROWS, COLUMNS, 2, seed=2))
    left = (prior.inward(x) * r).sum()
    right = (x.conj() * prior.outward(r)).real.sum()
    torch.testing.assert_close(left, right, rtol=1e-12, atol=0)
    torch.testing.assert_close(prior.inward(prior.outward(r)), r, rtol=0, atol=1e-12)


def test_frozen_phase_of_latents_codes_the_magnitude() -> None:
    phase = random_phase()
    inner = SlicewisePrior(latent_prior(), DEPTH)
    prior = PhaseFrozen(inner, phase)
    magnitude = normal(1, DEPTH, ROWS, COLUMNS).abs()
    state = prior.encode(phase * magnitude)
    torch.testing.assert_close(state, inner.encode(magnitude), rtol=0, atol=1e-12)
    torch.testing.assert_close(prior.decode(state), phase * magnitude, rtol=0, atol=1e-6)
    assert torch.equal(prior.denoise(state, SIGMA[:1]), inner.denoise(state, SIGMA[:1]))


def test_a_phase_survives_a_move_to_another_precision() -> None:
    prior = PhaseFrozen(SlicewisePrior(pixel_prior(), DEPTH), random_phase()).float().double()
    torch.testing.assert_close(prior.phase, random_phase(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "phase", [2 * random_phase(), random_phase()[1:], random_phase().real], ids=["magnitude 2", "another shape", "real"]
)
def test_what_is_no_phase_is_refused(phase: Tensor) -> None:
    with pytest.raises(ValueError, match="phase"):
        PhaseFrozen(SlicewisePrior(pixel_prior(), DEPTH), phase)


def test_odd_channels_are_no_complex_image() -> None:
    with pytest.raises(ValueError, match="even number"):
        ComplexAsChannels(pixel_prior(channels=3))
