"""The measurements of an ISMRMRD file: one in most, several where a converter wrote a scan and those before it."""

from __future__ import annotations

from typing import Any

import h5py

from medldm.errors import Problem

# Of the group in most files.
CUSTOMARY = "dataset"
# Names at the top of a file that are looked at.
_MOST = 100


def group_names(file: Any) -> list[str]:
    """The groups that hold a header and lines, ``dataset`` first by custom; links are not followed to find them."""
    names = sorted(file, key=lambda name: (name != CUSTOMARY, name))
    return [str(name) for name in names[:_MOST] if _is_measurement(file, name)]


def left_out(names: list[str]) -> tuple[Problem, ...]:
    """What to say of groups without lines of an image, such as a noise scan of its own."""
    if not names:
        return ()
    told = f"The file has groups that hold no line of an image, and they are left out: {', '.join(names)}."
    remedy = "To have a noise scan used, convert it into the group of its image."
    return (Problem("E-KSP-23", "warning", told, remedy),)


def _is_measurement(file: Any, name: str) -> bool:
    held = isinstance(file.get(name, getlink=True), h5py.HardLink)
    return held and isinstance(file[name], h5py.Group) and {"xml", "data"} <= set(file[name])
