"""Volumes cut into slices and slabs: where each slice comes from, and that how many go at once costs memory only."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from wrapper_scene import DEPTH, SIGMA, convolution, latent_prior, normal, pixel_prior, state_of

from medldm.inference import Denoiser, PixelPrior, SlabPrior, SlicewisePrior
from medldm.inference.slab import slabwise
from medldm.inference.slicewise import bytes_per_slice, slices_within
from medldm.testing.closed_form import GaussianNetwork


@pytest.mark.parametrize("at_once", [1, 2, 7, 100])
@pytest.mark.parametrize("recompute", [False, True])
def test_the_result_does_not_depend_on_slices_at_once(at_once: int, recompute: bool) -> None:
    for inner in (pixel_prior(), latent_prior(scale=3.0)):
        reference = SlicewisePrior(inner, DEPTH, slices_at_once=10)
        other = SlicewisePrior(inner, DEPTH, slices_at_once=at_once, recompute=recompute)
        state = state_of(reference).requires_grad_()
        gradients = []
        for prior in (reference, other):
            clean = prior.denoise(state, SIGMA)
            image = prior.decode(clean)
            (gradient,) = torch.autograd.grad((image**2).sum(), state)
            gradients.append((clean.detach(), image.detach(), prior.encode(image).detach(), gradient))
        for one, two in zip(*gradients, strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 7, 12])
@pytest.mark.parametrize("thickness", [3, 5])
def test_every_slice_comes_from_one_slab_at_its_own_place(depth: int, thickness: int) -> None:
    prior = SlabPrior(pixel_prior(channels=thickness), depth)
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
    first = SlabPrior(pixel_prior(channels=3), DEPTH, seed=1)
    again = SlabPrior(pixel_prior(channels=3), 9, slabs_at_once=1, seed=1)
    other = SlabPrior(pixel_prior(channels=3), DEPTH, seed=2)
    levels = torch.logspace(-2, 1, 20)
    assert [first.offset(s) for s in levels.tolist()] == [again.offset(s) for s in levels.double().tolist()]
    assert [first.offset(s) for s in levels.tolist()] != [other.offset(s) for s in levels.tolist()]
    # A rounding of another device or precision is not another noise level.
    assert all(first.offset(s) == first.offset(s * (1 + 1e-9)) for s in (0.4, 1.3, 0.0271))
    x = state_of(first)
    torch.testing.assert_close(
        SlabPrior(first.inner, DEPTH, slabs_at_once=1, seed=1).denoise(x, SIGMA),
        SlabPrior(first.inner, DEPTH, slabs_at_once=9, seed=1).denoise(x, SIGMA),
        rtol=0,
        atol=1e-12,
    )


def test_a_slab_network_sees_its_neighbours() -> None:
    prior = SlabPrior(pixel_prior(channels=3), 9)
    x = state_of(prior, 1)
    sigma = SIGMA[:1]
    slabs, where = prior.slabs(float(sigma))
    clean = prior.denoise(x, sigma)
    slab, place = divmod(int(where[4]), 3)
    expected = prior.inner.denoise(x[:, slabs[slab]], sigma)[:, place]
    torch.testing.assert_close(clean[:, 4], expected, rtol=0, atol=1e-12)


def test_a_network_of_one_slice_falls_back_to_slices() -> None:
    assert isinstance(slabwise(pixel_prior(channels=3), DEPTH), SlabPrior)
    assert isinstance(slabwise(latent_prior(), DEPTH), SlicewisePrior)
    fallen = slabwise(pixel_prior(), DEPTH, slices_at_once=2)
    assert isinstance(fallen, SlicewisePrior)
    slab = slabwise(pixel_prior(channels=3), DEPTH, slices_at_once=7)
    assert isinstance(slab, SlabPrior)
    assert (fallen.slices_at_once, slab.slabs_at_once) == (2, 2)
    with pytest.raises(ValueError, match="slabs are"):
        SlabPrior(pixel_prior(), DEPTH)


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
    assert bytes_per_slice(latent_prior()) > 0
    assert slices_within(10 * measured, prior, 100) == 10
    assert slices_within(10**12, prior, 100) == 100
    assert slices_within(1, prior, 100) == 1


def test_slices_at_once_bounds_the_memory() -> None:
    from medldm.inference.live_memory import live_bytes

    inner = PixelPrior(convolution(), (64, 64), multiple=4)
    x = normal(1, 16, 64, 64)
    few, many = (SlicewisePrior(inner, 16, slices_at_once=n) for n in (1, 16))
    with torch.no_grad():
        peaks = [live_bytes(lambda p=p: p.denoise(x, SIGMA[:1])) for p in (few, many)]
    volume = x.numel() * 8
    assert peaks[1] > peaks[0] + volume
    assert peaks[0] < 2.5 * volume, "parts and their joined result"
