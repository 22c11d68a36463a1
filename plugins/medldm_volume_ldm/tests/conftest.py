"""Bundle folders of exactly the layouts of MONAI's model zoo, with small networks made by MONAI."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.apps.generation.maisi.networks.autoencoderkl_maisi import AutoencoderKlMaisi
from monai.apps.generation.maisi.networks.diffusion_model_unet_maisi import DiffusionModelUNetMaisi
from monai.networks.nets.autoencoderkl import AutoencoderKL
from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet
from safetensors.torch import save_file
from torch import nn

BRAIN_AUTOENCODER = {
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 1,
    "latent_channels": 3,
    "channels": [2, 4, 4],
    "num_res_blocks": 1,
    "norm_num_groups": 2,
    "norm_eps": 1e-06,
    "attention_levels": [False, False, False],
    "with_encoder_nonlocal_attn": False,
    "with_decoder_nonlocal_attn": False,
}
BRAIN_UNET = {
    "spatial_dims": 3,
    "in_channels": 7,
    "out_channels": 3,
    "channels": [4, 8],
    "num_res_blocks": 1,
    "attention_levels": [False, True],
    "norm_num_groups": 2,
    "norm_eps": 1e-06,
    "resblock_updown": True,
    "num_head_channels": [0, 4],
    "with_conditioning": True,
    "transformer_num_layers": 1,
    "cross_attention_dim": 4,
    "upcast_attention": True,
    "use_flash_attention": False,
}
MAISI_AUTOENCODER = {
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 1,
    "latent_channels": 4,
    "num_channels": [4, 8, 8],
    "num_res_blocks": [1, 1, 1],
    "norm_num_groups": 4,
    "norm_eps": 1e-06,
    "attention_levels": [False, False, False],
    "with_encoder_nonlocal_attn": False,
    "with_decoder_nonlocal_attn": False,
    "use_checkpointing": False,
    "use_convtranspose": False,
    "norm_float16": False,
    "num_splits": 2,
    "dim_split": 1,
}
MAISI_UNET = {
    "spatial_dims": 3,
    "in_channels": 4,
    "out_channels": 4,
    "num_channels": [4, 8],
    "attention_levels": [False, True],
    "num_head_channels": [0, 4],
    "num_res_blocks": 1,
    "norm_num_groups": 4,
    "resblock_updown": True,
    "include_fc": True,
}


@dataclass(frozen=True)
class BundleExample:
    """A bundle and the networks whose weights it holds."""

    folder: Path
    unet: nn.Module
    autoencoder: nn.Module

    def edit(self, change: Callable[[dict[str, Any]], object], file: str = "inference.json") -> None:
        """Change the configuration on disk."""
        path = self.folder / "configs" / file
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))


def _stirred(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.15 * torch.randn(weight.shape, generator=generator))
    return network.eval().requires_grad_(False)


def _write(folder: Path, config: dict[str, Any], metadata: dict[str, Any], weights: dict[str, Any]) -> None:
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    for stem, state in weights.items():
        save_file({name: tensor.clone() for name, tensor in state.items()}, folder / "models" / f"{stem}.safetensors")


@pytest.fixture
def brain_bundle(tmp_path: Path) -> BundleExample:
    """The layout of brain_image_synthesis_latent_diffusion_model."""
    folder = tmp_path / "Brain_image_synthesis"
    unet, autoencoder = _stirred(DiffusionModelUNet(**BRAIN_UNET)), _stirred(AutoencoderKL(**BRAIN_AUTOENCODER))
    config = {
        "imports": ["$import torch", "$from pathlib import Path"],
        "bundle_root": ".",
        "load_old": 1,
        "model_dir": "$@bundle_root + '/models'",
        "create_output_dir": "$Path(@output_dir).mkdir(exist_ok=True)",
        "gender": 0.0,
        "age": 0.1,
        "ventricular_vol": 0.2,
        "brain_vol": 0.4,
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "conditioning": "$torch.tensor([[@gender, @age, @ventricular_vol, @brain_vol]]).to(@device).unsqueeze(1)",
        "autoencoder_def": {"_target_": "monai.networks.nets.AutoencoderKL", **BRAIN_AUTOENCODER},
        "network_def": "@autoencoder_def",
        "load_autoencoder_path": "$@model_dir + '/autoencoder.pt'",
        "load_autoencoder": "$@load_autoencoder_func(torch.load(@load_autoencoder_path))",
        "diffusion_def": {"_target_": "monai.networks.nets.DiffusionModelUNet", **BRAIN_UNET},
        "load_diffusion_path": "$@model_dir + '/model.pt'",
        "scheduler": {
            "_target_": "monai.networks.schedulers.DDIMScheduler",
            "_requires_": ["@load_diffusion", "@load_autoencoder"],
            "beta_start": 0.0015,
            "beta_end": 0.0205,
            "num_train_timesteps": 1000,
            "schedule": "scaled_linear_beta",
            "clip_sample": False,
        },
        "sampler": {"_target_": "scripts.sampler.Sampler", "_requires_": "@set_timesteps"},
    }
    metadata = {
        "version": "1.0.0",
        "task": "Brain image synthesis",
        "description": "A generative model of 3D brain MRI",
        "authors": "A. Author",
        "data_source": "https://www.ukbiobank.ac.uk/",
        "image_classes": "T1w head MRI with 1x1x1 mm voxel size",
        "eval_metrics": {"fid": 0.0076},
        "intended_use": "This is a research tool/prototype and not to be used clinically",
        "references": ["A paper"],
        "network_data_format": {
            "inputs": {"image": {"type": "tabular", "value_range": [0, 1]}},
            "outputs": {"pred": {"value_range": [0, 1], "modality": "MR"}},
        },
    }
    _write(folder, config, metadata, {"model": unet.state_dict(), "autoencoder": autoencoder.state_dict()})
    return BundleExample(folder, unet, autoencoder)


def _maisi(tmp_path: Path, more: dict[str, Any], scheduler: dict[str, Any]) -> BundleExample:
    folder = tmp_path / "maisi_ct_generative"
    unet = _stirred(DiffusionModelUNetMaisi(**MAISI_UNET, **more))
    autoencoder = _stirred(AutoencoderKlMaisi(**MAISI_AUTOENCODER))
    same = {"spatial_dims": "@spatial_dims", "in_channels": "@image_channels", "out_channels": "@image_channels"}
    networks = "monai.apps.generation.maisi.networks"
    config = {
        "imports": ["$import torch", "$import scripts"],
        "bundle_root": ".",
        "model_dir": "$@bundle_root + '/models'",
        "trained_autoencoder_path": "$@model_dir + '/autoencoder_epoch273.pt'",
        "trained_diffusion_path": "$@model_dir + '/diff_unet_ckpt_epoch19350.pt'",
        "trained_controlnet_path": "$@model_dir + '/controlnet_current.pt'",
        "modality": "ct",
        "spatial_dims": 3,
        "image_channels": 1,
        "latent_channels": 4,
        "latent_shape": ["@latent_channels", "$@output_size[0]//4"],
        "autoencoder_def": {
            **MAISI_AUTOENCODER,
            "_target_": f"{networks}.autoencoderkl_maisi.AutoencoderKlMaisi",
            **same,
            "latent_channels": "@latent_channels",
            "norm_float16": True,
        },
        "diffusion_unet_def": {
            **MAISI_UNET,
            **more,
            "_target_": f"{networks}.diffusion_model_unet_maisi.DiffusionModelUNetMaisi",
            "spatial_dims": "@spatial_dims",
            "in_channels": "@latent_channels",
            "out_channels": "@latent_channels",
            "use_flash_attention": True,
        },
        "controlnet_def": {"_target_": f"{networks}.controlnet_maisi.ControlNetMaisi"},
        "mask_generation_autoencoder_def": {"_target_": f"{networks}.autoencoderkl_maisi.AutoencoderKlMaisi"},
        "mask_generation_diffusion_def": {"_target_": "monai.networks.nets.diffusion_model_unet.DiffusionModelUNet"},
        "scale_factor": "$@checkpoint_diffusion_unet['scale_factor'].to(@device)",
        "noise_scheduler": scheduler,
        "mask_generation_noise_scheduler": {"_target_": "monai.networks.schedulers.ddpm.DDPMScheduler"},
        "check_input": "$scripts.sample.check_input(@body_region)",
    }
    metadata = {
        "version": "1.0.0",
        "name": "CT image latent diffusion generation",
        "task": "CT image synthesis",
        "description": "A generative model for creating 3D CT from Gaussian noise",
        "image_classes": "Flair brain MRI with 1.1x1.1x1.1 mm voxel size",
        "eval_metrics": {},
        "autoencoder_data_format": {"outputs": {"pred": {"value_range": [0, 1]}}},
    }
    # As a checkpoint that holds more than the weights comes out of a conversion.
    state = {f"unet_state_dict.{name}": tensor for name, tensor in unet.state_dict().items()}
    state["scale_factor"] = torch.tensor(0.8)
    weights = {"diff_unet_ckpt_epoch19350": state, "autoencoder_epoch273": autoencoder.state_dict()}
    _write(folder, config, metadata, weights)
    return BundleExample(folder, unet, autoencoder)


@pytest.fixture
def maisi_flow_bundle(tmp_path: Path) -> BundleExample:
    """The layout of maisi_ct_generative with a rectified flow."""
    scheduler = {
        "_target_": "scripts.rectified_flow.RFlowScheduler",
        "num_train_timesteps": 1000,
        "use_discrete_timesteps": False,
        "use_timestep_transform": True,
        "sample_method": "logit-normal",
        "scale": 1.2,
    }
    return _maisi(tmp_path, {"include_spacing_input": True, "num_class_embeds": 12}, scheduler)


@pytest.fixture
def maisi_regions_bundle(tmp_path: Path) -> BundleExample:
    """The layout of the earlier maisi_ct_generative: DDPM, told regions of the body."""
    scheduler = {
        "_target_": "monai.networks.schedulers.ddpm.DDPMScheduler",
        "num_train_timesteps": 1000,
        "beta_start": 0.0015,
        "beta_end": 0.0195,
        "schedule": "scaled_linear_beta",
        "clip_sample": False,
    }
    regions = {f"include_{end}_region_index_input": True for end in ("top", "bottom")}
    return _maisi(tmp_path, {**regions, "include_spacing_input": True}, scheduler)
