"""Model values and physical ones: the rule of a card applied to an image."""

from __future__ import annotations

import torch
from torch import Tensor

from medldm.data import AffineMap
from medldm.errors import InputRefused
from medldm.priors.card import Intensity

MODEL = "model"
# A quantile of tens of millions of values needs no more of them than this, and torch sorts no more than 2^24.
_VALUES = 2**21


def model_map(intensity: Intensity, image: Tensor, quantity: str) -> AffineMap:
    """The map from ``quantity`` to model values.

    Args:
        intensity: of the card.
        image: of any shape, real or complex, in ``quantity``; where the rule is ``percentile`` its magnitudes above
            zero set the scale, otherwise it does not matter.
        quantity: of the card.

    Raises:
        InputRefused: E-RUN-11 the rule is ``percentile`` and the image has no value above zero, or values that are not
            finite.
    """
    high = percentile(image, intensity.percentile) if intensity.rule == "percentile" else None
    scale, offset = intensity.affine(high)
    return AffineMap(f"{quantity} -> {MODEL}", scale, offset, quantity, MODEL)


def percentile(image: Tensor, percent: float) -> float:
    """That percentile of the magnitudes above zero.

    Args:
        image: of any shape, real or complex.
        percent: 0 to 100.

    Raises:
        InputRefused: E-RUN-11 there are none, or they are not finite.
    """
    values = image.abs().flatten()
    values = values[values > 0]
    values = values[:: max(1, values.numel() // _VALUES)].double()
    scale = float(torch.quantile(values, percent / 100)) if values.numel() else float("nan")
    if not 0 < scale < float("inf"):
        raise InputRefused(
            "E-RUN-11",
            "The image that sets the scale has no values above zero, or some that are not finite.",
            why="An image of arbitrary unit is brought to the prior's range by a percentile of itself.",
            fix="Check the measurement and the start image of the recipe.",
        )
    return scale
