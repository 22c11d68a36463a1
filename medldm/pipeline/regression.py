"""The measurement that a regressor was trained for, held against the one at hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pydantic

from medldm.errors import ComponentMissing
from medldm.host import Host
from medldm.pipeline.recipe import Recipe, options_of
from medldm.priors.card import PriorCard, Regression


def measurement_of(host: Host, recipe: Recipe) -> Regression:
    """How a recipe measures and makes its start image, all options spelled out.

    Args:
        host: plugins.
        recipe: its noise model of the reconstruction is left out, which no start image depends on.

    Raises:
        MedldmError: ``E-OPT-..``, ``E-PLG-08`` an option or a component is not known.
    """
    options = _resolved(host.build("operators", recipe.physics, recipe.physics_options(), where="acquisition"))
    options.pop("likelihood", None)
    start: dict[str, Any] = {}
    if recipe.start:
        name = str(recipe.start["solver"])
        start = {**recipe.start, **_resolved(host.build("solvers", name, options_of(recipe.start), where="start"))}
    return Regression(recipe.name, recipe.physics, options, start)


def require_kind(card: PriorCard, solver: str, needs: tuple[str, ...]) -> None:
    """Refuse a regressor for a diffusion solver, and the reverse.

    Raises:
        ComponentMissing: E-RUN-17.
    """
    if ("regressor" in needs) == (card.regression is not None):
        return
    if card.regression is None:
        raise ComponentMissing(
            "E-RUN-17",
            f"The solver {solver!r} needs a regressor, and {card.name!r} is a diffusion prior.",
            why="It was not trained to turn a start image into the image.",
            fix="Choose a diffusion solver, or a folder made by medldm train regressor.",
        )
    raise ComponentMissing(
        "E-RUN-17",
        f"The solver {solver!r} needs a diffusion prior, and {card.name!r} is a regressor.",
        why="It knows no noise levels, only the start images of one recipe.",
        fix="Choose the solver 'supervised', or a diffusion prior.",
    )


def require_measurement(host: Host, recipe: Recipe, card: PriorCard) -> tuple[str, ...]:
    """Refuse another physics or another start than a regressor was trained for.

    Args:
        host: plugins.
        recipe: at hand.
        card: of the regressor; for a diffusion prior there is nothing to ask.

    Returns:
        A sentence where anything else of the measurement differs, such as the acceleration.

    Raises:
        ComponentMissing: E-RUN-18.
    """
    trained = card.regression
    if trained is None:
        return ()
    here = measurement_of(host, recipe)
    if (here.physics, dict(here.start)) != (trained.physics, dict(trained.start)):
        other = _differences(_begins(trained), _begins(here))
        raise ComponentMissing(
            "E-RUN-18",
            f"The regressor {card.name!r} was trained for the start image of {trained.recipe!r}, and that of the "
            f"recipe {recipe.name!r} differs: {', '.join(other)}.",
            why="It takes off the errors of the images that it was trained on; others it has never seen.",
            fix=f"Use it with {trained.recipe}, or train one: medldm train regressor --recipe {recipe.name}.",
        )
    differing = list(_differences(trained.options, here.options))
    if not differing:
        return ()
    return (f"{card.name} was trained for {trained.recipe}, and this measurement differs: {', '.join(differing)}",)


def _begins(measurement: Regression) -> dict[str, Any]:
    return {"physics": measurement.physics, "start": measurement.start}


def _differences(trained: Mapping[str, Any], here: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for name in dict.fromkeys((*trained, *here)):
        a, b = trained.get(name), here.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from _differences(a, b, f"{above}{name}.")
        elif a != b:
            yield f"{above}{name} {b} in place of {a}"


def _resolved(component: Any) -> dict[str, Any]:
    """A component's options as plain data, as a card gives them back."""
    plain: dict[str, Any] = pydantic.TypeAdapter(type(component)).dump_python(component, mode="json")
    return plain
