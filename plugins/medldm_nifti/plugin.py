"""Registrations of the NIfTI plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medldm import hookimpl

if TYPE_CHECKING:
    from medldm.host.hookspecs import Register


@hookimpl
def register_readers(register: Register) -> None:
    """Offer the NIfTI reader."""
    register(
        "nifti",
        "medldm_nifti.reader:NiftiReader",
        example="medldm_nifti.examples:reader",
        summary="NIfTI-1 and NIfTI-2: .nii, .nii.gz, .hdr/.img; geometry validated, never guessed",
    )


@hookimpl
def register_writers(register: Register) -> None:
    """Offer the NIfTI writer."""
    register(
        "nifti",
        "medldm_nifti.writer:NiftiWriter",
        example="medldm_nifti.examples:writer",
        summary="float32 or complex64 .nii.gz with deterministic bytes and a JSON sidecar of its provenance",
    )
