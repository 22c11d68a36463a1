"""Between the grid of a scan and that of a prior: the composed operator, the plane, real physics, the commands."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from prior_toys import card, mr_card, toy_host, write

import medldm
from medldm.cli.options import assignments
from medldm.data import Acquisition, Grid, Provenance, Volume
from medldm.errors import ComponentMissing, UsageError
from medldm.host import Host
from medldm.pipeline.chosen_prior import choose_prior
from medldm.pipeline.classical import start_image
from medldm.pipeline.events import Teller
from medldm.pipeline.posing import pose, with_solver
from medldm.pipeline.problem import problem_of
from medldm.pipeline.recipe import Recipe, from_mapping
from medldm.pipeline.suite import Suite, SuiteCase, Task, run_suite
from medldm.priors.card import Range

SHAPE = (4, 10, 12)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def host() -> Host:
    return toy_host()


@pytest.fixture
def priors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "priors"
    monkeypatch.setenv("MEDLDM_PRIORS", str(folder))
    return folder


def recipe(prior: str | dict[str, Any], physics: str | dict[str, Any] = "toy-attenuation", **sections: Any) -> Recipe:
    mapping = {
        "acquisition": {"physics": physics} if isinstance(physics, str) else physics,
        "solver": {"name": "toy-posterior"},
        "operator": {"grid": "prior"},
        "prior": {"name": prior} if isinstance(prior, str) else prior,
    }
    return from_mapping("test", mapping | sections)


def scan(host: Host, chosen: Recipe, spacing: tuple[float, float, float] = (3, 1, 1)) -> Acquisition:
    volume = Volume(torch.zeros(SHAPE), Grid.isotropic(SHAPE, spacing), "HU", "CT")
    return medldm.simulate(volume, recipe=chosen, host=host)


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({"spacing_mm": Range(2, 2)}, (4, 5, 6)),
        ({"spacing_mm": Range(0.5, 0.7)}, (4, 15, 18)),
        ({"spacing_mm": Range(2, 2), "dimensions": 3}, (6, 5, 6)),
        ({"spacing_mm": Range(0.9, 1.1)}, SHAPE),
    ],
)
def test_the_composed_operator_has_its_exact_adjoint(
    host: Host, priors: Path, changes: dict[str, Any], shape: tuple[int, ...]
) -> None:
    write(priors, card(**changes))
    chosen = recipe("toy-prior")
    measured = scan(host, chosen)
    posed = pose(host, chosen, measured, "case", CPU)
    assert posed.prior is not None
    operator = posed.prior.seen_from_here(posed.operator)
    assert operator.domain.shape == posed.prior.grid.shape == shape
    assert operator.domain.spacing == pytest.approx(posed.prior.grid.spacing)
    assert posed.prior.resamples == (shape != SHAPE)
    generator = torch.Generator().manual_seed(0)
    x, y = (space.randn(2, generator=generator) for space in (operator.domain, operator.codomain))
    torch.testing.assert_close(operator.codomain.inner(y, operator(x)), operator.domain.inner(operator.H(y), x))
    problem = problem_of(posed, start_image(host, chosen, posed), samples=2)
    assert problem.start.shape == (2, *shape)
    assert problem.on_scan(problem.start).shape == (2, *SHAPE)
    # The restated likelihood of x is the scan's likelihood of what x stands for.
    torch.testing.assert_close(
        problem.likelihood.chi(x), posed.likelihood.chi(problem.on_scan(x)), rtol=1e-4, atol=1e-4
    )


def test_the_start_goes_to_the_prior_and_back(host: Host, priors: Path) -> None:
    """On a finer grid linear interpolation loses nothing of a ramp, up to the clamped border."""
    write(priors, card(spacing_mm=Range(0.5, 0.5)))
    chosen = recipe("toy-prior")
    posed = pose(host, chosen, scan(host, chosen), "case", CPU)
    ramp = torch.linspace(0.01, 0.03, SHAPE[2]).expand(SHAPE).contiguous()
    problem = problem_of(posed, ramp)
    back = problem.on_scan(problem.start)[0]
    torch.testing.assert_close(back[..., 1:-1], ramp[..., 1:-1], rtol=1e-5, atol=1e-6)


def test_another_plane_has_other_spacings(host: Host, priors: Path) -> None:
    """Coronal slices of an axial stack see the 3 mm between its slices."""
    write(priors, card(planes=("axial", "coronal")))
    chosen = recipe({"name": "toy-prior", "plane": "coronal"})
    found = choose_prior(host, chosen, scan(host, chosen))
    assert found is not None
    assert found.plan.grid.spacing == pytest.approx((1.1, 1, 1), rel=0.02)
    axial = choose_prior(host, recipe("toy-prior"), scan(host, chosen))
    assert axial is not None and not axial.plan.resample
    with pytest.raises(UsageError, match="E-RUN-13"):
        choose_prior(host, recipe({"name": "toy-prior", "plane": "coronal"}, operator={}), scan(host, chosen))


def test_a_sampler_of_the_posterior_sees_slices_of_one_plane(host: Host, priors: Path) -> None:
    write(priors, card(planes=("axial", "coronal", "sagittal")))
    case, gibbs = scan(host, recipe("toy-prior")), {"name": "split-gibbs"}
    one, several = (choose_prior(host, recipe("toy-prior", **solver), case) for solver in ({"solver": gibbs}, {}))
    assert one is not None and several is not None
    assert (one.section.plane, several.section.plane) == ("axial", None)
    by_turns = {"name": "toy-prior", "plane": "alternating"}
    assert choose_prior(host, recipe(by_turns), case) is not None
    with pytest.raises(UsageError, match="E-RUN-19"):
        choose_prior(host, recipe(by_turns, solver=gibbs), case)


def test_an_image_of_unknown_modality_is_looked_at_again_once_it_is_measured(host: Host, priors: Path) -> None:
    write(priors, card())
    chosen = recipe("toy-prior")
    measured = scan(host, chosen)
    unknown = Volume(torch.zeros(SHAPE), measured.grid, "HU", "OT")
    assert choose_prior(host, chosen, unknown) is not None
    assert choose_prior(host, chosen, measured) is not None
    with pytest.raises(ComponentMissing, match="E-PRI-30"):
        choose_prior(host, chosen, dataclasses.replace(measured, modality="OT"))


def test_mri_with_the_phase_of_its_calibration_lines(host: Host, priors: Path) -> None:
    """A prior that knows the object but for its phase: a wrong one would make the noisy image worse, not better."""
    write(priors, mr_card(networks={"denoiser": {"facts": 4, "mean": 0.85}}))
    y, x = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 40), indexing="ij")
    head = 100 * torch.sigmoid(20 * (0.7 - (x**2 + y**2).sqrt())).expand(2, 48, 40).contiguous()
    volume = Volume(head, Grid.isotropic(head.shape), "arbitrary", "MR")
    mri = {
        "physics": "mri-cartesian",
        "coils": 4,
        "mask": {"acceleration": 2, "calibration": 0.3},
        "noise": {"std": 0.2},
    }
    chosen = recipe("toy-mr", mri, operator={"maps": "espirit", "grid": "native"})
    result = medldm.reconstruct(volume, recipe=chosen, simulate=True, host=host, device="cpu")
    assert result.record["prior"]["phase"] == "frozen"
    start, final = (float((image.data - head).abs()[head > 95].mean()) for image in (result.baseline, result.image))
    assert start > 8
    assert final < 0.7 * start


def test_ct_on_a_coarser_grid(host: Host, priors: Path) -> None:
    """The projections of water in air, reconstructed at 4 mm and written at 2 mm."""
    write(priors, card(spacing_mm=Range(4, 4)))
    y, x = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 30), indexing="ij")
    body = -1000 + 1000 * torch.sigmoid(20 * (0.7 - (x**2 + y**2).sqrt())).expand(2, 32, 30).contiguous()
    volume = Volume(body, Grid.isotropic(body.shape, (3, 2, 2)), "HU", "CT")
    ct = {"physics": "ct-parallel", "views": 40, "noise": {"model": "poisson", "photons": 1e5}}
    result = medldm.reconstruct(volume, recipe=recipe("toy-prior", ct), simulate=True, host=host, device="cpu")
    assert result.image.grid == volume.grid
    assert result.record["prior"]["grid"]["shape"] == [2, 16, 15]
    assert float((result.image.data - body).abs().mean()) < 60


def test_methods_with_and_without_a_prior_stand_in_one_suite(host: Host, priors: Path, tmp_path: Path) -> None:
    write(priors, card())
    image = Volume(torch.linspace(-900, 700, 480).reshape(SHAPE), Grid.isotropic(SHAPE, (3, 1, 1)), "HU", "CT")
    made = Provenance("simulated-input", "", "", "", 0, datetime(2026, 1, 1, tzinfo=UTC), True)
    file = host.build("writers", "nifti", {}).write(image, tmp_path, "scan", made)[0]
    path = tmp_path / "toy.yaml"
    path.write_text(
        "acquisition: {physics: toy-attenuation}\nprior: {name: toy-prior}\nsolver: {name: toy-posterior}\n"
    )
    suite = Suite(
        {"scan": SuiteCase(file.name, "CT")},
        (Task(str(path), ("scan",), {"prior": "recipe", "cgls": {"name": "cgls", "iterations": 20}}),),
    )
    rows = {row.method: row for row in run_suite(host, suite, tmp_path, Teller(), device="cpu")}
    assert [row.error for row in rows.values()] == ["", ""]
    assert rows["prior"].chi is not None and rows["cgls"].chi is not None
    # The data alone are fitted to the last bit of their noise, with a prior they are not.
    assert rows["cgls"].chi < rows["prior"].chi


def test_another_solver_on_the_same_measurement(host: Host, priors: Path) -> None:
    write(priors, card())
    chosen = recipe("toy-prior")
    posed = pose(host, chosen, scan(host, chosen), "case", CPU)
    classical = with_solver(host, dataclasses.replace(chosen, solver={"name": "cgls"}), posed)
    assert classical.prior is None
    problem = problem_of(classical, torch.zeros(SHAPE))
    assert problem.likelihood is posed.likelihood
    assert problem.prior is None
    assert problem.events == () and problem.record == {}
    assert with_solver(host, chosen, classical).prior is not None


@pytest.mark.parametrize("name", ["toy-prior", "007", "[new] priors/toy", 'a "quoted" folder'])
def test_the_option_takes_any_name(name: str) -> None:
    changed = recipe("other").changed(assignments(None, prior=name))
    assert changed.prior["name"] == name


def test_the_record_is_plain_json(host: Host, priors: Path) -> None:
    write(priors, card(spacing_mm=Range(2, 2)))
    chosen = recipe("toy-prior")
    posed = pose(host, chosen, scan(host, chosen), "case", CPU)
    record = problem_of(posed, start_image(host, chosen, posed)).record
    assert json.loads(json.dumps(record)) == record
