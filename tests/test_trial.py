"""The prior on trial: withheld samples tell which of two images to believe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from prior_toys import DEVIATION, MEAN, card, mr_card, toy_host, write
from typer.testing import CliRunner

import medldm
from medldm.cli.app import app
from medldm.data import Grid, Volume
from medldm.errors import UsageError
from medldm.host import Host
from medldm.inference import Coupled, Gaussian, Noise, SliceCoupling, TransmissionPoisson, WeightedGaussian
from medldm.inference.withheld import CanWithhold, mixing_share, residual, without
from medldm.operators import Diagonal, Space
from medldm.pipeline.events import Event
from medldm.pipeline.recipe import Recipe, from_mapping, load_recipe
from medldm.pipeline.trial import _quick
from medldm_solvers.zdds import ZDDS

SHAPE = (2, 32, 32)


@pytest.fixture(scope="module")
def host() -> Host:
    return toy_host()


@pytest.fixture(autouse=True)
def _priors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDLDM_PRIORS", str(tmp_path / "priors"))
    write(tmp_path / "priors", card())


def gaussian() -> Gaussian:
    space = Space(("z", "y", "x"), (1, 2, 3), torch.complex128)
    d = torch.linspace(1, 2, 6, dtype=torch.float64).reshape(1, 2, 3).to(torch.complex128)
    return Gaussian(Diagonal(space, d), torch.full((1, 2, 3), 1 + 2j, dtype=torch.complex128), 0.5)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_is_the_one_that_the_residuals_were_mixed_by(share: float) -> None:
    """With ``first = share (a - b)`` and ``second = first + b - a`` the mixture vanishes at that share."""
    a, b = torch.randn(2, 5, 7, dtype=torch.complex128, generator=torch.Generator().manual_seed(1))
    first = share * (a - b)
    assert mixing_share(first, first + b - a) == pytest.approx(share, abs=1e-12)


def test_the_share_stays_between_the_two() -> None:
    a = torch.ones(3)
    assert mixing_share(a, 2 * a) == 0
    assert mixing_share(2 * a, a) == 1
    assert mixing_share(a, a) == 0


def test_what_is_withheld_has_no_say_but_is_predicted() -> None:
    likelihood, withheld = gaussian(), torch.zeros(1, 2, 3)
    withheld[0, 1, 2] = 1
    rest = without(likelihood, withheld)
    assert rest is not None
    v = torch.full((1, 1, 2, 3), 3.0, dtype=torch.complex128)
    found = rest.prox(v, 2.0, iterations=50, tolerance=1e-12)
    expected = likelihood.prox(v, 2.0, iterations=50, tolerance=1e-12)
    expected[..., 1, 2] = 3.0
    torch.testing.assert_close(found, expected)
    missed = residual(likelihood, v, withheld)
    assert int((missed != 0).sum()) == 1
    torch.testing.assert_close(missed[0, 0, 1, 2], torch.tensor((2 * 3 - (1 + 2j)) / 0.5, dtype=torch.complex128))


def test_the_coupling_of_slices_stays_and_photon_counts_have_their_gaussian_stand_in() -> None:
    likelihood, withheld = gaussian(), torch.ones(1, 2, 3)
    coupled = Coupled.along(likelihood, SliceCoupling(), 0, (3.0, 1.0, 1.0))
    rest = without(coupled, withheld)
    assert isinstance(rest, Coupled) and rest.coupling == coupled.coupling
    assert not bool(rest.weights.any())
    space = Space(("z", "y", "x"), (1, 2, 3))
    counts = TransmissionPoisson(Diagonal(space, torch.ones(1, 2, 3)), torch.full((1, 2, 3), 50.0), 100.0)
    withheld[0, 0] = 0
    rest = without(counts, withheld)
    assert isinstance(rest, WeightedGaussian)
    torch.testing.assert_close(rest.weights, 50 * (1 - withheld))
    # exp(-u) = 1/2 explains half of the photons
    missed = residual(counts, torch.full((1, 1, 2, 3), 1 + float(torch.tensor(2.0).log())), withheld)
    torch.testing.assert_close(missed[0], 50**0.5 * withheld)


def recipe(**sections: Any) -> Recipe:
    plain = {
        "acquisition": {
            **{"physics": "ct-parallel", "views": 12, "oversample": 1},
            "noise": {"model": "poisson", "photons": 1e6},
        },
        "likelihood": {"name": "weighted-gaussian"},
        "start": {"solver": "fbp", "filter": "hann"},
        "prior": {"name": "toy-prior"},
        "solver": {"name": "toy-posterior"},
        "classical": {"name": "tv", "lam": 5, "iterations": 150, "nonnegative": True},
        "run": {"seed": 3},
    }
    return from_mapping("test", plain | sections)


def volume(model: torch.Tensor) -> Volume:
    return Volume(-1000 + 2000 * model, Grid.isotropic(SHAPE), "HU", "CT", "scan")


def expected_by_the_prior() -> Volume:
    return volume(MEAN + DEVIATION * torch.randn(SHAPE, generator=torch.Generator().manual_seed(2)))


def beyond_the_prior() -> Volume:
    """Bright and dark pieces, four to nine of the prior's deviations from its mean: what total variation is for."""
    model = torch.full(SHAPE, 0.02)
    model[:, 6:26, 8:24] = 0.9
    model[:, 12:18, 12:20] = 0.6
    return volume(model)


def _run(host: Host, case: Volume, chosen: Recipe, told: list[Event] | None = None) -> medldm.Reconstruction:
    listeners = [] if told is None else [told.append]
    return medldm.reconstruct(case, recipe=chosen, simulate=True, host=host, device="cpu", listeners=listeners)


def test_a_prior_that_knows_what_it_sees_is_used_as_it_is(host: Host) -> None:
    """White noise has no edges for total variation to keep."""
    told: list[Event] = []
    result = _run(host, expected_by_the_prior(), recipe(), told)
    trial = result.record["prior"]["trial"]
    assert trial["classical_share"] == 0 and trial["misfit_to_classical"] < 0.9
    alone = _run(host, expected_by_the_prior(), recipe(classical={}))
    assert torch.equal(result.image.data, alone.image.data)
    assert "trial" not in alone.record["prior"]
    assert not any(event.name == "mix" for event in result.image.history.events)
    assert any("as it is" in event.message for event in told if event.stage == "trial")


def test_a_prior_out_of_its_depth_gives_way(host: Host) -> None:
    told: list[Event] = []
    chosen = recipe()
    result = _run(host, beyond_the_prior(), chosen, told)
    trial = result.record["prior"]["trial"]
    assert trial["classical_share"] == 1 and trial["misfit_to_classical"] > 1
    alone = _run(host, beyond_the_prior(), recipe(classical={})).record["metrics"]["reconstruction"]["psnr"]
    classical = _run(host, beyond_the_prior(), chosen.without_prior())
    assert "prior" not in classical.record
    floor = classical.record["metrics"]["reconstruction"]["psnr"]
    # Never below the classical method, when that is better by far.
    assert floor > alone + 3
    assert result.record["metrics"]["reconstruction"]["psnr"] == pytest.approx(floor, abs=1e-3)
    assert any("out of its depth" in event.message for event in told if event.stage == "warning")
    (mixed,) = [event for event in result.image.history.events if event.name == "mix"]
    assert mixed.settings["classical_share"] == trial["classical_share"]


def test_a_start_of_the_classical_solvers_making_is_its_result(host: Host) -> None:
    """Begun where it ended it would go on past its iterations, and be another method, better or worse."""
    options = {"lam": 5, "iterations": 40, "nonnegative": True}
    chosen = recipe(start={"solver": "tv", **options}, classical={"name": "tv", **options})
    assert chosen.starts_at_classical and not recipe().starts_at_classical
    assert not recipe(
        start={"solver": "tv", **options, "iterations": 41}, classical={"name": "tv", **options}
    ).starts_at_classical
    once = _run(host, beyond_the_prior(), recipe(solver={"name": "tv", **options}, prior={}, classical={}))
    alone = _run(host, beyond_the_prior(), chosen.without_prior())
    assert torch.equal(alone.image.data, once.image.data)
    result = _run(host, beyond_the_prior(), chosen)
    assert result.record["prior"]["trial"]["classical_share"] == 1
    torch.testing.assert_close(result.image.data, once.image.data, rtol=0, atol=1e-2)
    # In the trial the classical solver begins where it does without a prior: at filtered back-projection.
    other = recipe(classical={"name": "tv", **options})
    misfits = [
        _run(host, beyond_the_prior(), one).record["prior"]["trial"]["misfit_to_classical"] for one in (chosen, other)
    ]
    assert misfits[0] == pytest.approx(misfits[1])


def test_exact_samplers_are_not_mixed(host: Host) -> None:
    result = _run(host, expected_by_the_prior(), recipe(solver={"name": "toy-exact"}))
    assert "trial" not in result.record["prior"]


def test_where_nothing_can_be_withheld_there_is_no_trial(host: Host) -> None:
    told: list[Event] = []
    one_view = {**recipe().acquisition, "views": 1, "weights": "limited"}
    result = _run(host, expected_by_the_prior(), recipe(acquisition=one_view), told)
    assert "trial" not in result.record["prior"]
    assert any("nothing can be withheld" in event.message for event in told if event.stage == "trial")


@pytest.mark.parametrize(("name", "physics"), [("mri-4x", "mri-cartesian"), ("ct-20-views", "ct-parallel")])
def test_physics_withhold_about_a_tenth_of_what_can_be_spared(host: Host, name: str, physics: str) -> None:
    chosen = load_recipe(name)
    kind, quantity = ("MR", "arbitrary") if physics.startswith("mri") else ("CT", "HU")
    scan = Volume(
        torch.rand((2, 96, 80), generator=torch.Generator().manual_seed(1)), Grid.isotropic((2, 96, 80)), quantity, kind
    )  # type: ignore[arg-type]
    measured = medldm.simulate(scan, recipe=chosen, host=host)
    built: Any = host.build("operators", physics, chosen.physics_options())
    assert isinstance(built, CanWithhold)
    withheld = built.withheld(measured, Noise(1, "a"))
    assert torch.equal(withheld, built.withheld(measured, Noise(1, "a")))
    assert not torch.equal(withheld, built.withheld(measured, Noise(2, "a")))
    whole = withheld.expand(measured.data.shape)
    sampled = measured.tensor("mask").expand(measured.data.shape) != 0 if kind == "MR" else torch.ones_like(whole) > 0
    assert not bool((whole.bool() & ~sampled).any())
    assert 0.05 < float(whole.sum() / sampled.sum()) < 0.15
    # Whole lines and views.
    plane = whole[0, 0] if kind == "MR" else whole[0]
    assert {0.0, 1.0} in [set(plane.mean(axis).tolist()) for axis in (0, 1)]
    if kind == "MR":
        assert not bool(plane[plane.shape[0] // 2, plane.shape[1] // 2 - 3 : plane.shape[1] // 2 + 3].any())


@dataclass(frozen=True)
class _Slow:
    steps: int = 200
    solve: Any = None


@dataclass(frozen=True)
class _Brief(_Slow):
    trial_steps: ClassVar[int] = 12


def test_only_a_solver_that_says_so_is_judged_by_a_part_of_its_steps() -> None:
    assert _quick(_Slow()).steps == 200  # type: ignore[attr-defined]
    assert _quick(_Brief()).steps == 12  # type: ignore[attr-defined]
    assert _quick(_Brief(steps=5)).steps == 5  # type: ignore[attr-defined]


@dataclass(frozen=True)
class _Stepless:
    trial_steps: ClassVar[int] = 12
    iterations: int = 200
    solve: Any = None


@dataclass(frozen=True)
class _Demanding(_Brief):
    def __post_init__(self) -> None:
        if self.steps < 100:
            raise UsageError("E-ACME-01", "Too few steps.")


@pytest.mark.parametrize("solver", [_Stepless(), _Demanding()], ids=lambda solver: type(solver).__name__)
def test_a_solver_that_cannot_take_fewer_steps_is_tried_with_all(solver: Any) -> None:
    assert _quick(solver) is solver


def test_a_recipe_without_a_classical_solver_has_nothing_to_fall_back_to(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="E-RCP-04"):
        recipe(classical={}).without_prior()
    with pytest.raises(UsageError, match="E-RCP-04"):
        recipe(classical={"lam": 3})
    words = ["reconstruct", "scan.nii.gz", "--recipe", "mri-4x", "--classical", "--set", "classical={}", "-o", "out"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "E-RCP-04" in result.output


def test_the_classical_solver_must_run_with_the_physics(host: Host) -> None:
    wrong = recipe(classical={"name": "cg-sense"})
    with pytest.raises(UsageError, match="E-RUN-04"):
        _run(host, expected_by_the_prior(), wrong)
    with pytest.raises(UsageError, match="E-OPT-01"):
        _run(host, expected_by_the_prior(), recipe(classical={"name": "tv", "lamb": 1}))


def _complex(waves: float) -> Volume:
    """What the prior of MR expects, with waves of a phase, in radians, that the centre of k-space cannot show."""
    shape = (2, 48, 40)
    image = MEAN + DEVIATION * torch.randn(shape, generator=torch.Generator().manual_seed(2))
    phase = torch.sin(1.7 * torch.arange(48.0))[:, None] * torch.cos(1.3 * torch.arange(40.0))
    data = 100 * image.clamp(min=0) * torch.polar(torch.ones(shape), waves * phase.expand(shape))
    return Volume(data, Grid.isotropic(shape), "arbitrary", "MR", "scan")


def _mr(**prior: Any) -> Recipe:
    sections = {
        "acquisition": {
            **{"physics": "mri-cartesian", "coils": 4, "mask": {"acceleration": 2, "calibration": 0.25}},
            "noise": {"std": 0.01},
        },
        "prior": {"name": "toy-mr", **prior},
        "solver": {"name": "zdds", "steps": 8},
        "classical": {"name": "tv", "lam": 100, "iterations": 20},
        "run": {"seed": 3},
    }
    return from_mapping("test", sections)


@pytest.mark.parametrize("given", [None, 0.0])
def test_where_the_phase_is_at_fault_the_prior_is_tried_with_room_beside_it(
    host: Host, tmp_path: Path, given: float | None
) -> None:
    write(tmp_path / "priors", mr_card())
    chosen = _mr() if given is None else _mr(quadrature=given)
    smooth, quick = (_run(host, _complex(waves), chosen).record["prior"] for waves in (0.0, 0.3))
    assert smooth["quadrature"] == 0 and "misfit_without_quadrature" not in smooth["trial"]
    if given is None:
        assert quick["quadrature"] in (0.02, 0.05)
        assert quick["trial"]["misfit_to_classical"] < quick["trial"]["misfit_without_quadrature"]
    else:
        assert quick["quadrature"] == 0 and "misfit_without_quadrature" not in quick["trial"]


def test_a_prior_is_not_given_up_on_few_steps(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "priors", mr_card())
    verdicts, told = [], []
    for enough in (8, 1):
        monkeypatch.setattr(ZDDS, "trial_steps", enough)
        found = _run(host, _complex(0.0), _mr(quadrature=0.0), told).record["prior"]["trial"]
        verdicts.append(found)
    whole, part = verdicts
    assert whole["classical_share"] == 0
    assert part == whole
    (again,) = [event.message for event in told if "all steps of the solver" in event.message]
    quick = float(again.split()[-4].rstrip(","))
    assert quick > whole["misfit_to_classical"] + 0.05
