"""What a bundle's U-Net is told besides the image, as facts of a card."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medldm.errors import InputRefused
from medldm.host.registry import quoted
from medldm.priors.card import Facts
from medldm_volume_ldm.bundle_config import BundleConfig
from medldm_volume_ldm.bundle_parts import NetworkPart
from medldm_volume_ldm.foreign import REGIONS

# MAISI's table of modalities, where a bundle ships none; row 0 is what it was trained on as unknown.
_MODALITIES = {"ct": 1, "mri": 8}
_SPACING = (1.5, 1.0)
_NAME = re.compile(r"@(\w+)")


@dataclass(frozen=True)
class BundleFacts:
    """Facts of the card, and the options by which the network understands them.

    Attributes:
        facts: of the card.
        options: of the family's network.
    """

    facts: Facts = field(default_factory=Facts)
    options: Mapping[str, Any] = field(default_factory=dict)


def facts_of(bundle: BundleConfig, part: NetworkPart) -> BundleFacts:
    """What the network of a bundle is told.

    Raises:
        InputRefused: ``E-VLD-08``, it is told what a vector of facts cannot say.
    """
    if part.kind == "maisi-unet":
        return _of_maisi(bundle, part.config)
    if part.config.get("num_class_embeds") is not None:
        raise _refused("classes whose names the bundle does not tell")
    if part.config.get("with_conditioning"):
        return _of_context(bundle, part.config)
    if part.config.get("in_channels") != part.config.get("out_channels"):
        raise _refused("another image, appended to its input")
    return BundleFacts()


def _of_context(bundle: BundleConfig, config: Mapping[str, Any]) -> BundleFacts:
    # The text that makes the tensor names the numbers in their order; it is read, not evaluated.
    text = str(bundle.content.get("conditioning", ""))
    names = [name for name in _NAME.findall(text) if _is_number(bundle.content.get(name))]
    wanted = config.get("cross_attention_dim")
    if not names or len(names) != wanted or len(set(names)) != len(names):
        raise _refused(f"a context of {wanted} values, of which 'conditioning' names {quoted(names) or 'none'}")
    extra = config.get("in_channels", 0) - config.get("out_channels", 0)
    if extra not in (0, len(names)):
        raise _refused("another image, appended to its input")
    low, high = _range(bundle.metadata)
    scale = ((low + high) / 2, 1.0)
    options = {"numbers": [list(scale)] * len(names), "concatenated": extra > 0}
    return BundleFacts(Facts(numbers=dict.fromkeys(names, scale)), options)


def _of_maisi(bundle: BundleConfig, config: Mapping[str, Any]) -> BundleFacts:
    if config.get("with_conditioning"):
        raise _refused("a context")
    if config.get("in_channels") != config.get("out_channels"):
        raise _refused("another image, appended to its input")
    classes: dict[str, tuple[str, ...]] = {}
    fixed: dict[str, str | float] = {}
    options: dict[str, Any] = {"spacing": list(_SPACING)}
    if config.get("num_class_embeds") is not None:
        name = str(bundle.content.get("modality", "ct"))
        row = _MODALITIES.get(name)
        if row is None or row >= config["num_class_embeds"]:
            raise _refused(f"the modality {name!r}, which is none of {quoted(_MODALITIES)}")
        classes["modality"], fixed["modality"] = (name,), name
        options["modalities"] = [row]
    for end in ("top", "bottom"):
        if config.get(f"include_{end}_region_index_input"):
            classes[f"{end}_region"] = REGIONS
    axes = ("x", "y", "z") if config.get("include_spacing_input") else ()
    return BundleFacts(Facts(classes, {f"spacing_{axis}_mm": _SPACING for axis in axes}, fixed), options)


def _range(metadata: Mapping[str, Any]) -> tuple[float, float]:
    """Smallest and largest value of the numbers; from 0 to 1 where the bundle does not say."""
    found: Any = metadata
    for key in ("network_data_format", "inputs", "image", "value_range"):
        found = found.get(key) if isinstance(found, Mapping) else None
    if isinstance(found, list) and len(found) == 2 and all(_is_number(limit) for limit in found):
        return float(found[0]), float(found[1])
    return 0.0, 1.0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _refused(what: str) -> InputRefused:
    return InputRefused(
        "E-VLD-08",
        f"The U-Net of the bundle is told {what}.",
        why="A prior is told named classes and numbers only, and left untold the network is out of its depth.",
        fix="Take a bundle without it.",
    )
