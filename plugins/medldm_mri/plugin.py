"""Registers Cartesian magnetic resonance imaging."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medldm import hookimpl

if TYPE_CHECKING:
    from medldm.host.hookspecs import Register


@hookimpl
def register_operators(register: Register) -> None:
    """Offer the physics of Cartesian k-space."""
    register(
        "mri-cartesian",
        "medldm_mri.cartesian:CartesianMri",
        example="medldm_mri.examples:cartesian",
        summary="Cartesian MRI with one or several coils (SENSE), coil maps by ESPIRiT from the calibration lines.",
    )
