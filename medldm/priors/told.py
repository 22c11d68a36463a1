"""What the networks of a prior are told of an image."""

from __future__ import annotations

import math
from collections.abc import Mapping

from medldm.data import Grid
from medldm.errors import UsageError
from medldm.inference.conditioning import Conditioning, Value
from medldm.priors.card import PriorCard
from medldm.priors.planes import planes_of, pose_of


def conditioning_of(card: PriorCard) -> Conditioning:
    """The facts that the networks of a card understand."""
    return Conditioning(card.facts.classes, card.facts.numbers)


def facts_told(card: PriorCard, grid: Grid, given: Mapping[str, Value], stack: int = 0) -> dict[str, Value]:
    """What the grid knows, what is given, and what the card always tells; each over the one before.

    The grid knows ``plane``; ``spacing_mm``, the geometric mean within the slice, or of all axes for volumes, as in
    training; ``slice_spacing_mm``; and by the axes of the body that lie nearest ``spacing_x_mm`` (left to right),
    ``spacing_y_mm`` (front to back) and ``spacing_z_mm`` (feet to head). They are told where the networks understand
    them. What is given as None is left unknown.

    Args:
        card: of the prior.
        grid: of the image.
        given: facts of the recipe or of the scan.
        stack: axis of the grid across which the slices lie.

    Raises:
        UsageError: ``E-PRM-05`` the networks do not understand a fact, ``E-PRM-06`` a fact contradicts the card.
    """
    for name, value in card.facts.fixed.items():
        if given.get(name, value) != value:
            raise UsageError(
                "E-PRM-06",
                f"The prior {card.name!r} is for {name} {value}, not {given[name]}.",
                why="It always tells its network so.",
                fix=f"Leave {name} out, or choose another prior.",
            )
    told = {**_known_to_the_grid(card, grid, stack), **given, **card.facts.fixed}
    try:
        conditioning_of(card).vector(told)
    except ValueError as error:
        raise UsageError(
            "E-PRM-05",
            f"The prior {card.name!r} cannot be told this: {error}.",
            fix=f"medldm priors show {card.name} lists what it understands.",
        ) from error
    return told


def _known_to_the_grid(card: PriorCard, grid: Grid, stack: int) -> dict[str, Value]:
    within = [length for axis, length in enumerate(grid.spacing) if card.dimensions == 3 or axis != stack]
    numbers = {"spacing_mm": math.prod(within) ** (1 / len(within)), "slice_spacing_mm": grid.spacing[stack]}
    numbers |= {f"spacing_{name}_mm": grid.spacing[axis] for name, axis in zip("zyx", pose_of(grid).order, strict=True)}
    known: dict[str, Value] = {name: value for name, value in numbers.items() if name in card.facts.numbers}
    plane = planes_of(grid)[stack]
    if plane in card.facts.classes.get("plane", ()):
        known["plane"] = plane
    return known
