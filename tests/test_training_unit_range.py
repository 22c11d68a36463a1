"""Cards that map to other ranges than [0, 1], as [-1, 1] of diffusers, are trained on the same images."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from training_scene import conditioning_of, head, sampler_of, scan_of, tiny_config

from medldm.inference import Noise
from medldm.priors.card import Intensity
from medldm.training import pairs as pairs_module
from medldm.training import patches as patches_module
from medldm.training.config import TrainConfig
from medldm.training.pack import pack
from medldm.training.pack_file import read_pack
from medldm.training.pairs import Pairs, PairSampler
from medldm.training.training_scan import TrainingScan
from medldm.training.unit_range import UnitRange

RANGES = [(-1.0, 1.0), (0.5, -0.5)]
CHANGES = dict.fromkeys(("turn", "blur", "gain", "gamma", "curve", "invert", "bias", "rim", "background"), 0.5)


def _config(to: tuple[float, float], **sections: Any) -> TrainConfig:
    intensity = {
        "MR": {"rule": "percentile", "to": list(to)},
        "CT": {"rule": "window", "low": -1000, "high": 1000, "to": list(to)},
    }
    data = {"intensity": intensity, "generic": sections.pop("generic", 0.0)}
    changes = {**CHANGES, "resample": 0.5}
    return tiny_config(card={"intensity": intensity["MR"]}, data=data, augmentation=changes, **sections)


def _scans(to: tuple[float, float]) -> list[TrainingScan]:
    """Of values that half precision holds in every range."""
    images = [torch.from_numpy(head(n, (26, 40, 36))).mul(256).round().div(256) for n in range(4)]
    images = [UnitRange(*to).model(image) for image in images]
    return [scan_of(one, mr=n > 0, subject=f"s{n}", held_back=n == 3) for n, one in enumerate(images)]


def _same(unit: Tensor, other: Tensor, to: tuple[float, float]) -> bool:
    """But for rounding, which a power of 0.6 and an inversion make a thousand times larger in air."""
    return torch.allclose(UnitRange(*to).unit(other), unit, atol=2e-3)


def test_a_unit_range_is_left_to_the_last_bit() -> None:
    values = torch.randn(50)
    unit = UnitRange.of(Intensity("percentile"))
    assert unit.unit(values) is values and unit.model(values) is values and unit.span == 1
    for to in RANGES:
        other = UnitRange.of(Intensity("percentile", to=to))
        assert other.model(torch.tensor([0.0, 1.0])).tolist() == list(to) and other.span == abs(to[1] - to[0])
        assert torch.allclose(other.unit(other.model(values)), values, atol=1e-6)


@pytest.mark.parametrize("to", RANGES)
@pytest.mark.parametrize("augment", [True, False])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_patches_are_the_same_images(
    monkeypatch: pytest.MonkeyPatch, to: tuple[float, float], augment: bool, dimensions: int
) -> None:
    monkeypatch.setattr(patches_module, "_GENERIC_IMAGES", 4)
    patches = {"dimensions": dimensions, "shapes": [{"size": 16, "batch": 4}]}
    unit, other = (
        sampler_of(_config(one, patches=patches, generic=0.3), _scans(one), augment=augment) for one in ((0.0, 1.0), to)
    )
    for item in range(60):
        (image, told), (same, told_too) = (one.one(0, item, 16) for one in (unit, other))
        assert _same(image, same, to) and told == told_too, item


@pytest.mark.parametrize("to", RANGES)
def test_pairs_are_the_same_images(to: tuple[float, float]) -> None:
    samplers = []
    for one in ((0.0, 1.0), to):
        config, made = _config(one), [scan.data for scan in _scans(one)]
        pairs = [Pairs(data, data.flip(0), {}, True, 1.0, False) for data in made]
        samplers.append(PairSampler(pairs, config, conditioning_of(config), augment=True))
    for item in range(40):
        assert _same(samplers[0].one(0, item, 12)[0], samplers[1].one(0, item, 12)[0], to), item


@pytest.mark.parametrize("to", RANGES)
def test_the_same_images_are_measured(monkeypatch: pytest.MonkeyPatch, to: tuple[float, float]) -> None:
    monkeypatch.setattr(pairs_module, "start_and_truth", lambda host, recipe, model, volume: (volume.data, volume.data))
    monkeypatch.setattr(pairs_module, "replace", lambda recipe, **changes: recipe)
    measured: list[list[Tensor]] = []
    for one in ((0.0, 1.0), to):
        config = _config(one)
        model: Any = SimpleNamespace(card=config.card)
        found = [
            pairs.start
            for seed in range(6)
            for pairs in pairs_module._of_a_scan(None, None, model, _scans(one)[1], config, Noise(seed, "x"))  # type: ignore[arg-type]
        ]
        measured.append(found)
    for unit, other in zip(*measured, strict=True):
        assert torch.allclose(unit.float(), other.float(), atol=2e-3)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_same_pieces_are_packed(tmp_path: Path, dimensions: int) -> None:
    found = []
    for to in ((0.0, 1.0), (-1.0, 1.0)):
        config = _config(to, patches={"dimensions": dimensions})
        pack(_scans(to), config, tmp_path / "pack", 90_000, lambda text: None)
        found.append(read_pack(tmp_path / "pack", config.data, config.patches))
    assert len(found[0]) == len(found[1]) > 10
    for unit, other in zip(*found, strict=True):
        assert torch.allclose((other.data.float() + 1) / 2, unit.data.float(), atol=1e-3)
