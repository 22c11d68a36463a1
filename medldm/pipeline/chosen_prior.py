"""The prior that a recipe names, held against scan and solver by its card alone; no weights are touched."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medldm.data import Acquisition, Volume
from medldm.errors import ComponentMissing, UsageError
from medldm.host import Host
from medldm.inference import is_exact
from medldm.inference.conditioning import Value
from medldm.inference.negotiation import OF_THE_PRIOR
from medldm.inference.precision import processor_has_bfloat16
from medldm.inference.slicewise import SLICES_ON_CPU
from medldm.pipeline.chosen_physics import physics_of
from medldm.pipeline.fitting_recipes import in_words, of_modality
from medldm.pipeline.prior_section import PriorSection, prior_name, prior_section
from medldm.pipeline.recipe import Recipe
from medldm.pipeline.regression import require_kind, require_measurement
from medldm.priors.card import PriorCard
from medldm.priors.card_file import read_card
from medldm.priors.catalogue import find_prior
from medldm.priors.fit import Plan, ScanFacts, check_fit
from medldm.priors.planes import planes_of
from medldm.priors.stacks import can_alternate, stack_axes

GRIDS = ("native", "prior")
# For the memory plan: features where a card does not tell, and how many tensors of so many features a network holds at
# its peak: a denoiser of slices (measured, 3), one of volumes of both its finest levels (5.0 to 5.8), a decoder of the
# wider of these and besides of the finest; the share of it where it runs in bfloat16 and only its normalisations do not
# (0.63 to 0.73).
_WIDTH, _OF_SLICES, _OF_VOLUMES, _OF_A_DECODER, _IN_BFLOAT16 = 64, 4, 5.5, (3.5, 2), 0.65


@dataclass(frozen=True)
class ChosenPrior:
    """A prior that fits.

    Attributes:
        folder: where it lies.
        card: its card.
        section: how the recipe uses it.
        facts: what its network is told, from the recipe and from the scan.
        plan: how the scan is brought to it.
        doubts: sentences, where it was trained for something else.
    """

    folder: Path
    card: PriorCard
    section: PriorSection
    facts: Mapping[str, Value]
    plan: Plan
    doubts: tuple[str, ...] = ()

    @property
    def weights_hash(self) -> str:
        """One sha256 for all its weights."""
        return self.card.weights_hash

    @property
    def slices_at_once(self) -> int:
        """How many slices its network takes together, on a CPU; one for networks of volumes."""
        if self.card.dimensions == 3:
            return 1
        return self.section.slices_at_once or SLICES_ON_CPU * self.card.slab

    def bytes_needed(self) -> int:
        """Weights in single precision, and what the networks hold of the slices that they see together.

        A network's finest level holds the most; of a latent prior that is the autoencoder's, which never runs in
        bfloat16.
        """
        card, grid = self.card, self.plan.grid
        files = (self.folder / weights.file for weights in card.weights.values())
        weights = 2 * sum(file.stat().st_size for file in files if file.is_file())
        held = _features_held(card)
        sizes = [max(n, card.size.at_least) for n in grid.shape]
        if card.dimensions == 3:
            seen = math.prod(sizes)
        else:
            # The largest of the slices, where their plane alternates.
            seen = max(math.prod(sizes) // sizes[axis] for axis in stack_axes(card, grid, self.section.plane))
        value = 4.0 if card.latent or not processor_has_bfloat16() else 4 * _IN_BFLOAT16
        return weights + round(self.slices_at_once * seen * held * value)

    def as_record(self) -> dict[str, Any]:
        """Facts for ``run.json``: the card's name and hashes, not the folder, whose name is of somebody's choosing."""
        card = self.card
        return {
            "name": card.name,
            "family": card.family,
            "licence": card.licence,
            "intended_use": card.intended_use,
            "weights": {role: weights.sha256 for role, weights in card.weights.items()},
            "weights_hash": self.weights_hash,
            "plan": [*self.plan.sentences, *self.doubts],
        }


def _features_held(card: PriorCard) -> float:
    """How many features per sample the network that holds the most has at its peak, by its widths, finest first.

    On the way up, the finest level begins with the features of the one below, now in its own size: a decoder with those
    alone, a denoiser of volumes with those and its own from the way down. The denoiser of slices folds the image into
    a quarter of the samples, and what is held of them comes to no more than tensors of its own features in full size.
    """
    options = card.networks["autoencoder" if card.latent else "denoiser"]
    lists = [value for value in options.values() if isinstance(value, (list, tuple)) and value]
    levels = [[int(width) for width in value[:2]] for value in lists if type(value[0]) is int]
    if card.latent:
        wider, finest = _OF_A_DECODER
        return max((wider * max(first) + finest * first[0] for first in levels), default=(wider + finest) * _WIDTH)
    if card.dimensions == 3:
        return _OF_VOLUMES * max((sum(first) for first in levels), default=2 * _WIDTH)
    return _OF_SLICES * max((first[0] for first in levels), default=_WIDTH)


def choose_prior(host: Host, recipe: Recipe, case: Volume | Acquisition) -> ChosenPrior | None:
    """The prior of a recipe, or None for a solver that uses none.

    Args:
        host: plugins.
        recipe: whose solver's needs decide; a prior that it does not use is left aside, see :func:`unused_prior`.
        case: an image that is going to be measured, or a measurement.

    Raises:
        UsageError: E-RUN-03 the measurement is of another physics than the recipe's, whose prior is not to blame then;
            E-RUN-12 the solver needs a prior and there is none, or that of the start needs one; E-RUN-13
            ``operator.grid`` is not possible; E-RUN-19 planes by turns for a solver that draws from the posterior;
            ``E-RCP-..`` the section is not valid.
        ComponentMissing: ``E-PRI-..`` there is no such prior, it cannot be read or it does not fit the scan;
            ``E-PLG-08`` its family is not installed; E-RUN-17 a regressor for a diffusion solver or the reverse,
            E-RUN-18 a regressor of another measurement, E-RUN-20 latents for a solver of images or the reverse.
    """
    if isinstance(case, Acquisition):
        physics_of(host, recipe, case)
    grid = recipe.operator.get("grid", "native")
    if grid not in GRIDS:
        raise UsageError("E-RUN-13", f"operator.grid is {grid!r}; it is native or prior.", fix="operator.grid: native")
    if recipe.start and uses_prior(host, str(recipe.start.get("solver", ""))):
        raise UsageError(
            "E-RUN-12",
            f"The start solver {recipe.start['solver']!r} needs a diffusion prior.",
            why="The start image sets the scale in which a prior sees the scan, so it comes before the prior.",
            fix="Choose a classical solver for the start.",
        )
    solver = str(recipe.solver["name"])
    if not uses_prior(host, solver):
        if grid == "prior" and not recipe.prior:
            raise UsageError("E-RUN-13", "operator.grid is 'prior', but there is none.", fix="operator.grid: native")
        return None
    needs = host.find("solvers", solver).needs
    if not recipe.prior:
        raise UsageError(
            "E-RUN-12",
            f"The solver {solver!r} needs a {'regressor' if 'regressor' in needs else 'diffusion prior'}, and the "
            "recipe names none.",
            fix="Add --prior NAME; medldm priors list shows those that are there.",
        )
    folder = find_prior(prior_name(recipe.prior))
    card = read_card(folder)
    require_kind(card, solver, needs)
    _require_state(card, solver, needs)
    doubts = require_measurement(host, recipe, card)
    section = prior_section(recipe.prior, card)
    if is_exact(host.find("solvers", solver).load()):
        section = _of_one_law(section, card, case, solver)
    host.find("priors", card.family)
    plan = _plan(recipe, card, case, section)
    if plan.resample and grid == "native":
        raise UsageError(
            "E-RUN-13",
            f"The prior {card.name!r} was not made for voxels of this size. {plan.sentences[0]}",
            why="An image is not resampled unless the recipe says so.",
            fix="Add --set operator.grid=prior, or choose a prior made for this resolution.",
        )
    return ChosenPrior(folder, card, section, _facts(card, section, case), plan, doubts)


def _plan(recipe: Recipe, card: PriorCard, case: Volume | Acquisition, section: PriorSection) -> Plan:
    try:
        return check_fit(card, scan_facts(card, case), section.use, section.plane).require()
    except ComponentMissing as refusal:
        fix = _other_modality(refusal.code, recipe, card, case) or refusal.fix
        raise ComponentMissing(refusal.code, refusal.what, why=refusal.why, fix=fix) from None


def _other_modality(code: str, recipe: Recipe, card: PriorCard, case: Volume | Acquisition) -> str:
    """What to do where scan and prior are, or may be, of two modalities; empty where the prior alone is to change."""
    if code == "E-PRI-31" and (case.modality, card.modality) == ("OT", "CT"):
        recipes = in_words(of_modality("MR"))
        return f"If it is CT in HU, add --modality CT; if it is MR, choose a recipe for MR: {recipes}."
    if code == "E-PRI-30" and case.modality != "OT":
        fitting, fitting_the_prior = of_modality(case.modality), of_modality(card.modality)
        # Another prior would not help where the physics is of the prior's modality too.
        if recipe.physics in {one.physics for one in fitting_the_prior} - {one.physics for one in fitting}:
            return f"Choose a recipe for {case.modality}: {in_words(fitting)}."
    return ""


def _require_state(card: PriorCard, solver: str, needs: tuple[str, ...]) -> None:
    if "latent-prior" in needs and not card.latent:
        given, wanted = "the image itself", "a latent"
    elif "image-prior" in needs and card.latent:
        given, wanted = "a latent", "the image itself"
    else:
        return
    raise ComponentMissing(
        "E-RUN-20",
        f"The solver {solver!r} needs a prior whose state is {wanted}; that of {card.name!r} is {given}.",
        fix="medldm priors list says which are pixel and which latent priors; --prior NAME takes another.",
    )


def _of_one_law(section: PriorSection, card: PriorCard, case: Volume | Acquisition, solver: str) -> PriorSection:
    """For samples of a posterior: slices of one plane, those of the scan, since slices of each plane are another prior.

    By turns the image would be better and its samples those of no posterior: what averages errors averages spread too.
    """
    if section.plane == "alternating":
        raise UsageError(
            "E-RUN-19",
            f"The solver {solver!r} draws from the posterior, which has one prior; planes by turns are several.",
            why="Its samples and intervals would be those of no posterior.",
            fix="Leave prior.plane out, or choose another solver.",
        )
    own = planes_of(case.grid)[0]
    alternates = section.plane is None and can_alternate(card) and own in card.planes
    return replace(section, plane=own) if alternates else section


def unused_prior(host: Host, recipe: Recipe) -> str:
    """A sentence when the recipe names a prior that its solver does not use; empty otherwise.

    Raises:
        ComponentMissing: ``E-PRI-..`` there is no such prior, used or not: its name may be misspelt.
    """
    solver = str(recipe.solver["name"])
    if not recipe.prior or uses_prior(host, solver):
        return ""
    name = find_prior(prior_name(recipe.prior)).name
    return f"the solver {solver!r} uses no prior: {name!r} takes no part, and the grid is that of the scan"


def scan_facts(card: PriorCard, case: Volume | Acquisition) -> ScanFacts:
    """What of a case the card is held against.

    An image that is going to be measured does not know yet what its physics will make of it: a modality that its format
    could not tell, and whether it becomes complex, are left to the second look, at the measurement.
    """
    if isinstance(case, Volume):
        modality = card.modality if case.modality == "OT" else case.modality
        return ScanFacts(modality, case.quantity, case.grid, is_complex=True)
    # The unit inside the operator is as good as the unit in which images are written.
    quantity = case.quantity if card.quantity == case.quantity else case.output.target
    return ScanFacts(case.modality, quantity, case.grid, case.data.is_complex())


def uses_prior(host: Host, solver: str) -> bool:
    """Whether a solver needs a prior."""
    return not OF_THE_PRIOR.isdisjoint(host.find("solvers", solver).needs)


def _facts(card: PriorCard, section: PriorSection, case: Volume | Acquisition) -> dict[str, Value]:
    """What the network is told. Of the scan only the modality is sure; a sequence's name says little about contrast."""
    facts: dict[str, Value] = {}
    modality = case.modality.lower()
    if modality in card.facts.classes.get("modality", ()):
        facts["modality"] = modality
    return {**facts, **section.facts, **card.facts.fixed}
