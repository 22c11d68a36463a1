"""Registers diffusion priors of volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medldm import hookimpl

if TYPE_CHECKING:
    from medldm.host.hookspecs import Register


@hookimpl
def register_priors(register: Register) -> None:
    """Offer the families of volume networks."""
    register(
        "volume-diffusion",
        "medldm_volume_ldm.family:VolumeDiffusion",
        example="medldm_volume_ldm.examples:volume_diffusion",
        summary="3-D latent and pixel diffusion with MONAI's networks; imports MONAI bundles.",
    )
