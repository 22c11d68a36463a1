"""Start images and classical solvers that are told the phase of complex images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from medldm.data import Acquisition, Grid, Volume
from medldm.errors import UsageError
from medldm.host import Host, load_host
from medldm.inference import (
    DiffusionPrior,
    Gaussian,
    HasObjectPhase,
    Likelihood,
    Noise,
    OfKnownPhase,
    Step,
    TransmissionPoisson,
    run,
)
from medldm.operators import Diagonal, PhaseConstrained, Space
from medldm.pipeline.classical import classical_solver, start_image
from medldm.pipeline.events import Teller
from medldm.pipeline.methods import methods_of
from medldm.pipeline.posing import Posed, device_named, pose
from medldm.pipeline.recipe import Recipe, from_mapping
from medldm.pipeline.simulate import measure

SPACE = Space(("z", "y", "x"), (1, 2, 3), torch.complex128)


def _random(seed: int, dtype: torch.dtype = torch.complex128) -> Tensor:
    return torch.randn(SPACE.shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class LeastSquares:
    """One proximal step of next to no weight."""

    def solve(
        self,
        likelihood: Likelihood,
        prior: DiffusionPrior | None,
        start: Tensor,
        noise: Noise,
        state: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Step]:
        assert not start.is_complex() and not likelihood.operator.domain.is_complex
        u = likelihood.prox(start, 1e-12, iterations=60, tolerance=1e-14)
        yield Step(0, 1, None, u, u, {"x": start})


def test_the_image_is_the_real_one_that_explains_the_measurement_best_turned_by_the_phase() -> None:
    """Of a diagonal operator ``d`` that is ``Re(conj(p d) y) / |d|^2``, times ``p``."""
    d, y = _random(1), _random(2)
    p = torch.polar(torch.ones(SPACE.shape).double(), _random(3).real)
    start = _random(4)[None]
    solver = OfKnownPhase(LeastSquares(), p)
    step = run(solver.solve(Gaussian(Diagonal(SPACE, d), y, 0.5), None, start, Noise(1)))
    expected = p * ((p * d).conj() * y).real / d.abs().square()
    torch.testing.assert_close(step.estimate[0], expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(step.sample, step.estimate)
    torch.testing.assert_close(step.state["x"][0], (p.conj() * start[0]).real)


def test_counts_have_no_phase() -> None:
    space = Space(("z", "y", "x"), (1, 2, 3))
    counts = TransmissionPoisson(Diagonal(space, torch.ones(1, 2, 3)), torch.full((1, 2, 3), 50.0), 100.0)
    with pytest.raises(TypeError, match="least squares"):
        next(OfKnownPhase(LeastSquares(), torch.ones(1, 2, 3)).solve(counts, None, torch.ones(1, 1, 2, 3), Noise(1)))


@pytest.fixture(scope="module")
def host() -> Host:
    return load_host()


def recipe(**sections: Any) -> Recipe:
    plain = {
        "acquisition": {
            **{"physics": "mri-cartesian", "coils": 4, "phase": "smooth", "noise": {"std": 0.01, "of": "object-mean"}},
            "mask": {"kind": "uniform", "acceleration": 3, "calibration": 0.2},
        },
        "operator": {"maps": "simulated"},
        "likelihood": {"name": "gaussian", "std": "acquisition"},
        "solver": {"name": "cg-sense", "iterations": 5},
        "run": {"seed": 3},
    }
    return from_mapping("test", plain | sections)


def _posed(host: Host, chosen: Recipe) -> Posed:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    disc = 100.0 * ((y / 0.8) ** 2 + (x / 0.7) ** 2 < 1) + 50.0 * ((y - 0.2) ** 2 + x**2 < 0.1)
    case = Volume(disc[None].repeat(2, 1, 1), Grid.isotropic((2, 32, 32)), "arbitrary", "MR", "disc")
    measured: Acquisition = measure(host, chosen, case, Teller())
    return pose(host, chosen, measured, "case", device_named("cpu"))


@pytest.mark.parametrize("section", ["start", "classical"])
def test_what_is_told_the_phase_is_what_the_physics_makes_of_real_images(host: Host, section: str) -> None:
    options = {"lam": 5, "iterations": 8}
    key = "solver" if section == "start" else "name"
    chosen = recipe(**{section: {key: "tv", **options, "image": "real"}})
    posed, real = _posed(host, chosen), _posed(host, recipe(operator={"maps": "simulated", "image": "real"}))
    assert isinstance(posed.physics, HasObjectPhase) and isinstance(real.operator, PhaseConstrained)
    first = posed.physics.start(posed.acquisition, posed.operator)
    if section == "start":
        found = start_image(host, chosen, posed)
    else:
        solver = classical_solver(host, chosen, posed)
        found = run(solver.solve(posed.likelihood, None, first[None], posed.noise)).estimate[0]
    plain = classical_solver(host, recipe(classical={"name": "tv", **options}), real)
    first = real.operator.real_part(first)
    expected = run(plain.solve(real.likelihood, None, first[None], real.noise)).estimate[0]
    torch.testing.assert_close(found, real.operator.phase * expected, rtol=1e-4, atol=1e-3)
    methods = methods_of(host, chosen, posed, {}, compared=(), tried=section == "classical")
    cited = {reference for method in methods for reference in method["references"]}
    assert set(PhaseConstrained.references) <= cited


def test_without_the_prior_the_operator_is_told_the_phase() -> None:
    told = {"lam": 5, "image": "real"}
    chosen = recipe(classical={"name": "tv", **told}, start={"solver": "tv", **told})
    assert chosen.starts_at_classical
    alone = chosen.without_prior()
    assert alone.solver == {"name": "tv", "lam": 5} and alone.operator["image"] == "real" and not alone.start
    assert not recipe(classical={"name": "tv"}, start={"solver": "tv", "image": "real"}).starts_at_classical


def test_real_images_have_their_phase_already(host: Host) -> None:
    chosen = recipe(operator={"maps": "simulated", "image": "real"}, start={"solver": "cg-sense", "image": "real"})
    assert not start_image(host, chosen, _posed(host, chosen)).is_complex()


@pytest.mark.parametrize("section", ["start", "classical"])
def test_what_cannot_be_told_is_refused(section: str) -> None:
    with pytest.raises(UsageError, match=rf"E-RCP-05: {section}.image is 'reel'"):
        recipe(**{section: {"name": "tv", "solver": "tv", "image": "reel"}})
    with pytest.raises(UsageError, match="E-RCP-04"):
        recipe(**{section: {"image": "real"}})
