"""From what a card says that its network predicts to the row of the parametrization table."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from medldm.errors import ComponentMissing
from medldm.inference.parametrization import (
    Parametrization,
    SigmaTable,
    edm,
    epsilon,
    flow_matching,
    regression,
    v_prediction,
    x0_prediction,
)
from medldm.priors.card import Prediction, Range

_TABLED = {"epsilon": epsilon, "v": v_prediction, "x0": x0_prediction}
# Limits are written with a few digits; a card may round by this much.
_ROUNDING = 0.01


def parametrization_of(
    prediction: Prediction, sigma: Range | None, alpha_bars: Tensor | None = None
) -> Parametrization:
    """The parametrization of a network, within the noise levels of use.

    Args:
        prediction: the card's.
        sigma: the card's noise levels of use; a regression has none.
        alpha_bars: of the discrete schedule where the card leaves them to the weights.

    Raises:
        ComponentMissing: ``E-PRM-01`` the schedule is missing or is none, ``E-PRM-02`` the levels of use are impossible
            or reach beyond the schedule.
    """
    if prediction.kind == "regression":
        return regression(prediction.sigma_data)
    if sigma is None or not 0 < sigma.low < sigma.high:
        given = "none" if sigma is None else f"those from {sigma.low:g} to {sigma.high:g}"
        raise ComponentMissing(
            "E-PRM-02",
            f"The prior's card gives as noise levels of use {given}.",
            fix="Correct sigma in the card: above zero, the smaller one first.",
        )
    if prediction.kind == "edm":
        return edm(prediction.sigma_data, sigma.low, sigma.high)
    if prediction.kind == "flow":
        return flow_matching(sigma.low, sigma.high, prediction.levels)
    table = _table(torch.tensor(prediction.alpha_bars, dtype=torch.float64) if prediction.alpha_bars else alpha_bars)
    low, high = table.limits
    if sigma.low < low * (1 - _ROUNDING) or sigma.high > high * (1 + _ROUNDING):
        raise ComponentMissing(
            "E-PRM-02",
            f"The prior's card gives noise levels of use from {sigma.low:g} to {sigma.high:g}, and its schedule has "
            f"those from {low:g} to {high:g}.",
            why="The network has not seen the others.",
            fix="Correct sigma in the card.",
        )
    return replace(_TABLED[prediction.kind](table), sigma_min=max(low, sigma.low), sigma_max=min(high, sigma.high))


def _table(alpha_bars: Tensor | None) -> SigmaTable:
    if alpha_bars is None:
        raise ComponentMissing(
            "E-PRM-01",
            "The prior's schedule is missing: its card has no prediction.alpha_bars, and its weights none either.",
            why="Without it nobody knows which noise a level of the network means.",
            fix="Import the prior again from its origin.",
        )
    try:
        return SigmaTable.of_alpha_bars(alpha_bars.detach().cpu())
    except ValueError as error:
        raise ComponentMissing(
            "E-PRM-01", f"The prior's schedule alpha_bars is none: {error}.", fix="Import the prior again."
        ) from error
