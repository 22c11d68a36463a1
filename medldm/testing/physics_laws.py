"""Laws of a physics: simulate, operator, likelihood, start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from medldm.data import Acquisition
from medldm.inference import Likelihood, Noise, StatesMemory
from medldm.operators import LinearOperator
from medldm.testing.examples import PhysicsExample
from medldm.testing.law import NotApplicable, relative_difference, require, require_close

SEED = Noise(7, "conformance")


@dataclass(frozen=True, eq=False)
class Posed:
    """An example's volume measured, and the problem posed by the measurement."""

    example: PhysicsExample
    acquisition: Acquisition
    operator: LinearOperator
    likelihood: Likelihood
    start: Tensor


PhysicsLaw = Callable[[Posed], None]


def pose(example: PhysicsExample) -> Posed:
    """Simulate the example once; the laws share the result."""
    physics = example.physics
    acquisition = physics.simulate(example.volume, SEED)
    operator = physics.operator(acquisition, acquisition.grid)
    return Posed(
        example, acquisition, operator, physics.likelihood(acquisition, operator), physics.start(acquisition, operator)
    )


def law_example_is_not_square(posed: Posed) -> None:
    """A square example hides swapped axes."""
    shape = posed.example.volume.grid.shape
    require(len(set(shape)) == len(shape), f"the example volume {shape} has two axes of one length")


def law_simulation_is_marked(posed: Posed) -> None:
    """What was computed from an image says so for ever."""
    require(posed.acquisition.simulated, "the simulated acquisition is not marked as simulated")


def law_simulation_is_reproducible(posed: Posed) -> None:
    """Equal noise gives equal measurements, to the last bit."""
    again = posed.example.physics.simulate(posed.example.volume, SEED)
    require(torch.equal(again.data, posed.acquisition.data), "two simulations with equal noise differ")
    for name, tensor in posed.acquisition.tensors.items():
        require(torch.equal(again.tensor(name), tensor), f"two simulations with equal noise differ in {name!r}")


def law_seeds_differ(posed: Posed) -> None:
    """Another seed gives another measurement, where there is noise."""
    _needs_noise(posed)
    other = posed.example.physics.simulate(posed.example.volume, Noise(8, "conformance"))
    same = other.data.shape == posed.acquisition.data.shape and torch.equal(other.data, posed.acquisition.data)
    require(not same, "two seeds give the same measurement")


def law_simulation_leaves_the_volume_alone(posed: Posed) -> None:
    """The truth is kept for the report, so nobody writes into it."""
    volume = posed.example.volume
    before = volume.data.clone()
    posed.example.physics.simulate(volume, SEED)
    require(torch.equal(before, volume.data), "simulate changed the volume it measured")


def law_operator_fits(posed: Posed) -> None:
    """The operator maps the image grid to the measurement."""
    operator, acquisition = posed.operator, posed.acquisition
    require(
        operator.domain.shape == acquisition.grid.shape and operator.domain.axes == ("z", "y", "x"),
        f"the operator takes {operator.domain}, the image grid is {acquisition.grid.shape} (z, y, x)",
    )
    require(
        operator.codomain.shape == tuple(acquisition.data.shape)
        and operator.codomain.is_complex == acquisition.data.is_complex(),
        f"the operator gives {operator.codomain}, the measurement is {tuple(acquisition.data.shape)}",
    )


def law_measurement_is_finite(posed: Posed) -> None:
    """No NaN, no infinity in what is measured."""
    require(bool(torch.isfinite(posed.acquisition.data).all()), "the simulated measurement is not finite")


def law_start_fits(posed: Posed) -> None:
    """The start image is a finite image of the operator's domain."""
    start, domain = posed.start, posed.operator.domain
    require(tuple(start.shape) == domain.shape, f"the start image has shape {tuple(start.shape)}, expected {domain}")
    require(start.is_complex() == domain.is_complex, f"the start image is {start.dtype}, expected {domain}")
    require(bool(torch.isfinite(start).all()), "the start image is not finite")


def law_start_explains_more_than_nothing(posed: Posed) -> None:
    """The energy of the start image is below that of zero: it has the right sign and about the right scale."""
    _needs_noise(posed)
    start, nothing = (float(posed.likelihood.energy(u)) for u in (posed.start, torch.zeros_like(posed.start)))
    require(start < nothing, f"the start image has energy {start:.4g}, an empty image {nothing:.4g}")


def law_simulation_and_operator_agree_on_directions(posed: Posed) -> None:
    """The start image is closer to what was measured than to its mirror image along any axis.

    Measured is the example's volume under a brightness that rises along every axis: objects in the middle of the image
    are their own mirror images.
    """
    volume = posed.example.volume
    turned = replace(volume, data=_rising(volume.data))
    again = pose(replace(posed.example, volume=turned))
    start, truth = again.start.abs(), again.acquisition.output.inverse(turned.data).abs()
    if start.shape != truth.shape:
        raise NotApplicable("the image has another grid than the volume")
    likeness = _correlation(start, truth)
    for axis in (k for k in range(truth.ndim) if truth.shape[k] > 1):
        mirrored = _correlation(start, truth.flip(axis))
        require(likeness >= mirrored, f"the start image looks like the mirror image along axis {axis}")


def law_chi_of_the_truth(posed: Posed) -> None:
    """The volume explains its own measurement about as well as the likelihood says that noise lets it.

    Within a factor of five: simulations on a finer grid leave an error of the operator. Images with a phase of their
    own are left out, since the volume does not state it.
    """
    _needs_noise(posed)
    truth = posed.acquisition.output.inverse(posed.example.volume.data)
    if posed.start.is_complex() or truth.is_complex() or truth.shape != posed.start.shape:
        raise NotApplicable("the volume is not all of the image")
    chi = float(posed.likelihood.chi(truth))
    require(0.2 <= chi <= 5, f"chi of the volume that was measured is {chi:.3g}; noise of the size stated makes it 1")


def law_gradient(posed: Posed) -> None:
    """The gradient of the energy is its derivative, at a random point near the start."""
    _needs_noise(posed)
    u = _near(posed).requires_grad_()
    energy = posed.likelihood.energy(u)
    require(bool(torch.isfinite(energy).all()), "the energy is not finite")
    (derivative,) = torch.autograd.grad(energy.sum(), u)
    require_close(posed.likelihood.gradient(u.detach()), derivative, 1e-4, "gradient is not the derivative of energy")


def law_energy_of_a_batch(posed: Posed) -> None:
    """One energy per image, each what the image has alone."""
    _needs_noise(posed)
    batch = torch.stack((posed.start, _near(posed)))
    energies = posed.likelihood.energy(batch)
    require(tuple(energies.shape) == (2,), f"the energy of two images has shape {tuple(energies.shape)}")
    alone = torch.stack([posed.likelihood.energy(image) for image in batch])
    require_close(energies, alone, 1e-4, "the energy depends on the batch")


def law_prox_is_stationary(posed: Posed) -> None:
    """At ``u = prox(v, w)`` the gradient of ``energy(u) + w/2 |u - v|^2`` vanishes."""
    _needs_noise(posed)
    v = _near(posed)
    likelihood = posed.likelihood
    pull = likelihood.gradient(v)
    if not bool(pull.any()):
        raise NotApplicable("the random point fits exactly")
    weight = _curvature(posed, v)
    u = likelihood.prox(v, weight, iterations=60, tolerance=1e-7)
    require(bool(torch.isfinite(u).all()), "the proximal step is not finite")
    left = likelihood.gradient(u) + weight * (u - v)
    share = float(torch.linalg.vector_norm(left) / torch.linalg.vector_norm(pull))
    require(share <= 1e-2, f"after the proximal step {share:.1%} of the gradient remain")


def law_weights_fit(posed: Posed) -> None:
    """The inverse noise variances are finite, not negative, and broadcast to the measurement."""
    _needs_noise(posed)
    weights = posed.likelihood.weights
    shape = torch.broadcast_shapes(weights.shape, posed.acquisition.data.shape)
    require(shape == posed.acquisition.data.shape, f"weights of shape {tuple(weights.shape)} do not fit")
    require(bool(torch.isfinite(weights).all()) and bool((weights >= 0).all()), "weights are negative or not finite")


def law_chi(posed: Posed) -> None:
    """The weighted residual per degree of freedom is finite and not negative."""
    _needs_noise(posed)
    chi = posed.likelihood.chi(posed.start)
    require(bool(torch.isfinite(chi).all()) and bool((chi >= 0).all()), f"chi of the start image is {chi}")


def law_memory_of_a_measurement(posed: Posed) -> None:
    """What is stated of a measurement that exists is what was stated before it was simulated, to a tenth."""
    physics, grid = posed.example.physics, posed.acquisition.grid
    if not isinstance(physics, StatesMemory):
        raise NotApplicable("the physics does not state what memory it needs")
    before, then = physics.bytes_needed(grid), physics.bytes_needed(grid, posed.acquisition)
    require(abs(then - before) <= 0.1 * before, f"{then} bytes for the measurement, {before} before it was made")


def _needs_noise(posed: Posed) -> None:
    """A measurement without noise has no finite energy, and no seed in it."""
    if posed.acquisition.noise_std == 0:
        raise NotApplicable("the example has no noise")


def _rising(image: Tensor) -> Tensor:
    """The image with its contrast to its smallest value rising along every axis, from a half to one and a half."""
    least = torch.zeros((), dtype=image.dtype) if image.is_complex() else image.min()
    for axis, size in enumerate(image.shape):
        shape = [size if k == axis else 1 for k in range(image.ndim)]
        image = least + (image - least) * torch.linspace(0.5, 1.5, size).view(shape)
    return image


def _correlation(a: Tensor, b: Tensor) -> float:
    a, b = a.double() - a.double().mean(), b.double() - b.double().mean()
    return float((a * b).sum() / (torch.linalg.vector_norm(a) * torch.linalg.vector_norm(b)).clamp(min=1e-300))


def _near(posed: Posed) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    noise = posed.operator.domain.randn(generator=generator, dtype=posed.start.dtype)
    scale = torch.linalg.vector_norm(posed.start) / torch.linalg.vector_norm(noise)
    point: Tensor = posed.start + 0.1 * scale * noise
    return point


def _curvature(posed: Posed, v: Tensor) -> float:
    """``v^H H v / v^H v`` from two gradients: a weight that makes both terms of the proximal step matter."""
    step = 1e-2 * v
    change = posed.likelihood.gradient(v + step) - posed.likelihood.gradient(v)
    value = float((step.conj() * change).sum().real / (step.conj() * step).sum().real)
    if value <= 0 or relative_difference(v, torch.zeros_like(v)) == 0:
        raise NotApplicable("the energy has no curvature at the random point")
    return value


PHYSICS_LAWS: tuple[PhysicsLaw, ...] = (
    law_example_is_not_square,
    law_simulation_is_marked,
    law_simulation_is_reproducible,
    law_seeds_differ,
    law_simulation_leaves_the_volume_alone,
    law_measurement_is_finite,
    law_operator_fits,
    law_start_fits,
    law_start_explains_more_than_nothing,
    law_simulation_and_operator_agree_on_directions,
    law_chi_of_the_truth,
    law_gradient,
    law_energy_of_a_batch,
    law_prox_is_stationary,
    law_weights_fit,
    law_chi,
    law_memory_of_a_measurement,
)
