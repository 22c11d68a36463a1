"""A solver that breaks its contract is refused under its name, and none runs for ever."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import medldm
from medldm import hookimpl
from medldm.data import Acquisition, Grid, Volume
from medldm.errors import MedldmError
from medldm.host import Host, hookspecs
from medldm.host.discovery import Admission, Candidate, installed
from medldm.host.host import assemble
from medldm.inference import DiffusionPrior, Gaussian, Likelihood, Noise, Step
from medldm.operators import Identity, LinearOperator, Space
from medldm.pipeline.checked_solver import CheckedSolver
from medldm.pipeline.recipe import from_mapping
from medldm_image.identity import IdentityPhysics

SHAPE = (2, 6, 5)
TOTAL = 3


def spoilt(estimate: Tensor, how: str) -> Any:
    """An estimate broken in one way, or as it is."""
    ways: dict[str, Callable[[], Any]] = {
        "numpy": estimate.numpy,
        "shape": lambda: estimate[..., :-1],
        "sample axis": lambda: estimate[0],
        "precision": lambda: estimate.to(torch.complex128),
        "real": estimate.abs,
        "grad": lambda: estimate.clone().requires_grad_(),
    }
    return ways.get(how, lambda: estimate)()


@dataclass(frozen=True)
class Broken:
    """A loop of proximal steps, broken in the way that is asked for."""

    how: str = ""

    def solve(
        self,
        likelihood: Likelihood,
        prior: DiffusionPrior | None,
        start: Tensor,
        noise: Noise,
        state: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Step]:
        indices = {"no steps": [], "early": [0, 1], "twice": [0, 1, 2, 2]}.get(self.how, range(TOTAL))
        x = start
        for k in indices:
            if self.how == "raises" and k == 1:
                raise KeyError("late")
            x = likelihood.prox(x, 1.0, start=x)
            step = Step(k, TOTAL, None, x, spoilt(x, self.how), {"x": x, "index": torch.tensor(k)})
            yield x if self.how == "no step" else step  # type: ignore[misc]


@dataclass(frozen=True)
class OtherArguments:
    """A loop that is called otherwise."""

    def solve(self, likelihood: Likelihood) -> Iterator[Step]:
        yield from ()


@dataclass(frozen=True)
class WithoutSolve:
    """Options, and nothing else."""


class WithoutAdjoint(LinearOperator):
    """Half an operator."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.domain = self.codomain = Space(("z", "y", "x"), shape)

    def forward(self, x: Tensor) -> Tensor:
        return x


@dataclass(frozen=True)
class Halved(IdentityPhysics):
    """A physics whose operator lacks its adjoint."""

    def operator(self, acquisition: Acquisition, grid: Grid) -> LinearOperator:
        return WithoutAdjoint(grid.shape)  # type: ignore[abstract]


@dataclass(frozen=True)
class Unstarted(IdentityPhysics):
    """A physics without a start image."""

    def start(self, acquisition: Acquisition, operator: LinearOperator) -> Tensor:
        raise ZeroDivisionError


@dataclass(frozen=True)
class Unmeasured(IdentityPhysics):
    """A physics that measures nothing."""

    def simulate(self, volume: Volume, noise: Noise) -> Acquisition:
        raise ZeroDivisionError


def _register(register: hookspecs.Register, *targets: type) -> None:
    for target in targets:
        path = f"{__name__}:{target.__name__}"
        register(target.__name__.lower(), path, example=path, summary="Broken")


@hookimpl
def register_solvers(register: hookspecs.Register) -> None:
    """The broken solvers."""
    _register(register, Broken, OtherArguments, WithoutSolve)


@hookimpl
def register_operators(register: hookspecs.Register) -> None:
    """The broken physics."""
    _register(register, Halved, Unstarted, Unmeasured)


@pytest.fixture(scope="module")
def host() -> Host:
    acme = Candidate("acme", "acme", "1", __name__, lambda: sys.modules[__name__])
    return assemble([*installed(), acme], Admission.of(None, (), {}))


def refused(host: Host, physics: str = "identity", **solver: Any) -> MedldmError:
    """How a run of a broken component ends."""
    acquisition = {"physics": physics, "noise": {"std": 0.05, "of": "absolute"}}
    chosen = from_mapping("test", {"acquisition": acquisition, "solver": {"name": "broken", **solver}})
    scan = Volume(torch.arange(60.0).reshape(SHAPE), Grid.isotropic(SHAPE), "arbitrary", "MR", "scan")
    with pytest.raises(MedldmError) as caught:
        medldm.reconstruct(scan, recipe=chosen, simulate=True, host=host, device="cpu")
    return caught.value


def loop(host: Host, how: str, dtype: torch.dtype = torch.complex64) -> Iterator[Step]:
    """The checked loop on images of that type."""
    likelihood = Gaussian(Identity(Space(("z", "y", "x"), SHAPE, dtype)), torch.ones(SHAPE, dtype=dtype), 1.0)
    solver = CheckedSolver(Broken(how), host.find("solvers", "broken"))
    return solver.solve(likelihood, None, torch.zeros((1, *SHAPE), dtype=dtype), Noise(0, "case"))


def test_a_loop_that_keeps_its_contract_is_as_it_was(host: Host) -> None:
    assert [(step.index, step.total) for step in loop(host, "")] == [(0, 3), (1, 3), (2, 3)]


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("no steps", "yielded no step."),
        ("early", "ended at index 1 of total 3, not at total - 1."),
        ("twice", "yielded index 2 of total 3 after its last step."),
        ("no step", "yielded a Tensor, not a Step."),
        ("numpy", "yielded at index 0 of total 3 an estimate that is a ndarray, not a tensor."),
        ("shape", "an estimate that is of shape (1, 2, 6, 4), the start image of (1, 2, 6, 5)."),
        ("sample axis", "an estimate that is of shape (2, 6, 5), the start image of (1, 2, 6, 5)."),
        ("precision", "an estimate that is of type torch.complex128, the start image of torch.complex64."),
        ("real", "an estimate that is of type torch.float32, the start image of torch.complex64."),
        ("grad", "an estimate that is tied to automatic differentiation: its solve lacks @torch.no_grad()."),
    ],
)
def test_a_broken_contract_is_refused_under_the_name_of_the_solver(host: Host, how: str, sentence: str) -> None:
    with pytest.raises(MedldmError, match=re.escape(sentence)) as caught:
        list(loop(host, how))
    assert caught.value.what.startswith("The solver 'broken' of the plugin 'acme' ")
    assert (caught.value.code, caught.value.exit_code) == ("E-PLG-18", 4)
    assert "the author of the plugin 'acme'" in caught.value.fix


@pytest.mark.parametrize("how", ["early", "no steps"])
def test_a_run_ends_where_its_solver_ends_too_early(host: Host, how: str) -> None:
    """Its sample never becomes whole, and would be begun again for ever."""
    assert refused(host, how=how).code == "E-PLG-18"


def test_a_start_solver_is_held_to_its_contract_too(host: Host) -> None:
    acquisition = {"physics": "identity", "noise": {"std": 0.05, "of": "absolute"}}
    sections = {"acquisition": acquisition, "start": {"solver": "broken", "how": "early"}, "solver": {"name": "cgls"}}
    scan = Volume(torch.arange(60.0).reshape(SHAPE), Grid.isotropic(SHAPE), "arbitrary", "MR", "scan")
    with pytest.raises(MedldmError, match="E-PLG-18"):
        medldm.reconstruct(scan, recipe=from_mapping("test", sections), simulate=True, host=host, device="cpu")


def test_what_a_solver_raises_names_it_and_the_line(host: Host) -> None:
    error = refused(host, how="raises")
    assert (error.code, error.what) == (
        "E-PLG-17",
        "The solver 'broken' of the plugin 'acme' raised KeyError: 'late'.",
    )
    assert error.why.startswith(f"It happened in {__name__}, line ")


def test_a_solver_that_cannot_be_called_is_named(host: Host) -> None:
    assert "has no method solve" in refused(host, name="withoutsolve").what
    error = refused(host, name="otherarguments")
    assert error.code == "E-PLG-17" and "'otherarguments'" in error.what


@pytest.mark.parametrize(
    ("physics", "reason"),
    [("halved", "Can't instantiate"), ("unstarted", "ZeroDivisionError"), ("unmeasured", "ZeroDivisionError")],
)
def test_what_a_physics_raises_names_it(host: Host, physics: str, reason: str) -> None:
    error = refused(host, physics)
    assert error.code == "E-PLG-17"
    assert f"The physics '{physics}' of the plugin 'acme' raised " in error.what and reason in error.what
