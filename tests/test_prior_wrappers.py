"""Priors of slices, slabs, volumes, latents and complex images, on Gaussians whose posterior mean is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from medldm.inference import (
    AlternatingPlanes,
    BoundPrior,
    ComplexAsChannels,
    Denoiser,
    DiffusionPrior,
    LatentPrior,
    Mirrored,
    PhaseFrozen,
    PixelPrior,
    SlabPrior,
    SlicewisePrior,
    Turned,
)
from medldm.inference.slab import slabwise
from medldm.inference.slicewise import bytes_per_slice, slices_within
from medldm.inference.turned import stacked_along
from medldm.testing.closed_form import GaussianNetwork, OrthonormalAutoencoder, gaussian_mean

MEAN, STD = 0.3, 0.5
DEPTH, ROWS, COLUMNS = 5, 6, 7


def _random(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def _denoiser(mean: float | Tensor = MEAN, std: float | Tensor = STD) -> Denoiser:
    network = GaussianNetwork.edm(mean, std)
    return Denoiser(network, network.parametrization)


def _column(sigma: Tensor, x: Tensor) -> Tensor:
    return sigma.reshape(-1, *(1,) * (x.ndim - 1))


class Convolution(nn.Module):
    """A network that sees neighbours, the size of its images and what it is told: 3 samples each way, no statistics."""

    def __init__(self, channels: int = 1, dimensions: int = 2) -> None:
        super().__init__()
        make = nn.Conv2d if dimensions == 2 else nn.Conv3d
        torch.manual_seed(3)
        self.layers = nn.Sequential(*(make(channels, channels, 3, padding=1) for _ in range(3)))
        self.multiple_of = 4

    def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
        assert all(n % self.multiple_of == 0 for n in x.shape[2:]), "the size rule is kept"
        each = (-1, *(1,) * (x.ndim - 1))
        out: Tensor = self.layers(x) + noise.reshape(each) + condition.sum(1).reshape(each)
        return out


def _convolution(channels: int = 1, dimensions: int = 2) -> Denoiser:
    network = Convolution(channels, dimensions).double().requires_grad_(False)
    return Denoiser(network, GaussianNetwork.edm().parametrization)


def _pixel(denoiser: Denoiser | None = None, channels: int = 1) -> PixelPrior:
    return PixelPrior(denoiser or _convolution(channels), (ROWS, COLUMNS), channels=channels, multiple=4)


def _latent(**options: float) -> LatentPrior:
    return LatentPrior(_denoiser(), OrthonormalAutoencoder(2, 2), (ROWS, COLUMNS), **options)  # type: ignore[arg-type]


def _phase() -> Tensor:
    return torch.polar(torch.ones(DEPTH, ROWS, COLUMNS).double(), 3 * _random(DEPTH, ROWS, COLUMNS, seed=9))


EVERY: dict[str, Callable[[], BoundPrior]] = {
    "pixel": _pixel,
    "pixel-of-volumes": lambda: PixelPrior(_convolution(1, 3), (DEPTH, ROWS, COLUMNS), multiple=4),
    "pixel-of-channels": lambda: _pixel(channels=3),
    "pixel-in-tiles": lambda: PixelPrior(_convolution(), (20, COLUMNS), multiple=4, at_most=16),
    "latent": _latent,
    "latent-of-volumes": lambda: LatentPrior(_denoiser(), OrthonormalAutoencoder(3, 2), (DEPTH, ROWS, COLUMNS)),
    "slicewise": lambda: SlicewisePrior(_pixel(), DEPTH, slices_at_once=3),
    "slicewise-latent": lambda: SlicewisePrior(_latent(scale=2.0, shift=0.1), DEPTH, slices_at_once=3),
    "slab": lambda: SlabPrior(_pixel(channels=3), DEPTH, slabs_at_once=2),
    "thin-slab": lambda: SlabPrior(_pixel(channels=3), 2),
    "channels": lambda: ComplexAsChannels(_pixel(channels=2)),
    "channels-of-slabs": lambda: SlabPrior(ComplexAsChannels(_pixel(channels=6)), DEPTH),
    "channels-of-latents": lambda: ComplexAsChannels(
        LatentPrior(_denoiser(), OrthonormalAutoencoder(2, 2, channels=2), (ROWS, COLUMNS), image_channels=2)
    ),
    "phase": lambda: PhaseFrozen(SlicewisePrior(_pixel(), DEPTH), _phase()),
    "uncertain-phase": lambda: PhaseFrozen(SlicewisePrior(_pixel(), DEPTH), _phase(), quadrature=0.3),
    "phase-of-latents": lambda: PhaseFrozen(SlicewisePrior(_latent(), DEPTH), _phase()),
    "mirrored": lambda: Mirrored(SlicewisePrior(_pixel(), DEPTH), (-2, -1)),
    "alternating": lambda: AlternatingPlanes(
        [SlicewisePrior(_pixel(), DEPTH), Turned(SlicewisePrior(_pixel(), DEPTH), (0, 1, 2), (0,))]
    ),
    "turned": lambda: Turned(SlicewisePrior(_pixel(), DEPTH), (1, 0, 2), (0, 2)),
    "turned-latent": lambda: Turned(SlicewisePrior(_latent(), DEPTH), (2, 0, 1), (1,)),
}
every = pytest.mark.parametrize("prior", EVERY, indirect=True)


@pytest.fixture
def prior(request: pytest.FixtureRequest) -> BoundPrior:
    return EVERY[request.param]()


def _state(prior: BoundPrior, batch: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    complex_ = torch.complex128 if dtype == torch.float64 else torch.complex64
    return prior.space.randn(
        batch, generator=torch.Generator().manual_seed(1), dtype=complex_ if prior.space.is_complex else dtype
    )


SIGMA = torch.tensor([0.4, 1.3], dtype=torch.float64)


@every
def test_it_keeps_the_protocol(prior: BoundPrior) -> None:
    assert isinstance(prior, DiffusionPrior)
    assert isinstance(prior, BoundPrior)
    assert isinstance(prior, nn.Module)
    assert (prior.sigma_min, prior.sigma_max) == (0.002, 80.0)
    assert prior.decode_gradient
    state = _state(prior)
    image = prior.decode(state)
    assert image.shape == (2, *prior.image.shape)
    assert image.is_complex() == prior.image.is_complex
    assert prior.encode(image).shape == state.shape
    assert prior.denoise(state, SIGMA).shape == state.shape
    assert prior.latent or (prior.image == prior.space and torch.equal(image, state))


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_is_kept_and_nothing_is_changed_in_place(prior: BoundPrior, dtype: torch.dtype) -> None:
    state = _state(prior, dtype=dtype)
    before, sigma = state.clone(), SIGMA.to(dtype)
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
    state = _state(prior)
    together = prior.denoise(state, SIGMA)
    alone = torch.cat([prior.denoise(state[i : i + 1], SIGMA[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)
    image = prior.decode(state)
    torch.testing.assert_close(image, torch.cat([prior.decode(state[i : i + 1]) for i in range(2)]), rtol=0, atol=1e-12)
    alone = torch.cat([prior.encode(image[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(prior.encode(image), alone, rtol=0, atol=1e-12)


@every
def test_gradients_flow_only_when_asked(prior: BoundPrior) -> None:
    state = _state(prior)
    assert not prior.denoise(state, SIGMA).requires_grad
    state.requires_grad_()
    sigma = SIGMA.clone()
    direction = _state(prior) * 0.7 - 0.2
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
    state = _state(prior)
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


# Closed forms.


def test_pixel_prior_gives_the_posterior_mean_of_a_position_dependent_gaussian() -> None:
    # Without padding, so that the mean may differ from voxel to voxel.
    mean = _random(DEPTH, ROWS, COLUMNS, seed=4)
    prior = PixelPrior(_denoiser(mean, 0.2), (DEPTH, ROWS, COLUMNS))
    x = _state(prior)
    expected = gaussian_mean(x, _column(SIGMA, x), mean, 0.2)
    torch.testing.assert_close(prior.denoise(x, SIGMA), expected, rtol=0, atol=1e-9)


def test_slicewise_and_slab_priors_give_the_posterior_mean_of_independent_slices() -> None:
    x = _random(2, DEPTH, ROWS, COLUMNS)
    expected = gaussian_mean(x, _column(SIGMA, x), MEAN, STD)
    slicewise = SlicewisePrior(_pixel(_denoiser()), DEPTH, slices_at_once=2)
    torch.testing.assert_close(slicewise.denoise(x, SIGMA), expected, rtol=0, atol=1e-9)
    for thickness in (3, 4, 5):
        for seed in range(4):
            slab = SlabPrior(_pixel(_denoiser(), channels=thickness), DEPTH, slabs_at_once=1, seed=seed)
            torch.testing.assert_close(slab.denoise(x, SIGMA), expected, rtol=0, atol=1e-9)


def test_a_slice_is_told_the_noise_of_its_own_sample() -> None:
    prior = SlicewisePrior(_pixel(), DEPTH, slices_at_once=4)
    x = _state(prior)
    expected = torch.stack(
        [torch.stack([prior.inner.denoise(z[None], s[None])[0] for z in v]) for v, s in zip(x, SIGMA, strict=True)]
    )
    torch.testing.assert_close(prior.denoise(x, SIGMA), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("at_once", [1, 2, 7, 100])
@pytest.mark.parametrize("recompute", [False, True])
def test_the_result_does_not_depend_on_slices_at_once(at_once: int, recompute: bool) -> None:
    for inner, state in ((_pixel(), None), (_latent(scale=3.0), None)):
        reference = SlicewisePrior(inner, DEPTH, slices_at_once=10)
        other = SlicewisePrior(inner, DEPTH, slices_at_once=at_once, recompute=recompute)
        state = _state(reference).requires_grad_()
        gradients = []
        for prior in (reference, other):
            clean = prior.denoise(state, SIGMA)
            image = prior.decode(clean)
            (gradient,) = torch.autograd.grad((image**2).sum(), state)
            gradients.append((clean.detach(), image.detach(), prior.encode(image).detach(), gradient))
        for one, two in zip(*gradients, strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=1e-12)


def test_the_latent_of_an_orthonormal_autoencoder_is_exact() -> None:
    scale, shift = 2.5, 0.1
    prior = _latent(scale=scale, shift=shift)
    assert (ROWS, COLUMNS) == (6, 7)
    assert prior.space.shape == (4, 3, 4), "seven columns become eight, and these four"
    image = _random(2, ROWS, COLUMNS)
    state = prior.encode(image)
    torch.testing.assert_close(prior.decode(state), image, rtol=0, atol=1e-6)
    # State = scale (Q image - shift), from the mean alone.
    mean = prior.autoencoder.moments(prior._padding.pad(image[:, None]))[0]
    torch.testing.assert_close(state, scale * (mean - shift), rtol=0, atol=1e-12)
    assert torch.equal(state, prior.encode(image)), "never sampled"


def test_a_latent_prior_gives_the_posterior_mean_of_the_image() -> None:
    # Image N(m, s^2) -> state scale (Q image - shift): white of std scale s; noise sigma on the state is sigma / scale
    # on the image.
    scale, shift, mean, std = 2.5, 0.1, 0.3, 0.5
    autoencoder = OrthonormalAutoencoder(2, 2)
    shape = (8, 6)
    image_mean = torch.full((1, 1, *shape), mean, dtype=torch.float64)
    state_mean = scale * (autoencoder.moments(image_mean)[0][0] - shift)
    prior = LatentPrior(_denoiser(state_mean, scale * std), autoencoder, shape, scale=scale, shift=shift)
    noisy = _random(2, *shape)
    result = prior.decode(prior.denoise(prior.encode(noisy), SIGMA))
    expected = gaussian_mean(noisy, _column(SIGMA, noisy) / scale, mean, std)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)


def test_the_card_figures_of_a_latent_reach_the_solver() -> None:
    prior = PhaseFrozen(SlicewisePrior(_latent(gain=0.8, error=0.02), DEPTH), _phase())
    assert (prior.gain, prior.error, prior.latent) == (0.8, 0.02, True)
    pixel = Turned(SlicewisePrior(_pixel(), DEPTH), stacked_along(1))
    assert (pixel.gain, pixel.error, pixel.latent) == (1.0, 0.0, False)


# Complex images. Their noise has the standard deviation sigma per real component.


def test_channels_give_the_posterior_mean_of_both_parts() -> None:
    means = torch.tensor([0.4, -0.2], dtype=torch.float64).reshape(2, 1, 1)
    stds = torch.tensor([0.5, 0.1], dtype=torch.float64).reshape(2, 1, 1)
    prior = ComplexAsChannels(PixelPrior(_denoiser(means, stds), (ROWS, COLUMNS), channels=2, multiple=4))
    x = _state(prior)
    level = _column(SIGMA, x)
    real = gaussian_mean(x.real, level, 0.4, 0.5)
    imaginary = gaussian_mean(x.imag, level, -0.2, 0.1)
    torch.testing.assert_close(prior.denoise(x, SIGMA), torch.complex(real, imaginary), rtol=0, atol=1e-9)


def test_channels_of_a_slab_keep_their_slices() -> None:
    # One mean per slice and part: real parts of the three slices first, then their imaginary parts.
    means = torch.arange(6.0).double().reshape(6, 1, 1)
    prior = ComplexAsChannels(PixelPrior(_denoiser(means, 1e-4), (ROWS, COLUMNS), channels=6))
    clean = prior.denoise(_state(prior), SIGMA)
    for z in range(3):
        torch.testing.assert_close(clean[:, z], torch.full_like(clean[:, z], complex(z, z + 3)), rtol=0, atol=1e-5)


def test_frozen_phase_gives_the_posterior_mean_of_the_magnitude() -> None:
    phase = _phase()
    prior = PhaseFrozen(SlicewisePrior(_pixel(_denoiser()), DEPTH), phase, non_negative=False)
    magnitude = MEAN + STD * _random(2, DEPTH, ROWS, COLUMNS)
    noise = torch.view_as_complex(_random(2, DEPTH, ROWS, COLUMNS, 2, seed=5))
    x = phase * magnitude + _column(SIGMA, magnitude) * noise
    along = magnitude + _column(SIGMA, magnitude) * (phase.conj() * noise).real
    expected = phase * gaussian_mean(along, _column(SIGMA, along), MEAN, STD)
    torch.testing.assert_close(prior.denoise(x, SIGMA), expected, rtol=0, atol=1e-7)


def test_frozen_phase_keeps_the_truth_and_removes_what_is_in_quadrature() -> None:
    phase = _phase()
    prior = PhaseFrozen(SlicewisePrior(_pixel(_denoiser(std=50.0)), DEPTH), phase)
    truth = _random(1, DEPTH, ROWS, COLUMNS).abs()
    # Noise far below the spread of the prior: the denoiser is the identity on magnitudes.
    little = torch.full((1,), 0.002, dtype=torch.float64)
    noisy = phase * (truth + 1j * _random(1, DEPTH, ROWS, COLUMNS, seed=7))
    torch.testing.assert_close(prior.denoise(noisy, little), phase * truth, rtol=0, atol=1e-6)


def test_what_an_uncertain_phase_leaves_in_quadrature_has_the_posterior_mean_of_a_gaussian() -> None:
    phase, spread = _phase(), 0.3
    inner = SlicewisePrior(_pixel(_denoiser()), DEPTH)
    prior = PhaseFrozen(inner, phase, non_negative=False, quadrature=spread)
    x = torch.view_as_complex(_random(2, DEPTH, ROWS, COLUMNS, 2, seed=5))
    along, across = (phase.conj() * x).real, (phase.conj() * x).imag
    sigma = _column(SIGMA, along)
    expected = gaussian_mean(along, sigma, MEAN, STD) + 1j * gaussian_mean(across, sigma, 0.0, spread)
    torch.testing.assert_close(prior.denoise(x, SIGMA), phase * expected, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="latent"):
        PhaseFrozen(SlicewisePrior(_latent(), DEPTH), phase, quadrature=spread)


def test_frozen_phase_knows_no_negative_magnitudes() -> None:
    phase = _phase()
    inner = SlicewisePrior(_pixel(_denoiser()), DEPTH)
    x = -2 * phase[None]
    sigma = SIGMA[:1] * 0.01
    assert bool((PhaseFrozen(inner, phase).denoise(x, sigma) == 0).all())
    negative = PhaseFrozen(inner, phase, non_negative=False).denoise(x, sigma)
    assert float((phase.conj() * negative).real.max()) < -1.9


def test_where_there_is_no_phase_nothing_is_made_up() -> None:
    phase = _phase().clone()
    phase[:, :3] = 0
    prior = PhaseFrozen(SlicewisePrior(_pixel(_denoiser()), DEPTH), phase)
    x = torch.view_as_complex(_random(1, DEPTH, ROWS, COLUMNS, 2))
    found = prior.denoise(x, SIGMA[:1])
    assert bool((found[:, :, :3] == 0).all()) and bool((found[:, :, 3:] != 0).any())
    other = x.clone()
    other[:, :, :3] += 5
    assert torch.equal(prior.denoise(other, SIGMA[:1]), found)


def test_into_and_out_of_the_frozen_phase_are_adjoint_and_inverse() -> None:
    prior = PhaseFrozen(SlicewisePrior(_pixel(), DEPTH), _phase(), non_negative=False)
    r = _random(1, DEPTH, ROWS, COLUMNS)
    x = torch.view_as_complex(_random(1, DEPTH, ROWS, COLUMNS, 2, seed=2))
    left = (prior.inward(x) * r).sum()
    right = (x.conj() * prior.outward(r)).real.sum()
    torch.testing.assert_close(left, right, rtol=1e-12, atol=0)
    torch.testing.assert_close(prior.inward(prior.outward(r)), r, rtol=0, atol=1e-12)


def test_frozen_phase_of_latents_codes_the_magnitude() -> None:
    phase = _phase()
    inner = SlicewisePrior(_latent(), DEPTH)
    prior = PhaseFrozen(inner, phase)
    magnitude = _random(1, DEPTH, ROWS, COLUMNS).abs()
    state = prior.encode(phase * magnitude)
    torch.testing.assert_close(state, inner.encode(magnitude), rtol=0, atol=1e-12)
    torch.testing.assert_close(prior.decode(state), phase * magnitude, rtol=0, atol=1e-6)
    assert torch.equal(prior.denoise(state, SIGMA[:1]), inner.denoise(state, SIGMA[:1]))


def test_a_phase_survives_a_move_to_another_precision() -> None:
    prior = PhaseFrozen(SlicewisePrior(_pixel(), DEPTH), _phase()).float().double()
    torch.testing.assert_close(prior.phase, _phase(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "phase", [2 * _phase(), _phase()[1:], _phase().real], ids=["magnitude 2", "another shape", "real"]
)
def test_what_is_no_phase_is_refused(phase: Tensor) -> None:
    with pytest.raises(ValueError, match="phase"):
        PhaseFrozen(SlicewisePrior(_pixel(), DEPTH), phase)


def test_odd_channels_are_no_complex_image() -> None:
    with pytest.raises(ValueError, match="even number"):
        ComplexAsChannels(_pixel(channels=3))


# Planes.


@pytest.mark.parametrize("stack", [0, 1, 2])
def test_turned_slices_are_those_of_the_other_plane(stack: int) -> None:
    inner = SlicewisePrior(_pixel(), DEPTH)
    prior = Turned(inner, stacked_along(stack))
    assert prior.space.shape == {0: (5, 6, 7), 1: (6, 5, 7), 2: (6, 7, 5)}[stack]
    x = _state(prior)
    slices = [inner.inner.denoise(x.select(1 + stack, i), SIGMA) for i in range(DEPTH)]
    torch.testing.assert_close(prior.denoise(x, SIGMA), torch.stack(slices, 1 + stack), rtol=0, atol=1e-12)
    latent = Turned(SlicewisePrior(_latent(), DEPTH), stacked_along(stack))
    image = _random(2, *latent.image.shape)
    torch.testing.assert_close(latent.decode(latent.encode(image)), image, rtol=0, atol=1e-6)


# Slabs.


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 7, 12])
@pytest.mark.parametrize("thickness", [3, 5])
def test_every_slice_comes_from_one_slab_at_its_own_place(depth: int, thickness: int) -> None:
    prior = SlabPrior(_pixel(channels=thickness), depth)
    offsets = set()
    for sigma in torch.logspace(-2, 1, 30).tolist():
        slabs, where = prior.slabs(sigma)
        assert slabs.shape[1] == thickness
        assert slabs.flatten()[where].tolist() == list(range(depth))
        if depth >= thickness:
            assert bool((slabs.diff(dim=1) == 1).all()), "neighbours, nothing doubled"
        offsets.add(prior.offset(sigma))
    assert offsets == set(range(thickness)), "all partitions occur"


def test_offsets_depend_on_seed_and_noise_alone() -> None:
    first = SlabPrior(_pixel(channels=3), DEPTH, seed=1)
    again = SlabPrior(_pixel(channels=3), 9, slabs_at_once=1, seed=1)
    other = SlabPrior(_pixel(channels=3), DEPTH, seed=2)
    levels = torch.logspace(-2, 1, 20)
    assert [first.offset(s) for s in levels.tolist()] == [again.offset(s) for s in levels.double().tolist()]
    assert [first.offset(s) for s in levels.tolist()] != [other.offset(s) for s in levels.tolist()]
    # A rounding of another device or precision is not another noise level.
    assert all(first.offset(s) == first.offset(s * (1 + 1e-9)) for s in (0.4, 1.3, 0.0271))
    x = _state(first)
    torch.testing.assert_close(
        SlabPrior(first.inner, DEPTH, slabs_at_once=1, seed=1).denoise(x, SIGMA),
        SlabPrior(first.inner, DEPTH, slabs_at_once=9, seed=1).denoise(x, SIGMA),
        rtol=0,
        atol=1e-12,
    )


def test_a_slab_network_sees_its_neighbours() -> None:
    prior = SlabPrior(_pixel(channels=3), 9)
    x = _state(prior, 1)
    sigma = SIGMA[:1]
    slabs, where = prior.slabs(float(sigma))
    clean = prior.denoise(x, sigma)
    slab, place = divmod(int(where[4]), 3)
    expected = prior.inner.denoise(x[:, slabs[slab]], sigma)[:, place]
    torch.testing.assert_close(clean[:, 4], expected, rtol=0, atol=1e-12)


def test_a_network_of_one_slice_falls_back_to_slices() -> None:
    assert isinstance(slabwise(_pixel(channels=3), DEPTH), SlabPrior)
    assert isinstance(slabwise(_latent(), DEPTH), SlicewisePrior)
    fallen = slabwise(_pixel(), DEPTH, slices_at_once=2)
    assert isinstance(fallen, SlicewisePrior)
    slab = slabwise(_pixel(channels=3), DEPTH, slices_at_once=7)
    assert isinstance(slab, SlabPrior)
    assert (fallen.slices_at_once, slab.slabs_at_once) == (2, 2)
    with pytest.raises(ValueError, match="slabs are"):
        SlabPrior(_pixel(), DEPTH)


# Facts.


def test_what_is_told_reaches_the_network() -> None:
    x = _random(2, ROWS, COLUMNS)
    out = _convolution().parametrization.out(SIGMA).reshape(-1, 1, 1)

    def prior(condition: Tensor | None) -> PixelPrior:
        return PixelPrior(_convolution(), (ROWS, COLUMNS), condition=condition, multiple=4)

    silent = prior(None).denoise(x, SIGMA)
    told = prior(torch.tensor([0.5, 0.25])).denoise(x, SIGMA)
    torch.testing.assert_close(told - silent, (0.75 * out).expand_as(x), rtol=0, atol=1e-12)
    each = prior(torch.tensor([[1.0], [3.0]])).denoise(x, SIGMA)
    torch.testing.assert_close(each - silent, (torch.tensor([1.0, 3.0]).reshape(2, 1, 1) * out).expand_as(x))
    with pytest.raises(ValueError, match="2 images"):
        prior(torch.tensor([[1.0], [3.0]])).denoise(x[:1], SIGMA[:1])


# Memory.


def test_bytes_per_slice_count_what_lives_at_the_same_time() -> None:
    class Squares(nn.Module):
        def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
            wide = x.repeat(1, 10, 1, 1)
            squared = wide * wide  # both live: 20 images
            return squared[:, :1].clone()

    side = 64
    prior = PixelPrior(Denoiser(Squares(), GaussianNetwork.edm().parametrization), (side, side))
    image = 4 * side**2
    measured = bytes_per_slice(prior)
    # Besides the 20: skip times the input, scale times the input, the output, and small change.
    assert 23 * image <= measured <= 23 * image + 4096
    assert bytes_per_slice(_latent()) > 0
    assert slices_within(10 * measured, prior, 100) == 10
    assert slices_within(10**12, prior, 100) == 100
    assert slices_within(1, prior, 100) == 1


def test_slices_at_once_bounds_the_memory() -> None:
    from medldm.inference.live_memory import live_bytes

    inner = PixelPrior(_convolution(), (64, 64), multiple=4)
    x = _random(1, 16, 64, 64)
    few, many = (SlicewisePrior(inner, 16, slices_at_once=n) for n in (1, 16))
    with torch.no_grad():
        peaks = [live_bytes(lambda p=p: p.denoise(x, SIGMA[:1])) for p in (few, many)]
    volume = x.numel() * 8
    assert peaks[1] > peaks[0] + volume
    assert peaks[0] < 2.5 * volume, "parts and their joined result"


def test_over_the_noise_levels_an_image_is_seen_mirrored_in_every_way() -> None:
    inner = SlicewisePrior(_pixel(), DEPTH)
    prior = Mirrored(inner, (-2, -1), seed=2)
    x = _random(1, DEPTH, ROWS, COLUMNS)
    seen = set()
    for level in torch.linspace(0.1, 3, 30, dtype=torch.float64):
        axes = prior.mirrored_along(float(level))
        sigma = level.reshape(1)
        torch.testing.assert_close(prior.denoise(x, sigma), inner.denoise(x.flip(axes), sigma).flip(axes))
        seen.add(tuple(axes))
    assert seen == {(), (-2,), (-1,), (-2, -1)}
    assert prior.mirrored_along(0.5) == Mirrored(inner, (-2, -1), seed=2).mirrored_along(0.5)
    assert [Mirrored(inner, (-1,), seed=s).mirrored_along(0.5) for s in range(9)] != [[]] * 9


def test_a_posterior_mean_that_turns_with_the_image_is_not_changed_by_mirroring() -> None:
    inner = SlicewisePrior(_pixel(_denoiser()), DEPTH)
    x = MEAN + _random(2, DEPTH, ROWS, COLUMNS)
    expected = gaussian_mean(x, _column(SIGMA, x), MEAN, STD)
    torch.testing.assert_close(Mirrored(inner, (-2, -1)).denoise(x, SIGMA), expected, rtol=0, atol=1e-7)
    with pytest.raises(ValueError, match="latent"):
        Mirrored(SlicewisePrior(_latent(), DEPTH), (-1,))
