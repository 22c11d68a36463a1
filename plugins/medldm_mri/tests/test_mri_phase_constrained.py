"""Images that are real but for a known phase, and partial Fourier, which needs them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from medldm.data import Grid, Volume
from medldm.errors import UsageError
from medldm.inference import Noise
from medldm.operators import PhaseConstrained, conjugate_gradient
from medldm_mri.cartesian import CartesianMri
from medldm_mri.cartesian_3d import CartesianMri3d
from medldm_mri.masks import SamplingMask
from medldm_mri.noise_model import KSpaceNoise
from medldm_mri.nonuniform import NonuniformMri
from medldm_mri.sense import Sense
from medldm_mri.simultaneous_slices import SimultaneousSlices

SHAPE = (2, 12, 14)


def _random(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def _phase(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.polar(torch.ones(SHAPE, dtype=dtype), _random(*SHAPE, dtype=dtype, seed=1))


def _operator(dtype: torch.dtype = torch.complex128) -> PhaseConstrained:
    real = torch.empty((), dtype=dtype).real.dtype
    mask = (_random(*SHAPE[1:], dtype=real, seed=2) > 0).to(real)
    return PhaseConstrained(Sense(_random(2, 3, *SHAPE[1:], dtype=dtype, seed=3), mask), _phase(real))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.complex64, 1e-5), (torch.complex128, 1e-12)])
def test_the_adjoint_is_exact(dtype: torch.dtype, tolerance: float) -> None:
    operator = _operator(dtype)
    assert not operator.domain.is_complex
    x = _random(2, *SHAPE, dtype=operator.domain.dtype, seed=4)
    for y in (operator(x), _random(2, *operator.codomain.shape, dtype=dtype, seed=5)):
        left = torch.sum(operator(x).conj() * y).real  # the inner product of real spaces
        right = torch.sum(x * operator.H(y))
        torch.testing.assert_close(left, right, rtol=tolerance, atol=0)


def test_it_is_the_inner_operator_on_the_turned_image_and_its_gram_is_both_in_turn() -> None:
    operator = _operator()
    x = _random(1, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(operator(x), operator.operator(operator.phase * x))
    torch.testing.assert_close(operator.gram(x), operator.H(operator(x)), rtol=1e-12, atol=1e-12)
    assert operator.gram.H is operator.gram or torch.equal(operator.gram.H(x), operator.gram(x))


def test_the_gradient_is_the_adjoint() -> None:
    operator = _operator()
    x = _random(*SHAPE, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda u: torch.view_as_real(operator(u)), x)


def test_a_phase_of_another_size_or_a_real_operator_is_refused() -> None:
    inner = _operator().operator
    with pytest.raises(ValueError, match="phase"):
        PhaseConstrained(inner, _phase()[:1])
    with pytest.raises(ValueError, match="real"):
        PhaseConstrained(_operator(), _phase())


def test_half_of_kspace_is_enough_for_an_image_whose_phase_is_known() -> None:
    truth = _random(*SHAPE, dtype=torch.float64)
    mask = torch.zeros(SHAPE[1:], dtype=torch.float64)
    mask[:, : SHAPE[2] // 2 + 1] = 1  # one side and the centre; the other side is its conjugate
    sense = Sense(torch.ones(1, 1, *SHAPE[1:], dtype=torch.complex128), mask, slices=2)
    operator = PhaseConstrained(sense, torch.polar(torch.ones(SHAPE).double(), torch.full(SHAPE, 0.7).double()))
    y = operator(truth)
    found = conjugate_gradient(operator.gram, operator.H(y), dims=3, iterations=80, tolerance=1e-12)
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-8)
    free = conjugate_gradient(sense.gram, sense.H(y), dims=3, iterations=80, tolerance=1e-12)
    assert float((free.abs() - truth.abs()).abs().mean()) > 0.1, "without its phase the image is lost"


# The physics.


def _head() -> Volume:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 48), indexing="ij")
    disc = ((y / 0.8) ** 2 + (x / 0.7) ** 2 < 1).float() + ((y - 0.2) ** 2 + x**2 < 0.1).float()
    return Volume(100 * disc[None].repeat(2, 1, 1), Grid.isotropic((2, 48, 48)), "arbitrary", "MR", "disc")


def test_partial_fourier_needs_the_phase_and_gets_it_from_the_centre() -> None:
    mask = SamplingMask("uniform", acceleration=1, calibration=0.25, partial=0.65)
    errors = {}
    for image in ("complex", "real"):
        physics = CartesianMri(coils=4, mask=mask, maps="simulated", noise=KSpaceNoise(0.002), image=image)
        measured = physics.simulate(_head(), Noise(7))
        operator = physics.operator(measured, measured.grid)
        right = operator.H(measured.data)
        found = conjugate_gradient(lambda u, a=operator: a.gram(u) + 1e-3 * u, right, dims=3, iterations=40)
        errors[image] = float((found.abs() - _head().data).square().mean().sqrt())
    assert errors["real"] < 0.5 * errors["complex"]


@pytest.mark.parametrize("axis", ["y", "x"])
@pytest.mark.parametrize("kind", ["uniform", "random", "variable-density-1d", "poisson-disc-1d", "poisson-disc-2d"])
def test_nothing_is_measured_beyond_the_partial_share(kind: str, axis: str) -> None:
    options = SamplingMask(kind, acceleration=2, calibration=0.1, axis=axis, partial=0.625)  # type: ignore[arg-type]
    mask = options.draw((32, 40), Noise(7))
    mask = mask if axis == "y" else mask.T
    lines = round(0.625 * mask.shape[0])
    assert not mask[lines:].any()
    assert mask[:lines].any(1)[-3:].any(), "up to there it is"
    whole = SamplingMask("uniform", acceleration=1, calibration=0.1, axis=axis, partial=0.625)  # type: ignore[arg-type]
    drawn = whole.draw((32, 40), Noise(7))
    assert (drawn if axis == "y" else drawn.T)[:lines].all()


def test_a_calibration_beyond_the_measured_side_is_refused() -> None:
    with pytest.raises(UsageError, match=r"E-MRI-01.*beyond the 0.55"):
        SamplingMask("uniform", acceleration=2, calibration=0.3, partial=0.55).draw((32, 40), Noise(7))


VOLUME = Volume(_head().data.repeat(6, 1, 1), Grid.isotropic((12, 48, 48)), "arbitrary", "MR", "disc")


@pytest.mark.parametrize("name", ["lines", "volume", "bands", "spokes"])
def test_every_physics_makes_its_images_real_by_the_phase_that_it_finds(name: str) -> None:
    physics = {
        "lines": CartesianMri(coils=4, maps="simulated", image="real"),
        "volume": CartesianMri3d(4, "smooth", SamplingMask("poisson-disc-2d", 4, 0.4), maps="simulated", image="real"),
        "bands": SimultaneousSlices(coils=4, maps="simulated", image="real"),
        "spokes": NonuniformMri(coils=4, maps="simulated", image="real"),
    }[name]
    measured = physics.simulate(VOLUME, Noise(7))
    operator = physics.operator(measured, measured.grid)
    free = replace(physics, image="complex").operator(measured, measured.grid)
    assert not operator.domain.is_complex
    assert free.domain.is_complex
    x = VOLUME.data
    torch.testing.assert_close(operator(x), free(physics.object_phase(measured, free) * x))
    assert torch.isfinite(physics.start(measured, operator)).all()
    # The disc is real but for a smooth phase: told so, it is found from the same samples with less error.
    errors = []
    for one in (operator, free):
        right = one.H(measured.data)
        found = conjugate_gradient(lambda u, a=one: a.gram(u) + 1e-3 * u, right, dims=3, iterations=30)
        errors.append(float((found.abs() - x).square().mean().sqrt()))
    assert errors[0] < 0.99 * errors[1], errors
    assert set(PhaseConstrained.references) <= set(physics.references)
    assert not set(PhaseConstrained.references) & set(replace(physics, image="complex").references)
