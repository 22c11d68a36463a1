"""What every training shares: compiled where it is asked for, and ruined by no gradient in silence."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from training_scene import (
    AUTOENCODER,
    DENOISER,
    prepare_training,
    sampler_of,
    scan_of,
    silent,
    tiny_config,
    tiny_mapping,
)

from medldm.errors import UsageError
from medldm.host import Host
from medldm.training import autoencoder, denoiser
from medldm.training.image_losses import mean_psnr
from medldm.training.learner import Learner
from medldm.training.run import train_autoencoder, train_denoiser

pytestmark = pytest.mark.usefixtures("own_accelerator")


@pytest.mark.parametrize("network", ["denoiser", "autoencoder"])
def test_every_network_is_compiled_where_it_is_asked_for(
    host: Host, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: str
) -> None:
    compiled: list[nn.Module] = []

    def compiler(module: nn.Module) -> nn.Module:
        compiled.append(module)
        return module

    monkeypatch.setattr(torch, "compile", compiler)
    networks = {"denoiser": DENOISER} if network == "denoiser" else {"autoencoder": AUTOENCODER}
    content = tiny_mapping(card={"networks": networks}, run={"steps": 1})
    train = train_denoiser if network == "denoiser" else train_autoencoder
    for asked in (False, True):
        content["run"]["compile"] = asked
        train(prepare_training(host, scans, tmp_path, content), tmp_path / str(asked), silent)
        assert len(compiled) == asked


class _Weight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))


def test_a_gradient_that_is_not_finite_is_told_as_a_loss_that_is_not() -> None:
    """The square root of zero is zero, and infinitely steep."""
    config = tiny_config()
    samplers = [sampler_of(config, [scan_of(torch.rand(20, 24, 22))], augment=side) for side in (True, False)]
    learner = Learner(_Weight(), config, *samplers, Accelerator(cpu=True))
    weight = cast(Tensor, learner.network.weight)
    assert learner._step(weight.sum(), 0, 0.1) == pytest.approx(3.0)
    assert float(weight.detach().mean()) == pytest.approx(0.9, abs=0.01)
    steep = (weight - weight.detach()).clamp(min=0).sum().sqrt()
    assert float(steep.detach()) == 0 and math.isnan(learner._step(steep, 1, 0.1))


def test_a_training_whose_loss_overflows_ends_without_a_prior(host: Host, scans: Path, tmp_path: Path) -> None:
    content: dict[str, Any] = tiny_mapping(optimiser={"rate": 1e36, "warm_up": 0}, run={"save_every": 1e-9})
    with pytest.raises(UsageError, match="E-TRN-14"):
        train_denoiser(prepare_training(host, scans, tmp_path, content), tmp_path / "out", silent)
    assert not (tmp_path / "out" / "tiny-mr").exists()


@pytest.mark.parametrize(("module", "train"), [(denoiser, train_denoiser), (autoencoder, train_autoencoder)])
def test_the_peak_of_a_psnr_is_the_range_of_the_card(
    host: Host, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, train: Any
) -> None:
    peaks = []

    def recorded(images: Tensor, truth: Tensor, peak: float) -> float:
        peaks.append(peak)
        return mean_psnr(images, truth, peak)

    monkeypatch.setattr(module, "mean_psnr", recorded)
    to = {"MR": {"rule": "percentile", "to": [-1, 1]}, "CT": {"rule": "window", "low": -1000, "high": 1000}}
    networks = {"denoiser": DENOISER} if module is denoiser else {"autoencoder": AUTOENCODER}
    content = tiny_mapping(card={"networks": networks, "intensity": to["MR"]}, run={"steps": 1})
    content["data"]["intensity"] = {"MR": to["MR"], "CT": {**to["CT"], "to": [-1, 1]}}
    train(prepare_training(host, scans, tmp_path, content), tmp_path / "out", silent)
    assert set(peaks) == {2.0}


@pytest.mark.parametrize("peak", [1.0, 2.0])
def test_psnr_of_an_even_error_is_known(peak: float) -> None:
    truth = torch.rand(3, 1, 8, 8)
    assert mean_psnr(truth + 0.1 * peak, truth, peak) == pytest.approx(20, abs=1e-3)
    assert mean_psnr(truth, truth, peak) == pytest.approx(120)
