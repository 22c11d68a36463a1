"""Small priors and a small bundle for the conformance kit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from medldm.priors.card import Facts, Intensity, Latent, Prediction, PriorCard, Range, Size
from medldm.priors.folder import write_prior
from medldm.testing import PriorExample
from medldm_volume_ldm.family import VolumeDiffusion

_UNET = {"kind": "unet", "widths": [4, 8], "groups": 2, "head_channels": 4, "facts": 2}
_KL = {"kind": "kl", "latent_channels": 2, "widths": [4, 8], "groups": 2}


def volume_diffusion() -> PriorExample:
    """A prior of voxels, one of latents, and a bundle in the layout of MONAI's model zoo."""
    pixel = _maker("small-voxels", {"denoiser": {**_UNET, "channels": 1}})
    latent = _maker("small-latents", {"denoiser": {**_UNET, "channels": 2}, "autoencoder": _KL})
    return PriorExample(VolumeDiffusion(), pixel, more=(latent,), foreign=brain_bundle)


def brain_bundle(folder: Path) -> Path:
    """A bundle in the layout of brain_image_synthesis_latent_diffusion_model, small and untrained."""
    from monai.networks.nets.autoencoderkl import AutoencoderKL
    from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet

    common = {"spatial_dims": 3, "channels": [4, 8], "num_res_blocks": 1, "norm_num_groups": 2}
    coder: dict[str, Any] = {**common, "latent_channels": 2, "attention_levels": [False, False]}
    coder |= {"with_encoder_nonlocal_attn": False, "with_decoder_nonlocal_attn": False}
    unet: dict[str, Any] = {**common, "in_channels": 3, "out_channels": 2, "attention_levels": [False, True]}
    unet |= {"num_head_channels": [0, 4], "with_conditioning": True, "cross_attention_dim": 1}
    config = {
        "age": 0.4,
        "conditioning": "$torch.tensor([[@age]]).unsqueeze(1)",
        "autoencoder_def": {"_target_": "monai.networks.nets.AutoencoderKL", **coder},
        "load_autoencoder_path": "$@model_dir + '/autoencoder.pt'",
        "diffusion_def": {"_target_": "monai.networks.nets.DiffusionModelUNet", **unet},
        "load_diffusion_path": "$@model_dir + '/model.pt'",
        "scheduler": {
            "_target_": "monai.networks.schedulers.DDIMScheduler",
            "schedule": "scaled_linear_beta",
            "beta_start": 0.0015,
            "beta_end": 0.0205,
        },
    }
    metadata = {"task": "Brain MRI", "image_classes": "T1w head MRI with 1x1x1 mm voxel size"}
    bundle = folder / "small_bundle"
    (bundle / "configs").mkdir(parents=True)
    (bundle / "models").mkdir()
    (bundle / "configs" / "inference.json").write_text(json.dumps(config), encoding="utf-8")
    (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    for stem, network in (("model", DiffusionModelUNet(**unet)), ("autoencoder", AutoencoderKL(**coder))):
        save_file(_drawn(network), bundle / "models" / f"{stem}.safetensors")
    return bundle


def _maker(name: str, networks: Mapping[str, Mapping[str, Any]]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        built = VolumeDiffusion().build(networks).named()
        tensors = {role: _drawn(network) for role, network in built.items()}
        write_prior(folder / name, _card(name, networks), tensors)
        return folder / name

    return make


def _card(name: str, networks: Mapping[str, Mapping[str, Any]]) -> PriorCard:
    multiple = 4 if "autoencoder" in networks else 2
    return PriorCard(
        name=name,
        family="volume-diffusion",
        summary="Untrained networks of a few thousand weights.",
        modality="MR",
        quantity="arbitrary",
        intensity=Intensity("percentile"),
        dimensions=3,
        spacing_mm=Range(1.0, 1.0),
        size=Size(multiple, at_least=2 * multiple),
        sigma=Range(0.002, 80.0),
        prediction=Prediction("edm", sigma_data=0.5),
        facts=Facts({"contrast": ("t1w", "t2w")}),
        latent=Latent(0.5) if "autoencoder" in networks else None,
        networks=networks,
        weights={},
        licence="Apache-2.0",
    )


def _drawn(network: nn.Module) -> dict[str, torch.Tensor]:
    """Weights that are the same each time, none of which is zero."""
    generator = torch.Generator().manual_seed(0)
    drawn = {}
    for name, weight in network.state_dict().items():
        noise = torch.randn(weight.shape, generator=generator)
        if weight.ndim > 1:
            drawn[name] = noise / weight[0].numel() ** 0.5
        else:
            drawn[name] = 0.05 * noise + float(name.endswith("weight"))
    return drawn
