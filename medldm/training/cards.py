"""The cards of a training, and what of them the rest of the configuration contradicts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

from medldm.data import Quantity
from medldm.host.options import build
from medldm.inference.networks import Autoencoder
from medldm.priors.card import PriorCard, Weights
from medldm.priors.family import Networks
from medldm.training.config import TrainConfig

_UNITS: Mapping[str, Quantity] = {"CT": "HU", "MR": "arbitrary"}


def cards_of(card: PriorCard, config: TrainConfig) -> tuple[PriorCard, ...]:
    """A card, and the further ones of the same weights, which lie beside it.

    Raises:
        UsageError: ``E-OPT-..`` a further card has an impossible field.
    """
    return card, *(_sibling(card, changes) for changes in config.also)


def _sibling(card: PriorCard, changes: Mapping[str, Any]) -> PriorCard:
    import pydantic

    plain = pydantic.TypeAdapter(PriorCard).dump_python(card, mode="json")
    # None stands for a field's default, which a strict reading does not take in the place of a table.
    given = {name: value for name, value in {**plain, **changes}.items() if value is not None}
    other = cast(PriorCard, build(PriorCard, given, where="also", subject="prior card"))
    weights = {role: Weights(f"../{card.name}/{one.file}", one.sha256) for role, one in card.weights.items()}
    return replace(other, weights=weights)


def units_of(config: TrainConfig) -> dict[str, Quantity]:
    """The unit in which the intensities of a modality are meant: that of its card, or its usual one without a card."""
    units: dict[str, Quantity] = dict(_UNITS)
    for card in reversed(cards_of(config.card, config)):
        units |= {kind: card.quantity for kind in units if card.modality in (kind, "OT")}
    return units


def contradictions(card: PriorCard, config: TrainConfig, networks: Networks) -> Iterator[str]:
    """What a card says otherwise than data, patches and networks of its configuration, a sentence each.

    Args:
        card: one of those that come of the training.
        config: of the run.
        networks: of the card, with any weights.
    """
    yield from _of_the_data(card, config)
    patches = config.patches
    if card.dimensions != patches.dimensions:
        yield f"'dimensions' is {card.dimensions}, but 'patches.dimensions' is {patches.dimensions}."
    if card.slab != patches.slab:
        yield f"'slab' is {card.slab}, but 'patches.slab' is {patches.slab}."
    if card.complex == "channels":
        yield "'complex' is 'channels', but the images that are trained on are magnitudes."
    multiple = size_multiple(networks)
    for size in sorted({shape.size for shape in patches.shapes}):
        if size % multiple:
            yield f"'patches.shapes' has the size {size}, but the networks take multiples of {multiple}."
    if card.size.multiple % multiple:
        yield f"'size.multiple' is {card.size.multiple}, but the networks take multiples of {multiple}."


def _of_the_data(card: PriorCard, config: TrainConfig) -> Iterator[str]:
    data = config.data
    kinds = sorted({rule.modality for rule in data.rules} if card.modality == "OT" else {card.modality})
    for kind in kinds:
        if kind not in data.intensity:
            yield f"it is for {kind}, but there is no 'data.intensity.{kind}'."
        elif data.intensity[kind] != card.intensity:
            yield f"'intensity' is not that of 'data.intensity.{kind}', by which the scans become model values."
        elif units_of(config)[kind] != card.quantity:
            yield f"'quantity' is {card.quantity!r}, but another card for {kind} says {units_of(config)[kind]!r}."


def size_multiple(networks: Networks) -> int:
    """Of what the sizes of images are to be multiples; networks that do not say take any."""
    inner = int(getattr(networks.denoiser, "multiple", 1))
    if networks.autoencoder is None:
        return inner
    autoencoder = cast(Autoencoder, networks.autoencoder)
    outer = int(getattr(autoencoder, "multiple", autoencoder.downscale))
    return math.lcm(outer, autoencoder.downscale * inner)
