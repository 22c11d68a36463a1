"""Registers magnetic resonance imaging, Cartesian and along trajectories."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medldm import hookimpl

if TYPE_CHECKING:
    from medldm.host.hookspecs import Register


@hookimpl
def register_operators(register: Register) -> None:
    """Offer the physics of k-space."""
    register(
        "mri-cartesian",
        "medldm_mri.cartesian:CartesianMri",
        example="medldm_mri.examples:cartesian",
        summary="Cartesian MRI, slice by slice, with one or several coils (SENSE).",
    )
    register(
        "mri-nonuniform",
        "medldm_mri.nonuniform:NonuniformMri",
        example="medldm_mri.examples:nonuniform",
        summary="MRI along any trajectory (radial, spiral), with one or several coils.",
    )
    register(
        "mri-cartesian-3d",
        "medldm_mri.cartesian_3d:CartesianMri3d",
        example="medldm_mri.examples:cartesian_3d",
        summary="Cartesian MRI of a volume, undersampled along ky and kz; the slices are coupled.",
    )
    register(
        "mri-simultaneous-slices",
        "medldm_mri.simultaneous_slices:SimultaneousSlices",
        example="medldm_mri.examples:simultaneous_slices",
        summary="MRI of several slices at a time (multiband), shifted by CAIPI, told apart by coils.",
    )
