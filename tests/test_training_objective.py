"""What is learnt, at what rate, and what is kept of it: each against its closed form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training_scene import tiny_config

from medldm.inference.parametrization import edm
from medldm.inference.schedule import noise_levels
from medldm.training.autoencoder import measure_latent
from medldm.training.averaging import WeightAverage, averaged
from medldm.training.config import ObjectiveOptions, OptimiserOptions, RunOptions
from medldm.training.image_losses import (
    PatchDiscriminator,
    clamp_log_variance,
    discriminator_loss,
    divergence_from_normal,
    gradient_difference,
    structure_difference,
)
from medldm.training.objective import denoising_loss, draw_sigma, loss_weight, stratified
from medldm.training.sampling import heun_samples
from medldm.training.schedule import cool_down_begins, learning_rate
from medldm.training.sheet import loss_curve, write_sheet

EDM = ObjectiveOptions(mean=-1.2, std=1.2, weighting="edm")
SNR = ObjectiveOptions(weighting="min-snr", gamma=5.0)


@pytest.mark.parametrize("sigma", [0.01, 0.3, 4.0])
def test_the_edm_weight_makes_every_level_count_one_at_the_start(sigma: float) -> None:
    """A network that still gives zero leaves an error of s^2 sigma^2 / (s^2 + sigma^2), whatever the level."""
    generator = torch.Generator().manual_seed(0)
    clean = 0.4 * torch.randn(64, 1, 24, 24, generator=generator)
    sigmas = torch.full((64,), sigma)
    noisy = clean + sigma * torch.randn(clean.shape, generator=generator)
    denoised = edm(0.4, 0.002, 10.0).denoised(lambda x, level: torch.zeros_like(x), noisy, sigmas)
    loss = denoising_loss(denoised, clean, sigmas, 0.4, EDM)
    assert loss.shape == (64,) and float(loss.mean()) == pytest.approx(1, abs=0.02)


def test_min_snr_is_the_ratio_up_to_gamma() -> None:
    sigma = torch.tensor([0.01, 0.5 / 5**0.5, 0.5, 1.0])
    assert loss_weight(SNR, sigma, 0.5).tolist() == pytest.approx([5, 5, 1, 0.25])


def test_levels_are_log_normal_within_the_limits() -> None:
    uniform = (torch.arange(20_000) + 0.5) / 20_000
    logs = draw_sigma(EDM, 1e-9, 1e9, uniform).log()
    assert float(logs.mean()) == pytest.approx(-1.2, abs=1e-3) and float(logs.std()) == pytest.approx(1.2, rel=1e-3)
    held = draw_sigma(EDM, 0.1, 0.5, uniform)
    assert (float(held.min()), float(held.max())) == pytest.approx((0.1, 0.5))


def test_one_draw_lies_in_each_part() -> None:
    places = stratified(16, torch.Generator().manual_seed(0))
    assert sorted((places * 16).int().tolist()) == list(range(16))
    assert (places * 16).int().tolist() != list(range(16))


def test_the_rate_rises_stays_and_falls() -> None:
    optimiser, run = OptimiserOptions(rate=0.1, warm_up=10), RunOptions(steps=100, cool_down=0.4)
    rates = [learning_rate(step, optimiser, run) for step in range(100)]
    assert rates[:10] == pytest.approx([0.01 * (n + 1) for n in range(10)])
    assert set(rates[10:61]) == {0.1} and cool_down_begins(run) == 60
    assert rates[60:] == pytest.approx([0.1 * (100 - n) / 40 for n in range(60, 100)])
    longer = replace(run, steps=500)
    assert [learning_rate(step, optimiser, longer) for step in range(61)] == rates[:61]


def test_the_average_has_its_closed_form() -> None:
    """Constant weights w_n = n: the average is the sum over n of n (1 - d_n) times all later d."""
    network = nn.Linear(1, 1, bias=False)
    network.register_buffer("count", torch.tensor(0))
    network.weight.data.fill_(7.0)
    average = WeightAverage(network, half_life=4.0)
    expected = 7.0
    for step in range(60):
        network.weight.data.fill_(float(step))
        network.count.fill_(step)
        average.update(network, step)
        decay = min(0.5**0.25, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert float(average.weights["weight"]) == pytest.approx(expected, rel=1e-5)
    assert int(average.weights["count"]) == 59
    with averaged(network, average):
        assert network.weight.item() == pytest.approx(expected, rel=1e-5) and not network.training
    assert network.weight.item() == 59 and network.training


def test_half_of_a_step_is_gone_after_the_half_life() -> None:
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(1.0)
    average = WeightAverage(network, half_life=50.0)
    network.weight.data.fill_(0.0)
    for step in range(10_000, 10_050):
        average.update(network, step)
    assert float(average.weights["weight"]) == pytest.approx(0.5, rel=1e-4)


def test_heun_draws_the_gaussian_that_its_denoiser_knows() -> None:
    """For N(m, s^2) the flow takes x at the level S to m + s / sqrt(s^2 + S^2) (x - m); Heun's error is of order 2."""
    mean, std, low, high = 0.3, 0.5, 0.002, 80.0
    start = torch.randn(500, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = mean + std / (std**2 + high**2) ** 0.5 * (high * start - mean)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        s2 = sigma[:, None] ** 2
        return (std**2 * x + s2 * mean) / (std**2 + s2)

    errors = []
    for steps in (40, 80, 160):
        levels = noise_levels(steps, low, high)
        assert len(levels) == steps + 1 and float(levels[-1]) == 0 and bool((levels.diff() < 0).all())
        assert (float(levels[0]), float(levels[-2])) == pytest.approx((high, low))
        errors.append(float((heun_samples(denoise, start, levels) - expected).abs().max()))
    assert errors[0] < 0.02
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.25) and errors[1] / errors[2] == pytest.approx(4, rel=0.25)


class _Linear(nn.Module):
    """Takes the mean of pairs along x, times three plus one; and back."""

    downscale, latent_channels = 2, 1

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = 3 * torch.nn.functional.avg_pool2d(x, 2) + 1
        return mean, torch.zeros_like(mean)

    def decode(self, z: Tensor) -> Tensor:
        return torch.nn.functional.interpolate((z - 1) / 3, scale_factor=2, mode="nearest")


def test_the_figures_of_a_linear_latent_are_known() -> None:
    """White noise of std s: the latent has std 3 s / 2 and mean 1, a unit of state is s / 2 of each image sample, and
    three quarters of the variance do not come back."""
    generator = torch.Generator().manual_seed(0)
    trained, held_back = (0.2 * torch.randn(40, 1, 32, 32, generator=generator) for _ in range(2))
    figures = measure_latent(_Linear(), trained, held_back)
    assert figures.shift == pytest.approx(1.0, abs=0.01)
    assert figures.scale == pytest.approx(1 / 0.3, rel=0.02)
    assert figures.gain == pytest.approx(0.1, rel=0.02)
    assert figures.error == pytest.approx(0.2 * 0.75**0.5, rel=0.02)


def test_equal_images_have_no_difference() -> None:
    for shape in ((2, 1, 16, 16), (1, 2, 9, 9, 9)):
        image = torch.rand(shape)
        assert float(structure_difference(image, image)) == pytest.approx(0, abs=1e-5)
        assert float(gradient_difference(image, image)) == 0


def test_structure_of_constants_is_their_luminance() -> None:
    a, b, c1 = 0.3, 0.6, 1e-4
    images = (torch.full((1, 1, 12, 12), value, dtype=torch.float64) for value in (a, b))
    assert float(structure_difference(*images)) == pytest.approx(1 - (2 * a * b + c1) / (a * a + b * b + c1), rel=1e-6)


def test_structure_is_that_of_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    generator = np.random.default_rng(0)
    a = generator.uniform(size=(24, 24))
    b = np.clip(a + 0.1 * generator.standard_normal(a.shape), 0, 1)
    whole = metrics.structural_similarity(a, b, win_size=7, data_range=1.0, full=True, use_sample_covariance=False)[1]
    ours = structure_difference(*(torch.from_numpy(image)[None, None] for image in (a, b)))
    assert float(ours) == pytest.approx(1 - whole[3:-3, 3:-3].mean(), abs=1e-6)


def test_gradients_of_a_ramp_against_nothing() -> None:
    ramp = (0.25 * torch.arange(8.0)).expand(1, 1, 6, 8)
    assert float(gradient_difference(ramp, torch.zeros_like(ramp))) == pytest.approx(0.125)


def test_divergence_of_gaussians_from_the_standard_one() -> None:
    zero = torch.zeros(2, 3, 4, 4)
    assert float(divergence_from_normal(zero, zero)) == 0
    mean, std = 0.7, 0.5
    log_variance = torch.full_like(zero, 2 * float(np.log(std)))
    p, q = torch.distributions.Normal(mean, std), torch.distributions.Normal(0.0, 1.0)
    expected = float(torch.distributions.kl_divergence(p, q))
    assert float(divergence_from_normal(torch.full_like(zero, mean), log_variance)) == pytest.approx(expected, rel=1e-5)
    assert clamp_log_variance(torch.tensor([-99.0, 0.0, 99.0])).tolist() == [-30, 0, 10]


def test_a_discriminator_learns_to_tell() -> None:
    assert float(discriminator_loss(torch.tensor([2.0]), torch.tensor([-2.0]))) == 0
    assert float(discriminator_loss(torch.tensor([0.0]), torch.tensor([0.0]))) == 1
    torch.manual_seed(0)
    judge = PatchDiscriminator(1, 2, width=8)
    optimiser = torch.optim.Adam(judge.parameters(), 3e-3)
    real, made = torch.rand(8, 1, 16, 16), 0.5 + 0.02 * torch.rand(8, 1, 16, 16)
    for _ in range(30):
        optimiser.zero_grad()
        loss = discriminator_loss(judge(real), judge(made))
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.2
    assert PatchDiscriminator(1, 3, width=8)(torch.rand(1, 1, 16, 16, 16)).ndim == 5


@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (2, 3, 8, 10), (2, 1, 5, 6, 7)])
def test_sheets_and_curves_are_pictures(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = torch.rand(shape)
    images[0].fill_(float("nan"))
    write_sheet(tmp_path / "sheet.png", [("one", images), ("two", images[:1])])
    # A row without what others have, as when a discriminator joins.
    history = [{"step": 1, "loss": 0.5, "error": 0.4, "dB at 1": 20.0}, {"step": 2, "loss": 0.4, "error": 0.3}]
    loss_curve(history, tmp_path / "curve.png")
    loss_curve(history[:1], tmp_path / "short.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.png", "sheet.png", "short.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") for path in tmp_path.iterdir())


def test_the_configuration_is_read_back_from_plain_data() -> None:
    plain = tiny_config().plain()
    assert plain["optimiser"]["betas"] == [0.9, 0.99] and plain["card"]["name"] == "tiny-mr"
