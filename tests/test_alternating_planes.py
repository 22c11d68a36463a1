"""A prior of slices that sees a volume in another plane at every noise level."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from prior_toys import card as ct_card
from prior_toys import toy_host, write
from torch import Tensor, nn

import medldm
from medldm.data import Grid, Volume
from medldm.errors import ComponentMissing, UsageError
from medldm.inference import AlternatingPlanes, BoundPrior, Denoiser, LatentPrior, PixelPrior, SlicewisePrior, Turned
from medldm.inference.turned import stacked_along
from medldm.pipeline.recipe import from_mapping
from medldm.priors.card import Facts, Latent, PriorCard, Range, Size
from medldm.priors.card_problems import card_problems
from medldm.priors.family import Networks
from medldm.priors.fit import ScanFacts, check_fit
from medldm.priors.model import PriorModel
from medldm.priors.stacks import stack_axes
from medldm.testing.closed_form import GaussianNetwork, OrthonormalAutoencoder, gaussian_mean

SHAPE = (16, 18, 20)
MEANS = (0.1, 0.4, 0.7)
CARD = replace(
    ct_card(),
    planes=("axial", "coronal", "sagittal"),
    spacing_mm=Range(0.5, 2.0),
    size=Size(at_least=32),
    cube=1.6,
)


def _along(axis: int, mean: float) -> BoundPrior:
    """A Gaussian of slices across an axis; its mean tells which of them was asked."""
    network = GaussianNetwork.edm(mean, 0.5)
    seen = tuple(n for other, n in enumerate(SHAPE) if other != axis)
    inner = SlicewisePrior(PixelPrior(Denoiser(network, network.parametrization), seen), SHAPE[axis])
    return inner if axis == 0 else Turned(inner, stacked_along(axis))


def _prior(seed: int = 0) -> AlternatingPlanes:
    return AlternatingPlanes([_along(axis, mean) for axis, mean in enumerate(MEANS)], seed=seed)


def _state(batch: int) -> Tensor:
    return torch.randn((batch, *SHAPE), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_each_noise_level_is_denoised_in_the_plane_that_was_drawn_for_it() -> None:
    prior = _prior()
    sigma = torch.logspace(-2, 0, 8, dtype=torch.float64)
    x = _state(8)
    planes = [prior.plane_at(float(level)) for level in sigma]
    assert len(set(planes)) == 3, "a batch of more than one plane"
    means = torch.tensor([MEANS[plane] for plane in planes], dtype=torch.float64).reshape(-1, 1, 1, 1)
    expected = gaussian_mean(x, sigma.reshape(-1, 1, 1, 1), means, 0.5)
    torch.testing.assert_close(prior.denoise(x, sigma), expected, rtol=0, atol=1e-7)


def test_every_plane_gets_its_share_and_draws_depend_on_seed_and_level_alone() -> None:
    levels = torch.logspace(-2, 0, 300, dtype=torch.float64).tolist()
    drawn = [_prior().plane_at(level) for level in levels]
    assert set(Counter(drawn)) == {0, 1, 2}
    assert min(Counter(drawn).values()) > 70, "a third each, but for chance"
    assert [_prior().plane_at(level) for level in reversed(levels)] == drawn[::-1]
    assert [_prior(1).plane_at(level) for level in levels] != drawn


def test_gradients_pass_through_the_plane_that_is_seen() -> None:
    x = _state(2).requires_grad_()
    sigma = torch.tensor([0.5, 0.5], dtype=torch.float64)
    _prior().denoise(x, sigma).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 0.5), rtol=0, atol=1e-7)


def test_codes_and_different_images_are_refused() -> None:
    coded = LatentPrior(_denoiser(), OrthonormalAutoencoder(2, 2), (18, 20))
    with pytest.raises(ValueError, match="latents"):
        AlternatingPlanes([SlicewisePrior(coded, 16)])
    with pytest.raises(ValueError, match="one image"):
        AlternatingPlanes([_along(0, 0.1), SlicewisePrior(PixelPrior(_denoiser(), (18, 20)), 3)])
    with pytest.raises(ValueError, match="at least one"):
        AlternatingPlanes([])


def _denoiser() -> Denoiser:
    network = GaussianNetwork.edm()
    return Denoiser(network, network.parametrization)


# When the plane alternates.


@pytest.mark.parametrize(
    ("spacing", "shape", "expected"),
    [
        ((1.0, 1.0, 1.0), SHAPE, (0, 1, 2)),
        ((1.6, 1.0, 1.0), SHAPE, (0, 1, 2)),
        ((1.7, 1.0, 1.0), SHAPE, (0,)),
        ((1.0, 1.0, 1.0), (15, 18, 20), (0,)),
        ((2.2, 2.0, 2.0), SHAPE, (0,)),
        ((0.45, 0.6, 0.6), SHAPE, (0,)),
    ],
    ids=["cubes", "nearly", "flat", "few-slices", "too-coarse", "too-fine"],
)
def test_it_alternates_where_slices_of_all_planes_are_what_was_learnt(
    spacing: tuple[float, float, float], shape: tuple[int, int, int], expected: tuple[int, ...]
) -> None:
    grid = Grid.isotropic(shape, spacing)
    assert stack_axes(CARD, grid, None) == expected
    assert stack_axes(replace(CARD, cube=None), grid, None) == (0,)
    assert stack_axes(CARD, grid, "alternating") == (0, 1, 2)
    assert stack_axes(CARD, grid, "coronal") == (1,)


def test_planes_that_the_card_does_not_know_take_no_part() -> None:
    grid = Grid.isotropic(SHAPE)
    assert stack_axes(replace(CARD, planes=("axial", "sagittal")), grid, None) == (0, 2)
    assert stack_axes(replace(CARD, planes=("coronal", "sagittal")), grid, None) == (0,), "axial slices: not its own"
    for other in (replace(CARD, latent=Latent(1.0)), replace(CARD, planes=("axial",)), replace(CARD, dimensions=3)):
        assert len(stack_axes(other, grid, None)) == 1
        with pytest.raises(UsageError, match=r"E-PRM-09.*alternating"):
            stack_axes(other, grid, "alternating")


def test_the_card_says_so_and_contradictions_are_found() -> None:
    assert not [problem for problem in card_problems(CARD) if "cube" in problem]
    for wrong in (replace(CARD, cube=0.5), replace(CARD, planes=("axial",)), replace(CARD, dimensions=3)):
        assert any("'cube'" in problem for problem in card_problems(wrong))


def test_the_plan_says_so_and_a_thin_volume_is_refused() -> None:
    scan = ScanFacts("CT", "HU", Grid.isotropic(SHAPE))
    plan = check_fit(CARD, scan).require()
    assert "The network sees axial and coronal and sagittal slices by turns, from noise level to noise level." in (
        plan.sentences
    )
    thin = replace(scan, grid=Grid.isotropic((8, 40, 40)))
    assert not any("by turns" in sentence for sentence in check_fit(CARD, thin).require().sentences)
    with pytest.raises(ComponentMissing, match=r"E-PRI-37.*8 along z"):
        check_fit(CARD, thin, plane="alternating").require()


def test_every_axis_that_a_plane_looks_along_has_the_priors_spacing() -> None:
    scan = ScanFacts("CT", "HU", Grid.isotropic((40, 64, 64), (6.0, 1.0, 1.0)))
    assert not check_fit(CARD, scan).require().resample, "axial slices may be any distance apart"
    by_turns = check_fit(CARD, scan, plane="alternating").require()
    assert by_turns.resample
    assert by_turns.grid.spacing == pytest.approx((2.0, 1.0, 1.0))
    assert by_turns.grid.spacing == check_fit(CARD, scan, plane="coronal").require().grid.spacing
    assert "outside the prior's range" in by_turns.sentences[0]
    thick = replace(scan, grid=Grid.isotropic((40, 64, 64), (9.0, 1.0, 1.0)))
    with pytest.raises(ComponentMissing, match=r"E-PRI-32.*9 mm apart along z.*prior\.plane"):
        check_fit(CARD, thick, plane="alternating").require()
    assert not check_fit(CARD, thick).problems
    thin = replace(scan, grid=Grid.isotropic((24, 64, 64), (1.0, 1.0, 1.0)))
    assert not check_fit(CARD, thin, plane="alternating").require().resample


@pytest.mark.parametrize(
    ("spacing", "reached", "expected"),
    [
        ((0.7, 0.4, 0.4), (0.7, 0.5, 0.5), (0, 1, 2)),
        ((0.5, 0.4, 0.3), (0.5, 0.5, 0.5), (0, 1, 2)),
        ((1.0, 0.4, 0.4), (1.0, 0.5, 0.5), (0,)),
        ((0.4, 0.4, 0.4), (0.4, 0.5, 0.5), (0,)),
    ],
    ids=["become-cubes", "all-alike", "still-flat", "too-fine-along-z"],
)
def test_the_plan_is_of_the_planes_that_are_seen_on_its_own_grid(
    spacing: tuple[float, ...], reached: tuple[float, ...], expected: tuple[int, ...]
) -> None:
    scan = ScanFacts("CT", "HU", Grid.isotropic((40, 64, 64), spacing))
    assert stack_axes(CARD, scan.grid, None) == (0,)
    plan = check_fit(CARD, scan).require()
    assert plan.grid.spacing == pytest.approx(reached)
    assert stack_axes(CARD, plan.grid, None) == expected
    assert any("by turns" in sentence for sentence in plan.sentences) == (len(expected) > 1)


def test_slabs_whose_voxels_become_cubes_have_the_distance_of_slices_along_every_axis() -> None:
    slab = replace(CARD, slab=3, slice_spacing_mm=Range(0.6, 2.0))
    plan = check_fit(slab, ScanFacts("CT", "HU", Grid.isotropic((40, 64, 64), (0.7, 0.4, 0.4)))).require()
    assert plan.grid.spacing == pytest.approx((0.7, 0.6, 0.6))
    assert stack_axes(slab, plan.grid, None) == (0, 1, 2)


def test_slabs_of_all_planes_have_the_distance_of_slices_too() -> None:
    slab = replace(CARD, slab=3, slice_spacing_mm=Range(1.0, 3.0))
    scan = ScanFacts("CT", "HU", Grid.isotropic((40, 64, 64), (2.5, 0.7, 1.0)))
    assert check_fit(slab, scan).require().grid.spacing == pytest.approx((2.5, 0.7, 1.0))
    assert check_fit(slab, scan, plane="alternating").require().grid.spacing == pytest.approx((2.0, 1.0, 1.0))
    apart = replace(slab, slice_spacing_mm=Range(3.0, 5.0))
    with pytest.raises(ComponentMissing, match="E-PRI-33"):
        check_fit(apart, scan, plane="alternating").require()


class Told(GaussianNetwork):
    """A network that remembers the planes that it was told."""

    def __init__(self) -> None:
        closed = GaussianNetwork.edm()
        super().__init__(closed.parametrization, closed.sigma_of, closed.mean, closed.std)
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[tuple[int, ...], tuple[float, ...]]] = []

    def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
        self.seen.append((tuple(x.shape[2:]), tuple(condition[0].tolist())))
        return super().forward(x, noise, condition)


def test_the_network_is_told_the_plane_that_it_sees() -> None:
    card = replace(CARD, size=Size(), facts=Facts(classes={"plane": ("axial", "coronal", "sagittal")}))
    network = Told()
    model = PriorModel(card, Networks(network))
    prior = model.on(Grid.isotropic(SHAPE))
    assert isinstance(prior, AlternatingPlanes)
    for level in torch.logspace(-2, 0, 20).tolist():
        prior.denoise(torch.zeros(1, *SHAPE), torch.tensor([level]))
    told = dict(network.seen)
    assert told.keys() == {(18, 20), (16, 20), (16, 18)}
    assert len(set(told.values())) == 3, "another plane is told for each"
    coronal = model.on(Grid.isotropic(SHAPE), plane="coronal")
    network.seen.clear()
    coronal.denoise(torch.zeros(1, *SHAPE), torch.tensor([0.5]))
    assert network.seen[0] == ((16, 20), told[16, 20])


# In the pipeline.


def _written(folder: Path, monkeypatch: pytest.MonkeyPatch, card: PriorCard) -> None:
    monkeypatch.setenv("MEDLDM_PRIORS", str(folder))
    write(folder, card)


def test_the_record_names_the_planes_and_the_posterior_is_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _written(tmp_path / "priors", monkeypatch, replace(CARD, size=Size()))
    host = toy_host()
    volume = Volume(
        torch.linspace(-900, 700, 16 * 18 * 20).reshape(SHAPE), Grid.isotropic(SHAPE), "HU", "CT", "phantom"
    )
    images, records, cited = [], [], []
    for plane in ({}, {"plane": "axial"}):
        mapping: dict[str, Any] = {
            "acquisition": {"physics": "toy-attenuation"},
            "solver": {"name": "toy-posterior"},
            "prior": {"name": "toy-prior", **plane},
            "run": {"seed": 7},
        }
        out = tmp_path / f"out-{len(images)}"
        result = medldm.reconstruct(
            volume, out, recipe=from_mapping("test", mapping), simulate=True, host=host, device="cpu"
        )
        images.append(result.image.data)
        record = json.loads((out / "run.json").read_text())
        records.append(record["prior"]["planes"])
        cited.append(any("perpendicular" in paper for one in record["methods"] for paper in one["references"]))
    assert records == [["axial", "coronal", "sagittal"], ["axial"]]
    assert cited == [True, False]
    torch.testing.assert_close(images[0], images[1], rtol=0, atol=1e-2)
