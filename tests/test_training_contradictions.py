"""Configurations of which no prior could come: refused before anything is learnt."""

from __future__ import annotations

from typing import Any

import pytest
from training_scene import tiny_config

from medldm.errors import UsageError

_IMPOSSIBLE: dict[str, dict[str, Any]] = {
    "a single patch to look at": {"run": {"check_patches": 1}},
    "patches without a shape": {"patches": {"shapes": []}},
    "a share of patches below zero": {"patches": {"planes": {"axial": -1.0}}},
    "scaled by zero": {"augmentation": {"zoom": 0.0}},
    "brighter by zero": {"augmentation": {"gain_range": 0.0}},
    "brighter without end": {"augmentation": {"gain_range": float("inf")}},
    "rotated by less than nothing": {"augmentation": {"degrees": -1.0}},
    "moments that forget nothing": {"optimiser": {"betas": [0.9, 1.0]}},
}


@pytest.mark.parametrize("case", _IMPOSSIBLE)
def test_impossible_values_are_refused_by_name(case: str) -> None:
    with pytest.raises(UsageError) as refusal:
        tiny_config(**_IMPOSSIBLE[case])
    assert refusal.value.code == "E-OPT-04"
    (section,) = _IMPOSSIBLE[case]
    assert f"{section}." in refusal.value.what
