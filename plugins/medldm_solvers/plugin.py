"""Registers the solvers, classical ones and those with a diffusion prior."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medldm import hookimpl

if TYPE_CHECKING:
    from medldm.host.hookspecs import Register


@hookimpl
def register_solvers(register: Register) -> None:
    """Offer reconstructions, one published method each."""
    register(
        "fbp",
        "medldm_solvers.fbp:FilteredBackProjection",
        example="medldm_solvers.examples:fbp",
        summary="Filtered back-projection, the operator's own filtered adjoint",
        needs=("filtered-adjoint",),
    )
    register(
        "sart",
        "medldm_solvers.sart:SART",
        example="medldm_solvers.examples:sart",
        summary="Simultaneous algebraic reconstruction over subsets of views (Andersen and Kak 1984)",
        needs=("subsets", "real"),
    )
    register(
        "cgls",
        "medldm_solvers.cgls:CGLS",
        example="medldm_solvers.examples:cgls",
        summary="Weighted least squares by conjugate gradients, regularised by few iterations (Bjorck 1996)",
    )
    register(
        "cg-sense",
        "medldm_solvers.cg_sense:CGSense",
        example="medldm_solvers.examples:cg_sense",
        summary="Iterative SENSE with a Tikhonov term (Pruessmann et al. 2001)",
        needs=("complex",),
    )
    register(
        "l1-wavelet",
        "medldm_solvers.l1_wavelet:L1Wavelet",
        example="medldm_solvers.examples:l1_wavelet",
        summary="Sparse orthonormal wavelet coefficients per slice by FISTA (Beck and Teboulle 2009)",
    )
    register(
        "tv",
        "medldm_solvers.tv:TotalVariation",
        example="medldm_solvers.examples:tv",
        summary="Isotropic total variation, 2-D or 3-D, by preconditioned Chambolle-Pock (Pock and Chambolle 2011)",
    )
    register(
        "supervised",
        "medldm_solvers.supervised:Supervised",
        example="medldm_solvers.examples:supervised",
        summary="A U-Net trained on the start images of one recipe, no diffusion (Jin et al. 2017)",
        needs=("regressor",),
    )
    register(
        "zdds",
        "medldm_solvers.zdds:ZDDS",
        example="medldm_solvers.examples:zdds",
        summary="Denoise, data step by conjugate gradients, noise of the next level (Chung, Lee and Ye 2024)",
        needs=("prior", "image-prior"),
    )
    register(
        "latent-zdds",
        "medldm_solvers.latent_zdds:LatentZDDS",
        example="medldm_solvers.examples:latent_zdds",
        summary="The same on latents: decode, data step, code the correction (Chung, Lee and Ye 2024)",
        needs=("prior", "latent-prior"),
    )
    register(
        "resample",
        "medldm_solvers.resample:ReSample",
        example="medldm_solvers.examples:resample",
        summary="Latents fitted to the data, and noise of the level around them (Song et al. 2024)",
        needs=("prior", "latent-prior", "decode-gradient"),
    )
    register(
        "psld",
        "medldm_solvers.psld:PSLD",
        example="medldm_solvers.examples:psld",
        summary="Gradient of the misfit through decoder and network, and of the gluing (Rout et al. 2023)",
        needs=("prior", "latent-prior", "decode-gradient"),
    )
    register(
        "diffpir",
        "medldm_solvers.diffpir:DiffPIR",
        example="medldm_solvers.examples:diffpir",
        summary="Plug-and-play restoration, the noise is that of the corrected image (Zhu et al. 2023)",
        needs=("prior", "image-prior"),
    )
    register(
        "dds",
        "medldm_solvers.dds:DDS",
        example="medldm_solvers.examples:dds",
        summary="Conjugate gradients of fixed weight on the denoised image (Chung, Lee and Ye 2024)",
        needs=("prior", "image-prior"),
    )
    register(
        "split-gibbs",
        "medldm_solvers.split_gibbs:SplitGibbs",
        example="medldm_solvers.examples:split_gibbs",
        summary="Samples of the posterior by split Gibbs draws (PnP-DM, Wu et al. 2024)",
        needs=("prior", "image-prior"),
    )
    register(
        "dps",
        "medldm_solvers.dps:DPS",
        example="medldm_solvers.examples:dps",
        summary="Gradient of the misfit through the network (Chung et al. 2023)",
        needs=("prior", "image-prior"),
    )
    register(
        "red-diff",
        "medldm_solvers.red_diff:REDDiff",
        example="medldm_solvers.examples:red_diff",
        summary="One image that fits and looks the same noisy at all levels, by Adam (Mardani et al. 2024)",
        needs=("prior", "image-prior"),
    )
    register(
        "diffusion-mbir",
        "medldm_solvers.diffusion_mbir:DiffusionMBIR",
        example="medldm_solvers.examples:diffusion_mbir",
        summary="Predictor, corrector, and ADMM with total variation across slices (Chung et al. 2023)",
        needs=("prior", "image-prior"),
    )
