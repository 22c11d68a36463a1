"""Views that a reconstruction is tried on, see :class:`medldm.inference.withheld.CanWithhold`."""

from __future__ import annotations

import torch
from torch import Tensor

from medldm.inference import Noise
from medldm.inference.withheld import tenth_of


def withheld_views(views: int, noise: Noise) -> Tensor:
    """A tenth of the views, (1, view, 1): 1 where withheld."""
    return tenth_of(torch.ones(views, dtype=torch.bool), noise, measured=views).view(1, views, 1)
