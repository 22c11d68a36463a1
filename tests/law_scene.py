"""A small volume on a grid whose three lengths differ, and which laws fail, for the tests of the laws of components."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from medldm.data import Grid, Volume
from medldm.operators import Space
from medldm.testing.law import NotApplicable, name_of

GRID = Grid.isotropic((3, 4, 5), (2.0, 1.0, 0.5))
VOLUME = Volume(1 + torch.rand(GRID.shape, generator=torch.Generator().manual_seed(1)), GRID, "HU", "CT", "scan")
SPACE = Space(("z", "y", "x"), GRID.shape)


def failing(laws: Iterable[Callable[..., None]], given: Callable[[], tuple[Any, ...]]) -> set[str]:
    """Names of the laws that fail, each on what ``given`` makes for it alone.

    What ends otherwise than by the law's own sentence is an error of the test that asks.
    """
    failed = set()
    for law in laws:
        try:
            law(*given())
        except NotApplicable:
            continue
        except AssertionError:
            failed.add(name_of(law))
    return failed


def names(*laws: Callable[..., None]) -> set[str]:
    """Theirs, as :func:`failing` gives them."""
    return {name_of(law) for law in laws}
