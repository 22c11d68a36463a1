"""A scan that ran out of memory is tried again in smaller pieces."""

from __future__ import annotations

from medldm.inference.slicewise import SLICES_ON_CPU
from medldm.pipeline.memory import with_slices_at_once
from medldm.pipeline.recipe import Recipe


def smaller(recipe: Recipe, level: int) -> Recipe:
    """The recipe with the slices that its prior takes at once halved ``level`` times.

    The same images come of it but for the rounding of sums. A recipe without a prior of slices has nothing to halve.
    """
    if not level or not recipe.prior:
        return recipe
    at_once = int(recipe.prior.get("slices_at_once") or SLICES_ON_CPU)
    return with_slices_at_once(recipe, max(1, at_once >> level))


def levels(recipe: Recipe) -> int:
    """How many times :func:`smaller` makes a difference."""
    return int(recipe.prior.get("slices_at_once") or SLICES_ON_CPU).bit_length() - 1 if recipe.prior else 0
