"""A card held against scans: what is refused, and what is done to bring the two together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from medldm.data import Grid, attenuation_from_hu
from medldm.errors import ComponentMissing
from medldm.operators import Resample
from medldm.priors.card import Intensity, Prediction, PriorCard, Range, Size
from medldm.priors.fit import ScanFacts, check_fit
from medldm.priors.planes import planes_of

CARD = PriorCard(
    name="chest",
    family="toy",
    summary="A toy.",
    modality="CT",
    quantity="HU",
    intensity=Intensity("window", -1000.0, 1000.0),
    dimensions=2,
    spacing_mm=Range(0.6, 1.0),
    sigma=Range(0.02, 20.0),
    prediction=Prediction("edm"),
    networks={},
    weights={},
    licence="CC0-1.0",
    size=Size(8, 32, 512),
)
VOLUME = replace(CARD, dimensions=3, planes=("axial",))


def scan(shape: tuple[int, int, int] = (5, 64, 80), spacing: Any = (3.0, 0.8, 0.8), **facts: Any) -> ScanFacts:
    settings = {"modality": "CT", "quantity": "HU", "grid": Grid.isotropic(shape, spacing)} | facts
    return ScanFacts(**settings)


def turned(order: tuple[int, int, int], shape: tuple[int, int, int] = (64, 64, 64)) -> Grid:
    """An isotropic grid whose axes z, y, x run along other directions of the patient."""
    affine = Grid.isotropic(shape, 0.8).affine.copy()
    affine[:, :3] = affine[:, list(order)]
    return Grid(shape, affine)


def codes(card: PriorCard, facts: ScanFacts, *rest: Any) -> list[str]:
    fit = check_fit(card, facts, *rest)
    assert (fit.plan is None) == bool(fit.problems)
    for problem in fit.problems:
        assert problem.fix
        assert problem.why
        assert card.name in problem.what
    return [problem.code for problem in fit.problems]


def test_a_scan_within_the_card_is_taken_as_it_is() -> None:
    facts = scan()
    plan = check_fit(CARD, facts).require()
    assert plan.grid is facts.grid
    assert not plan.resample
    assert plan.sentences == ()
    assert (plan.intensity.scale, plan.intensity.offset) == (1.0, 0.0)


def test_rounded_spacing_is_within_the_card() -> None:
    assert not check_fit(CARD, scan(spacing=(3.0, 0.5995, 1.0005))).require().resample


def test_slices_may_be_any_distance_apart_for_a_prior_of_single_slices() -> None:
    assert not check_fit(CARD, scan(spacing=(25.0, 0.8, 0.8))).require().resample


@pytest.mark.parametrize(
    ("spacing", "expected", "shape"),
    [
        ((3.0, 0.4, 0.4), (3.0, 0.6, 0.6), (5, 43, 54)),
        ((3.0, 2.0, 0.8), (3.0, 1.0, 0.8), (5, 128, 80)),
        ((3.0, 0.3, 2.0), (3.0, 0.6, 1.0), (5, 32, 160)),
    ],
)
def test_spacing_outside_goes_to_the_nearest_inside_and_says_so(
    spacing: tuple[float, ...], expected: tuple[float, ...], shape: tuple[int, ...]
) -> None:
    facts = scan(spacing=spacing)
    plan = check_fit(CARD, facts).require()
    assert plan.resample
    assert plan.grid.spacing == pytest.approx(expected)
    assert plan.grid.shape == shape
    assert len(plan.sentences) == 1
    assert "resampling" in plan.sentences[0]
    centre = (np.asarray(facts.grid.shape) - 1) / 2
    assert plan.grid.world((np.asarray(shape) - 1) / 2) == pytest.approx(facts.grid.world(centre))
    extent = np.asarray(shape) * plan.grid.spacing
    assert (extent >= np.asarray(facts.grid.shape) * facts.grid.spacing - 1e-6).all()


def test_the_planned_grid_composes_with_an_operator_of_the_scan() -> None:
    facts = scan(spacing=(3.0, 0.4, 0.4))
    plan = check_fit(CARD, facts).require()
    image = Resample(plan.grid, facts.grid)(torch.ones(plan.grid.shape))
    assert image.shape == facts.grid.shape
    assert torch.allclose(image, torch.ones(()), atol=1e-6)


@pytest.mark.parametrize(("spacing", "refused"), [(0.15, False), (0.149, True), (4.0, False), (4.01, True)])
def test_more_than_a_factor_of_four_is_refused(spacing: float, refused: bool) -> None:
    found = codes(CARD, scan((5, 400, 400), (3.0, spacing, 0.8)))
    assert found == (["E-PRI-32"] if refused else [])


def test_slabs_and_volumes_care_about_the_distance_of_slices() -> None:
    slab = replace(CARD, slab=3, slice_spacing_mm=Range(1.0, 2.0))
    assert check_fit(slab, scan()).require().grid.spacing == pytest.approx((2.0, 0.8, 0.8))
    assert codes(slab, scan(spacing=(9.0, 0.8, 0.8))) == ["E-PRI-33"]
    assert check_fit(replace(slab, slice_spacing_mm=None), scan()).require().grid.spacing[0] == pytest.approx(3.0)
    assert check_fit(VOLUME, scan((40, 64, 80))).require().grid.spacing == pytest.approx((1.0, 0.8, 0.8))
    assert codes(VOLUME, scan((40, 64, 80), (5.0, 0.8, 0.8))) == ["E-PRI-33"]
    thick = replace(VOLUME, slice_spacing_mm=Range(2.0, 5.0))
    assert not check_fit(thick, scan((40, 64, 80), (5.0, 0.8, 0.8))).require().resample


def test_modalities() -> None:
    assert codes(CARD, scan(modality="MR", quantity="arbitrary")) == ["E-PRI-30", "E-PRI-31"]
    unknown = check_fit(CARD, scan(modality="OT")).problems[0]
    assert unknown.code == "E-PRI-30"
    assert "--modality CT" in unknown.fix
    assert codes(replace(CARD, modality="OT"), scan()) == []


def test_quantities() -> None:
    plan = check_fit(CARD, scan(quantity="1/mm")).require()
    attenuation = attenuation_from_hu()(torch.tensor([-1000.0, 0.0, 1000.0]))
    assert torch.allclose(plan.intensity(attenuation), torch.tensor([-1000.0, 0.0, 1000.0]), atol=1e-2)
    assert "1/mm to HU" in plan.sentences[0]
    back = check_fit(replace(CARD, quantity="1/mm"), scan()).require()
    assert back.intensity.name == "HU -> 1/mm"
    assert codes(CARD, scan(quantity="arbitrary")) == ["E-PRI-31"]
    assert codes(replace(CARD, quantity="arbitrary", intensity=Intensity("percentile")), scan()) == ["E-PRI-31"]


@pytest.mark.parametrize(
    ("order", "plane"), [((0, 1, 2), "axial"), ((1, 0, 2), "coronal"), ((2, 1, 0), "sagittal"), ((2, 0, 1), "sagittal")]
)
def test_planes(order: tuple[int, int, int], plane: str) -> None:
    facts = scan(grid=turned(order))
    assert planes_of(facts.grid)[0] == plane
    assert codes(CARD, facts) == ([] if plane == "axial" else ["E-PRI-34"])
    assert codes(replace(CARD, planes=("axial", "coronal", "sagittal")), facts) == []
    assert codes(VOLUME, facts) == []


def test_slices_across_another_axis_on_request() -> None:
    every = replace(CARD, planes=("axial", "sagittal"))
    facts = scan((64, 64, 80), (0.8, 0.8, 25.0))
    assert codes(every, facts) == ["E-PRI-32"]
    assert codes(every, facts, None, "sagittal") == []
    assert codes(every, facts, None, "coronal") == ["E-PRI-34", "E-PRI-32"]
    assert codes(every, scan((5, 64, 80)), None, "sagittal") == ["E-PRI-37"]


def test_real_and_complex() -> None:
    assert codes(CARD, scan(is_complex=True)) == []
    channels = replace(CARD, complex="channels")
    assert codes(channels, scan(is_complex=True)) == []
    assert codes(channels, scan()) == ["E-PRI-35"]


def test_uses() -> None:
    slab = replace(CARD, slab=3)
    big = scan((40, 64, 80), 0.8)
    possible = {"slicewise": [CARD], "slab": [CARD, slab], "volume": [VOLUME]}
    for use, cards in possible.items():
        for card in (CARD, slab, VOLUME):
            assert codes(card, big, use) == ([] if card in cards else ["E-PRI-36"])


def test_sizes() -> None:
    assert codes(CARD, scan((5, 15, 80))) == ["E-PRI-37"]
    padded = check_fit(CARD, scan((5, 16, 80))).require()
    assert padded.sentences == ("Along y the network sees 16 voxels padded to 32.",)
    tiled = check_fit(CARD, scan((5, 64, 600))).require()
    assert tiled.sentences == ("Along x the 600 voxels are denoised in overlapping tiles of at most 512.",)
    assert codes(VOLUME, scan((10, 64, 80), 0.8)) == ["E-PRI-37"]
    assert codes(CARD, scan((1, 64, 80))) == []


def test_the_size_that_counts_is_that_of_the_resampled_image() -> None:
    assert codes(CARD, scan((5, 40, 40), (3.0, 0.2, 0.2))) == ["E-PRI-37"]


def test_all_problems_are_told_at_once() -> None:
    fit = check_fit(replace(CARD, complex="channels"), scan((5, 8, 80), (3.0, 0.1, 9.0), modality="MR"), "volume")
    assert [problem.code for problem in fit.problems] == [
        *("E-PRI-30", "E-PRI-35", "E-PRI-36", "E-PRI-32", "E-PRI-32", "E-PRI-37")
    ]
    with pytest.raises(ComponentMissing) as caught:
        fit.require()
    assert caught.value.code == "E-PRI-30"
    for problem in fit.problems[1:]:
        assert problem.what in caught.value.why
