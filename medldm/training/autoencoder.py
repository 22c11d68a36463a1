"""Training an autoencoder: images through a small latent and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from medldm.inference.networks import Autoencoder
from medldm.training.averaging import averaged
from medldm.training.config import TrainConfig
from medldm.training.image_losses import (
    PatchDiscriminator,
    clamp_log_variance,
    discriminator_loss,
    divergence_from_normal,
    gradient_difference,
    mean_psnr,
    structure_difference,
)
from medldm.training.learner import Learner
from medldm.training.sampler import Sampler
from medldm.training.sheet import write_sheet

_SHOWN = 8


class _Both(nn.Module):
    """Encoder and decoder in one call, so that precision and several devices see one module."""

    def __init__(self, autoencoder: nn.Module) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image and unit noise -> reconstruction, mean and logarithm of the variance of the latent."""
        autoencoder = cast(Autoencoder, self.autoencoder)
        mean, log_variance = autoencoder.moments(x)
        log_variance = clamp_log_variance(log_variance)
        # A draw in training only: it keeps the latents smooth. Reconstruction uses the mean.
        return autoencoder.decode(mean + (0.5 * log_variance).exp() * noise.to(mean.dtype)), mean, log_variance


class AutoencoderTrainee(Learner):
    """An autoencoder learning to give back what it is shown.

    Args:
        autoencoder: a :class:`medldm.inference.Autoencoder` that is a module.
        config: of the run.
        trained: sampler of patches to learn from.
        held_back: sampler of patches to look at.
        accelerator: device, precision and processes.
    """

    def __init__(
        self,
        autoencoder: nn.Module,
        config: TrainConfig,
        trained: Sampler,
        held_back: Sampler,
        accelerator: Accelerator,
    ) -> None:
        super().__init__(autoencoder, config, trained, held_back, accelerator, called=_Both)
        self.discriminator = PatchDiscriminator(config.patches.slab, config.patches.dimensions).to(accelerator.device)
        rate = 0.5 * config.optimiser.rate
        self.judge = torch.optim.AdamW(self.discriminator.parameters(), rate, betas=(0.5, 0.9))

    def learn(self, step: int, rate: float) -> Mapping[str, float]:
        """See :class:`medldm.training.loop.Trainee`."""
        objective = self.config.reconstruction
        images = self._batches.at(step).images.to(self.accelerator.device)
        made, mean, log_variance = self._prepared(images, self._noise(images, step))
        made, mean, log_variance = made.float(), mean.float(), log_variance.float()
        # The weights of the losses, and the constants of the structure, are those of images in [0, 1].
        back, shown = self._range.unit(made), self._range.unit(images)
        difference = (back - shown).abs().mean()
        loss = (
            difference
            + objective.gradient * gradient_difference(back, shown)
            + objective.structure * structure_difference(back, shown)
            + objective.divergence * divergence_from_normal(mean, log_variance)
        )
        contested = objective.adversary > 0 and step >= objective.adversary_from
        if contested:
            loss = loss - objective.adversary * self.discriminator(made).mean()
        losses = {"loss": self._step(loss, step, rate), "l1": float(difference.detach())}
        if contested:
            losses["judge"] = self._judge(images, made.detach())
        return losses

    def _judge(self, images: Tensor, made: Tensor) -> float:
        self.judge.zero_grad()
        loss = discriminator_loss(self.discriminator(images), self.discriminator(made))
        loss.backward()
        # Not wrapped for several processes, since it also judges inside the other network's backward pass.
        if self.accelerator.num_processes > 1:
            for parameter in self.discriminator.parameters():
                parameter.grad = self.accelerator.reduce(parameter.grad, "mean")
        self.judge.step()
        return float(loss.detach())

    def look(self) -> Mapping[str, float]:
        """Error and PSNR of the averaged autoencoder, through the mean, on held-back patches."""
        images, _ = self._looked
        back = self._through(images)
        error = (back - images).square().flatten(1).mean(1)
        return {"error": float(error.mean()), "held-back dB": mean_psnr(back, images, self._range.span)}

    def draw(self, path: Path) -> None:
        """Held-back patches, what comes back, and five times the difference."""
        images, _ = self._looked
        images, back = (self._range.unit(one) for one in (images[:_SHOWN], self._through(images[:_SHOWN])))
        write_sheet(path, [("held back", images), ("decoded", back), ("5 x difference", 0.5 + 5 * (back - images))])

    @torch.no_grad()
    def _through(self, images: Tensor) -> Tensor:
        with averaged(self.network, self.average):
            autoencoder = cast(Autoencoder, self.network)
            return torch.cat([autoencoder.decode(autoencoder.moments(part)[0]) for part in images.split(_SHOWN)])

    def _noise(self, images: Tensor, step: int) -> Tensor:
        autoencoder = cast(Autoencoder, self.network)
        spatial = [n // autoencoder.downscale for n in images.shape[2:]]
        generator = torch.Generator().manual_seed(
            hash((self.config.seed, step, self.accelerator.process_index)) % 2**63
        )
        noise = torch.randn(len(images), autoencoder.latent_channels, *spatial, generator=generator)
        return noise.to(images.device)


@dataclass(frozen=True)
class LatentFigures:
    """What a card says of a latent space, measured.

    Attributes:
        shift: mean of the latent.
        scale: one over the standard deviation of the latent.
        gain: root mean square change of the image for a unit change of the state, at small changes.
        error: root mean square of what does not come back.
    """

    shift: float
    scale: float
    gain: float
    error: float


@torch.no_grad()
def measure_latent(autoencoder: Autoencoder, trained: Tensor, held_back: Tensor, change: float = 0.05) -> LatentFigures:
    """Statistics on patches trained on, errors on patches held back.

    Args:
        autoencoder: with the weights that are shipped.
        trained: (count, channel, *spatial) model values.
        held_back: likewise.
        change: of the state, standard deviation, at which the gain is measured.
    """
    means = torch.cat([autoencoder.moments(part)[0] for part in trained.split(_SHOWN)]).double()
    shift, scale = float(means.mean()), 1 / float(means.std())
    gains, errors = [], []
    generator = torch.Generator().manual_seed(0)
    for part in held_back.split(_SHOWN):
        mean = autoencoder.moments(part)[0]
        back = autoencoder.decode(mean)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        moved = autoencoder.decode(mean + change / scale * noise)
        gains.append((moved - back).double().square().mean() / change**2)
        errors.append((back - part).double().square().mean())
    return LatentFigures(
        shift, scale, float(torch.stack(gains).mean()) ** 0.5, float(torch.stack(errors).mean()) ** 0.5
    )
