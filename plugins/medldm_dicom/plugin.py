"""Registrations of the DICOM plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medldm import hookimpl

if TYPE_CHECKING:
    from medldm.host.hookspecs import Register


@hookimpl
def register_readers(register: Register) -> None:
    """Offer the DICOM reader."""
    register(
        "dicom",
        "medldm_dicom.reader:DicomReader",
        example="medldm_dicom.examples:reader",
        summary="DICOM series: classic and enhanced multi-frame CT and MR, checked geometry",
    )


@hookimpl
def register_writers(register: Register) -> None:
    """Offer the DICOM writer."""
    register(
        "dicom",
        "medldm_dicom.writer:DicomWriter",
        example="medldm_dicom.examples:writer",
        summary="Derived CT or MR image series that says what made it (DICOM PS3.3)",
    )
