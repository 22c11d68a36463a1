"""Noise: its distribution, and that draws depend only on what they are for."""

from __future__ import annotations

import math

import pytest
import torch

from medldm.inference import CorrelatedNoise, Noise, SliceStack

SHAPE = (4, 100, 90)
# Of Noise(7, "scan"), purpose "renoise", step 2: results that were saved are drawn again from these.
DRAWN = (0.3434497, -2.6659994, 1.3145041)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
def test_standard_deviation_is_per_real_component(dtype):
    drawn = Noise(1).normal(SHAPE, dtype, "measurement", std=0.3)
    assert drawn.dtype == dtype
    parts = (drawn.real, drawn.imag) if dtype.is_complex else (drawn,)
    n = drawn.numel()
    for part in parts:
        assert float(part.mean()) == pytest.approx(0, abs=4 * 0.3 / math.sqrt(n))
        assert float(part.var()) == pytest.approx(0.09, rel=4 * math.sqrt(2 / n))
    if dtype.is_complex:
        assert float(drawn.abs().square().mean()) == pytest.approx(2 * 0.09, rel=0.02)
        assert float((drawn.real * drawn.imag).mean()) == pytest.approx(0, abs=4 * 0.09 / math.sqrt(n))


def test_samples_are_gaussian_and_white():
    x = Noise(1).normal(SHAPE, torch.float64, "measurement")
    assert float((x**4).mean()) == pytest.approx(3, rel=0.05)
    for dim in range(3):
        shifted = (x * x.roll(1, dim)).mean()
        assert float(shifted) == pytest.approx(0, abs=4 / math.sqrt(x.numel()))


def test_poisson_has_its_mean_as_variance():
    mean = torch.full(SHAPE, 7.5)
    counts = Noise(1).poisson(mean, "counts")
    assert float(counts.mean()) == pytest.approx(7.5, rel=0.01)
    assert float(counts.var()) == pytest.approx(7.5, rel=0.03)
    assert torch.equal(counts, counts.round())


def test_a_draw_depends_on_seed_case_purpose_and_slice():
    def draw(noise: Noise, purpose: str = "a") -> torch.Tensor:
        return noise.normal((2, 3, 3), torch.float32, purpose)

    reference = draw(Noise(1, "scan"))
    assert torch.equal(reference, draw(Noise(1, "scan")))
    for other in (draw(Noise(2, "scan")), draw(Noise(1, "scan b")), draw(Noise(1, "scan"), "b")):
        assert not torch.equal(reference, other)
    assert not torch.equal(reference[0], reference[1])


def test_a_slice_does_not_depend_on_the_size_of_the_stack():
    few, many = (Noise(1).normal((n, 5, 6), torch.complex64, "k") for n in (2, 7))
    assert torch.equal(few, many[:2])
    few, many = (Noise(1).poisson(torch.full((n, 5, 6), 9.0), "k") for n in (2, 7))
    assert torch.equal(few, many[:2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_a_sample_does_not_depend_on_its_batch(dtype):
    small = Noise(1).like(torch.zeros((1, 2, 5, 6), dtype=dtype), "renoise", step=3)
    large = Noise(1).like(torch.zeros((3, 4, 5, 6), dtype=dtype), "renoise", step=3)
    assert torch.equal(small, large[:1, :2])
    assert not torch.equal(large[0], large[1])
    assert not torch.equal(small, Noise(1).like(small, "renoise", step=4))
    parts = torch.view_as_real(large) if dtype.is_complex else large
    assert float(parts.std()) == pytest.approx(1, abs=0.1)


def test_the_draws_of_a_case_are_those_they_ever_were():
    drawn = Noise(7, "scan").like(torch.zeros(1, 1, 1, 3), "renoise", step=2)
    torch.testing.assert_close(drawn.flatten(), torch.tensor(DRAWN), rtol=0, atol=1e-6)


def test_children_are_independent_and_keep_the_numbers_of_samples():
    x, noise = torch.zeros(3, 4, 50, 60), Noise(1, "scan")
    sources = [noise, noise.child(0), noise.child(1), noise.child(0).child(1), noise.child(1).child(0)]
    drawn = torch.stack([source.like(x, "renoise", step=2).flatten() for source in sources]).double()
    n = drawn.shape[1]
    torch.testing.assert_close(
        drawn @ drawn.T / n, torch.eye(len(sources), dtype=torch.float64), rtol=0, atol=5 / math.sqrt(n)
    )
    for number in range(3):
        for source in (noise.child(1).from_sample(number), noise.from_sample(number).child(1)):
            assert torch.equal(
                source.like(x[:1], "renoise", step=2), noise.child(1).like(x, "renoise", step=2)[number : number + 1]
            )
    # A purpose that looks like a child is none.
    assert not torch.equal(noise.like(x, "renoise/1", step=2), noise.child(1).like(x, "renoise", step=2))


def test_children_of_correlated_noise_are_correlated_too():
    noise, stack = Noise(1, "scan"), SliceStack(4, 1, tuple(float(z) for z in range(6)))
    x = torch.zeros(2, 6, 40, 50)
    child = CorrelatedNoise.of(noise, 3.0, stack).child(2)
    assert isinstance(child, CorrelatedNoise)
    drawn = child.like(x, "start", step=0)
    assert torch.equal(drawn, CorrelatedNoise.of(noise.child(2), 3.0, stack).like(x, "start", step=0))
    assert float((drawn[:, 0] * drawn[:, 1]).mean()) == pytest.approx(math.exp(-1 / 18), abs=0.1)
    own = CorrelatedNoise.of(noise, 3.0, stack).like(x, "start", step=0)
    assert float((drawn * own).mean()) == pytest.approx(0, abs=0.1)
