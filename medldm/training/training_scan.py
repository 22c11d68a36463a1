"""A scan that is trained on or held back."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from medldm.training.config import DataOptions


@dataclass(frozen=True, eq=False)
class TrainingScan:
    """One scan in model values.

    Attributes:
        data: (z, y, x) float16, as a reader gives them brought to z up, y to the back and x to the patient's left, the
            pose in which priors of volumes see every scan.
        planes: what a slice across each tensor axis is: ``axial``, ``coronal`` or ``sagittal``.
        spacing: mm along each tensor axis.
        facts: what the network is told of it.
        is_mr: whether its contrast may be changed.
        subject: who.
        weight: how often it is drawn.
        held_back: never trained on.
    """

    data: Tensor
    planes: tuple[str, str, str]
    spacing: tuple[float, float, float]
    facts: Mapping[str, str | float]
    is_mr: bool
    subject: str
    weight: float
    held_back: bool

    @cached_property
    def identity(self) -> tuple[object, ...]:
        """What makes two scans the same, plain enough for JSON; the values by their hash."""
        values = hashlib.sha256(self.data.contiguous().numpy().data).hexdigest()
        told = sorted(self.facts.items())
        place = self.planes, [float(f"{spacing:.6g}") for spacing in self.spacing]
        return self.subject, self.held_back, self.is_mr, self.weight, told, *place, tuple(self.data.shape), values


def is_held_back(subject: str, options: DataOptions) -> bool:
    """Whether the configuration keeps a subject from training."""
    return any(fnmatch.fnmatch(subject, pattern) for pattern in options.held_back)
