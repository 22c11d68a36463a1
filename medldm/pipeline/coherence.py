"""The section ``coherence`` of a recipe: what of it takes part with a solver, and how a problem comes by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

from medldm.data import Event
from medldm.errors import UsageError
from medldm.host import Host
from medldm.host.options import build
from medldm.inference import (
    Autoencoder,
    BoundPrior,
    Coherence,
    CorrelatedNoise,
    Coupled,
    Likelihood,
    Noise,
    SliceStack,
    is_exact,
    is_proximal,
)
from medldm.inference.negotiation import OF_THE_PRIOR
from medldm.pipeline.checked_solver import build_solver
from medldm.pipeline.loaded_prior import LoadedPrior
from medldm.pipeline.recipe import NONE, Recipe, Section


@dataclass(frozen=True)
class ChosenCoherence:
    """What of a recipe's coherence takes part.

    Attributes:
        coherence: of the noise and of the proximal step.
        left_out: a sentence for each part of the recipe's that has no effect with its solver.
    """

    coherence: Coherence = field(default_factory=Coherence)
    left_out: tuple[str, ...] = ()


def coherence_of(section: Section) -> Coherence:
    """Validate a section.

    Raises:
        UsageError: ``E-OPT-..`` an option is unknown or not possible.
    """
    options = {key: value for key, value in section.items() if value not in (None, NONE)}
    return cast(Coherence, build(Coherence, options, where="coherence", subject="slice coherence"))


def choose_coherence(host: Host, recipe: Recipe) -> ChosenCoherence:
    """What of a recipe's coherence its solver can take; nothing heavy is built.

    Raises:
        UsageError: E-COH-01 the solver draws from an exact law, which coherence would change; ``E-OPT-..`` the section
            is not valid.
    """
    asked = coherence_of(recipe.coherence)
    if asked.nothing:
        return ChosenCoherence()
    entry = host.find("solvers", str(recipe.solver["name"]))
    if OF_THE_PRIOR.isdisjoint(entry.needs):
        sentence = f"the solver {entry.name!r} uses no prior: coherence takes no part"
        return ChosenCoherence(left_out=(sentence,))
    solver: Any = entry.load()
    if is_exact(solver):
        raise UsageError(
            "E-COH-01",
            f"The solver {entry.name!r} draws from the posterior itself; coherence would make it another law.",
            why="Noise shared by slices and a coupling that is not in the prior change what its samples and intervals "
            "mean.",
            fix="Add --set coherence=none, or choose another solver.",
        )
    if asked.coupling is not None:
        # Whether it does may depend on its options.
        built = build_solver(host, entry.name, recipe.solver_options(), where="solver")
        if not is_proximal(built):
            sentence = f"the solver {entry.name!r}, as set, takes no proximal step: coherence.coupling takes no part"
            return ChosenCoherence(replace(asked, coupling=None), (sentence,))
    return ChosenCoherence(asked)


@dataclass(frozen=True, eq=False)
class Cohered:
    """Noise and likelihood of a problem as its solver gets them.

    Attributes:
        noise: correlated along the stack of slices, or as it was.
        likelihood: coupled, or as it was.
        record: facts for ``run.json``; ``"none"`` where nothing was done.
        events: for the history of the image.
    """

    noise: Noise
    likelihood: Likelihood
    record: Mapping[str, Any] | str = NONE
    events: tuple[Event, ...] = ()


def cohere(
    coherence: Coherence, prior: LoadedPrior, bound: BoundPrior, noise: Noise, likelihood: Likelihood
) -> Cohered:
    """Apply a coherence along the stack of the slices that a prior sees, or of the nearest to axial ones of a volume.

    Where the plane of the slices alternates, that is the stack of the scan's own.

    Args:
        coherence: that takes part.
        prior: which tells the stack.
        bound: the same on its grid.
        noise: white.
        likelihood: of the image on the prior's grid, in model units.
    """
    if coherence.nothing:
        return Cohered(noise, likelihood)
    grid = prior.grid
    axis = prior.stacks[0]
    facts: dict[str, Any] = {"axis": "zyx"[axis], "spacing_mm": float(grid.spacing[axis])}
    if coherence.noise is not None and coherence.noise.length_mm > 0:
        noise = CorrelatedNoise.of(noise, coherence.noise.length_mm, *_stacks(prior, bound, axis))
        facts["noise"] = asdict(coherence.noise)
    if coherence.coupling is not None and coherence.coupling.length_mm > 0:
        spacing = tuple(float(step) for step in grid.spacing)
        likelihood = Coupled.along(likelihood, coherence.coupling, axis, spacing)
        facts["coupling"] = asdict(coherence.coupling)
    return Cohered(noise, likelihood, facts, (Event("coherence", facts),))


def _stacks(prior: LoadedPrior, bound: BoundPrior, axis: int) -> tuple[SliceStack, ...]:
    """Of the state, and of the image where it is another tensor."""
    grid, space = prior.grid, bound.space
    image = _stack(4, 1 + axis, grid.shape[axis], grid.spacing[axis])
    if not bound.latent:
        return (image,)
    # The state of a latent prior lies as its networks see it, their stack or their first axis in front.
    z = space.axes.index("z")
    down = 1
    if prior.chosen.card.dimensions == 3:
        down = cast(Autoencoder, prior.model.networks.autoencoder).downscale
    return (_stack(1 + len(space.shape), 1 + z, space.shape[z], down * grid.spacing[axis]), image)


def _stack(ndim: int, axis: int, slices: int, spacing: float) -> SliceStack:
    return SliceStack(ndim, axis, tuple(k * float(spacing) for k in range(slices)))
