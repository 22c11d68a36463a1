"""Training a denoiser: draw patches, add noise, learn to take it off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from medldm.inference.denoiser import Denoiser
from medldm.inference.parametrization import Parametrization
from medldm.inference.schedule import noise_levels
from medldm.priors.figures import identity_error, mean_error
from medldm.training.averaging import averaged
from medldm.training.config import TrainConfig
from medldm.training.image_losses import mean_psnr
from medldm.training.learner import Learner
from medldm.training.objective import denoising_loss, draw_sigma, stratified
from medldm.training.sampler import Sampler
from medldm.training.sampling import heun_samples
from medldm.training.sheet import write_sheet

# Noise levels at which the held-back patches are looked at, in units of the data's standard deviation.
LOOKS = (0.12, 0.4, 1.2, 4.0)
_SHOWN = 6
# A card's figures bound what is measured on other images than those of the training.
_ROOM = 2.0

ToState = Callable[[Tensor], Tensor]


class DenoiserTrainee(Learner):
    """A network learning ``E[x0 | x0 + sigma n]``.

    Args:
        network: fresh or resumed.
        parametrization: what it predicts.
        sigma_data: standard deviation of the state.
        config: of the run.
        trained: sampler of patches to learn from.
        held_back: sampler of patches to look at.
        accelerator: device, precision and processes.
        encode: model values -> state; the identity for a pixel prior.
        decode: state -> model values, for pictures and figures.
    """

    def __init__(
        self,
        network: nn.Module,
        parametrization: Parametrization,
        sigma_data: float,
        config: TrainConfig,
        trained: Sampler,
        held_back: Sampler,
        accelerator: Accelerator,
        encode: ToState,
        decode: ToState,
    ) -> None:
        two = config.patches.dimensions == 2
        super().__init__(network, config, trained, held_back, accelerator, channels_last=two)
        self.parametrization, self.sigma_data = parametrization, sigma_data
        self.encode, self.decode = encode, decode

    def learn(self, step: int, rate: float) -> Mapping[str, float]:
        """See :class:`medldm.training.loop.Trainee`."""
        batch = self._batches.at(step)
        device = self.accelerator.device
        clean = self.encode(batch.images.to(device))
        generator = self._generator("noise", step)
        limits = self.parametrization.sigma_min, self.parametrization.sigma_max
        sigma = draw_sigma(self.config.objective, *limits, stratified(len(clean), generator)).to(device)
        noise = torch.randn(clean.shape, generator=generator).to(device)
        each = (-1, *(1,) * (clean.ndim - 1))
        condition = batch.conditions.to(device)
        denoised = self.parametrization.denoised(
            lambda x, level: self._prepared(x, level, condition), clean + sigma.reshape(each) * noise, sigma
        )
        loss = denoising_loss(denoised, clean, sigma, self.sigma_data, self.config.objective).mean()
        return {"loss": self._step(loss, step, rate)}

    def look(self) -> Mapping[str, float]:
        """Loss and PSNR of the averaged network on held-back patches, per noise level."""
        images, conditions = self._looked
        clean = self.encode(images)
        figures: dict[str, float] = {}
        losses = []
        denoiser = Denoiser(self.network, self.parametrization)
        with averaged(self.network, self.average):
            for index, factor in enumerate(LOOKS):
                sigma = torch.full((len(clean),), factor * self.sigma_data, device=clean.device)
                generator = self._generator("look", index)
                noise = torch.randn(clean.shape, generator=generator).to(clean.device)
                denoised = self._denoised(denoiser, clean + float(sigma[0]) * noise, sigma, conditions)
                losses.append(denoising_loss(denoised, clean, sigma, self.sigma_data, self.config.objective).mean())
                figures[f"dB at {float(sigma[0]):.2g}"] = mean_psnr(self.decode(denoised), images, self._range.span)
        return {"error": float(torch.stack(losses).mean()), **figures}

    def ends(self) -> Mapping[str, Mapping[str, float | str]]:
        """What the card states of the smallest and the largest noise level, with room for images of other kinds."""
        images, conditions = self._looked
        states = self.encode(images)
        noise = torch.randn(states.shape, generator=self._generator("ends", 0)).to(states.device)
        denoiser = Denoiser(self.network, self.parametrization)
        with averaged(self.network, self.average):
            prior = _Told(lambda x, sigma: self._denoised(denoiser, x, sigma, conditions), self.parametrization)
            measured = {"identity_error": identity_error(prior, states, noise)}
            measured["mean_error"] = mean_error(prior, states, noise)
        return {
            name: {"bound": float(f"{_ROOM * value:.3g}"), "on": f"held-back patches, times {_ROOM:g}"}
            for name, value in measured.items()
        }

    def draw(self, path: Path) -> None:
        """Real, noisy and denoised held-back patches, and samples from pure noise."""
        images, conditions = self._looked[0][:_SHOWN], self._looked[1][:_SHOWN]
        clean = self.encode(images)
        rows = [("held back", images)]
        generator = self._generator("sheet", 0)
        noise = torch.randn(clean.shape, generator=generator).to(clean.device)
        denoiser = Denoiser(self.network, self.parametrization)
        with averaged(self.network, self.average):
            for factor in LOOKS[1:3]:
                sigma = torch.full((len(clean),), factor * self.sigma_data, device=clean.device)
                noisy = clean + float(sigma[0]) * noise
                denoised = self._denoised(denoiser, noisy, sigma, conditions)
                rows += [(f"noise {float(sigma[0]):.2g}", self.decode(noisy)), ("denoised", self.decode(denoised))]
            levels = noise_levels(18, self.parametrization.sigma_min, self.parametrization.sigma_max)
            drawn = heun_samples(lambda x, sigma: self._denoised(denoiser, x, sigma, conditions), noise, levels)
        rows.append(("samples", self.decode(drawn)))
        write_sheet(path, [(name, self._range.unit(images)) for name, images in rows])

    def _generator(self, purpose: str, step: int) -> torch.Generator:
        place = self.accelerator.process_index
        seed = hash((self.config.seed, step, place)) if purpose == "noise" else step
        return torch.Generator().manual_seed(seed % 2**63)

    @torch.no_grad()
    def _denoised(self, denoiser: Denoiser, x: Tensor, sigma: Tensor, conditions: Tensor) -> Tensor:
        parts = zip(x.split(_SHOWN), sigma.split(_SHOWN), conditions.split(_SHOWN), strict=True)
        return torch.cat([denoiser(*part) for part in parts])


class _Told:
    """The denoiser of the patches that are looked at, as the figures of a card ask for one."""

    def __init__(self, denoise: Callable[[Tensor, Tensor], Tensor], parametrization: Parametrization) -> None:
        self.denoise = denoise
        self.sigma_min, self.sigma_max = parametrization.sigma_min, parametrization.sigma_max
