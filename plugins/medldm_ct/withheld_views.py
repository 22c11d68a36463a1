"""Views that a reconstruction is tried on, see :class:`medldm.inference.withheld.CanWithhold`."""

from __future__ import annotations

import torch
from torch import Tensor

from medldm.inference import Noise

_SHARE, _LEAST = 0.1, 2


def withheld_views(views: int, noise: Noise) -> Tensor:
    """A tenth of the views, (1, view, 1): 1 where withheld. Drawn at random, since equal steps would alias."""
    many = min(views - 1, max(_LEAST, round(_SHARE * views)))
    drawn = torch.zeros(1, views, 1)
    drawn[0, torch.from_numpy(noise.stream("withheld").permutation(views)[:many])] = 1
    return drawn
