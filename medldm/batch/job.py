"""What makes two runs of a batch the same job: nothing is computed twice, and a changed recipe is a new job."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import medldm
from medldm.batch.row import Row
from medldm.batch.settings import Settings
from medldm.host import Host
from medldm.pipeline.chosen_prior import uses_prior
from medldm.pipeline.prior_section import prior_name
from medldm.pipeline.recipe import Recipe
from medldm.priors.card_file import read_card
from medldm.priors.catalogue import find_prior


def weights_hash(host: Host, recipe: Recipe) -> str:
    """Of the prior that takes part; empty without one.

    Raises:
        ComponentMissing: ``E-PRI-..`` there is no such prior.
    """
    if not uses_prior(host, str(recipe.solver["name"])) or not recipe.prior:
        return ""
    return read_card(find_prior(prior_name(recipe.prior))).weights_hash


def plan_of(settings: Settings, row: Row, recipe: Recipe, weights: str) -> dict[str, Any]:
    """All of a job but the content of its input, as plain JSON."""
    return {
        "recipe": recipe.sha256,
        "weights": weights,
        "medldm": medldm.__version__,
        "series": row.series,
        "volume_index": row.volume_index,
        "modality": row.modality or settings.modality,
        "simulate": settings.simulate,
        "slices": None if settings.slices is None else list(settings.slices),
        "untilt": settings.untilt,
        "allow_gaps": settings.allow_gaps,
        "assume_orientation": settings.assume_orientation,
    }


def job_key(plan: Mapping[str, Any], content: str, truth: str = "") -> str:
    """The job's identity: sha256 of its plan and of the content of its input and of its truth, if any."""
    whole = {**plan, "input": content, **({"truth": truth} if truth else {})}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
