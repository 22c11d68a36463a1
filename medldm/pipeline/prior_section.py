"""The section ``prior`` of a recipe, held against the card that it names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from medldm.errors import UsageError
from medldm.inference.conditioning import Value
from medldm.pipeline.recipe import Section, known_keys
from medldm.priors.card import PriorCard
from medldm.priors.fit import Use
from medldm.priors.stacks import PlaneChoice, can_alternate

_OPTIONS = ("name", "as", "complex", "plane", "slices_at_once", "quadrature", "mirror")


@dataclass(frozen=True)
class PriorSection:
    """How a recipe uses a prior.

    Attributes:
        use: ``slicewise``, ``slab`` or ``volume``; None takes what the card says.
        plane: ``axial``, ``coronal`` or ``sagittal``, the slices that a slice prior sees, or ``alternating``, others at
            every noise level; None takes those of the scan, or alternates where card and voxels allow.
        slices_at_once: how many of them its network takes together; None leaves it to the prior.
        quadrature: standard deviation, in the prior's unit (1 is nearly the brightest), of what a complex image has out
            of phase; 0 where the phase that is frozen is believed. None believes it too, unless the trial of the prior
            (:mod:`medldm.pipeline.trial`) finds that more room predicts better.
        mirror: show its network images mirrored at random, so that errors which do not turn with them cancel out; None
            does so where the card says that it learnt from such images.
        facts: what its network is told, e.g. ``{contrast: t1w}``, besides what the card always tells.
    """

    use: Use | None = None
    plane: PlaneChoice | None = None
    slices_at_once: int | None = None
    quadrature: float | None = None
    mirror: bool | None = None
    facts: Mapping[str, Value] = field(default_factory=dict)


def prior_name(section: Section) -> str:
    """The name or folder that a section gives.

    Raises:
        UsageError: E-RCP-04 it gives none.
    """
    name = section.get("name")
    if not isinstance(name, str) or not name:
        raise UsageError("E-RCP-04", "The recipe's prior has no name.", fix="For example: --prior brain-mr-2d-pixel")
    return name


def prior_section(section: Section, card: PriorCard) -> PriorSection:
    """Validate a section.

    Args:
        section: ``name``; ``as``, see :class:`PriorSection`; ``complex``, for the reader of the recipe, which must be
            what the card says (``phase-frozen`` or ``channels``); ``plane``; ``slices_at_once``; ``quadrature``;
            ``mirror``; and facts that the card's network knows.
        card: of the prior that it names.

    Raises:
        UsageError: E-RCP-02 a key is neither an option nor a fact of this prior, E-RCP-09 a value is not possible.
    """
    facts = {**card.facts.classes, **card.facts.numbers}
    known_keys(f"prior, for {card.name}", section, (*_OPTIONS, *facts))
    use = _one_of(section, "as", get_args(Use), card)
    _one_of(section, "complex", (card.complex,), card)
    planes = (*card.planes, *(["alternating"] if can_alternate(card) else [])) if card.dimensions == 2 else ()
    plane = _one_of(section, "plane", planes, card)
    at_once = section.get("slices_at_once")
    if at_once is not None and (not isinstance(at_once, int) or isinstance(at_once, bool) or at_once < 1):
        raise _refused("slices_at_once", at_once, "a whole number, at least 1", card)
    quadrature = section.get("quadrature")
    frozen = knows_room(card)
    possible = isinstance(quadrature, (int, float)) and 0 <= quadrature <= (1 if frozen else 0)
    if quadrature is not None and not possible:
        expected = "a number from 0 to 1" if frozen else "0, since only priors of magnitudes, not latents, can have it"
        raise _refused("quadrature", quadrature, expected, card)
    mirror = section.get("mirror")
    if mirror is not None and (not isinstance(mirror, bool) or (mirror and card.latent is not None)):
        raise _refused("mirror", mirror, "true or false, and false for latents, which do not turn with the image", card)
    # The plane that is seen is told by the grid.
    given = [name for name in facts if name != "plane" and section.get(name) is not None]
    told = {name: _fact(name, section[name], card) for name in given}
    chosen = cast(Use | None, use), cast(PlaneChoice | None, plane)
    room = None if quadrature is None else float(quadrature)
    return PriorSection(*chosen, at_once, room, mirror, told)


def knows_room(card: PriorCard) -> bool:
    """Whether complex images may leave the phase that is frozen: a prior of magnitudes, which latents cannot leave."""
    return card.complex == "phase-frozen" and card.latent is None


def _one_of(section: Section, key: str, values: Sequence[str], card: PriorCard) -> str | None:
    value = section.get(key)
    if value is None or value in values:
        return cast(str | None, value)
    expected = _listed(value, values) if values else "left out, since its network sees whole volumes"
    raise _refused(key, value, expected, card)


def _fact(name: str, value: Any, card: PriorCard) -> Value:
    fixed = card.facts.fixed.get(name, value)
    if fixed != value:
        raise _refused(name, value, f"{fixed!r}, which this card always tells its network", card)
    values = card.facts.classes.get(name)
    if values is not None:
        if value in values:
            return str(value)
        raise _refused(name, value, _listed(value, values), card)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf"):
        return float(value)
    raise _refused(name, value, "a number", card)


def _listed(value: Any, values: Sequence[str]) -> str:
    close = difflib.get_close_matches(str(value), values, n=1)
    return " or ".join(values) + (f" (did you mean {close[0]!r}?)" if close else "")


def _refused(key: str, value: Any, expected: str, card: PriorCard) -> UsageError:
    return UsageError(
        "E-RCP-09",
        f"prior.{key} is {value!r}; for the prior {card.name!r} it must be {expected}.",
        why="A prior can do what its card says.",
        fix=f"Change or remove prior.{key}; medldm priors show {card.name} prints the card.",
    )
