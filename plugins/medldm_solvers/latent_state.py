"""Solvers whose state is a latent."""

from __future__ import annotations

from typing import cast

from medldm.errors import ComponentMissing
from medldm.inference import BoundPrior, DiffusionPrior


def latent_prior(prior: DiffusionPrior | None, solver: str) -> BoundPrior:
    """The prior of a solver that works on latents.

    Args:
        prior: what the solver was given.
        solver: its name, for the refusal.

    Raises:
        ComponentMissing: E-SOL-30 there is no prior, or its state is the image itself.
    """
    if prior is None or not getattr(prior, "latent", False):
        raise ComponentMissing(
            "E-SOL-30",
            f"The solver {solver!r} needs a diffusion prior of latents; "
            + ("none is given." if prior is None else "the state of the one given is the image itself."),
            why="It moves between image and state by the prior's encoder and decoder.",
            fix="Choose a latent prior (medldm priors list), or the solver of images of the same kind: zdds.",
        )
    return cast(BoundPrior, prior)
