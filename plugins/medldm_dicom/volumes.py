"""Several volumes in one series: time points, echoes, contrasts at the same places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

from medldm_dicom.frame import Frame
from medldm_dicom.geometry import Layout

Key = tuple[str | float, ...]


@dataclass(frozen=True, eq=False)
class Split:
    """The volumes of a series in the order of ``--volume-index``.

    Attributes:
        dimensions: attributes that tell them apart.
        keys: their values, one tuple for each volume.
        layouts: one layout with single frames for each volume.
    """

    dimensions: tuple[str, ...]
    keys: tuple[Key, ...]
    layouts: tuple[Layout, ...]


def split(layout: Layout) -> Split | None:
    """Tell volumes apart by attributes that vary at a fixed place and then cover every place exactly once.

    An attribute that varies only together with the place (a slice's acquisition time) is no such dimension.
    Returns None where no attribute does it; the doubled places are then duplicates.
    """
    count = len(layout.shelves[0])
    if count < 2 or any(len(shelf) != count for shelf in layout.shelves) or len(layout.shelves) < 2:
        return None
    names = dict.fromkeys(chain.from_iterable(frame.dimensions for shelf in layout.shelves for frame in shelf))
    varying = tuple(
        name
        for name in names
        if any(len({frame.dimensions.get(name) for frame in shelf}) > 1 for shelf in layout.shelves)
    )
    for dimensions in _candidates(varying):
        volumes: dict[Key, list[Frame]] = {}
        for shelf in layout.shelves:
            for frame in shelf:
                volumes.setdefault(tuple(frame.dimensions.get(name, "") for name in dimensions), []).append(frame)
        if len(volumes) == count and all(_complete(layout, frames) for frames in volumes.values()):
            keys = sorted(volumes, key=lambda key: [(isinstance(v, str), v) for v in key])
            layouts = tuple(_only(layout, volumes[key]) for key in keys)
            return Split(dimensions, tuple(keys), layouts)
    return None


def _candidates(varying: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield from ((name,) for name in varying)
    if len(varying) > 1:
        yield varying


def _complete(layout: Layout, frames: list[Frame]) -> bool:
    # Frames were collected shelf by shelf: one of each, in order, is a whole volume.
    return len(frames) == len(layout.shelves) and all(
        frame in shelf for frame, shelf in zip(frames, layout.shelves, strict=True)
    )


def _only(layout: Layout, frames: list[Frame]) -> Layout:
    problems = tuple(problem for problem in layout.problems if problem.code != "E-GEO-05")
    return replace(layout, shelves=tuple((frame,) for frame in frames), problems=problems)
