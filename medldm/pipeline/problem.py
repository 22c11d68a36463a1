"""What the solver gets: everything in the units and on the grid of its prior, and the way back to the scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from medldm.data import AffineMap, Event
from medldm.errors import ComponentMissing, UsageError
from medldm.inference import DiffusionPrior, HasObjectPhase, HasUnits, Likelihood, Noise
from medldm.inference.negotiation import OF_THE_PRIOR, refusals
from medldm.operators import LinearOperator
from medldm.pipeline.coherence import cohere
from medldm.pipeline.events import Teller
from medldm.pipeline.loaded_prior import LoadedPrior
from medldm.pipeline.posing import Posed
from medldm.priors.intensity import model_map


@dataclass(frozen=True, eq=False)
class Problem:
    """One reconstruction as a solver sees it.

    For a classical solver that is the scan itself. With a prior the image is ``u = R(scale x + offset)``: ``x`` in
    model units on the prior's grid, ``R`` to the scan's grid, ``offset`` with the phase of an image that is complex.

    Attributes:
        likelihood: of ``x``.
        prior: bound to the grid; None for a classical solver.
        start: first ``x``, (sample, z, y, x).
        noise: all randomness of the solver; correlated from slice to slice where the recipe's coherence says so.
        scale: model unit in the acquisition's unit.
        offset: model value zero in the acquisition's unit; a number, or an image on the prior's grid.
        to_scan: ``R``; None where the grids are one.
        events: what stands between the solver and the scan, for the history of the image.
        record: facts of the prior for ``run.json``; empty without one.
    """

    likelihood: Likelihood
    prior: DiffusionPrior | None
    start: Tensor
    noise: Noise
    scale: float = 1.0
    offset: float | Tensor = 0.0
    to_scan: LinearOperator | None = None
    events: tuple[Event, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)

    def on_scan(self, estimate: Tensor) -> Tensor:
        """An estimate (sample, z, y, x) of the solver as an image of the scan: its unit, its grid."""
        if self.prior is None:
            return estimate
        image = self.scale * estimate + self.offset
        return image if self.to_scan is None else self.to_scan(image)


def problem_of(posed: Posed, start: Tensor, samples: int = 1, tell: Teller | None = None) -> Problem:
    """The problem of a posed measurement.

    Args:
        posed: the measurement and its solver, with or without a prior.
        start: first image (z, y, x) in the acquisition's unit, on its grid; sets the scale of arbitrary units.
        samples: how many reconstructions a solver with a prior draws.
        tell: hears what is done to the image on its way to the prior.

    Raises:
        UsageError: E-RUN-04 the solver needs what this prior does not have.
        InputRefused: E-RUN-11 the start image sets no scale; the phase cannot be taken from the measurement.
        ComponentMissing: E-RUN-15 the likelihood cannot be restated, E-RUN-16 the prior's zero is not that of a complex
            image.
    """
    if posed.prior is None:
        return Problem(posed.likelihood, None, start[None], posed.noise)
    prior, tell = posed.prior, tell or Teller()
    to_model = _to_model(prior, posed, start)
    phase = _phase(prior, posed)
    scale = to_model.inverse.scale
    offset = _offset(to_model, phase, prior)
    likelihood = _likelihood(prior, posed)
    begin = (prior.from_scan(start) - offset) / scale
    bound = prior.bound(begin, phase, posed.noise.seed)
    _negotiate(posed, bound)
    cohered = cohere(posed.coherence, prior, bound, posed.noise, likelihood.in_units(scale, offset))

    card, record = prior.chosen.card, prior.chosen.as_record()
    record["told"] = prior.told()
    record["intensity"] = {"rule": card.intensity.rule, **_as_record(to_model)}
    if card.intensity.rule == "percentile":
        record["intensity"]["percentile"] = card.intensity.percentile
    record["grid"] = {
        "resampled": prior.resamples,
        "shape": list(prior.grid.shape),
        "spacing_mm": list(prior.grid.spacing),
    }
    record["phase"] = "none" if phase is None else "frozen"
    record["quadrature"] = prior.chosen.section.quadrature or 0.0
    record["mirrored"] = prior.mirrors
    record["planes"] = list(prior.planes) if card.dimensions == 2 else []
    record["coherence"] = cohered.record
    events = [Event("prior", {"name": card.name, "weights_hash": prior.chosen.weights_hash, "told": record["told"]})]
    events.append(Event("intensity", _as_record(to_model)))
    tell("prior", f"{card.name}: {to_model.target} = {to_model.scale:.6g} * {to_model.source} + {to_model.offset:.6g}")
    for sentence in prior.chosen.plan.sentences:
        tell("prior", sentence)
    events += cohered.events
    to_scan = None
    if prior.resamples:
        to_scan = prior.to_scan(start.dtype).to(start.device)
        shape, spacing = list(prior.grid.shape), list(prior.grid.spacing)
        events.append(Event("resample", {"from_shape": shape, "from_spacing_mm": spacing, "interpolation": "linear"}))
    return Problem(
        likelihood=cohered.likelihood,
        prior=bound,
        start=begin.expand(samples, *begin.shape).clone(),
        noise=cohered.noise,
        scale=scale,
        offset=offset,
        to_scan=to_scan,
        events=tuple(events),
        record=record,
    )


def _to_model(prior: LoadedPrior, posed: Posed, start: Tensor) -> AffineMap:
    """The acquisition's unit -> the card's -> model values."""
    card, acquisition = prior.chosen.card, posed.acquisition
    to_card = AffineMap.identity(acquisition.quantity)
    if card.quantity != acquisition.quantity:
        to_card = acquisition.output
        if to_card.target != card.quantity:
            to_card = to_card.then(prior.chosen.plan.intensity)
    return to_card.then(model_map(card.intensity, to_card(start), card.quantity))


def _phase(prior: LoadedPrior, posed: Posed) -> Tensor | None:
    if not posed.operator.domain.is_complex or prior.chosen.card.complex != "phase-frozen":
        return None
    phase = prior.from_scan(cast(HasObjectPhase, posed.physics).object_phase(posed.acquisition, posed.operator))
    magnitude = phase.abs()
    # Zero where nothing is measured, and between voxels of opposite phase, where there is no signal to have one.
    return torch.where(magnitude > 1e-3, phase / magnitude.clamp(min=1e-3), 0)


def _offset(to_model: AffineMap, phase: Tensor | None, prior: LoadedPrior) -> float | Tensor:
    offset = to_model.inverse.offset
    if phase is not None:
        return offset * phase if offset else 0.0
    if offset and prior.chosen.card.complex == "channels":
        raise ComponentMissing(
            "E-RUN-16",
            f"The prior {prior.chosen.card.name!r} maps zero to {to_model.offset:g}.",
            why="Real and imaginary part keep their sign only where zero stays zero.",
            fix="Its card needs an intensity whose 'to' begins at 0.",
        )
    return offset


def _likelihood(prior: LoadedPrior, posed: Posed) -> HasUnits:
    likelihood = posed.likelihood
    if prior.resamples:
        likelihood = posed.physics.likelihood(posed.acquisition, prior.seen_from_here(posed.operator))
    if not isinstance(likelihood, HasUnits):
        raise ComponentMissing(
            "E-RUN-15",
            f"The likelihood {type(likelihood).__name__} cannot be restated in the prior's units.",
            why="It has no method in_units(scale, offset).",
            fix="Choose another likelihood of this physics; its author can add the method.",
        )
    return likelihood


def _negotiate(posed: Posed, bound: DiffusionPrior) -> None:
    sentences = refusals([word for word in posed.solver_entry.needs if word in OF_THE_PRIOR], posed.operator, bound)
    if sentences:
        raise UsageError(
            "E-RUN-04",
            f"The solver cannot run with this prior: {' '.join(sentences)}",
            fix="Choose another solver, or another prior.",
        )


def _as_record(map_: AffineMap) -> dict[str, Any]:
    return {"map": map_.name, "scale": map_.scale, "offset": map_.offset}
