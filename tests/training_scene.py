"""Small scans and configurations for the tests of training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import nibabel
import numpy as np
import torch
from ruamel.yaml import YAML

from medldm.host import Host
from medldm.host.options import build
from medldm.inference.conditioning import Conditioning
from medldm.training.beginning import Role
from medldm.training.command import Prepared, prepare, read_config
from medldm.training.config import TrainConfig
from medldm.training.loop import Tell
from medldm.training.patches import PatchSampler
from medldm.training.training_scan import TrainingScan

CLASSES = {"modality": ["mr", "ct"], "contrast": ["t1w", "t2w"], "plane": ["axial", "coronal", "sagittal"]}
DENOISER = {"kind": "unet", "channels": 1, "widths": [8, 8], "layers": 1, "fold": 2, "groups": 4}
AUTOENCODER = {"kind": "kl", "channels": 1, "latent_channels": 3, "widths": [8, 8], "layers": 1, "groups": 4}


def tiny_mapping(**sections: Mapping[str, Any] | Any) -> dict[str, Any]:
    """The content of a configuration file; each section given is merged into the one here."""
    plain: dict[str, Any] = {
        "seed": 3,
        "card": {
            **{"name": "tiny-mr", "family": "slice-diffusion", "summary": "A test.", "modality": "MR"},
            **{"quantity": "arbitrary", "intensity": {"rule": "percentile"}, "dimensions": 2},
            **{"planes": ["axial", "coronal", "sagittal"], "spacing_mm": {"low": 0.5, "high": 3.0}},
            **{"size": {"multiple": 4, "at_least": 8}, "sigma": {"low": 0.01, "high": 5.0}},
            **{"prediction": {"kind": "edm", "sigma_data": 0.3}, "networks": {"denoiser": dict(DENOISER)}},
            **{"weights": {}, "licence": "Apache-2.0"},
            "facts": {"classes": CLASSES, "numbers": {"spacing_mm": [1.0, 0.5]}, "fixed": {"modality": "mr"}},
        },
        "data": {
            "intensity": {"MR": {"rule": "percentile"}, "CT": {"rule": "window", "low": -1000, "high": 1000}},
            "rules": [
                {"match": "*t1w*", "modality": "MR", "facts": {"modality": "mr", "contrast": "t1w"}, "weight": 2.0},
                {"match": "*ct*", "modality": "CT", "facts": {"modality": "ct"}, "subject": "(ct-[0-9]+)"},
            ],
            **{"held_back": ["t1w-3", "ct-2"], "generic": 0.0},
        },
        "patches": {"shapes": [{"size": 16, "batch": 4}], "planes": {"axial": 0.6, "coronal": 0.4}},
        "optimiser": {"rate": 0.003, "warm_up": 2, "average": 4},
        "run": {"steps": 6, "check_every": 3, "check_patches": 4, "precision": "no"},
    }
    for name, changes in sections.items():
        plain[name] = {**plain[name], **changes} if isinstance(changes, Mapping) and name in plain else changes
    return plain


def tiny_config(**sections: Any) -> TrainConfig:
    """The same, read."""
    return cast(TrainConfig, build(TrainConfig, tiny_mapping(**sections), subject="training configuration"))


def written_config(folder: Path, content: Mapping[str, Any], name: str = "tiny.yaml") -> Path:
    """A configuration as a file of a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    with path.open("w", encoding="utf-8") as file:
        # Through JSON, since what two entries share would become a YAML alias.
        YAML().dump(json.loads(json.dumps(content)), file)
    return path


def silent(stage: str, message: str, fields: Mapping[str, Any]) -> None:
    """Told of the course of a training, it keeps it to itself."""


def prepare_training(
    host: Host,
    scans: Path,
    folder: Path,
    content: Mapping[str, Any],
    *,
    role: Role = "denoiser",
    tell: Tell = silent,
) -> Prepared:
    """A training as the command line prepares it, of a configuration that is written to the folder."""
    config, written = read_config(written_config(folder, content), role=role)
    return prepare(host, [scans], config, written, tell, command="medldm train", device="cpu")


def conditioning_of(config: TrainConfig) -> Conditioning:
    return Conditioning(config.card.facts.classes, config.card.facts.numbers)


def sampler_of(config: TrainConfig, scans: list[TrainingScan], *, augment: bool = True) -> PatchSampler:
    return PatchSampler(scans, config, conditioning_of(config), augment=augment)


def scan_of(
    values: torch.Tensor, *, mr: bool = True, subject: str = "one", weight: float = 1.0, held_back: bool = False
) -> TrainingScan:
    """A scan of given model values (z, y, x), one millimetre, axial."""
    return TrainingScan(
        data=values.half(),
        planes=("axial", "coronal", "sagittal"),
        spacing=(1.0, 1.0, 1.0),
        facts={"modality": "mr", "contrast": "t1w"} if mr else {"modality": "ct"},
        is_mr=mr,
        subject=subject,
        weight=weight,
        held_back=held_back,
    )


def head(seed: int, shape: tuple[int, int, int] = (20, 24, 22)) -> np.ndarray:
    """An ellipsoid with a texture in air, between 0 and 1; (z, y, x)."""
    generator = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = sum((axis / generator.uniform(0.7, 0.95)) ** 2 for axis in axes)
    waves = np.sin(axes[1] * generator.uniform(4, 9)) * np.cos(axes[2] * generator.uniform(4, 9))
    return np.where(radius < 1, 0.55 + 0.25 * waves + 0.2 * (radius > 0.8), 0.0).astype(np.float32)


def write_scans(folder: Path) -> Path:
    """Three MR heads of arbitrary unit and two CT in HU."""
    folder.mkdir(parents=True, exist_ok=True)
    affine = np.diag([1.2, 1.2, 1.5, 1.0])
    for n in (1, 2, 3):
        write_nifti(folder / f"t1w-{n}.nii.gz", 700 * head(n), affine)
    for n in (1, 2):
        write_nifti(folder / f"ct-{n}.nii.gz", -1000 + 1100 * head(10 + n), affine)
    return folder


def write_nifti(path: Path, values: np.ndarray, affine: np.ndarray) -> None:
    """(z, y, x) values as a NIfTI file."""
    image = nibabel.Nifti1Image(np.ascontiguousarray(values.T.astype(np.float32)), affine)
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)
