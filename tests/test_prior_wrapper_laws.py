"""What every wrapper of a prior keeps: protocol, precision, batches, gradients, shapes, and that it moves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from wrapper_scene import (
    COLUMNS,
    DEPTH,
    ROWS,
    SIGMA,
    convolution,
    gaussian_denoiser,
    latent_prior,
    pixel_prior,
    random_phase,
    state_of,
)

from medldm.inference import (
    AlternatingPlanes,
    BoundPrior,
    ComplexAsChannels,
    DiffusionPrior,
    LatentPrior,
    Mirrored,
    PhaseFrozen,
    PixelPrior,
    SlabPrior,
    SlicewisePrior,
    Turned,
)
from medldm.testing.closed_form import OrthonormalAutoencoder

EVERY: dict[str, Callable[[], BoundPrior]] = {
    "pixel": pixel_prior,
    "pixel-of-volumes": lambda: PixelPrior(convolution(1, 3), (DEPTH, ROWS, COLUMNS), multiple=4),
    "pixel-of-channels": lambda: pixel_prior(channels=3),
    "pixel-in-tiles": lambda: PixelPrior(convolution(), (20, COLUMNS), multiple=4, at_most=16),
    "latent": latent_prior,
    "latent-of-volumes": lambda: LatentPrior(gaussian_denoiser(), OrthonormalAutoencoder(3, 2), (DEPTH, ROWS, COLUMNS)),
    "slicewise": lambda: SlicewisePrior(pixel_prior(), DEPTH, slices_at_once=3),
    "slicewise-latent": lambda: SlicewisePrior(latent_prior(scale=2.0, shift=0.1), DEPTH, slices_at_once=3),
    "slab": lambda: SlabPrior(pixel_prior(channels=3), DEPTH, slabs_at_once=2),
    "thin-slab": lambda: SlabPrior(pixel_prior(channels=3), 2),
    "channels": lambda: ComplexAsChannels(pixel_prior(channels=2)),
    "channels-of-slabs": lambda: SlabPrior(ComplexAsChannels(pixel_prior(channels=6)), DEPTH),
    "channels-of-latents": lambda: ComplexAsChannels(
        LatentPrior(gaussian_denoiser(), OrthonormalAutoencoder(2, 2, channels=2), (ROWS, COLUMNS), image_channels=2)
    ),
    "phase": lambda: PhaseFrozen(SlicewisePrior(pixel_prior(), DEPTH), random_phase()),
    "uncertain-phase": lambda: PhaseFrozen(SlicewisePrior(pixel_prior(), DEPTH), random_phase(), quadrature=0.3),
    "phase-of-latents": lambda: PhaseFrozen(SlicewisePrior(latent_prior(), DEPTH), random_phase()),
    "mirrored": lambda: Mirrored(SlicewisePrior(pixel_prior(), DEPTH), (-2, -1)),
    "alternating": lambda: AlternatingPlanes(
        [SlicewisePrior(pixel_prior(), DEPTH), Turned(SlicewisePrior(pixel_prior(), DEPTH), (0, 1, 2), (0,))]
    ),
    "turned": lambda: Turned(SlicewisePrior(pixel_prior(), DEPTH), (1, 0, 2), (0, 2)),
    "turned-latent": lambda: Turned(SlicewisePrior(latent_prior(), DEPTH), (2, 0, 1), (1,)),
}
every = pytest.mark.parametrize("prior", EVERY, indirect=True)


@pytest.fixture
def prior(request: pytest.FixtureRequest) -> BoundPrior:
    return EVERY[request.param]()


@every
def test_it_keeps_the_protocol(prior: BoundPrior) -> None:
    assert isinstance(prior, DiffusionPrior)
    assert isinstance(prior, BoundPrior)
    assert isinstance(prior, nn.Module)
    assert (prior.sigma_min, prior.sigma_max) == (0.002, 80.0)
    assert prior.decode_gradient
    state = state_of(prior)
    image = prior.decode(state)
    assert image.shape == (2, *prior.image.shape)
    assert image.is_complex() == prior.image.is_complex
    assert prior.encode(image).shape == state.shape
    assert prior.denoise(state, SIGMA).shape == state.shape
    assert prior.latent or (prior.image == prior.space and torch.equal(image, state))


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_is_kept_and_nothing_is_changed_in_place(prior: BoundPrior, dtype: torch.dtype) -> None:
    state = state_of(prior, dtype=dtype)
    # A copy: in double precision it would be the very tensor that it is compared with.
    before, sigma = state.clone(), SIGMA.to(dtype, copy=True)
    clean = prior.denoise(state, sigma)
    image = prior.decode(state)
    kept = image.clone()
    again = prior.encode(image)
    assert clean.real.dtype == image.real.dtype == again.real.dtype == dtype
    assert torch.equal(state, before)
    assert torch.equal(image, kept)
    assert torch.equal(sigma, SIGMA.to(dtype))


@every
def test_a_batch_is_a_loop(prior: BoundPrior) -> None:
    state = state_of(prior)
    together = prior.denoise(state, SIGMA)
    alone = torch.cat([prior.denoise(state[i : i + 1], SIGMA[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)
    image = prior.decode(state)
    torch.testing.assert_close(image, torch.cat([prior.decode(state[i : i + 1]) for i in range(2)]), rtol=0, atol=1e-12)
    alone = torch.cat([prior.encode(image[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(prior.encode(image), alone, rtol=0, atol=1e-12)


@every
def test_gradients_flow_only_when_asked(prior: BoundPrior) -> None:
    state = state_of(prior)
    assert not prior.denoise(state, SIGMA).requires_grad
    state.requires_grad_()
    sigma = SIGMA.clone()
    direction = state_of(prior) * 0.7 - 0.2
    for function in (lambda z: prior.denoise(z, sigma), prior.decode, lambda z: prior.encode(prior.decode(z))):
        weights = torch.randn_like(function(state.detach()))
        result = (function(state) * weights.conj()).real.sum()
        (gradient,) = torch.autograd.grad(result, state)
        expected = (gradient * direction.conj()).real.sum()
        step = 1e-6
        with torch.no_grad():
            slope = sum(
                sign * (function(state + sign * step * direction) * weights.conj()).real.sum() for sign in (1, -1)
            )
        torch.testing.assert_close(slope / (2 * step), expected, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        assert not prior.denoise(state, SIGMA).requires_grad


@every
def test_other_shapes_are_refused_by_name(prior: BoundPrior) -> None:
    state = state_of(prior)
    for wrong in (state[..., :-1], state[0], state[None]):
        with pytest.raises(ValueError, match="denoise expects"):
            prior.denoise(wrong, SIGMA)
    with pytest.raises(ValueError, match="denoise expects"):
        prior.denoise(state, SIGMA[:1])
    with pytest.raises(ValueError, match="denoise expects"):
        prior.denoise(state.real if state.is_complex() else state.to(torch.complex128), SIGMA)


@every
def test_it_moves_as_a_module(prior: BoundPrior) -> None:
    assert isinstance(prior, nn.Module)
    held = {id(tensor) for tensor in [*prior.parameters(), *prior.buffers()]}
    assert held, "something of it moves"
    names = [name for name, _ in prior.named_buffers()]
    assert any(name.endswith("condition") for name in names)
    assert any(name.endswith("parts") for name in names) == any(isinstance(m, PhaseFrozen) for m in prior.modules())
    moved = prior.to("meta")
    assert all(tensor.device.type == "meta" for tensor in [*moved.parameters(), *moved.buffers()])
    meta = prior.space.zeros(1, device="meta")
    assert prior.encode(prior.decode(meta)).device.type == "meta"
    # Partitions, mirrorings and planes need to know the noise.
    if not any(isinstance(module, SlabPrior | Mirrored | AlternatingPlanes) for module in prior.modules()):
        assert prior.denoise(meta, torch.ones(1, device="meta")).device.type == "meta"
