"""Registers diffusion priors of slices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medldm import hookimpl

if TYPE_CHECKING:
    from medldm.host.hookspecs import Register


@hookimpl
def register_priors(register: Register) -> None:
    """Offer the family of slice networks."""
    register(
        "slice-diffusion",
        "medldm_slice_ldm.family:SliceDiffusion",
        example="medldm_slice_ldm.examples:slice_diffusion",
        summary="2-D latent and pixel diffusion with diffusers' networks; imports diffusers folders",
    )
