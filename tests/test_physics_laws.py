"""Each law of physics fails for a physics broken in that way only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from law_scene import GRID, SPACE, VOLUME
from torch import Tensor

from medldm.data import Acquisition, AffineMap, Grid, Volume
from medldm.inference import Gaussian, Likelihood, Noise
from medldm.operators import Diagonal, LinearOperator, Space
from medldm.testing import PhysicsExample, contracts, physics_laws
from medldm.testing.law import NotApplicable

MASK = Diagonal(SPACE, (torch.rand(GRID.shape, generator=torch.Generator().manual_seed(2)) > 0.2).float())


class Shifted(Gaussian):
    """A likelihood with a wrong gradient, or a wrong proximal step."""

    def gradient(self, u: Tensor) -> Tensor:
        return 1.01 * super().gradient(u)


class Unfinished(Gaussian):
    def prox(self, v: Tensor, *_: Any, **__: Any) -> Tensor:
        return v


class Summed(Gaussian):
    def energy(self, u: Tensor) -> Tensor:
        return super().energy(u).sum()


@dataclass(frozen=True)
class Masked:
    """Every voxel measured alone, some not at all."""

    broken: str = ""

    def simulate(self, volume: Volume, noise: Noise) -> Acquisition:
        if self.broken == "changes":
            volume.data.mul_(2.0)
        seed = torch.Generator()
        seed.seed()
        drawn = noise.normal(GRID.shape, torch.float32, "measurement" if self.broken != "seed" else "", std=0.1)
        if self.broken == "seed":
            drawn = torch.full_like(drawn, 0.1)
        if self.broken == "random":
            drawn = 0.1 * torch.randn(GRID.shape, generator=seed)
        data = MASK(volume.data) + drawn
        return Acquisition(
            "masked",
            data,
            ("z", "y", "x"),
            GRID,
            "HU",
            "CT",
            AffineMap.identity("HU"),
            noise_std=0.1,
            simulated=self.broken != "mark",
        )

    def operator(self, acquisition: Acquisition, grid: Grid) -> LinearOperator:
        if self.broken == "operator":
            return Diagonal(Space(("y", "z", "x"), SPACE.shape), MASK.diagonal)
        return MASK

    def likelihood(self, acquisition: Acquisition, operator: LinearOperator) -> Likelihood:
        kinds: dict[str, type[Gaussian]] = {"gradient": Shifted, "prox": Unfinished, "energy": Summed}
        return kinds.get(self.broken, Gaussian)(operator, acquisition.data, std=0.1)

    def start(self, acquisition: Acquisition, operator: LinearOperator) -> Tensor:
        start = operator.adjoint(acquisition.data)
        if self.broken == "sign":
            return -start
        return start[None] if self.broken == "start" else start


class TestMasked(contracts.PhysicsContract):
    @pytest.fixture
    def example(self) -> PhysicsExample:
        return PhysicsExample(Masked(), VOLUME)


@pytest.mark.parametrize(
    ("law", "broken"),
    [
        (physics_laws.law_simulation_is_marked, "mark"),
        (physics_laws.law_simulation_is_reproducible, "random"),
        (physics_laws.law_seeds_differ, "seed"),
        (physics_laws.law_simulation_leaves_the_volume_alone, "changes"),
        (physics_laws.law_operator_fits, "operator"),
        (physics_laws.law_start_fits, "start"),
        (physics_laws.law_start_explains_more_than_nothing, "sign"),
        (physics_laws.law_gradient, "gradient"),
        (physics_laws.law_energy_of_a_batch, "energy"),
        (physics_laws.law_prox_is_stationary, "prox"),
    ],
)
def test_a_broken_physics_is_found(law: physics_laws.PhysicsLaw, broken: str) -> None:
    volume = replace(VOLUME, data=VOLUME.data.clone())
    with pytest.raises(AssertionError):
        law(physics_laws.pose(PhysicsExample(Masked(broken), volume)))


def test_a_measurement_with_nan_is_found() -> None:
    posed = physics_laws.pose(PhysicsExample(Masked(), VOLUME))
    broken = replace(posed, acquisition=replace(posed.acquisition, data=posed.acquisition.data / 0.0))
    with pytest.raises(AssertionError):
        physics_laws.law_measurement_is_finite(broken)


def test_without_noise_there_is_no_energy_to_test() -> None:
    posed = physics_laws.pose(PhysicsExample(Masked(), VOLUME))
    noiseless = replace(posed, acquisition=replace(posed.acquisition, noise_std=0.0))
    for law in (physics_laws.law_seeds_differ, physics_laws.law_gradient, physics_laws.law_chi):
        with pytest.raises(NotApplicable):
            law(noiseless)


def test_a_square_example_is_found() -> None:
    grid = Grid.isotropic((4, 4, 5))
    posed = physics_laws.pose(PhysicsExample(Masked(), VOLUME))
    square = replace(posed, example=PhysicsExample(Masked(), Volume(torch.zeros(4, 4, 5), grid)))
    with pytest.raises(AssertionError):
        physics_laws.law_example_is_not_square(square)
