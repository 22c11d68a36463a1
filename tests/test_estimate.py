"""How long a run will take, against a clock that the test winds itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from prior_toys import GaussianNetwork, PosteriorMean, card, toy_host, write
from torch import Tensor

from medldm.data import Grid, Volume
from medldm.errors import UsageError
from medldm.host import Host, load_host
from medldm.inference import Step
from medldm.pipeline import estimate
from medldm.pipeline.estimate import estimate_seconds
from medldm.pipeline.recipe import from_mapping, load_recipe, shipped_recipes
from medldm.priors.card import Size


@dataclass
class Clock:
    """Goes on when the work it is told of is done."""

    seconds: float = 0.0

    def now(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(estimate, "_now", clock.now)
    return clock


def _steps(clock: Clock, total: int, first: float, further: float) -> Iterator[Step]:
    for k in range(total):
        clock.seconds += further if k else first
        yield Step(k, total, None, torch.zeros(1), torch.full((1, 1, 1, 1), float(k)))


@pytest.mark.parametrize(("total", "expected"), [(1, 5.0), (2, 7.0), (3, 9.0), (100, 5 + 99 * 2)])
def test_a_loop_counts_by_its_first_steps(clock: Clock, total: int, expected: float) -> None:
    counted = estimate._Clock()
    reached = counted.loop(_steps(clock, total, 5, 2))
    assert counted.total == pytest.approx(expected)
    assert float(reached) == min(total, 3) - 1
    counted = estimate._Clock()
    counted.loop(_steps(clock, 100, 5, 2), times=3, more=7)
    assert counted.total == pytest.approx(3 * (5 + 99 * 2) + 7 * 2)


@pytest.fixture
def worked(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Every step of the toy solver takes 1 s and 0.1 s a slice, and its network 0.3 s for every hundred samples."""
    solve, forward = PosteriorMean.solve, GaussianNetwork.forward

    def solving(self: Any, likelihood: Any, prior: Any, start: Tensor, *rest: Any, **options: Any) -> Iterator[Step]:
        for step in solve(self, likelihood, prior, start, *rest, **options):
            clock.seconds += 1 + 0.1 * start.shape[-3]
            yield step

    def seeing(self: Any, x: Tensor, *rest: Any) -> Tensor:
        clock.seconds += 0.003 * x.numel()
        return forward(self, x, *rest)

    monkeypatch.setattr(PosteriorMean, "solve", solving)
    monkeypatch.setattr(GaussianNetwork, "forward", seeing)
    return clock


def test_few_slices_tell_of_all_of_them_in_all_planes(
    worked: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDLDM_PRIORS", str(tmp_path))
    size = Size(multiple=4, at_least=16)
    write(tmp_path, card(planes=("axial", "coronal", "sagittal"), cube=1.6, size=size))
    shape = (40, 10, 12)
    case = Volume(torch.zeros(shape), Grid.isotropic(shape), "HU", "CT")
    plain = {"acquisition": {"physics": "toy-attenuation"}, "solver": {"name": "toy-posterior"}}
    recipe = from_mapping("test", {**plain, "prior": {"name": "toy-prior"}, "run": {"samples": 2, "seed": 7}})
    seconds = estimate_seconds(toy_host(), recipe, case, "cpu")
    padded = (40 * 16 * 16, 10 * 40 * 16, 12 * 40 * 16)  # axial, coronal, sagittal slices
    assert seconds == pytest.approx(2 * (1 + 0.1 * 40 + 0.003 * sum(padded) / 3))

    # As few slices as are probed are all run.
    thin = case.cropped(slice(0, 10))
    one_plane = recipe.changed(["prior.plane=axial", "run.samples=1"])
    assert estimate_seconds(toy_host(), one_plane, thin, "cpu") == pytest.approx(1 + 0.1 * 10 + 0.003 * 10 * 16 * 16)


@pytest.mark.parametrize(
    ("facts", "plane", "padded"),
    [
        ({"dimensions": 3, "planes": ("axial",)}, {}, 40 * 16 * 16),
        ({}, {"plane": "sagittal"}, 12 * 40 * 16),
        ({"planes": ("coronal", "sagittal")}, {"plane": "alternating"}, 10 * 40 * 16),
    ],
    ids=["volumes", "another plane", "other planes by turns"],
)
def test_networks_that_look_along_z_are_timed_on_the_whole(
    worked: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    facts: dict[str, Any],
    plane: dict[str, str],
    padded: int,
) -> None:
    monkeypatch.setenv("MEDLDM_PRIORS", str(tmp_path))
    write(tmp_path, card(**{"planes": ("axial", "coronal", "sagittal"), "size": Size(4, 16), **facts}))
    shape = (40, 10, 12)
    case = Volume(torch.zeros(shape), Grid.isotropic(shape), "HU", "CT")
    plain = {"acquisition": {"physics": "toy-attenuation"}, "solver": {"name": "toy-posterior"}, "run": {"seed": 7}}
    recipe = from_mapping("test", {**plain, "prior": {"name": "toy-prior", **plane}})
    # By turns, the level of the first step is seen in either plane.
    possible = [padded] if plane.get("plane") != "alternating" else [padded, 12 * 40 * 16]
    seconds = estimate_seconds(toy_host(), recipe, case, "cpu")
    assert any(seconds == pytest.approx(1 + 0.1 * 40 + 0.003 * one) for one in possible)


@pytest.fixture(scope="module")
def host() -> Host:
    return load_host()


def _phantom(modality: str, shape: tuple[int, int, int]) -> Volume:
    z, y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape), indexing="ij")
    inside = z**2 / 4 + (1.2 * y) ** 2 + (1.1 * x) ** 2 < 0.8
    if modality == "CT":
        return Volume(torch.where(inside, 40.0, -1000.0), Grid.isotropic(shape), "HU", "CT")
    return Volume(inside * (2 + torch.cos(4 * x)), Grid.isotropic(shape), "arbitrary", "MR")


@pytest.mark.parametrize("name", sorted(path.stem for path in shipped_recipes()))
def test_no_shipped_recipe_is_refused_for_the_thinness_of_a_probe(host: Host, name: str) -> None:
    recipe = load_recipe(name, classical=True)
    if recipe.physics.startswith("ct"):
        views = "views_per_turn" if recipe.physics == "ct-helical" else "views"
        case, cheaper = _phantom("CT", (24, 16, 20)), [f"acquisition.{views}=12"]
    else:
        # So long a line that the share of it which calibrates is four samples.
        case = _phantom("MR", (24, 32, 104 if name == "mri-8x" else 52))
        cheaper = ["acquisition.coils=4", "operator.maps=walsh"] if "coils" in recipe.acquisition else []
    assert estimate_seconds(host, recipe.changed(cheaper), case, "cpu") > 0


def test_what_the_whole_scan_is_refused_for_refuses_its_estimate(host: Host) -> None:
    recipe = load_recipe("mri-multiband", ["acquisition.coils=4"], classical=True)
    case = Volume(1 + torch.rand(25, 32, 40), Grid.isotropic((25, 32, 40)), "arbitrary", "MR")
    with pytest.raises(UsageError, match="E-MRI-13: 25 slices"):
        estimate_seconds(host, recipe, case, "cpu")
