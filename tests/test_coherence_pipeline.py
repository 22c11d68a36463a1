"""Coherence from a recipe to the solver: validated, applied along the right axis, refused or left out, recorded."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from prior_toys import DEVIATION, MEAN, Attenuation, card, toy_host, write
from torch import Tensor

import medldm
from medldm.data import Acquisition, Grid, Provenance, Volume, attenuation_from_hu
from medldm.errors import UsageError
from medldm.host import Host
from medldm.inference import Autoencoder, Coherence, CorrelatedNoise, Coupled, NoiseKernel, SliceCoupling, SliceStack
from medldm.pipeline.classical import start_image
from medldm.pipeline.coherence import _stacks, choose_coherence, coherence_of
from medldm.pipeline.events import Event, Teller
from medldm.pipeline.posing import pose
from medldm.pipeline.problem import Problem, problem_of
from medldm.pipeline.recipe import Recipe, from_mapping
from medldm.pipeline.suite import Suite, SuiteCase, Task, run_suite
from medldm.priors.card import Latent, Prediction, Range, Size
from medldm.priors.family import Networks
from medldm.priors.model import PriorModel
from medldm.testing.closed_form import GaussianNetwork, OrthonormalAutoencoder

SHAPE = (3, 10, 12)
WHOLE = {"noise": {"kernel": "squared-exponential", "length_mm": 9}, "coupling": {"kind": "quadratic", "length_mm": 2}}


@pytest.fixture(scope="module")
def host() -> Host:
    return toy_host()


@pytest.fixture
def priors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "priors"
    monkeypatch.setenv("MEDLDM_PRIORS", str(folder))
    write(folder, card())
    return folder


def recipe(coherence: Any = None, solver: str = "toy-posterior", prior: Any = None, **sections: Any) -> Recipe:
    mapping: dict[str, Any] = {
        "acquisition": {"physics": "toy-attenuation"},
        "solver": {"name": solver},
        "prior": prior or {"name": "toy-prior"},
        "run": {"seed": 7},
    }
    return from_mapping("test", mapping | ({} if coherence is None else {"coherence": coherence}) | sections)


def ct() -> Volume:
    values = torch.linspace(-900, 700, 360).reshape(SHAPE)
    return Volume(values, Grid.isotropic(SHAPE, (3, 1, 1)), "HU", "CT", "phantom")


def posed_problem(host: Host, chosen: Recipe) -> Problem:
    measured = medldm.simulate(ct(), recipe=chosen, host=host)
    posed = pose(host, chosen, measured, "case", torch.device("cpu"))
    return problem_of(posed, start_image(host, chosen, posed))


def coupled_posterior(measured: Acquisition, axis: int, spacing: float, coupling: SliceCoupling) -> Tensor:
    """In model units, by one dense solve."""
    lengths = Attenuation().operator(measured, measured.grid).diagonal.double().flatten()  # type: ignore[union-attr]
    unit = attenuation_from_hu().scale * 2000  # model values from 0 to 1 are -1000 to 1000 HU, and -1000 HU is 0 per mm
    A = torch.diag(unit * lengths)
    n = SHAPE[axis]
    step = (torch.eye(n)[1:] - torch.eye(n)[:-1]).double() / spacing
    before = torch.eye(int(torch.tensor(SHAPE[:axis]).prod()), dtype=torch.float64)
    after = torch.eye(int(torch.tensor(SHAPE[axis + 1 :]).prod()), dtype=torch.float64)
    D = torch.kron(torch.kron(before, step), after)
    w = DEVIATION**-2
    sigma = DEVIATION
    tau = w * coupling.length_mm**2 * sigma**2 / (sigma**2 + coupling.half_at**2)
    normal = A.T @ A / 0.01**2 + w * torch.eye(360) + tau * D.T @ D
    rhs = A.T @ measured.data.double().flatten() / 0.01**2 + w * MEAN
    return torch.linalg.solve(normal, rhs).reshape(SHAPE)


@pytest.mark.parametrize(("plane", "axis", "spacing"), [(None, 0, 3.0), ("coronal", 1, 1.0)])
def test_a_coupled_reconstruction_is_the_dense_solve(
    host: Host, priors: Path, plane: str | None, axis: int, spacing: float
) -> None:
    write(priors, card("planes", planes=("axial", "coronal"), spacing_mm=Range(0.9, 3.1)))
    prior = {"name": "planes", **({"plane": plane} if plane else {})}
    chosen = recipe({"coupling": {"length_mm": 6, "half_at": 0.2}}, prior=prior)
    measured = medldm.simulate(ct(), recipe=chosen, host=host)
    result = medldm.reconstruct(measured, recipe=chosen, host=host, device="cpu")
    expected = coupled_posterior(measured, axis, spacing, SliceCoupling(length_mm=6, half_at=0.2))
    torch.testing.assert_close((result.image.data + 1000) / 2000, expected.float(), rtol=1e-3, atol=1e-4)
    alone = medldm.reconstruct(measured, recipe=recipe(prior=prior), host=host, device="cpu")
    assert float((result.image.data - alone.image.data).abs().max()) > 5


def test_the_solver_gets_noise_correlated_in_mm(host: Host, priors: Path) -> None:
    problem = posed_problem(host, recipe(WHOLE))
    assert problem.noise == CorrelatedNoise(7, "case", (SliceStack(4, 1, (0.0, 3.0, 6.0)),), 9.0)
    assert isinstance(problem.likelihood, Coupled)
    chosen = recipe(WHOLE, solver="toy-noise")
    images = {}
    for name, options in (("correlated", WHOLE), ("white", None)):
        chosen = recipe(options, solver="toy-noise")
        drawn = medldm.reconstruct(ct(), recipe=chosen, simulate=True, host=host, device="cpu").image.data
        centred = (drawn + 1000) / 2000
        images[name] = float((centred[0] * centred[1]).mean())
    assert images["correlated"] == pytest.approx(0.946, abs=0.3)
    assert images["white"] == pytest.approx(0, abs=0.3)


def test_the_prior_s_grid_sets_the_spacing(host: Host, priors: Path) -> None:
    """A prior of volumes of 2 mm brings a stack of 3 mm slices onto its own grid."""
    write(priors, card("coarse", dimensions=3, spacing_mm=Range(2, 2)))
    problem = posed_problem(host, recipe(WHOLE, prior={"name": "coarse"}, operator={"grid": "prior"}))
    assert isinstance(problem.noise, CorrelatedNoise)
    assert problem.noise.stacks[0].positions[:2] == pytest.approx((0, 2))
    assert problem.record["coherence"]["spacing_mm"] == pytest.approx(2)


def test_a_latent_of_volumes_has_wider_slices(host: Host) -> None:
    """The networks of a latent prior see fewer slices, further apart; its image keeps those of the scan."""

    class Loaded:
        def __init__(self, dimensions: int, shape: tuple[int, int, int]) -> None:
            facts = card(
                dimensions=dimensions,
                latent=Latent(1.0),
                prediction=Prediction("edm", sigma_data=0.5),
                size=Size(multiple=2),
                networks={"denoiser": {}, "autoencoder": {}},
            )
            autoencoder = OrthonormalAutoencoder(dimensions)
            assert isinstance(autoencoder, Autoencoder)
            self.model = PriorModel(facts, Networks(GaussianNetwork.edm(), autoencoder))
            self.grid = Grid.isotropic(shape, (3, 1, 1))
            self.chosen = type("Chosen", (), {"card": facts})()

    volume: Any = Loaded(3, (5, 4, 6))
    stacks = _stacks(volume, volume.model.on(volume.grid), 0)
    assert stacks[0] == SliceStack(5, 2, (0.0, 6.0, 12.0))
    assert stacks[1] == SliceStack(4, 1, (0.0, 3.0, 6.0, 9.0, 12.0))
    slices: Any = Loaded(2, (5, 4, 6))
    stacks = _stacks(slices, slices.model.on(slices.grid), 0)
    assert stacks[0] == SliceStack(5, 1, (0.0, 3.0, 6.0, 9.0, 12.0))


@pytest.mark.parametrize(
    "words", ["none", None, {}, {"noise": "none", "coupling": "none"}, {"noise": {"length_mm": 0}}]
)
def test_none_changes_nothing(host: Host, priors: Path, words: Any) -> None:
    problem = posed_problem(host, recipe({} if words is None else words))
    assert not isinstance(problem.noise, CorrelatedNoise)
    assert not isinstance(problem.likelihood, Coupled)
    assert problem.record["coherence"] == "none"


def test_assignments() -> None:
    chosen = recipe(WHOLE)
    assert chosen.changed(["coherence=none"]).coherence == {}
    changed = chosen.changed(["coherence.noise.length_mm=24", "coherence.coupling.kind=tv"])
    assert coherence_of(changed.coherence) == Coherence(NoiseKernel(length_mm=24.0), SliceCoupling("tv", 2.0))
    assert chosen.changed(["coherence.coupling=none"]).coherence["coupling"] == "none"
    again = chosen.changed(["coherence=none", "coherence.noise.length_mm=6"])
    assert coherence_of(again.coherence) == Coherence(NoiseKernel(length_mm=6.0))
    assert chosen.sha256 != chosen.changed(["coherence=none"]).sha256
    with pytest.raises(UsageError, match="E-RCP-03"):
        chosen.changed(["coherence=strong"])


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"noise": {"lenght_mm": 3}}, ["E-OPT-01", "lenght_mm", "length_mm"]),
        ({"noise": {"length_mm": -3}}, ["E-OPT-04", "coherence.noise.length_mm"]),
        ({"noise": {"kernel": "matern"}}, ["E-OPT-04", "squared-exponential"]),
        ({"coupling": {"kind": "tvv"}}, ["E-OPT-04", "quadratic"]),
        ({"coupling": {"length_mm": "1"}}, ["E-OPT-03", "coherence.coupling.length_mm"]),
        ({"coupling": 3}, ["E-OPT"]),
    ],
)
def test_what_is_not_possible_is_refused_by_its_path(section: Any, words: list[str]) -> None:
    with pytest.raises(UsageError) as refusal:
        coherence_of(section)
    text = f"{refusal.value.code} {refusal.value.what} {refusal.value.why} {refusal.value.fix}"
    assert [word for word in words if word not in text] == []


def test_an_unknown_part_is_refused_with_the_closest_one() -> None:
    with pytest.raises(UsageError, match="E-RCP-02"):
        recipe({"copling": {"length_mm": 1}})
    with pytest.raises(UsageError, match="E-RCP-07"):
        recipe("strong")


def test_an_exact_sampler_is_refused_with_any_coherence(host: Host, priors: Path) -> None:
    for part in ("noise", "coupling"):
        with pytest.raises(UsageError, match="E-COH-01"):
            medldm.reconstruct(ct(), recipe=recipe({part: WHOLE[part]}, solver="toy-exact"), simulate=True, host=host)
    problem = posed_problem(host, recipe("none", solver="toy-exact"))
    assert not isinstance(problem.noise, CorrelatedNoise)


def test_what_has_no_effect_is_said(host: Host, priors: Path) -> None:
    events: list[Event] = []
    options: dict[str, Any] = {"simulate": True, "host": host, "device": "cpu", "listeners": [events.append]}
    medldm.reconstruct(ct(), recipe=recipe(WHOLE, solver="cgls"), **options)
    assert any("coherence takes no part" in event.message for event in events if event.stage == "warning")
    chosen = choose_coherence(host, recipe(WHOLE, solver="toy-noise"))
    assert chosen.coherence == Coherence(NoiseKernel(length_mm=9.0))
    assert "no proximal step" in chosen.left_out[0]
    assert choose_coherence(host, recipe(WHOLE)).left_out == ()


@pytest.mark.parametrize(
    ("solver", "without", "coupling"),
    [
        ("resample", ["solver.pixel_stage=adam"], ["solver.pixel_stage=cg"]),
        ("resample", ["solver.split=3", "solver.sigma_max=2"], ["solver.split=3", "solver.sigma_max=3"]),
        ("supervised", [], ["solver.data_step=true"]),
    ],
)
def test_options_of_a_solver_decide_whether_slices_are_coupled(
    host: Host, solver: str, without: list[str], coupling: list[str]
) -> None:
    chosen = choose_coherence(host, recipe(WHOLE, solver=solver).changed(without))
    assert chosen.coherence.coupling is None
    assert "no proximal step" in chosen.left_out[0]
    chosen = choose_coherence(host, recipe(WHOLE, solver=solver).changed(coupling))
    assert chosen.coherence.coupling == SliceCoupling(length_mm=2)
    assert chosen.left_out == ()


def test_record_and_history_state_it(host: Host, priors: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    chosen = recipe(WHOLE, outputs={"write": ["nifti"]})
    result = medldm.reconstruct(ct(), out, recipe=chosen, simulate=True, host=host, device="cpu")
    stated = json.loads((out / "run.json").read_text())["prior"]["coherence"]
    assert stated["axis"] == "z"
    assert stated["spacing_mm"] == 3
    assert stated["noise"] == {"kernel": "squared-exponential", "length_mm": 9}
    assert stated["coupling"]["kind"] == "quadratic"
    curve = result.record["curves"]["dz_ratio"]
    assert len(curve) == 2
    # The truth's slices differ by the same everywhere, so that the whole is the mean.
    assert sum(curve) / 2 == pytest.approx(result.record["metrics"]["reconstruction"]["dz_ratio"], abs=0.05)
    assert [event.name for event in result.image.history.events].count("coherence") == 1


def test_methods_of_a_suite_have_their_own(host: Host, priors: Path, tmp_path: Path) -> None:
    scan = Provenance("simulated-input", "", "", "", 0, datetime(2026, 1, 1, tzinfo=UTC), True)
    file = host.build("writers", "nifti", {}).write(ct(), tmp_path, "scan", scan)[0]
    path = tmp_path / "toy.yaml"
    path.write_text(
        "acquisition: {physics: toy-attenuation}\nsolver: {name: toy-posterior}\nprior: {name: toy-prior}\n"
        "coherence: {coupling: {length_mm: 20, half_at: 1}}\n"
    )
    methods: dict[str, Any] = {
        "recipe": "recipe",
        "alone": {"name": "toy-posterior", "coherence": "none"},
        "same": {"name": "toy-posterior"},
        "exact": {"name": "toy-exact", "coherence": "none"},
        "refused": {"name": "toy-exact"},
    }
    suite = Suite({"scan": SuiteCase(file.name, "CT")}, (Task(str(path), ("scan",), methods),))
    rows = {row.method: row for row in run_suite(host, suite, tmp_path, Teller(), device="cpu")}
    assert rows["recipe"].metrics["dz_ratio"] < rows["alone"].metrics["dz_ratio"]
    assert rows["same"].metrics == rows["recipe"].metrics
    assert rows["exact"].error == ""
    assert "E-COH-01" in rows["refused"].error
