"""A folder that diffusers saved: which networks it holds, their ``config.json`` and weights. Nothing in it is run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from medldm.errors import ComponentMissing
from medldm.priors.family import UnknownLayout
from medldm.priors.pickles import SUFFIXES, pickle_refused
from medldm.priors.weight_file import shapes

_STEM = "diffusion_pytorch_model"
_MAX_JSON_BYTES = 2**20
_AUTOENCODERS = ("vae", "vqvae")
_UNCONDITIONAL = {"unet": ("UNet2DModel",), "vae": ("AutoencoderKL", "VQModel"), "vqvae": ("VQModel", "AutoencoderKL")}
_SAVE_AGAIN = (
    "  python -c \"from diffusers import {cls}; {cls}.from_pretrained('{folder}', use_safetensors=False)"
    ".save_pretrained('{folder}', safe_serialization=True)\""
)


@dataclass(frozen=True)
class SavedModel:
    """One network of the folder.

    Attributes:
        folder: holds ``config.json`` and the weights.
        cls: its class in diffusers.
        config: the entries of ``config.json`` but those about the file itself, whose names begin with ``_``.
    """

    folder: Path
    cls: str
    config: Mapping[str, Any]

    def weights(self) -> dict[str, Tensor]:
        """Names as the installed diffusers has them -> tensors.

        Raises:
            ComponentMissing: ``E-SLD-05`` there are none, ``E-PRI-03`` they are a pickle, ``E-PRI-11`` or ``E-PRI-12``
                a file is damaged.
        """
        tensors: dict[str, Tensor] = {}
        for path in self._files():
            shapes(path)
            tensors |= load_file(path)
        return {_present_name(name): tensor for name, tensor in tensors.items()}

    def _files(self) -> list[Path]:
        index = self.folder / f"{_STEM}.safetensors.index.json"
        if index.is_file():
            return self._shards(index)
        whole = self.folder / f"{_STEM}.safetensors"
        found = [whole] if whole.is_file() else sorted(self.folder.glob(f"{_STEM}.*.safetensors"))
        if len(found) == 1:
            return found
        if found:
            raise _no_weights(self.folder, f"variants {', '.join(p.name for p in found)}, and none is the plain one")
        for path in sorted(self.folder.iterdir()):
            if path.suffix in SUFFIXES:
                raise pickle_refused(path, _SAVE_AGAIN.format(cls=self.cls, folder=self.folder.name))
            if path.suffix in (".onnx", ".msgpack", ".h5"):
                raise _no_weights(self.folder, f"only {path.name}, a format that medldm does not read")
        raise _no_weights(self.folder, "no safetensors file")

    def _shards(self, index: Path) -> list[Path]:
        names = read_json(index).get("weight_map")
        if not isinstance(names, dict) or not names:
            raise _no_weights(self.folder, f"{index.name} without a 'weight_map'")
        files = sorted({str(name) for name in names.values()})
        for name in files:
            # The index is data of a stranger: it must not lead to files elsewhere.
            if Path(name).name != name or not name.endswith(".safetensors"):
                raise _no_weights(self.folder, f"the shard {name!r} in {index.name}, which is no file of this folder")
            if not (self.folder / name).is_file():
                raise _no_weights(self.folder, f"no shard {name}, which {index.name} names")
        return [self.folder / name for name in files]


@dataclass(frozen=True)
class DiffusersFolder:
    """An unconditional model, pixel or latent.

    Attributes:
        pipeline: class that saved it; empty for a bare network.
        unet: the denoiser.
        autoencoder: of a latent model.
        scheduler: entries of ``scheduler_config.json``.
    """

    pipeline: str
    unet: SavedModel
    autoencoder: SavedModel | None
    scheduler: Mapping[str, Any]


def read_folder(source: Path) -> DiffusersFolder:
    """Find out what a folder holds.

    Args:
        source: of a pipeline (``model_index.json``), or of a bare ``UNet2DModel`` with ``scheduler_config.json`` beside
            its ``config.json``.

    Raises:
        ComponentMissing: ``E-SLD-03`` not a diffusers folder, or a file of it cannot be read; ``E-SLD-04`` no
            unconditional model; ``E-SLD-06`` no scheduler.
    """
    if source.is_file():
        raise _unknown_layout(source, "is a single file")
    if not source.is_dir():
        raise _unknown_layout(source, "does not exist")
    if (source / "model_index.json").is_file():
        return _pipeline(source)
    if (source / "config.json").is_file():
        unet = _model(source, ("UNet2DModel",))
        return DiffusersFolder("", unet, None, _scheduler(source))
    raise _unknown_layout(source, "has neither model_index.json nor config.json")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of reasonable size.

    Raises:
        ComponentMissing: ``E-SLD-03``.
    """
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ValueError(f"it has more than {_MAX_JSON_BYTES} bytes")
        entries = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(entries, dict):
            raise ValueError("it holds no object")
    except (OSError, ValueError, RecursionError) as error:
        raise ComponentMissing(
            "E-SLD-03", f"{path} cannot be read: {error}.", fix="Copy the folder again, as a whole."
        ) from error
    return entries


def _pipeline(source: Path) -> DiffusersFolder:
    index = read_json(source / "model_index.json")
    parts = {
        name: value[1]
        for name, value in index.items()
        if not name.startswith("_") and isinstance(value, list) and len(value) == 2 and value[1] is not None
    }
    pipeline = str(index.get("_class_name", ""))
    for name, cls in parts.items():
        # What a pipeline brings besides tells the network something that a prior cannot tell it, a text for example.
        if name != "scheduler" and cls not in _UNCONDITIONAL.get(name, ()):
            raise _conditional(source, f"its {pipeline} has the part {name!r} of class {cls}")
    autoencoders = [name for name in _AUTOENCODERS if name in parts]
    if "unet" not in parts or len(autoencoders) > 1:
        raise _conditional(source, f"its {pipeline} has the parts {', '.join(sorted(parts)) or 'none'}")
    autoencoder = _model(source / autoencoders[0], _UNCONDITIONAL[autoencoders[0]]) if autoencoders else None
    scheduler = _scheduler(source / "scheduler")
    return DiffusersFolder(pipeline, _model(source / "unet", _UNCONDITIONAL["unet"]), autoencoder, scheduler)


def _model(folder: Path, allowed: tuple[str, ...]) -> SavedModel:
    if not (folder / "config.json").is_file():
        raise ComponentMissing("E-SLD-03", f"{folder} has no config.json.", fix="Copy the folder again, as a whole.")
    entries = read_json(folder / "config.json")
    cls = entries.get("_class_name")
    if cls not in allowed:
        raise _conditional(folder, f"its network is a {cls}")
    return SavedModel(folder, str(cls), {name: value for name, value in entries.items() if not name.startswith("_")})


def _scheduler(folder: Path) -> Mapping[str, Any]:
    path = folder / "scheduler_config.json"
    if not path.is_file():
        raise ComponentMissing(
            "E-SLD-06",
            f"There is no {path}.",
            why="Without it nothing says what the network predicts and which noise it has seen.",
            fix="Save the scheduler of the training there: scheduler.save_pretrained(folder).",
        )
    return read_json(path)


def _present_name(name: str) -> str:
    """Attention was renamed in diffusers 0.15; folders written before are still about."""
    new = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
    return re.sub(r"(\.attentions\.\d+\.)(query|key|value|proj_attn)\.", lambda m: f"{m[1]}{new[m[2]]}.", name)


def _unknown_layout(source: Path, reason: str) -> UnknownLayout:
    return UnknownLayout(
        "E-SLD-03",
        f"{source} {reason}; a folder saved by diffusers is needed.",
        fix="Give the folder that save_pretrained wrote, with model_index.json, or with config.json and "
        "scheduler_config.json.",
    )


def _conditional(folder: Path, reason: str) -> ComponentMissing:
    return ComponentMissing(
        "E-SLD-04",
        f"{folder} is not taken: {reason}.",
        why="A prior of slices is a UNet2DModel, with an AutoencoderKL or a VQModel if it works on latents; networks "
        "that need a text or another image beside the noisy one, and code of their own, are none.",
        fix="Bring an unconditional or class-conditional model.",
    )


def _no_weights(folder: Path, found: str) -> ComponentMissing:
    return ComponentMissing(
        "E-SLD-05",
        f"The weights of {folder} cannot be taken; there is {found}.",
        fix="Save the model again with save_pretrained(folder, safe_serialization=True).",
    )
