"""Solvers whose state is the image itself."""

from __future__ import annotations

from typing import cast

from medldm.errors import ComponentMissing
from medldm.inference import BoundPrior, DiffusionPrior, is_regressor


def image_prior(prior: DiffusionPrior | None, solver: str) -> BoundPrior:
    """The prior of a solver that works on images.

    Args:
        prior: what the solver was given.
        solver: its name, for the refusal.

    Raises:
        ComponentMissing: E-SOL-20 there is no prior, its state is a latent, or it is a regressor.
    """
    if prior is None or getattr(prior, "latent", False) or is_regressor(prior):
        given = "none is given." if prior is None else "the state of the one given is a latent."
        if prior is not None and is_regressor(prior):
            given = "the one given is a regressor, which knows no noise levels."
        raise ComponentMissing(
            "E-SOL-20",
            f"The solver {solver!r} needs a diffusion prior of images; {given}",
            why="It moves between the measurement and the noisy image without a decoder.",
            fix="Choose a pixel prior (medldm priors list), or a solver of latents.",
        )
    return cast(BoundPrior, prior)
