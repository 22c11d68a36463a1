"""What a network is told, by the card, the caller and the grid; and what cannot be told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from bound_scene import CARD, GRID, SIGMA, model_of, network_of, state_of

from medldm.errors import UsageError
from medldm.priors.card import Facts

FACTS = Facts(
    classes={"modality": ("mr", "ct"), "contrast": ("t1w", "t2w"), "plane": ("axial", "coronal")},
    numbers={"spacing_mm": (1.0, 0.5), "slice_spacing_mm": (1.0, 1.0)},
    fixed={"modality": "mr"},
)


def test_card_caller_and_grid_tell_the_network() -> None:
    model = model_of(replace(CARD, facts=FACTS))
    assert model.told(GRID, {"contrast": "t2w"}) == {
        "plane": "axial",
        "spacing_mm": pytest.approx(0.5**0.5),
        "slice_spacing_mm": 3.0,
        "contrast": "t2w",
        "modality": "mr",
    }
    bound = model.on(GRID, facts={"contrast": "t2w"})
    bound.denoise(state_of(bound), SIGMA)
    #  modality mr, ct; contrast t1w, t2w; plane axial, coronal; spacing and slice spacing, each with its one
    expected = torch.tensor([1.0, 0, 0, 1, 1, 0, (0.5**0.5 - 1) / 0.5, 1, 2, 1])
    for told in network_of(model).told:
        torch.testing.assert_close(told, expected.expand(len(told), -1))


def test_what_is_given_goes_before_what_the_grid_knows_and_none_is_unknown() -> None:
    model = model_of(replace(CARD, facts=FACTS))
    told = model.told(GRID, {"spacing_mm": None, "plane": "coronal"})
    assert told["spacing_mm"] is None
    assert told["plane"] == "coronal"
    turned = model_of(replace(CARD, facts=FACTS, planes=("axial", "coronal")))
    told = turned.told(GRID, plane="coronal")
    assert (told["plane"], told["slice_spacing_mm"]) == ("coronal", 1.0)
    assert told["spacing_mm"] == pytest.approx((3 * 0.5) ** 0.5)
    assert model_of().told(GRID) == {}, "a network that understands nothing is told nothing"


def test_a_network_that_understands_nothing_gets_an_empty_vector() -> None:
    model = model_of()
    bound = model.on(GRID)
    bound.denoise(state_of(bound), SIGMA)
    assert all(told.shape[1] == 0 for told in network_of(model).told)


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"kernel": "b30"}, "E-PRM-05"),
        ({"contrast": "pd"}, "E-PRM-05"),
        ({"spacing_mm": "wide"}, "E-PRM-05"),
        ({"modality": "ct"}, "E-PRM-06"),
    ],
)
def test_facts_that_the_prior_does_not_understand_are_refused(facts: dict[str, Any], code: str) -> None:
    with pytest.raises(UsageError) as caught:
        model_of(replace(CARD, facts=FACTS)).on(GRID, facts=facts)
    assert caught.value.code == code
    assert caught.value.fix
