"""Noise: its distribution, and that draws depend only on what they are for."""

from __future__ import annotations

import math

import pytest
import torch

from medldm.inference import Noise

SHAPE = (4, 100, 90)


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
