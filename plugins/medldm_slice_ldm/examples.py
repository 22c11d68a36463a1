"""Small instances of the plugin's priors for the conformance kit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medldm.priors.card import Facts, Intensity, Latent, Prediction, PriorCard, Range, Size
from medldm.priors.folder import write_prior
from medldm.testing import PriorExample
from medldm_slice_ldm.family import SliceDiffusion

_NOTHING = Facts()
_CONTRASTS = Facts(classes={"contrast": ("t1w", "t2w")}, numbers={"spacing_mm": (1.0, 0.5)})


def slice_diffusion() -> PriorExample:
    """Slices of pixels told facts; also latents, slabs, and a network of diffusers with its scheduler."""
    return PriorExample(SliceDiffusion(), make=pixel, more=(latent, slab), foreign=diffusers_folder)


def pixel(folder: Path) -> Path:
    """A denoiser of single slices of two contrasts."""
    return _written(folder / "pixel", {"denoiser": _unet(1, facts=4)}, facts=_CONTRASTS)


def latent(folder: Path) -> Path:
    """A denoiser of the latents of an autoencoder."""
    autoencoder = {"kind": "kl", "latent_channels": 2, "widths": [4, 8], "groups": 2}
    networks = {"denoiser": _unet(2), "autoencoder": autoencoder}
    return _written(folder / "latent", networks, multiple=8, latent=Latent(scale=2.0, gain=1.0, error=1.0))


def slab(folder: Path) -> Path:
    """A denoiser of three neighbouring slices."""
    return _written(folder / "slab", {"denoiser": _unet(3)}, slab=3)


def diffusers_folder(folder: Path) -> Path:
    """A ``UNet2DModel`` as diffusers saves it, with the scheduler of its training beside."""
    from diffusers.models.unets.unet_2d import UNet2DModel
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    network = UNet2DModel(
        in_channels=1,
        out_channels=1,
        block_out_channels=(4, 8),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=2,
        add_attention=False,
    )
    _drawn(network)
    source = folder / "saved"
    network.save_pretrained(source, safe_serialization=True)
    DDPMScheduler().save_pretrained(source)
    return source


def _unet(channels: int, facts: int = 0) -> dict[str, Any]:
    return {"kind": "unet", "channels": channels, "widths": [4, 8], "groups": 2, "facts": facts}


def _written(
    folder: Path,
    networks: Mapping[str, Mapping[str, Any]],
    *,
    multiple: int = 4,
    slab: int = 1,
    facts: Facts = _NOTHING,
    latent: Latent | None = None,
) -> Path:
    built = SliceDiffusion().build(networks)
    for module in built.named().values():
        _drawn(module)
    card = PriorCard(
        name=f"example-{folder.name}",
        family="slice-diffusion",
        summary="Networks as they are drawn, for tests.",
        modality="MR",
        quantity="arbitrary",
        intensity=Intensity("percentile"),
        dimensions=2,
        slab=slab,
        spacing_mm=Range(0.5, 2.0),
        size=Size(multiple=multiple, at_least=multiple),
        facts=facts,
        latent=latent,
        sigma=Range(0.002, 80.0),
        prediction=Prediction("edm", sigma_data=0.5),
        networks=networks,
        weights={},
        licence="Apache-2.0",
    )
    write_prior(folder, card, {role: module.state_dict() for role, module in built.named().items()})
    return folder


def _drawn(module: nn.Module) -> None:
    """The same weights each time, of the size that the layers' inputs ask for."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
