"""Folders as diffusers writes them, with small networks."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from medldm_slice_ldm.family import SliceDiffusion

FAMILY = SliceDiffusion()


def unet(**options: Any) -> UNet2DModel:
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "sample_size": 16,
        "in_channels": 1,
        "out_channels": 1,
        "block_out_channels": (4, 8),
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "norm_num_groups": 2,
        "attention_head_dim": 4,
    }
    return UNet2DModel(**settings | options).eval()


def autoencoder(kind: type, **options: Any) -> Any:
    torch.manual_seed(1)
    settings: dict[str, Any] = {
        "in_channels": 1,
        "out_channels": 1,
        "block_out_channels": (4, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "norm_num_groups": 2,
        "latent_channels": 3,
    }
    return kind(**settings | options).eval()


def ddpm(folder: Path, network: UNet2DModel | None = None, scheduler: Any = None) -> DDPMPipeline:
    pipeline = DDPMPipeline(network or unet(), scheduler or DDPMScheduler(clip_sample=False))
    pipeline.save_pretrained(folder, safe_serialization=True)
    return pipeline


def edit(path: Path, **entries: Any) -> None:
    """Change entries of a JSON file; ``...`` removes one."""
    changed = json.loads(path.read_text()) | entries
    path.write_text(json.dumps({name: value for name, value in changed.items() if value is not ...}))
