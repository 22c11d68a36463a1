"""A MONAI bundle as a prior: its card and its weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal, cast

from torch import Tensor, nn

from medldm.errors import ComponentMissing, InputRefused
from medldm.inference.networks import Autoencoder
from medldm.priors.card import DataSource, Intensity, Latent, PriorCard, Range, Size, Training
from medldm.priors.family import Networks
from medldm.priors.latent_figures import MEASURED, latent_figures
from medldm_volume_ldm.bundle_config import BundleConfig, read_bundle_config
from medldm_volume_ldm.bundle_facts import facts_of
from medldm_volume_ldm.bundle_parts import BundleParts, NetworkPart, parts_of
from medldm_volume_ldm.bundle_schedule import schedule_of
from medldm_volume_ldm.bundle_weights import fill, read_weights

Build = Callable[[Mapping[str, Mapping[str, Any]]], Networks]
State = dict[str, dict[str, Tensor]]
_MM = re.compile(r"(\d+(?:\.\d+)?)\s*x\s*(\d+(?:\.\d+)?)\s*x\s*(\d+(?:\.\d+)?)\s*mm")

_INTENSITY = "MAISI's window for CT, the usual percentile for MR; a bundle does not say which values became 0 and 1"
_AXES = "RAS, as MONAI loads and turns volumes; a bundle does not say how its own lay"
_UNSTATED = "not stated by the bundle"
_NOTES = ("A number that is not told is told as the middle of its range.",)


def prior_of_bundle(folder: Path, name: str, build: Build) -> tuple[PriorCard, State]:
    """Read a bundle of MONAI's model zoo; nothing of it is run.

    Args:
        folder: of the bundle, with ``configs`` and ``models``.
        name: for the card.
        build: of the family.

    Returns:
        The card, its weights not yet named, and the tensors of each network.

    Raises:
        MedldmError: ``E-VLD-..`` what is missing or cannot be taken.
    """
    bundle = read_bundle_config(folder)
    parts = parts_of(bundle)
    schedule, facts = schedule_of(parts.scheduler, parts.schedule), facts_of(bundle, parts.denoiser)
    channels = parts.denoiser.config.get("out_channels")
    coded = parts.autoencoder.config.get("latent_channels", 3) if parts.autoencoder else channels
    if channels != coded:
        raise InputRefused(
            "E-VLD-03",
            f"The U-Net of the bundle makes {channels} channels, but its autoencoder has {coded}.",
            why="They do not belong together.",
            fix="Check 'configs/inference'.",
        )
    options: dict[str, dict[str, Any]] = {"denoiser": _options(parts.denoiser, facts.options)}
    options["denoiser"]["reversed"] = schedule.reversed
    if parts.autoencoder is not None:
        options["autoencoder"] = _options(parts.autoencoder, {})
    networks = build(options)
    latent = _latent(networks, _scale(bundle, _weights(folder, parts, networks)))
    modality = _modality(bundle)
    card = PriorCard(
        name=name,
        family="volume-diffusion",
        summary=str(bundle.metadata.get("description", "Imported from a MONAI bundle.")),
        modality=modality,
        quantity="HU" if modality == "CT" else "arbitrary",
        intensity=_intensity(bundle, modality),
        dimensions=3,
        spacing_mm=_spacing(bundle, parts.denoiser),
        size=_size(networks),
        sigma=schedule.sigma,
        prediction=schedule.prediction,
        facts=facts.facts,
        latent=latent,
        networks=options,
        weights={},
        training=_training(bundle, options),
        licence=_licence(bundle),
        intended_use=f"{bundle.metadata.get('intended_use', '')} Research use only. Not a medical device.".strip(),
        quality=dict(bundle.metadata.get("eval_metrics") or {}),
    )
    return card, {role: dict(network.state_dict()) for role, network in networks.named().items()}


def _options(part: NetworkPart, more: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": part.kind, "config": dict(part.config), "axes": "RAS", **more}


def _weights(folder: Path, parts: BundleParts, networks: Networks) -> dict[str, Tensor]:
    """Fill the networks; what the denoiser's file holds besides its weights is returned."""
    if parts.autoencoder is not None and networks.autoencoder is not None:
        stem = parts.autoencoder.stem
        fill(_inner(networks.autoencoder, "kl"), read_weights(folder, stem), stem)
    stem = parts.denoiser.stem
    tensors = read_weights(folder, stem)
    found = {name: tensors.pop(name) for name in ("scale_factor",) if name in tensors}
    if networks.denoiser is not None:
        fill(_inner(networks.denoiser, "unet"), tensors, stem)
    return found


def _inner(network: nn.Module, name: str) -> nn.Module:
    return network.get_submodule(name)


def _scale(bundle: BundleConfig, found: Mapping[str, Tensor]) -> float:
    """The latent that the U-Net knows, over the encoder's mean. A bundle that decodes what it samples has 1."""
    if "scale_factor" in found:
        return float(found["scale_factor"])
    given = bundle.content.get("scale_factor", 1.0)
    if isinstance(given, (int, float)):
        return float(given)
    raise ComponentMissing(
        "E-VLD-10",
        "The bundle's 'scale_factor' is neither a number in its configuration nor a tensor beside its U-Net's weights.",
        why="Without it the U-Net sees latents of a wrong size.",
        fix="Keep the tensor 'scale_factor' when converting the weights, or write its value into 'configs/inference'.",
    )


def _latent(networks: Networks, scale: float) -> Latent | None:
    if networks.autoencoder is None:
        return None
    gain, error = latent_figures(cast("Autoencoder", networks.autoencoder), 3, scale)
    return Latent(scale, gain=gain, error=error)


def _modality(bundle: BundleConfig) -> Literal["CT", "MR"]:
    """The first of the bundle's words that decides; ``image_classes`` comes last, being wrong in some bundles."""
    formats = bundle.metadata.get("network_data_format")
    words = [bundle.content.get("modality"), _within(formats, "outputs", "pred", "modality")]
    words += [bundle.metadata.get(key) for key in ("name", "task", "description", "image_classes")]
    for word in words:
        is_ct = re.search(r"\b(ct|computed tomography)\b", str(word), re.IGNORECASE) is not None
        is_mr = re.search(r"\b(mri?|magnetic resonance)\b", str(word), re.IGNORECASE) is not None
        if is_ct != is_mr:
            return "CT" if is_ct else "MR"
    raise _unstated("whether it is for CT or MR", '"modality": "CT"', "'configs/inference'")


def _intensity(bundle: BundleConfig, modality: Literal["CT", "MR"]) -> Intensity:
    data = bundle.metadata.get("network_data_format") or bundle.metadata.get("autoencoder_data_format")
    limits = _within(data, "outputs", "pred", "value_range")
    to = (float(limits[0]), float(limits[1])) if isinstance(limits, list) and len(limits) == 2 else (0.0, 1.0)
    if modality == "CT":
        return Intensity("window", -1000.0, 1000.0, to=to)
    return Intensity("percentile", to=to)


def _spacing(bundle: BundleConfig, part: NetworkPart) -> Range:
    if part.config.get("include_spacing_input"):
        return Range(0.5, 5.0)  # MAISI is told the spacing, and was trained on these.
    stated = _MM.search(str(bundle.metadata.get("image_classes", "")))
    if stated is None:
        raise _unstated("the spacing of its voxels", '"image_classes": "T1w MRI, 1x1x1 mm"', "'configs/metadata.json'")
    sides = [float(side) for side in stated.groups()]
    return Range(min(sides), max(sides))


def _within(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _size(networks: Networks) -> Size:
    multiple = int(getattr(networks.denoiser, "multiple", 1) * getattr(networks.autoencoder, "downscale", 1))
    return Size(multiple=multiple, at_least=2 * multiple)


def _training(bundle: BundleConfig, roles: Collection[str]) -> Training:
    said = bundle.metadata
    references = "; ".join(str(reference) for reference in said.get("references") or ())
    attribution = " ".join(part for part in (str(said.get("authors", "")), references) if part)
    source = DataSource(str(said.get("data_source", _UNSTATED)), licence=_UNSTATED, attribution=attribution)
    told = attribution or "data_source" in said
    assumed = {"intensity": _INTENSITY, **{f"networks.{role}.axes": _AXES for role in roles}}
    if "autoencoder" in roles:
        assumed |= dict.fromkeys(("latent.gain", "latent.error"), MEASURED)
    figures = {
        "bundle": bundle.folder.resolve().name,
        "version": str(said.get("version", "not stated")),
        "notes": list(_NOTES),
        "assumed": assumed,
    }
    return Training(data=(source,) if told else (), figures=figures)


def _licence(bundle: BundleConfig) -> str:
    return "see the LICENSE of the bundle" if (bundle.folder / "LICENSE").is_file() else _UNSTATED


def _unstated(what: str, line: str, file: str) -> InputRefused:
    return InputRefused(
        "E-VLD-11",
        f"The bundle does not say {what}.",
        why="A prior is held against each scan before it is used, and this cannot be guessed.",
        fix=f"Add {line} to {file}.",
    )
