"""Measurements made from an image, only ever on request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from medldm.data import Acquisition, ReadRequest, Volume
from medldm.host import Host, blamed, load_host
from medldm.inference import Noise, Physics
from medldm.pipeline.events import Listener, Teller
from medldm.pipeline.reading import case_hash, read_image
from medldm.pipeline.recipe import Recipe, load_recipe


def measure(host: Host, recipe: Recipe, volume: Volume, tell: Teller) -> Acquisition:
    """Let the recipe's physics measure a volume; SIMULATED from here on.

    The noise is addressed by the recipe's seed and the volume's content, never by its name or place in a batch.
    """
    physics = cast(Physics, host.build("operators", recipe.physics, recipe.physics_options(), where="acquisition"))
    with blamed(host.find("operators", recipe.physics)):
        acquisition = physics.simulate(volume, Noise(recipe.seed, case_hash(volume)))
    if acquisition.physics != recipe.physics or not acquisition.simulated:
        # A plugin that forgets the mark would let a simulation pass for a scan.
        acquisition = replace(acquisition, physics=recipe.physics, simulated=True)
    sizes = ", ".join(f"{axis} {n}" for axis, n in zip(acquisition.axes, acquisition.data.shape, strict=True))
    tell("simulate", f"SIMULATED measurement by {recipe.physics}: {sizes}", **dict(acquisition.settings))
    return acquisition


def simulate(
    source: str | Path | Volume,
    recipe: str | Path | Recipe = "mri-4x",
    *,
    set_: Sequence[str] = (),
    read: ReadRequest | None = None,
    slices: slice | None = None,
    host: Host | None = None,
    listeners: Sequence[Listener] = (),
) -> Acquisition:
    """Make measurements from a volume.

    Args:
        source: an image file or folder that a reader understands, or a :class:`Volume`.
        recipe: name of a shipped recipe, a path, or a :class:`Recipe`; its ``acquisition`` section is used.
        set_: assignments such as ``"acquisition.views=90"``.
        read: what to ask of the reader.
        slices: range along z.
        host: plugins; all that are installed when None.
        listeners: called with every event.

    Returns:
        The acquisition, marked as simulated.
    """
    host = host or load_host()
    chosen = recipe.changed(set_) if isinstance(recipe, Recipe) else load_recipe(recipe, set_)
    case = source if isinstance(source, Volume) else read_image(host, source, read)
    if slices is not None:
        case = case.cropped(slices)
    return measure(host, chosen, case.require_finite(), Teller(tuple(listeners)))
