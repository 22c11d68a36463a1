"""Along which axes of a scan the slices are stacked that a prior sees: one, or several by turns."""

from __future__ import annotations

from typing import Literal

from medldm.data import Grid
from medldm.errors import UsageError
from medldm.priors.card import Plane, PriorCard
from medldm.priors.planes import planes_of, pose_of

# What a recipe may ask for: slices of one plane, or of another plane at every noise level.
PlaneChoice = Plane | Literal["alternating"]


def can_alternate(card: PriorCard) -> bool:
    """Whether a prior can see slices of another plane at every noise level; codes of slices stay in their plane."""
    return card.dimensions == 2 and card.latent is None and len(card.planes) > 1


def stack_axes(card: PriorCard, grid: Grid, plane: PlaneChoice | None) -> tuple[int, ...]:
    """The axes of a grid across which the slices lie; more than one where their plane alternates.

    Without a choice the plane alternates where the card says that the networks learnt all planes of such voxels and
    slices along every axis are large enough; otherwise it is that across z, or for volumes the one nearest to axial.

    Args:
        card: of the prior.
        grid: of the image that it sees.
        plane: asked for.

    Raises:
        UsageError: ``E-PRM-09`` the networks have not seen that plane, know one only, or see volumes.
    """
    if plane is None:
        return _all_planes(card, grid) if _is_cube(card, grid) else (_own_stack(card, grid),)
    if plane == "alternating":
        if not can_alternate(card):
            raise _refused(card, "slices of alternating planes")
        return _all_planes(card, grid)
    if card.dimensions == 3 or plane not in card.planes:
        raise _refused(card, f"{plane} slices")
    return (planes_of(grid).index(plane),)


def _own_stack(card: PriorCard, grid: Grid) -> int:
    """The axis along which a prior takes slices to lie: z, or for volumes the one nearest to the body's length."""
    return pose_of(grid).order[0] if card.dimensions == 3 else 0


def _all_planes(card: PriorCard, grid: Grid) -> tuple[int, ...]:
    """The axes across the planes that the card knows; that of the scan's own slices comes first where it is one."""
    return tuple(axis for axis, plane in enumerate(planes_of(grid)) if plane in card.planes)


def _is_cube(card: PriorCard, grid: Grid) -> bool:
    """Whether slices of all planes of a grid are images such as the networks of a card learnt."""
    if card.cube is None or not can_alternate(card) or planes_of(grid)[0] not in card.planes:
        return False
    within = card.spacing_mm.low <= min(grid.spacing) and max(grid.spacing) <= card.spacing_mm.high
    return within and max(grid.spacing) <= card.cube * min(grid.spacing) and 2 * min(grid.shape) >= card.size.at_least


def _refused(card: PriorCard, what: str) -> UsageError:
    knows = f"It knows {' and '.join(card.planes)} ones." if card.latent is None else "Its codes stay in their plane."
    return UsageError(
        "E-PRM-09",
        f"The prior {card.name!r} cannot be asked for {what}.",
        why="It is a prior of volumes." if card.dimensions == 3 else knows,
        fix="Leave the plane out, or choose another prior.",
    )
