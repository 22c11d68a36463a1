"""Each law of physics fails for a physics broken in that way, and no other does but as a consequence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from law_scene import GRID, VOLUME, failing, names
from torch import Tensor

from medldm.data import Acquisition, AffineMap, Grid, Volume
from medldm.inference import Gaussian, Likelihood, Noise
from medldm.operators import Diagonal, LinearOperator, Space
from medldm.testing import PhysicsExample, contracts, physics_laws
from medldm.testing.law import NotApplicable
from medldm.testing.operator_laws import OPERATOR_LAWS


class Altered:
    """A likelihood with some of its parts exchanged, which the others do not notice."""

    def __init__(self, right: Likelihood, **parts: Any) -> None:
        self.right, self.parts = right, parts

    def __getattr__(self, name: str) -> Any:
        return self.parts[name] if name in self.parts else getattr(self.right, name)


def altered(right: Gaussian, broken: str) -> Likelihood:
    """The likelihood, wrong in the part that is named, if it is one of its parts."""
    weights = right.weights.expand(right.measurement.shape)
    parts: dict[str, dict[str, Any]] = {
        "gradient": {"gradient": lambda u: 1.01 * right.gradient(u)},
        "prox": {"prox": lambda v, *_, **__: v},
        "energy": {"energy": lambda u: right.energy(u).sum()},
        "weights of another sign": {"weights": -weights},
        "weights without end": {"weights": weights / 0.0},
        "weights of another shape": {"weights": weights[None]},
        "chi of another sign": {"chi": lambda u: -right.chi(u)},
        "chi without end": {"chi": lambda u: right.chi(u) / 0.0},
    }
    return Altered(right, **parts[broken]) if broken in parts else right


@dataclass(frozen=True)
class Masked:
    """Every voxel measured alone, some not at all."""

    broken: str = ""
    grid: Grid = GRID

    @property
    def mask(self) -> Diagonal:
        seen = torch.rand(self.grid.shape, generator=torch.Generator().manual_seed(2)) > 0.2
        return Diagonal(Space(("z", "y", "x"), self.grid.shape), seen.float())

    def simulate(self, volume: Volume, noise: Noise) -> Acquisition:
        if self.broken == "changes":
            volume.data.mul_(2.0)
        if self.broken == "seed":
            drawn = torch.full(self.grid.shape, 0.1)
        elif self.broken == "random":
            unseeded = torch.Generator()
            unseeded.seed()
            drawn = 0.1 * torch.randn(self.grid.shape, generator=unseeded)
        else:
            drawn = noise.normal(self.grid.shape, torch.float32, "measurement", std=0.1)
        data = self.mask(volume.data.flip(2) if self.broken == "mirror" else volume.data) + drawn
        if self.broken == "infinite":
            data[0, 0, 0] = torch.inf
        return Acquisition(
            "masked",
            data,
            ("z", "y", "x"),
            self.grid,
            "HU",
            "CT",
            AffineMap.identity("HU"),
            noise_std=0.1,
            simulated=self.broken != "mark",
        )

    def operator(self, acquisition: Acquisition, grid: Grid) -> LinearOperator:
        if self.broken == "operator":
            return Diagonal(Space(("y", "z", "x"), grid.shape), self.mask.diagonal)
        return self.mask

    def likelihood(self, acquisition: Acquisition, operator: LinearOperator) -> Likelihood:
        std = 1.0 if self.broken == "noise" else 0.1
        return altered(Gaussian(operator, finite(acquisition.data), std=std), self.broken)

    def bytes_needed(self, grid: Grid, measurement: Acquisition | None = None) -> int:
        return 1000 if measurement is None or self.broken != "memory" else 2000

    def measurement_bytes(self, grid: Grid) -> int:
        return 500

    def start(self, acquisition: Acquisition, operator: LinearOperator) -> Tensor:
        start = operator.adjoint(finite(acquisition.data))
        if self.broken == "sign":
            return -start
        return start[None] if self.broken == "start" else start


def finite(data: Tensor) -> Tensor:
    """What is infinite is taken for 1, so that it spoils nothing but the measurement itself."""
    return data.nan_to_num(posinf=1.0)


class TestMasked(contracts.PhysicsContract):
    @pytest.fixture
    def example(self) -> PhysicsExample:
        return PhysicsExample(Masked(), VOLUME)


def posed(broken: str = "") -> physics_laws.Posed:
    """A problem of its own, of two axes of one length where that is what is broken."""
    grid = Grid.isotropic((4, 4, 5)) if broken == "square" else GRID
    data = 1 + torch.rand(grid.shape, generator=torch.Generator().manual_seed(1))
    return physics_laws.pose(PhysicsExample(Masked(broken, grid), replace(VOLUME, data=data, grid=grid)))


BROKEN: list[tuple[physics_laws.PhysicsLaw, str, list[physics_laws.PhysicsLaw]]] = [
    (physics_laws.law_example_is_not_square, "square", []),
    (physics_laws.law_simulation_is_marked, "mark", []),
    (physics_laws.law_simulation_is_reproducible, "random", []),
    (physics_laws.law_seeds_differ, "seed", []),
    # The second simulation measures what the first has left.
    (
        physics_laws.law_simulation_leaves_the_volume_alone,
        "changes",
        [physics_laws.law_simulation_is_reproducible],
    ),
    (physics_laws.law_measurement_is_finite, "infinite", []),
    (physics_laws.law_operator_fits, "operator", []),
    # The start image is one of the batch.
    (physics_laws.law_start_fits, "start", [physics_laws.law_energy_of_a_batch]),
    (physics_laws.law_start_explains_more_than_nothing, "sign", []),
    (physics_laws.law_simulation_and_operator_agree_on_directions, "mirror", [physics_laws.law_chi_of_the_truth]),
    (physics_laws.law_chi_of_the_truth, "noise", []),
    (physics_laws.law_gradient, "gradient", []),
    (physics_laws.law_energy_of_a_batch, "energy", []),
    (physics_laws.law_prox_is_stationary, "prox", []),
    (physics_laws.law_weights_fit, "weights of another sign", []),
    (physics_laws.law_weights_fit, "weights without end", []),
    (physics_laws.law_weights_fit, "weights of another shape", []),
    (physics_laws.law_chi, "chi of another sign", [physics_laws.law_chi_of_the_truth]),
    (physics_laws.law_chi, "chi without end", [physics_laws.law_chi_of_the_truth]),
    (physics_laws.law_memory_of_a_measurement, "memory", []),
]


@pytest.mark.parametrize(("law", "broken", "consequences"), BROKEN)
def test_a_broken_physics_breaks_its_law_and_no_other(
    law: physics_laws.PhysicsLaw, broken: str, consequences: list[physics_laws.PhysicsLaw]
) -> None:
    assert failing(physics_laws.PHYSICS_LAWS, lambda: (posed(broken),)) == names(law, *consequences)
    assert failing(OPERATOR_LAWS, lambda: (posed(broken).operator,)) == set()


def test_each_law_of_physics_has_something_that_breaks_it() -> None:
    assert {law for law, _, _ in BROKEN} == set(physics_laws.PHYSICS_LAWS)


def test_without_noise_there_is_no_energy_to_test() -> None:
    noisy = posed()
    noiseless = replace(noisy, acquisition=replace(noisy.acquisition, noise_std=0.0))
    for law in (physics_laws.law_seeds_differ, physics_laws.law_gradient, physics_laws.law_chi):
        with pytest.raises(NotApplicable):
            law(noiseless)
