"""From a folder that diffusers saved to a prior folder: networks, weights, and what a card can say of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from medldm.errors import ComponentMissing
from medldm.host.options import build as build_options
from medldm.inference.networks import Autoencoder
from medldm.priors.card import Facts, Intensity, Latent, PriorCard, Range, Size, Training
from medldm.priors.family import Networks, card_name
from medldm.priors.folder import write_prior
from medldm.priors.latent_figures import MEASURED, latent_figures
from medldm_slice_ldm.diffusers_config import KLConfig, UNet2DConfig, VQConfig
from medldm_slice_ldm.diffusers_folder import DiffusersFolder, SavedModel, read_folder
from medldm_slice_ldm.schedule import schedule_of

Build = Callable[[Mapping[str, Mapping[str, Any]]], Networks]
_AUTOENCODERS: Mapping[str, tuple[str, type, str]] = {
    "AutoencoderKL": ("diffusers-kl", KLConfig, "vae"),
    "VQModel": ("diffusers-vq", VQConfig, "vq"),
}
_COLOURS = 3
_UNSTATED = ("modality", "quantity", "intensity", "spacing_mm", "planes", "licence")
_PLACEHOLDER = "a placeholder; a diffusers folder does not say what its images were"


@dataclass(frozen=True)
class _Taken:
    """One network, ready for the card: its options there, and its weights under the names of our module."""

    options: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


def convert(source: Path, folder: Path, build: Build) -> PriorCard:
    """Turn a folder that diffusers saved into a prior folder.

    Weights keep their precision (half or single). diffusers' images lie in [-1, 1], so the card's intensity maps to it.
    What the source does not say is listed in ``training.figures.assumed``, see :class:`PriorFamily`.

    Args:
        source: of a DDPM, DDIM or LDM pipeline, or of a bare ``UNet2DModel``; see :mod:`.diffusers_folder`.
        folder: new.
        build: of the family.

    Returns:
        The card of the new folder.

    Raises:
        ComponentMissing: ``E-SLD-03`` to ``E-SLD-08``, ``E-PRI-..`` what of the source cannot be taken.
        UsageError: ``E-OPT-..`` an entry of a ``config.json`` is unknown or impossible; ``E-PRI-18`` to ``E-PRI-20``
            the folder cannot be written, or weights are not finite.
    """
    saved = read_folder(source)
    unet: UNet2DConfig = _checked(UNet2DConfig, saved.unet)
    schedule = schedule_of(saved.scheduler, unet.time_embedding_type)
    assumed = dict.fromkeys(_UNSTATED, _PLACEHOLDER)
    taken = {"denoiser": _taken(saved.unet, "diffusers-unet2d", unet, "unet")}
    latent, downscale, image_channels = None, 1, unet.in_channels
    if saved.autoencoder is None:
        _with_weights(taken, build)
    else:
        config, taken["autoencoder"] = _autoencoder(saved.autoencoder, assumed)
        latent = _latent(config, unet, _with_weights(taken, build).autoencoder)
        downscale = 2 ** (len(config.block_out_channels) - 1)
        image_channels = 1 if config.in_channels == _COLOURS else config.in_channels
    slab, complex_ = _channels_mean(image_channels, latent is not None, assumed)
    classes = {"class": tuple(map(str, range(unet.num_class_embeds)))} if unet.num_class_embeds else {}
    if classes:
        assumed["facts.fixed.class"] = (
            "left open; unless 'networks.denoiser.null_class' is stated, a recipe must tell it"
        )
    card = PriorCard(
        name=card_name(folder),
        family="slice-diffusion",
        summary=f"Imported from diffusers, {saved.pipeline or 'a bare UNet2DModel'}.",
        modality="OT",
        quantity="arbitrary",
        intensity=Intensity("percentile", to=(-1.0, 1.0)),
        dimensions=2,
        spacing_mm=Range(0.1, 10.0),
        planes=("axial", "coronal", "sagittal"),
        slab=slab,
        complex=complex_,
        size=_size(unet, downscale),
        sigma=schedule.sigma,
        prediction=schedule.prediction,
        facts=Facts(classes=classes),
        latent=latent,
        networks={role: part.options for role, part in taken.items()},
        weights={},
        licence="not stated by the source",
        training=Training(figures={"source": _described(saved), "notes": list(schedule.notes), "assumed": assumed}),
    )
    tensors = {role: part.tensors for role, part in taken.items()}
    return write_prior(folder, card, tensors, dtype=_precision(tensors))


def _checked(schema: type, model: SavedModel) -> Any:
    # Entries of later or earlier versions that are null mean that what they are about is off.
    known = {field.name for field in fields(schema)}
    stated = {name: value for name, value in model.config.items() if name in known or value is not None}
    return build_options(schema, stated, where="config.json", subject=f"{model.cls} of {model.folder}")


def _autoencoder(model: SavedModel, assumed: dict[str, str]) -> tuple[KLConfig | VQConfig, _Taken]:
    kind, schema, inside = _AUTOENCODERS[model.cls]
    config: KLConfig | VQConfig = _checked(schema, model)
    taken = _taken(model, kind, config, inside)
    assumed["latent.gain"] = assumed["latent.error"] = MEASURED
    if "scaling_factor" not in model.config:
        assumed["latent.scale"] = f"the autoencoder states no scaling_factor; diffusers takes {config.scaling_factor:g}"
    if config.in_channels == _COLOURS:
        assumed["networks.autoencoder.gray"] = "three channels are colours: a gray image goes into each, their mean out"
        taken = replace(taken, options={**taken.options, "gray": True})
    return config, taken


def _taken(model: SavedModel, kind: str, config: Any, inside: str) -> _Taken:
    tensors = {f"{inside}.{name}": tensor for name, tensor in model.weights().items()}
    return _Taken({"kind": kind, "config": asdict(config)}, tensors)


def _with_weights(taken: Mapping[str, _Taken], build: Build) -> Networks:
    """The networks on the meta device first, so that sizes are compared before memory is asked for."""
    with torch.device("meta"):
        networks = build({role: part.options for role, part in taken.items()})
    for role, module in networks.named().items():
        tensors = taken[role].tensors
        expected = {name: tensor.shape for name, tensor in module.state_dict().items()}
        found = {name: tensor.shape for name, tensor in tensors.items()}
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        if wrong:
            name = wrong[0]
            raise ComponentMissing(
                "E-SLD-08",
                f"The weights of the {role} are not those of its config.json: {len(wrong)} tensors differ, such as "
                f"{name!r} ({_shown(found.get(name))} in the file, {_shown(expected.get(name))} by the configuration).",
                fix="Copy config.json and the weights from the same place.",
            )
        single = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
        module.load_state_dict(single, assign=True)
        module.eval().requires_grad_(False)
    return networks


def _latent(config: KLConfig | VQConfig, unet: UNet2DConfig, module: nn.Module | None) -> Latent:
    autoencoder = cast(Autoencoder, module)
    if autoencoder.latent_channels != unet.in_channels:
        raise _channels(f"the latent has {autoencoder.latent_channels}, the denoiser takes {unet.in_channels}")
    shift = (config.shift_factor or 0.0) if isinstance(config, KLConfig) else 0.0
    gain, error = latent_figures(autoencoder, 2, config.scaling_factor, shift)
    return Latent(config.scaling_factor, shift, gain, error)


def _channels_mean(
    channels: int, latent: bool, assumed: dict[str, str]
) -> tuple[int, Literal["phase-frozen", "channels"]]:
    """(slab, complex) of the card, by the number of channels of an image."""
    if channels == 2:
        assumed["complex"] = "two channels are taken as real and imaginary part"
        return 1, "channels"
    if channels % 2 == 0 or (latent and channels > 1):
        raise _channels(f"it takes images of {channels} channels")
    if channels > 1:
        assumed["slab"] = f"{channels} channels are taken as neighbouring slices; do not use it if they were colours"
    return channels, "phase-frozen"


def _size(unet: UNet2DConfig, downscale: int) -> Size:
    multiple = downscale * 2 ** (len(unet.block_out_channels) - 1)
    seen = unet.sample_size if isinstance(unet.sample_size, int) else min(unet.sample_size or (0,))
    # Attention over more pixels than in training is outside of what the network knows, and costs their square.
    limit = downscale * seen // multiple * multiple if unet.attends else 0
    return Size(multiple=multiple, at_least=multiple, at_most=limit or None)


def _precision(tensors: Mapping[str, Mapping[str, Tensor]]) -> torch.dtype:
    kinds = {tensor.dtype for state in tensors.values() for tensor in state.values() if tensor.is_floating_point()}
    return torch.float16 if kinds == {torch.float16} else torch.float32


def _described(saved: DiffusersFolder) -> dict[str, Any]:
    parts = {"unet": saved.unet.cls, "scheduler": saved.scheduler.get("_class_name")}
    if saved.autoencoder is not None:
        parts["autoencoder"] = saved.autoencoder.cls
    return {"pipeline": saved.pipeline, **parts}


def _shown(shape: torch.Size | None) -> str:
    return "absent" if shape is None else str(list(shape))


def _channels(reason: str) -> ComponentMissing:
    return ComponentMissing(
        "E-SLD-07",
        f"The channels of the folder's networks do not fit a prior of slices: {reason}.",
        why="A slice has one channel, a complex slice two, and a slab of neighbouring slices an odd number.",
        fix="Bring a model of such images.",
    )
