"""What is wrong with a card whose entries all have the right type: contradictions and impossible numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from medldm.priors.card import Facts, PriorCard, Range

ROLES = ("denoiser", "autoencoder")
_KEBAB = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_PLACE = re.compile(rf"(\.\./{_FILE_NAME}/)?{_FILE_NAME}\.safetensors")
# Schedules are stored in single precision by some programs; a noise level at the very end must still count as inside.
_TABLE_TOLERANCE = 1e-3


def card_problems(card: PriorCard) -> list[str]:
    """Every contradiction in a card, a sentence each; empty for a sound card."""
    return [
        *_of_numbers(card),
        *_of_the_images(card),
        *_of_the_noise(card),
        *_of_the_facts(card.facts),
        *_of_the_networks(card),
    ]


def _of_numbers(card: PriorCard) -> Iterator[str]:
    for path, value in _leaves(asdict(card), ""):
        if isinstance(value, float) and not math.isfinite(value):
            yield f"'{path}' is {value}, not a finite number."


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{index}]")
    else:
        yield path, value


def _of_the_images(card: PriorCard) -> Iterator[str]:
    if not _KEBAB.fullmatch(card.name):
        yield f"'name' is {card.name!r}, not in kebab case such as 'brain-mr-2d'."
    intensity = card.intensity
    if intensity.rule == "window" and not intensity.high > intensity.low:
        yield f"'intensity.high' {intensity.high:g} is not above 'intensity.low' {intensity.low:g}."
    if intensity.to[0] == intensity.to[1]:
        yield f"'intensity.to' maps everything to {intensity.to[0]:g}."
    if intensity.rule == "percentile":
        if not 0 < intensity.percentile <= 100:
            yield f"'intensity.percentile' is {intensity.percentile:g}, not within 0 to 100."
        if card.quantity == "HU":
            yield "'intensity.rule' is 'percentile', but HU is a fixed scale whose zero is water; it takes a window."
    yield from _of_a_range("spacing_mm", card.spacing_mm)
    if card.slice_spacing_mm is not None:
        yield from _of_a_range("slice_spacing_mm", card.slice_spacing_mm)
    if card.slab < 1:
        yield f"'slab' is {card.slab}, not 1 or more."
    if card.dimensions == 3 and card.slab != 1:
        yield "'slab' belongs to priors of slices, but 'dimensions' is 3."
    if card.dimensions == 2 and not card.planes:
        yield "'planes' is empty, but a prior of slices has at least one plane."
    if len(set(card.planes)) != len(card.planes):
        yield f"'planes' names one plane twice: {', '.join(card.planes)}."
    if card.cube is not None:
        if card.cube < 1:
            yield f"'cube' is {card.cube:g}, but a ratio of edges, the longest over the shortest, is 1 or more."
        if card.dimensions != 2 or len(card.planes) < 2:
            yield "'cube' belongs to priors of slices that know more than one of the 'planes'."
    size = card.size
    if size.multiple < 1 or size.at_least < 1:
        yield "'size.multiple' and 'size.at_least' are 1 or more."
    elif size.at_most is not None and size.at_most < max(size.multiple, size.at_least):
        yield f"'size.at_most' {size.at_most} is below 'size.multiple' or 'size.at_least'."


def _of_a_range(name: str, limits: Range) -> Iterator[str]:
    if not 0 < limits.low <= limits.high:
        yield f"'{name}' goes from {limits.low:g} to {limits.high:g}; both are positive, the lower one first."


def _of_a_regression(card: PriorCard) -> Iterator[str]:
    if card.regression is None:
        yield "'regression' is missing: the measurement that a network of the kind 'regression' is for."
    if card.sigma is not None or card.prediction.alpha_bars:
        yield "'sigma' and 'prediction.alpha_bars' belong to noise levels, but the kind is 'regression'."
    if card.latent is not None:
        yield "'latent' belongs to priors of latents, but the kind is 'regression', which works on images."
    if card.prediction.sigma_data <= 0:
        yield "'prediction.sigma_data' is positive."


def _of_the_noise(card: PriorCard) -> Iterator[str]:
    sigma, prediction = card.sigma, card.prediction
    if prediction.kind == "regression":
        yield from _of_a_regression(card)
        return
    if card.regression is not None:
        yield f"'regression' is given, but 'prediction.kind' is {prediction.kind!r}."
    if sigma is None:
        yield "'sigma' is missing: the noise levels of use."
        return
    if not 0 < sigma.low < sigma.high:
        yield f"'sigma' goes from {sigma.low:g} to {sigma.high:g}; noise levels are positive and increase."
    if prediction.sigma_data <= 0 or prediction.levels <= 0:
        yield "'prediction.sigma_data' and 'prediction.levels' are positive."
    bars = prediction.alpha_bars
    if prediction.kind in ("flow", "edm"):
        if bars:
            yield f"'prediction.alpha_bars' belongs to epsilon, v and x0, but the kind is {prediction.kind!r}."
        return
    if len(bars) < 2:
        yield f"'prediction.alpha_bars' has {len(bars)} entries; {prediction.kind!r} needs the whole schedule."
        return
    if not all(0 < bar < 1 for bar in bars) or not all(later < earlier for earlier, later in pairwise(bars)):
        yield "'prediction.alpha_bars' does not decrease within 0 and 1, both excluded."
        return
    low, high = (math.sqrt((1 - bar) / bar) for bar in (bars[0], bars[-1]))
    if sigma.low < low * (1 - _TABLE_TOLERANCE) or sigma.high > high * (1 + _TABLE_TOLERANCE):
        yield (
            f"'sigma' goes from {sigma.low:g} to {sigma.high:g}, beyond the schedule of 'prediction.alpha_bars', "
            f"which goes from {low:.4g} to {high:.4g}."
        )


def _of_the_facts(facts: Facts) -> Iterator[str]:
    both = set(facts.classes) & set(facts.numbers)
    if both:
        yield f"'facts' has {', '.join(sorted(both))} among both classes and numbers."
    for name, values in facts.classes.items():
        if not values or len(set(values)) != len(values):
            yield f"'facts.classes.{name}' is empty or names a value twice."
    for name, (_, scale) in facts.numbers.items():
        if scale <= 0:
            yield f"'facts.numbers.{name}' has the scale {scale:g}, which is not positive."
    for name, value in facts.fixed.items():
        if name in facts.classes:
            if value not in facts.classes[name]:
                yield f"'facts.fixed.{name}' is {value!r}, not one of {', '.join(facts.classes[name])}."
        elif name not in facts.numbers:
            yield f"'facts.fixed.{name}' is no fact that the networks know."
        elif isinstance(value, str):
            yield f"'facts.fixed.{name}' is {value!r}, not a number."


def _of_the_networks(card: PriorCard) -> Iterator[str]:
    for name in card.networks:
        if name not in ROLES:
            yield f"'networks.{name}' is unknown; there are {' and '.join(ROLES)}."
    if not card.networks:
        yield "'networks' is empty."
    has_autoencoder = "autoencoder" in card.networks
    if card.latent is not None and not has_autoencoder:
        yield "'latent' is given, but there is no 'networks.autoencoder'."
    if card.latent is None and has_autoencoder:
        yield "'networks.autoencoder' is given, but 'latent' is missing: scale, gain and error of the latent space."
    if card.latent is not None and (card.latent.scale == 0 or card.latent.gain <= 0 or card.latent.error < 0):
        yield "'latent.scale' is not zero, 'latent.gain' is positive and 'latent.error' is not negative."
    for name in sorted(set(card.networks) ^ set(card.weights)):
        there, absent = ("networks", "weights") if name in card.networks else ("weights", "networks")
        yield f"'{there}.{name}' is given, but '{absent}.{name}' is missing."
    for name, weights in card.weights.items():
        if not _PLACE.fullmatch(weights.file):
            yield (
                f"'weights.{name}.file' is {weights.file!r}; allowed are FILE.safetensors in the folder of the card "
                f"and ../SIBLING/FILE.safetensors."
            )
        if not _SHA256.fullmatch(weights.sha256):
            yield f"'weights.{name}.sha256' is not 64 lower-case hexadecimal digits."
