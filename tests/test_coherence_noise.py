"""Noise correlated from slice to slice: its law, and that draws depend only on what they are for."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medldm.inference import CorrelatedNoise, Noise, SliceStack
from medldm.inference.correlated_noise import Knots

EVEN = tuple(float(z) for z in range(40))
UNEVEN = tuple(
    (0.4 * torch.arange(50) + 3 * torch.rand(50, generator=torch.Generator().manual_seed(0)).cumsum(0)).tolist()
)


def kernel(positions: tuple[float, ...], length: float) -> Tensor:
    z = torch.tensor(positions, dtype=torch.float64)
    return torch.exp(-((z[:, None] - z) ** 2) / (2 * length**2))


def noise(length: float = 3.0, positions: tuple[float, ...] = EVEN, axis: int = 1, ndim: int = 4) -> CorrelatedNoise:
    return CorrelatedNoise.of(Noise(7, "scan"), length, SliceStack(ndim, axis, positions))


@pytest.mark.parametrize("positions", [EVEN, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("length", [0.2, 1.0, 3.0, 12.0, 24.0, 300.0])
def test_the_covariance_is_the_kernel_and_the_marginals_are_exact(positions: tuple[float, ...], length: float) -> None:
    knots = Knots.of(positions, length)
    assert knots is not None
    covariance = knots.covariance()
    torch.testing.assert_close(covariance, kernel(positions, length), rtol=0, atol=2e-7)
    torch.testing.assert_close(
        covariance.diagonal(), torch.ones(len(positions), dtype=torch.float64), rtol=0, atol=2e-7
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_what_is_drawn_has_that_covariance(dtype: torch.dtype) -> None:
    positions = (0.0, 1.0, 2.5, 3.0, 7.0, 30.0)
    x = torch.zeros((1, 6, 180, 200), dtype=dtype)
    drawn = noise(2.0, positions).like(x, "start", step=0)
    assert drawn.dtype == dtype
    parts = (drawn.real, drawn.imag) if dtype.is_complex else (drawn,)
    n = x[0, 0].numel()
    for part in parts:
        flat = part[0].double().flatten(1)
        torch.testing.assert_close(flat @ flat.T / n, kernel(positions, 2.0), rtol=0, atol=6 / math.sqrt(n))
        assert float((flat**4).mean()) == pytest.approx(3, rel=0.05)
        # White within each slice.
        assert float((part * part.roll(1, -1)).mean()) == pytest.approx(0, abs=6 / math.sqrt(n))
    if dtype.is_complex:
        assert float((parts[0] * parts[1]).mean()) == pytest.approx(0, abs=6 / math.sqrt(n))


def test_other_purposes_steps_samples_and_seeds_are_independent() -> None:
    x = torch.zeros(2, 40, 50, 60)
    first = noise().like(x, "renoise", step=3)
    others = [noise().like(x, "renoise", step=4), noise().like(x, "start", step=3), first.flip(0)]
    others.append(CorrelatedNoise.of(Noise(8, "scan"), 3.0, SliceStack(4, 1, EVEN)).like(x, "renoise", step=3))
    # About 40 / 7.5 independent slices of 3000 pixels in each of 2 samples.
    for other in others:
        assert float((first * other).mean()) == pytest.approx(0, abs=5 / math.sqrt(2 * 5 * 3000))


def test_a_sample_does_not_depend_on_its_batch_nor_a_slice_on_the_length_of_the_stack() -> None:
    few = noise().like(torch.zeros(1, 40, 5, 6), "renoise", step=3)
    many = noise().like(torch.zeros(3, 40, 5, 6), "renoise", step=3)
    assert torch.equal(few, many[:1])
    longer = noise(positions=tuple(float(z) for z in range(100))).like(torch.zeros(1, 100, 5, 6), "renoise", step=3)
    torch.testing.assert_close(longer[:, :40], few, rtol=0, atol=1e-6)
    assert torch.equal(few, noise().like(torch.zeros(1, 40, 5, 6), "renoise", step=3))


def test_a_stack_is_drawn_in_blocks_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(1, 50, 3, 4)
    at_once = noise(4.0, UNEVEN).like(x, "start", step=0)
    monkeypatch.setattr("medldm.inference.correlated_noise._SLICES_AT_ONCE", 3)
    torch.testing.assert_close(noise(4.0, UNEVEN).like(x, "start", step=0), at_once, rtol=0, atol=1e-6)


def test_a_long_stack_holds_few_fields_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    held = []
    plain = torch.stack
    monkeypatch.setattr(torch, "stack", lambda fields, *rest: held.append(len(fields)) or plain(fields, *rest))
    positions = tuple(float(z) for z in range(2000))
    drawn = noise(12.0, positions).like(torch.zeros(1, 2000, 2, 2), "start", step=0)
    assert max(held) < 32
    assert float(drawn.var()) == pytest.approx(1, abs=0.2)


def test_no_length_is_white_noise_and_far_slices_are_as_good_as_white() -> None:
    x = torch.zeros(2, 40, 3, 4, dtype=torch.complex64)
    white = Noise(7, "scan").like(x, "start", step=1)
    for length in (0.0, 0.1):
        assert torch.equal(noise(length).like(x, "start", step=1), white)
    assert not torch.equal(noise(0.5).like(x, "start", step=1), white)


def test_everything_but_like_is_untouched() -> None:
    plain, correlated = Noise(7, "scan"), noise()
    shape = (4, 5, 6)
    assert torch.equal(*(n.normal(shape, torch.complex64, "measurement", std=0.3) for n in (plain, correlated)))
    assert torch.equal(*(n.poisson(torch.full(shape, 5.0), "counts") for n in (plain, correlated)))
    assert plain.stream("mask", step=2).integers(2**40) == correlated.stream("mask", step=2).integers(2**40)


def test_latents_are_correlated_along_their_own_slices() -> None:
    """(sample, channel, z, y, x) of a volume, its image beside it; and states in double precision."""
    latent, image = SliceStack(5, 2, (0.0, 4.0, 8.0)), SliceStack(4, 1, tuple(float(z) for z in range(12)))
    both = CorrelatedNoise.of(Noise(1), 4.0, latent, image)
    z = both.like(torch.zeros(1, 6, 3, 60, 70, dtype=torch.float64), "start", step=0)
    assert z.shape == (1, 6, 3, 60, 70)
    assert z.dtype == torch.float64
    flat = z[0].movedim(1, 0).flatten(1)
    torch.testing.assert_close(flat @ flat.T / flat.shape[1], kernel((0, 4, 8), 4.0), rtol=0, atol=0.04)
    channels = z[0].flatten(1)
    gram = channels @ channels.T / channels.shape[1]
    torch.testing.assert_close(gram, torch.eye(6, dtype=torch.float64), rtol=0, atol=0.08)
    x = both.like(torch.zeros(1, 12, 60, 70), "start", step=0)[0].double().flatten(1)
    torch.testing.assert_close(x @ x.T / x.shape[1], kernel(image.positions, 4.0), rtol=0, atol=0.1)
    with pytest.raises(ValueError, match="slices"):
        both.like(torch.zeros(1, 11, 4, 4), "start", step=0)


@pytest.mark.parametrize("positions", [(), (0.0, 0.0), (1.0, 0.5)])
def test_slices_lie_at_increasing_places(positions: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="increasing"):
        SliceStack(4, 1, positions)
