"""Which part of a bundle's configuration is which: autoencoder, denoiser, schedule, weights."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from medldm.errors import InputRefused
from medldm.host.registry import quoted
from medldm_volume_ldm.bundle_config import BundleConfig
from medldm_volume_ldm.foreign_config import ForeignKind

# Class -> our kind. Older bundles name the same classes in the package generative.
_NETWORKS: Mapping[str, ForeignKind] = {
    "AutoencoderKL": "monai-kl",
    "AutoencoderKlMaisi": "maisi-kl",
    "DiffusionModelUNet": "monai-unet",
    "DiffusionModelUNetMaisi": "maisi-unet",
}
_SCHEDULERS = ("DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "RFlowScheduler")
# scripts.rectified_flow is what MAISI ships until MONAI has it.
_ORIGIN = re.compile(r"^(monai|generative)\.|^scripts\.rectified_flow\.")
# MAISI's bundles also hold the networks that invent masks; those keys are not among these.
_AUTOENCODER_KEYS = ("autoencoder_def", "network_def")
_DENOISER_KEYS = ("diffusion_def", "diffusion_unet_def", "network_def", "unet_def")
_SCHEDULER_KEYS = ("noise_scheduler", "scheduler")
_AUTOENCODER_FILES = ("load_autoencoder_path", "trained_autoencoder_path")
_DENOISER_FILES = ("load_diffusion_path", "trained_diffusion_path")
_RENAMED = {"num_channels": "channels", "use_checkpointing": "use_checkpoint"}
_FILE = re.compile(r"([\w.+-]+)\.(?:pt|pth|ckpt|safetensors|ts)['\"]?\)*$")


@dataclass(frozen=True)
class NetworkPart:
    """One network of a bundle.

    Attributes:
        kind: of the family's networks.
        config: arguments of MONAI's class.
        stem: name of its file of weights without the ending.
    """

    kind: ForeignKind
    config: Mapping[str, Any]
    stem: str


@dataclass(frozen=True)
class BundleParts:
    """What a prior is made of.

    Attributes:
        denoiser: the U-Net.
        autoencoder: None for a bundle that works on the image itself.
        scheduler: class name.
        schedule: its arguments.
    """

    denoiser: NetworkPart
    autoencoder: NetworkPart | None
    scheduler: str
    schedule: Mapping[str, Any]


def parts_of(bundle: BundleConfig) -> BundleParts:
    """Find the parts.

    Raises:
        InputRefused: ``E-VLD-03`` a part is missing, ``E-VLD-04`` it needs an expression evaluated, ``E-VLD-05`` it is
            of another class than those known here.
    """
    denoiser = _network(bundle, _DENOISER_KEYS, "unet", _DENOISER_FILES, "model")
    if denoiser is None:
        raise InputRefused(
            "E-VLD-03",
            f"The bundle's configuration defines no diffusion U-Net under {quoted(_DENOISER_KEYS)}.",
            why="A diffusion prior needs one.",
            fix="Give a bundle of a diffusion model.",
        )
    autoencoder = _network(bundle, _AUTOENCODER_KEYS, "kl", _AUTOENCODER_FILES, "autoencoder")
    name = next((key for key in _SCHEDULER_KEYS if isinstance(bundle.content.get(key), Mapping)), None)
    if name is None:
        raise InputRefused(
            "E-VLD-03",
            f"The bundle's configuration defines no scheduler under {quoted(_SCHEDULER_KEYS)}.",
            why="The noise levels of the U-Net cannot be guessed.",
            fix="Add the scheduler of the training.",
        )
    scheduler, schedule = _target(bundle, name, _SCHEDULERS)
    return BundleParts(denoiser, autoencoder, scheduler, schedule)


def _network(
    bundle: BundleConfig, keys: Sequence[str], role: Literal["unet", "kl"], files: Sequence[str], stem: str
) -> NetworkPart | None:
    for key in keys:
        if key not in bundle.content:
            continue
        name, config = _target(bundle, key, tuple(_NETWORKS))
        kind = _NETWORKS[name]
        if not kind.endswith(role):
            continue
        if kind.startswith("monai"):
            config = {_RENAMED.get(argument, argument): value for argument, value in config.items()}
        return NetworkPart(kind, config, _stem(bundle, files, stem))
    return None


def _target(bundle: BundleConfig, key: str, allowed: Sequence[str]) -> tuple[str, dict[str, Any]]:
    value = bundle.content[key]
    if isinstance(value, Mapping):
        # What must happen before the class is made (loading, say) is of no interest here, and often a program.
        value = {name: inner for name, inner in value.items() if name not in ("_requires_", "_desc_", "_disabled_")}
        bundle = BundleConfig(bundle.folder, {**bundle.content, key: value}, bundle.metadata)
    resolved = bundle.value(key)
    target = resolved.get("_target_") if isinstance(resolved, Mapping) else None
    name = str(target).rpartition(".")[2]
    plain = isinstance(target, str) and (_ORIGIN.match(target) or target == name)
    if not plain or name not in allowed:
        raise InputRefused(
            "E-VLD-05",
            f"'{key}' of the bundle's configuration is of the class {target!r}.",
            why=f"Only MONAI's classes {quoted(allowed)} are known here, and no other code is run.",
            fix="Give a bundle made of those.",
        )
    rest = cast("Mapping[str, Any]", resolved)
    return name, {
        argument: inner
        for argument, inner in rest.items()
        if argument not in ("_target_", "_requires_", "_desc_", "_disabled_", "_mode_")
    }


def _stem(bundle: BundleConfig, keys: Sequence[str], otherwise: str) -> str:
    for key in keys:
        found = _FILE.search(str(bundle.content.get(key, "")))
        if found:
            return found[1]
    return otherwise
