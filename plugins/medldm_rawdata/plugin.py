"""Registrations of the raw-data plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medldm import hookimpl

if TYPE_CHECKING:
    from medldm.host.hookspecs import Register


@hookimpl
def register_readers(register: Register) -> None:
    """Offer the reader of medldm's own measurement file."""
    register(
        "acquisition",
        "medldm_rawdata.reader:AcquisitionReader",
        example="medldm_rawdata.examples:reader",
        summary="Measurements in medldm's own format, NAME.acq.safetensors",
    )


@hookimpl
def register_writers(register: Register) -> None:
    """Offer the writer of medldm's own measurement file."""
    register(
        "acquisition",
        "medldm_rawdata.writer:AcquisitionWriter",
        example="medldm_rawdata.examples:writer",
        summary="Measurements in medldm's own format; a volume is stored as the identity measurement of itself",
    )
