"""The physics that a recipe names, held against a measurement."""

from __future__ import annotations

from typing import cast

from medldm.data import Acquisition
from medldm.errors import UsageError
from medldm.host import Host
from medldm.inference import Physics
from medldm.pipeline.fitting_recipes import in_words, of_physics
from medldm.pipeline.recipe import Recipe


def physics_of(host: Host, recipe: Recipe, acquisition: Acquisition) -> Physics:
    """The physics of a recipe, for a measurement.

    Raises:
        UsageError: ``E-RUN-03`` the measurement is of another.
    """
    physics = cast(Physics, host.build("operators", recipe.physics, recipe.physics_options(), where="acquisition"))
    if acquisition.physics not in (recipe.physics, *getattr(physics, "explains", ())):
        host.find("operators", acquisition.physics)  # a scan whose physics nobody has installed is no matter of recipes
        raise UsageError(
            "E-RUN-03",
            f"The measurement is of physics {acquisition.physics!r}, the recipe is for {recipe.physics!r}.",
            fix=f"Choose a recipe of the same physics: {in_words(of_physics(acquisition.physics))}.",
        )
    return physics
