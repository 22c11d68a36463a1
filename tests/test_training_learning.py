"""The classic checks: a network learns one slice by heart, and the posterior mean of a known Gaussian."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from training_scene import head, sampler_of, scan_of, tiny_config

from medldm.inference.denoiser import Denoiser
from medldm.inference.parametrization import SigmaTable, edm, epsilon, flow_matching, v_prediction, x0_prediction
from medldm.training.averaging import averaged
from medldm.training.config import (
    AugmentationOptions,
    ObjectiveOptions,
    OptimiserOptions,
    PatchOptions,
    PatchShape,
    RunOptions,
    TrainConfig,
)
from medldm.training.denoiser import DenoiserTrainee
from medldm.training.schedule import learning_rate

pytestmark = pytest.mark.usefixtures("own_accelerator")

PLAIN = AugmentationOptions(
    **dict.fromkeys(("turn", "resample", "blur", "gain", "gamma", "curve", "invert", "bias", "rim", "background"), 0.0)
)
SIGMAS = SigmaTable(torch.logspace(-2.5, 1.2, 200, dtype=torch.float64))
ROWS = {
    "edm": lambda: edm(0.3, 0.01, 5.0),
    "epsilon": lambda: epsilon(SIGMAS),
    "v": lambda: v_prediction(SIGMAS),
    "x0": lambda: x0_prediction(SIGMAS),
    "flow": lambda: flow_matching(0.01, 5.0),
}


def _config(steps: int, rate: float, batch: int, size: int, **objective: Any) -> TrainConfig:
    return replace(
        tiny_config(),
        augmentation=PLAIN,
        patches=PatchOptions(shapes=(PatchShape(size, batch),), keep=0.0),
        objective=ObjectiveOptions(**{"mean": -1.0, "std": 1.0, **objective}),
        optimiser=OptimiserOptions(rate=rate, warm_up=5, average=steps / 20, decay=0.0, clip=10.0),
        run=RunOptions(steps=steps, check_patches=4, precision="no"),
    )


def _identity(x: Tensor) -> Tensor:
    return x


def _trained(network: nn.Module, row: Any, config: TrainConfig, values: Tensor) -> DenoiserTrainee:
    scan = scan_of(values, mr=False)
    trained, held_back = (sampler_of(config, [scan], augment=augment) for augment in (True, False))
    accelerator = Accelerator(cpu=True, mixed_precision="no")
    trainee = DenoiserTrainee(network, row, 0.3, config, trained, held_back, accelerator, _identity, _identity)
    for step in range(config.run.steps):
        trainee.learn(step, learning_rate(step, config.optimiser, config.run))
    return trainee


class _Convolutions(nn.Module):
    """A small network that knows the noise level, and where it is."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1, 8, size, size))
        self.level = nn.Sequential(nn.Linear(1, 16), nn.SiLU(), nn.Linear(16, 32))
        self.first = nn.Conv2d(9, 16, 3, padding=1)
        self.last = nn.Conv2d(16, 1, 3, padding=1)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
        level = self.level(noise[:, None])[..., None, None]
        gain, offset = level.chunk(2, 1)
        inner = self.first(torch.cat((x, self.place.expand(len(x), -1, -1, -1)), 1))
        out: Tensor = self.last(torch.nn.functional.silu(inner * (1 + gain) + offset))
        return out


def test_one_slice_is_learnt_by_heart() -> None:
    """Every patch is a mirror image of one slice that is its own: taken out of much noise, it comes back sharp."""
    size, sigma = 16, 0.5
    quarter = torch.from_numpy(head(3, (3, 16, 16))[1])[:8, :8]
    half = torch.cat((quarter, quarter.flip(1)), 1)
    image = torch.cat((half, half.flip(0)), 0)
    torch.manual_seed(0)
    config = _config(350, 1e-2, 8, size)
    trainee = _trained(_Convolutions(size), edm(0.3, 0.01, 5.0), config, image[None])
    noise = torch.randn(8, 1, size, size, generator=torch.Generator().manual_seed(5))
    with torch.no_grad(), averaged(trainee.network, trainee.average):
        denoiser = Denoiser(trainee.network, trainee.parametrization)
        denoised = denoiser(image + sigma * noise, torch.full((8,), sigma), torch.zeros(8, 9))
    psnr = -10 * float((denoised - image).square().mean().log10())
    noisy = -20 * torch.tensor(sigma).log10()
    assert psnr > 28 > noisy + 20, psnr
    figures = trainee.look()
    assert figures["dB at 0.36"] > 28 and figures["error"] < 0.1


class _Affine(nn.Module):
    """``a(level) x + b(level)``: all that the posterior mean of a white Gaussian needs."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU(), nn.Linear(48, 2))

    def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
        # Levels are counted from 0 to 199 by some rows of the table, and are logarithms or times in others.
        told = torch.stack((noise / 100, noise.clamp(-4, 4)), 1).to(x.dtype)
        gain, offset = self.layers(told).T
        return gain[:, None, None, None] * x + offset[:, None, None, None]


@pytest.mark.parametrize(
    ("row", "weighting"),
    [("edm", "edm"), ("edm", "min-snr"), ("v", "edm"), ("flow", "edm"), ("epsilon", "min-snr"), ("x0", "min-snr")],
)
def test_the_posterior_mean_of_a_known_gaussian_is_recovered(row: str, weighting: Any) -> None:
    """White patches of N(m, s^2): D(x) = (s^2 x + sigma^2 m) / (s^2 + sigma^2), at every level and for every row.

    The network has no other choice than a gain and an offset per level, so the weighting shares out its effort only.
    """
    mean, std = 0.4, 0.3
    values = mean + std * torch.randn(4, 64, 64, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    config = _config(500, 1e-2, 16, 16, weighting=weighting)
    trainee = _trained(_Affine(), ROWS[row](), config, values)
    mean, std = float(values.mean()), float(values.std())
    x = torch.linspace(-0.6, 1.4, 9).reshape(1, 1, 3, 3)
    with torch.no_grad(), averaged(trainee.network, trainee.average):
        denoiser = Denoiser(trainee.network, trainee.parametrization)
        for sigma in (0.1, 0.2, 0.4, 0.8):
            found = denoiser(x, torch.tensor([sigma]), torch.zeros(1, 9))
            expected = (std**2 * x + sigma**2 * mean) / (std**2 + sigma**2)
            assert float((found - expected).abs().max()) < 0.04, sigma


def test_smooth_patches_are_told_from_white_ones_by_their_spectrum() -> None:
    """Rows of one value each: the average of a row carries it, so a network of rows halves the error of white D."""
    std, size, sigma = 0.3, 16, 0.4
    values = std * torch.randn(8, 64, 1, generator=torch.Generator().manual_seed(1)).expand(8, 64, 64)

    class Rows(_Affine):
        def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
            told = torch.stack((noise / 100, noise.clamp(-4, 4)), 1)
            along, across = self.layers(told).T
            # Mirroring at the patch's edge never mixes rows.
            return along[:, None, None, None] * x.mean(-1, keepdim=True) + across[:, None, None, None] * x

    torch.manual_seed(0)
    trainee = _trained(Rows(), edm(std, 0.01, 5.0), _config(400, 1e-2, 16, size), values)
    x = torch.randn(6, 1, size, size, generator=torch.Generator().manual_seed(2))
    with torch.no_grad(), averaged(trainee.network, trainee.average):
        found = Denoiser(trainee.network, trainee.parametrization)(x, torch.full((6,), sigma), torch.zeros(6, 9))
    std = float(values.std())
    expected = (std**2 / (std**2 + sigma**2 / size)) * x.mean(-1, keepdim=True).expand_as(x)
    assert float((found - expected).square().mean().sqrt()) < 0.06
    white = std**2 / (std**2 + sigma**2) * x
    assert float((white - expected).square().mean().sqrt()) > 0.3


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_compiled_network_learns_the_weights_that_are_averaged_and_saved(
    monkeypatch: pytest.MonkeyPatch, precision: Any
) -> None:
    compile_ = torch.compile
    # The compiler proper takes minutes; how its wrapper goes with accelerate's does not depend on it.
    monkeypatch.setattr(torch, "compile", lambda network: compile_(network, backend="eager"))
    found = []
    for compiled in (False, True):
        AcceleratorState._reset_state(True)
        torch.manual_seed(0)
        config = _config(3, 1e-2, 2, 16)
        config = replace(config, run=replace(config.run, compile=compiled, precision=precision))
        scan = scan_of(torch.from_numpy(head(3, (3, 16, 16))), mr=False)
        samplers = [sampler_of(config, [scan], augment=augment) for augment in (True, False)]
        accelerator = Accelerator(cpu=True, mixed_precision=precision)
        network = _Convolutions(16)
        trainee = DenoiserTrainee(
            network, edm(0.3, 0.01, 5.0), 0.3, config, *samplers, accelerator, _identity, _identity
        )
        before = {name: tensor.clone() for name, tensor in trainee.average.weights.items()}
        for step in range(3):
            trainee.learn(step, 1e-2)
        assert trainee.network is network and trainee.average.weights.keys() == before.keys()
        assert any(not torch.equal(trainee.average.weights[name], tensor) for name, tensor in before.items())
        found.append({**trainee.average.weights, **{name: torch.tensor(v) for name, v in trainee.look().items()}})
    for name, tensor in found[0].items():
        assert torch.allclose(found[1][name], tensor, atol=2e-2 if precision == "bf16" else 1e-5), name
