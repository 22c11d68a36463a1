"""Registrations of the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medldm import hookimpl

if TYPE_CHECKING:
    from medldm.host.hookspecs import Register


@hookimpl
def register_metrics(register: Register) -> None:
    """Offer the metrics of an image against the truth."""
    register(
        "psnr",
        "medldm_metrics.psnr:Psnr",
        example="medldm_metrics.examples:psnr",
        summary="Peak signal-to-noise ratio in dB, of the volume and as a mean over slices of three planes",
    )
    register(
        "ssim",
        "medldm_metrics.ssim:Ssim",
        example="medldm_metrics.examples:ssim",
        summary="Structural similarity on axial, coronal and sagittal slices (Wang et al. 2004)",
    )
    register(
        "nrmse",
        "medldm_metrics.nrmse:Nrmse",
        example="medldm_metrics.examples:nrmse",
        summary="Norm of the error over norm of the truth",
    )
    register(
        "dz-ratio",
        "medldm_metrics.dz_ratio:DzRatio",
        example="medldm_metrics.examples:dz_ratio",
        summary="Mean difference between neighbouring slices over that of the truth; 1 is right",
    )
    register(
        "z-noise",
        "medldm_metrics.z_noise:ZNoise",
        example="medldm_metrics.examples:z_noise",
        summary="Fine part of the error from slice to slice, and over that within slices; above 1 slices flicker",
    )
