"""Registrations of the image-domain physics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medldm import hookimpl

if TYPE_CHECKING:
    from medldm.host.hookspecs import Register


@hookimpl
def register_operators(register: Register) -> None:
    """Offer physics whose measurement is an image."""
    register(
        "identity",
        "medldm_image.identity:IdentityPhysics",
        example="medldm_image.examples:identity",
        summary="An image with white Gaussian noise: denoising",
    )
    register(
        "thick-slice",
        "medldm_image.thick_slice:ThickSlicePhysics",
        example="medldm_image.examples:thick_slice",
        summary="Thick slices averaged along z by a slice profile: super-resolution between slices",
    )
