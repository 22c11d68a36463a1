"""How far a reconstruction is from its image: values, gradients and local structure, without a learnt feature net."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def mean_psnr(images: Tensor, truth: Tensor, peak: float = 1.0) -> float:
    """Mean over images of the PSNR in dB; (batch, channel, *spatial), of which ``peak`` is the range."""
    error = (images - truth).square().flatten(1).mean(1) / peak**2
    return float(-10 * error.clamp(min=1e-12).log10().mean())


def gradient_difference(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of forward differences along all spatial axes; (batch, channel, *spatial) -> ()."""
    total = a.new_zeros(())
    for axis in range(2, a.ndim):
        total = total + (a.diff(dim=axis) - b.diff(dim=axis)).abs().mean()
    return total / (a.ndim - 2)


def structure_difference(a: Tensor, b: Tensor, window: int = 7, data_range: float = 1.0) -> Tensor:
    """``1 - SSIM`` over uniform windows (Wang et al. 2004); (batch, channel, *spatial) -> ()."""
    pool = functional.avg_pool2d if a.ndim == 4 else functional.avg_pool3d

    def mean(x: Tensor) -> Tensor:
        pooled: Tensor = pool(x, window, stride=1)
        return pooled

    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (var_a + var_b + c2)
    return 1 - (luminance * structure).mean()


def divergence_from_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the latents from the standard normal, mean over latent samples."""
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()


class PatchDiscriminator(nn.Module):
    """Says of each neighbourhood how real it looks (Isola et al. 2017); (batch, channel, *spatial) -> scores."""

    def __init__(self, channels: int, dimensions: int, width: int = 32) -> None:
        super().__init__()
        convolution: type[nn.Module] = nn.Conv2d if dimensions == 2 else nn.Conv3d
        layers: list[nn.Module] = [convolution(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for level in range(2):
            wide = width * 2**level
            layers += [convolution(wide, 2 * wide, 4, 2, 1), nn.GroupNorm(8, 2 * wide), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, convolution(4 * width, 1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Scores, above zero for real."""
        scores: Tensor = self.layers(x)
        return scores


def discriminator_loss(real: Tensor, made: Tensor) -> Tensor:
    """Hinge loss of the discriminator (Lim and Ye 2017)."""
    return 0.5 * (functional.relu(1 - real).mean() + functional.relu(1 + made).mean())


def clamp_log_variance(log_variance: Tensor) -> Tensor:
    """Within what half precision can exponentiate."""
    return torch.clamp(log_variance, -30.0, 10.0)
