"""Acquisitions to disk, through the writer that knows how."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, cast

from medldm.data import Acquisition
from medldm.errors import UsageError
from medldm.host import Host

SUFFIX = ".acq.safetensors"


class AcquisitionWriter(Protocol):
    """A writer that takes measurements."""

    def write_acquisition(self, acquisition: Acquisition, folder: Path, stem: str) -> Path:
        """Write one file under ``folder``; returns its path."""
        ...


def free_target(path: Path, *, overwrite: bool = False) -> Path:
    """The file that :func:`save_acquisition` writes.

    Raises:
        UsageError: E-OUT-03 it is there already, and may not be replaced.
    """
    target = path.with_name(path.name.removesuffix(SUFFIX) + SUFFIX)
    if target.exists() and not overwrite:
        raise UsageError("E-OUT-03", f"{target} exists.", fix="Choose another name, or add --overwrite.")
    return target


def save_acquisition(host: Host, acquisition: Acquisition, path: Path, *, overwrite: bool = False) -> Path:
    """Write a measurement to ``NAME.acq.safetensors``, aside and renamed into place.

    Args:
        host: with the writer ``acquisition``.
        acquisition: what to write.
        path: the file; the ending is added when missing.
        overwrite: whether an existing file may be replaced.
    """
    target = free_target(path, overwrite=overwrite)
    stem = target.name.removesuffix(SUFFIX)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        writer = cast(AcquisitionWriter, host.build("writers", "acquisition", {}))
        return writer.write_acquisition(acquisition, target.parent, stem)
    except OSError as error:
        raise UsageError(
            "E-OUT-04", f"{target} cannot be written: {error.strerror}.", fix="Choose another folder."
        ) from error
