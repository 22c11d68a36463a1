"""MONAI's networks from the arguments that a bundle's configuration holds; no class is named by a file."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from medldm.errors import UsageError
from medldm.host.registry import closest, quoted, sentence

ForeignKind = Literal["monai-unet", "monai-kl", "maisi-unet", "maisi-kl"]

_CLASSES: Mapping[ForeignKind, tuple[str, str]] = {
    "monai-unet": ("monai.networks.nets.diffusion_model_unet", "DiffusionModelUNet"),
    "monai-kl": ("monai.networks.nets.autoencoderkl", "AutoencoderKL"),
    "maisi-unet": ("monai.apps.generation.maisi.networks.diffusion_model_unet_maisi", "DiffusionModelUNetMaisi"),
    "maisi-kl": ("monai.apps.generation.maisi.networks.autoencoderkl_maisi", "AutoencoderKlMaisi"),
}


def network_of(kind: ForeignKind, config: Mapping[str, Any]) -> nn.Module:
    """MONAI's network with fresh weights.

    What only steers memory, speed or half precision is set for medldm's way of running, not the bundle's: attention
    without a stored matrix, no splits along an axis, no normalisation in half precision.

    Raises:
        UsageError: ``E-VLD-02``, MONAI does not know an argument or refuses its value.
    """
    module, name = _CLASSES[kind]
    target = getattr(importlib.import_module(module), name)
    known = set(inspect.signature(target).parameters)
    unknown = sorted(set(config) - known)
    if unknown:
        raise UsageError(
            "E-VLD-02",
            f"MONAI's {name} has no argument {unknown[0]!r}.",
            why=f"The closest arguments are {quoted(closest(unknown[0], sorted(known)))}.",
            fix="Correct 'config' of the network.",
        )
    if config.get("spatial_dims") != 3:
        raise UsageError(
            "E-VLD-02",
            f"MONAI's {name} is configured with spatial_dims {config.get('spatial_dims')!r}.",
            why="This family knows networks of volumes, whose spatial_dims is 3.",
            fix="Take a bundle of volumes.",
        )
    ours = {
        "use_flash_attention": kind != "maisi-unet" or torch.cuda.is_available(),
        "upcast_attention": False,
        "num_splits": 1,
        "norm_float16": False,
        "print_info": False,
        "save_mem": False,
    }
    try:
        network: nn.Module = target(**{**config, **{key: value for key, value in ours.items() if key in known}})
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, ZeroDivisionError, RuntimeError) as error:
        raise UsageError(
            "E-VLD-02",
            f"MONAI's {name} refuses its configuration: {sentence(error)}",
            fix="Correct 'config' of the network.",
        ) from error
    return _any_precision(network) if kind == "maisi-kl" else network


def levels_of(config: Mapping[str, Any]) -> int:
    """Levels of resolution; each after the first halves the volume."""
    return len(config.get("channels") or config.get("num_channels") or (1, 1, 1, 1))


def _any_precision(network: nn.Module) -> nn.Module:
    """MAISI's normalisation computes in single or half precision only; torch's has the same weights and result."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.GroupNorm) and type(child) is not nn.GroupNorm:
                setattr(parent, name, nn.GroupNorm(child.num_groups, child.num_channels, eps=child.eps))
    return network
