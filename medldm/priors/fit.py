"""A prior card held against a scan, before anything heavy runs: refused in a sentence, or a plan said in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medldm.data import AffineMap, Grid, attenuation_from_hu
from medldm.errors import ComponentMissing
from medldm.priors.card import Plane, PriorCard, Range
from medldm.priors.planes import planes_of, pose_of
from medldm.priors.stacks import PlaneChoice, stack_axes

Use = Literal["slicewise", "slab", "volume"]

# Headers round their spacing.
_SAME_SPACING = 0.01
# A network of another resolution does not recognise anatomy; beyond this factor resampling invents or loses most of it.
MAX_FACTOR = 4.0


@dataclass(frozen=True)
class ScanFacts:
    """What of a scan decides whether a prior fits.

    Attributes:
        modality: ``CT``, ``MR`` or ``OT`` (not known).
        quantity: of its values: ``HU``, ``1/mm`` or ``arbitrary``.
        grid: of the image.
        is_complex: whether the image is complex.
    """

    modality: str
    quantity: str
    grid: Grid
    is_complex: bool = False


@dataclass(frozen=True)
class Plan:
    """What will be done to bring prior and scan together; nothing of it is done in silence.

    Attributes:
        grid: of the image that the prior sees. The scan's own, or one to be reached by
            ``Resample(plan.grid, scan_grid)``, composed with the measurement operator.
        resample: whether the two differ.
        intensity: the scan's quantity to the card's.
        sentences: for the log, the record and the report.
    """

    grid: Grid
    resample: bool
    intensity: AffineMap
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Fit:
    """The outcome.

    Attributes:
        problems: why the prior cannot be used, all of them; empty when it can.
        plan: None when there are problems.
    """

    problems: tuple[ComponentMissing, ...]
    plan: Plan | None

    def require(self) -> Plan:
        """The plan.

        Raises:
            ComponentMissing: the first problem, the others named in its reason.
        """
        if self.plan is not None:
            return self.plan
        first, *rest = self.problems
        why = " ".join(part for part in (first.why, *(problem.what for problem in rest)) if part)
        raise ComponentMissing(first.code, first.what, why=why, fix=first.fix)


def check_fit(card: PriorCard, scan: ScanFacts, use: Use | None = None, plane: PlaneChoice | None = None) -> Fit:
    """Hold a card against a scan.

    Args:
        card: of the prior.
        scan: its plain facts.
        use: what the recipe's ``prior.as`` asks for; None leaves it to the card.
        plane: what its ``prior.plane`` asks for: the slices that a network of slices sees; None takes those along z, or
            all by turns, see :func:`medldm.priors.stacks.stack_axes`.

    Returns:
        Problems ``E-PRI-30`` modality, ``E-PRI-31`` quantity, ``E-PRI-32`` spacing, ``E-PRI-33`` distance of slices,
        ``E-PRI-34`` plane, ``E-PRI-35`` real or complex, ``E-PRI-36`` use, ``E-PRI-37`` size; or a plan.
    """
    stacks = _stacks(card, scan.grid, plane)
    intensity = conversion(scan.quantity, card.quantity)
    problems = [*_of_the_modality(card, scan), *([_other_quantity(card, scan)] if intensity is None else [])]
    problems += [*_of_the_scan(card, scan, planes_of(scan.grid)[stacks[0]]), *_of_the_use(card, use)]
    grid, stacks, sentences, unreached = _reached(card, scan, plane, stacks)
    problems += unreached
    problems += _of_the_size(card, grid, stacks)
    if problems or intensity is None:
        return Fit(tuple(problems), None)
    if intensity.source != intensity.target:
        sentences.append(f"Values are turned from {intensity.source} to {intensity.target}, {_formula(intensity)}.")
    sentences += [*_pose_sentences(card, grid), *_size_sentences(card, grid, stacks), *_turn_sentences(grid, stacks)]
    return Fit((), Plan(grid, grid is not scan.grid, intensity, tuple(sentences)))


def _of_the_modality(card: PriorCard, scan: ScanFacts) -> Iterator[ComponentMissing]:
    if card.modality not in (scan.modality, "OT"):
        unknown = scan.modality == "OT"
        yield ComponentMissing(
            "E-PRI-30",
            f"The prior {card.name!r} is for {card.modality}, "
            + ("and the scan's modality is not known." if unknown else f"the scan is {scan.modality}."),
            why="A prior draws what it was trained on, whatever was scanned.",
            fix=f"Add --modality {card.modality} if it is one." if unknown else f"Choose a prior for {scan.modality}.",
        )


def _of_the_scan(card: PriorCard, scan: ScanFacts, plane: Plane) -> Iterator[ComponentMissing]:
    if card.dimensions == 2 and plane not in card.planes:
        yield ComponentMissing(
            "E-PRI-34",
            f"The prior {card.name!r} is for {' and '.join(card.planes)} slices, those of the scan are {plane}.",
            why="It has never seen the body from this side.",
            fix=f"Choose a prior whose planes include {plane}, or let it see another plane: prior.plane.",
        )
    if card.complex == "channels" and not scan.is_complex:
        yield ComponentMissing(
            "E-PRI-35",
            f"The prior {card.name!r} is for complex images, that of the scan is real.",
            why="Its network takes real and imaginary part.",
            fix="Choose a prior of magnitudes ('complex: phase-frozen' in its card).",
        )


def uses_of(card: PriorCard) -> tuple[Use, ...]:
    """Ways to use a prior, what its networks are first; a network of single slices is a slab of one."""
    if card.dimensions == 3:
        return ("volume",)
    return ("slab",) if card.slab > 1 else ("slicewise", "slab")


def _of_the_use(card: PriorCard, use: Use | None) -> Iterator[ComponentMissing]:
    possible = uses_of(card)
    if use is not None and use not in possible:
        yield ComponentMissing(
            "E-PRI-36",
            f"The prior {card.name!r} cannot be used as {use!r}.",
            why=f"Its card says {card.dimensions} dimensions and {card.slab} slices at once.",
            fix=f"Write 'as: {possible[0]}' in the recipe's prior section.",
        )


def conversion(source: str, target: str) -> AffineMap | None:
    """From one quantity to another; None where there is no fixed one."""
    if source == target:
        return AffineMap.identity(target)
    to_attenuation = attenuation_from_hu()
    for one in (to_attenuation, to_attenuation.inverse):
        if (one.source, one.target) == (source, target):
            return one
    return None


def _other_quantity(card: PriorCard, scan: ScanFacts) -> ComponentMissing:
    return ComponentMissing(
        "E-PRI-31",
        f"The prior {card.name!r} is for {_unit(card.quantity)}, the scan holds {_unit(scan.quantity)}.",
        why="Between the two there is no fixed conversion.",
        fix="Choose another prior.",
    )


def _unit(quantity: str) -> str:
    return "values of arbitrary unit" if quantity == "arbitrary" else f"values in {quantity}"


def _formula(map_: AffineMap) -> str:
    return f"{map_.target} = {map_.scale:.6g} * {map_.source} + {map_.offset:.6g}"


def _stacks(card: PriorCard, grid: Grid, plane: PlaneChoice | None) -> tuple[int, ...]:
    if plane is None or plane == "alternating":
        return stack_axes(card, grid, plane)
    return (planes_of(grid).index(plane),)  # one that the card does not know is among the problems


def _reached(
    card: PriorCard, scan: ScanFacts, plane: PlaneChoice | None, stacks: tuple[int, ...]
) -> tuple[Grid, tuple[int, ...], list[str], list[ComponentMissing]]:
    """The prior's grid; the slices that it sees there; what is done to get there; why it cannot be done."""
    while True:
        spacing, sentences, problems = _spacing(card, scan, stacks)
        grid = scan.grid if spacing == scan.grid.spacing else _regridded(scan.grid, spacing)
        seen = _stacks(card, grid, plane)
        # Resampled, voxels may have become cubes, of which slices of further planes have to be in range too. Fewer
        # planes ask for no more than what is there.
        if len(seen) <= len(stacks):
            return grid, seen, sentences, problems
        stacks = seen


def _spacing(
    card: PriorCard, scan: ScanFacts, stacks: tuple[int, ...]
) -> tuple[tuple[float, float, float], list[str], list[ComponentMissing]]:
    """Spacing (z, y, x) of the prior's grid; what is done to get there; why it cannot be done."""
    spacing: list[float] = []
    problems: list[ComponentMissing] = []
    for axis, own in enumerate(scan.grid.spacing):
        wanted = _wanted(card, axis, stacks)
        nearest = own
        for range_ in wanted.values():
            nearest = _nearest(nearest, range_)
        for slices, range_ in wanted.items():
            # Ranges apart from each other leave no spacing for both, and the last one has it.
            if max(nearest / own, own / nearest) > MAX_FACTOR or _nearest(nearest, range_) != nearest:
                problems.append(_too_far(card, "zyx"[axis], own, range_, slices=slices, turns=len(stacks) > 1))
        spacing.append(nearest)
    found = (spacing[0], spacing[1], spacing[2])
    if found == scan.grid.spacing:
        return found, [], problems
    sentence = (
        f"The scan's spacing of {_lengths(scan.grid.spacing)} is outside the prior's range; the image is reconstructed "
        f"at {_lengths(found)} and joined to the measurement by linear resampling."
    )
    return found, [sentence], problems


def _wanted(card: PriorCard, axis: int, stacks: tuple[int, ...]) -> dict[bool, Range]:
    """The ranges that the spacing along an axis has to be in: ``True`` as the distance of slices, ``False`` of voxels.

    Where the plane alternates, an axis across which slices lie is one along which those of the next plane look.
    """
    wanted: dict[bool, Range] = {}
    if axis in stacks and (card.slab > 1 or card.dimensions == 3):
        across = card.slice_spacing_mm or (card.spacing_mm if card.dimensions == 3 else None)
        wanted |= {} if across is None else {True: across}
    if stacks != (axis,):
        wanted[False] = card.spacing_mm
    return wanted


def _nearest(own: float, range_: Range) -> float:
    if range_.low * (1 - _SAME_SPACING) <= own <= range_.high * (1 + _SAME_SPACING):
        return own
    return min(max(own, range_.low), range_.high)


def _too_far(card: PriorCard, axis: str, own: float, range_: Range, *, slices: bool, turns: bool) -> ComponentMissing:
    return ComponentMissing(
        "E-PRI-33" if slices else "E-PRI-32",
        f"The prior {card.name!r} is for {'slices' if slices else 'voxels'} {_span(range_)} apart, those of the scan "
        f"are {own:.3g} mm apart along {axis}.",
        why=f"Resampling by more than a factor of {MAX_FACTOR:g} would invent or lose most of the image"
        + (", and slices of every plane have to be within its range." if turns else "."),
        fix="Choose a prior made for this resolution"
        + (", or let it see slices of one plane: prior.plane." if turns else "."),
    )


def _span(range_: Range) -> str:
    return f"{range_.low:g} mm" if range_.low == range_.high else f"{range_.low:g} to {range_.high:g} mm"


def _lengths(spacing: tuple[float, float, float]) -> str:
    return " x ".join(f"{length:.3g}" for length in spacing) + " mm (z, y, x)"


def _regridded(grid: Grid, spacing: tuple[float, float, float]) -> Grid:
    """A grid of another spacing that covers the same voxels' extent, centred on it."""
    steps = [new / old for new, old in zip(spacing, grid.spacing, strict=True)]
    shape = tuple(max(1, math.ceil(n / step - 1e-6)) for n, step in zip(grid.shape, steps, strict=True))
    affine = grid.affine.copy()
    affine[:3, :3] = grid.affine[:3, :3] * np.asarray(steps)
    centre = grid.world((np.asarray(grid.shape) - 1) / 2)
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return Grid(shape, affine, grid.axes)


def _seen(card: PriorCard, grid: Grid, stacks: tuple[int, ...]) -> tuple[tuple[str, int], ...]:
    """The axes that the network looks along, and their sizes."""
    named = tuple(zip(grid.axes, grid.shape, strict=True))
    return tuple(one for axis, one in enumerate(named) if card.dimensions == 3 or stacks != (axis,))


def _of_the_size(card: PriorCard, grid: Grid, stacks: tuple[int, ...]) -> Iterator[ComponentMissing]:
    small = [(axis, n) for axis, n in _seen(card, grid, stacks) if 2 * n < card.size.at_least]
    if small:
        sizes = " and ".join(f"{n} along {axis}" for axis, n in small)
        yield ComponentMissing(
            "E-PRI-37",
            f"The image is too small for the prior {card.name!r}: {sizes}, at least {card.size.at_least} are needed.",
            why="It would be padded to more than twice its size, and the network would see mostly what is not there.",
            fix="Choose a prior of slices, or a larger part of the scan.",
        )


def _pose_sentences(card: PriorCard, grid: Grid) -> Iterator[str]:
    if card.dimensions == 3 and not pose_of(grid).canonical:
        yield f"The volume lies {grid.orientation} (z, y, x) and is turned for the prior to SPL, without interpolation."


def _size_sentences(card: PriorCard, grid: Grid, stacks: tuple[int, ...]) -> Iterator[str]:
    size = card.size
    padded = [(axis, n) for axis, n in _seen(card, grid, stacks) if n < size.at_least]
    tiled = [(axis, n) for axis, n in _seen(card, grid, stacks) if size.at_most is not None and n > size.at_most]
    for axis, n in padded:
        yield f"Along {axis} the network sees {n} voxels padded to {size.at_least}."
    for axis, n in tiled:
        yield f"Along {axis} the {n} voxels are denoised in overlapping tiles of at most {size.at_most}."


def _turn_sentences(grid: Grid, stacks: tuple[int, ...]) -> Iterator[str]:
    if len(stacks) > 1:
        planes = " and ".join(planes_of(grid)[axis] for axis in stacks)
        yield f"The network sees {planes} slices by turns, from noise level to noise level."
