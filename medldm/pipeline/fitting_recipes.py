"""The shipped recipes that fit a scan, which refusals name."""

from __future__ import annotations

from collections.abc import Sequence

from medldm.errors import MedldmError
from medldm.pipeline.prior_section import prior_name
from medldm.pipeline.recipe import Recipe, load_recipe, shipped_recipes
from medldm.priors.card_file import read_card
from medldm.priors.catalogue import find_prior


def of_physics(physics: str) -> list[Recipe]:
    """Those for measurements of a physics, which is named as in a recipe; first those that simulate nothing."""
    fitting = [recipe for recipe in _shipped() if recipe.physics == physics]
    return sorted(fitting, key=lambda recipe: len(recipe.acquisition) > 1)


def of_modality(modality: str) -> list[Recipe]:
    """Those whose prior was made for ``CT`` or ``MR``; a recipe does not say itself what it measures."""
    return [recipe for recipe in _shipped() if _modality_of(recipe) == modality]


def in_words(recipes: Sequence[Recipe]) -> str:
    """As they are chosen on the command line, or the command that lists all where there are none."""
    return f"--recipe {' or '.join(recipe.name for recipe in recipes)}" if recipes else "medldm recipes list"


def _shipped() -> list[Recipe]:
    return [load_recipe(path.stem) for path in shipped_recipes()]


def _modality_of(recipe: Recipe) -> str | None:
    """None without a prior, or where the prior is not there."""
    try:
        return read_card(find_prior(prior_name(recipe.prior))).modality if recipe.prior else None
    except MedldmError:
        return None
