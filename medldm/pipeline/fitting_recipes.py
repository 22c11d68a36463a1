"""The shipped recipes that fit a scan, which refusals name."""

from __future__ import annotations

from collections.abc import Sequence

from medldm.pipeline.recipe import Recipe, load_recipe, shipped_recipes


def of_physics(physics: str) -> list[Recipe]:
    """Those for measurements of a physics, which is named as in a recipe."""
    return [recipe for recipe in _shipped() if recipe.physics == physics]


def in_words(recipes: Sequence[Recipe]) -> str:
    """As they are chosen on the command line."""
    return f"--recipe {' or '.join(recipe.name for recipe in recipes)}"


def _shipped() -> list[Recipe]:
    return [load_recipe(path.stem) for path in shipped_recipes()]
