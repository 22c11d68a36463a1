"""Laws of loaded priors, whatever their weights: each is held against a small volume that no network fits exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from medldm.data import Grid
from medldm.inference import Noise
from medldm.inference.prior import BoundPrior, is_regressor
from medldm.priors.card import PriorCard
from medldm.priors.figures import identity_error, mean_error, round_trip_psnr, stated
from medldm.priors.model import PriorModel
from medldm.testing.law import NotApplicable, require, require_close

NOISE = Noise(7, "conformance")
# Another batch or another part of it changes the order of sums inside the libraries.
SAME = 1e-4
# The exact posterior mean changes its input by sigma_min at most. A network whose output has unit size, as the table
# of parametrizations asks of it, stays within this many of them even before it is trained.
IDENTITY = 3.0
# bfloat16, in which networks run on CUDA, has eight bits.
LOW_PRECISION = 2e-2


@dataclass(frozen=True)
class Trial:
    """A prior on a small grid.

    Attributes:
        model: loaded.
        grid: (z, y, x), with sizes that are no multiples of the card's size rule.
    """

    model: PriorModel
    grid: Grid

    @classmethod
    def of(cls, model: PriorModel) -> Trial:
        """A prior on the smallest grid that asks for padding along every axis that its networks see."""
        return cls(model, _awkward(model.card))

    @property
    def card(self) -> PriorCard:
        """Of the prior."""
        return self.model.card

    @property
    def dtype(self) -> torch.dtype:
        """Of the images."""
        return torch.complex64 if self.card.complex == "channels" else torch.float32

    def bound(self, grid: Grid | None = None, *, slices_at_once: int | None = None, seed: int = 0) -> BoundPrior:
        """The prior bound to a grid; the trial's own by default."""
        return self.model.on(grid or self.grid, dtype=self.dtype, slices_at_once=slices_at_once, seed=seed)

    def images(self, prior: BoundPrior, batch: int) -> Tensor:
        """Smooth images (batch, *image) within the card's model range, each another."""
        shape = prior.image.shape
        coarse = NOISE.normal((batch, 1, *(max(2, n // 6) for n in shape)), torch.float32, "images")
        smooth = nn.functional.interpolate(coarse, size=shape, mode="trilinear", align_corners=True).squeeze(1)
        low, high = sorted(self.card.intensity.to)
        values = low + (high - low) * torch.sigmoid(2 * smooth)
        return values.to(prior.image.dtype) if prior.image.is_complex else values

    def states(self, prior: BoundPrior, batch: int) -> Tensor:
        """(batch, *space) of such images."""
        with torch.no_grad():
            return prior.encode(self.images(prior, batch))

    def noisy(self, prior: BoundPrior, batch: int) -> tuple[Tensor, Tensor]:
        """States with noise of another level in each sample, between the ends, and the levels; a regressor has none."""
        if is_regressor(prior):
            return self.states(prior, batch), torch.zeros(batch)
        share = torch.arange(1, batch + 1) / (batch + 1)
        sigma = prior.sigma_min * (prior.sigma_max / prior.sigma_min) ** share
        states = self.states(prior, batch)
        each = sigma.reshape(-1, *(1,) * (states.ndim - 1))
        return states + each * white(states, "states"), sigma


PriorLaw = Callable[[Trial], None]


def white(like: Tensor, name: str) -> Tensor:
    """Standard normal noise per real component."""
    return NOISE.normal(tuple(like.shape), like.dtype, name)


def _fitting(card: PriorCard, more: int = 0) -> Grid:
    """A small grid that needs no padding, by ``more`` voxels larger along every axis."""
    size = card.size
    smallest = -(-max(size.at_least, 8) // size.multiple) * size.multiple
    shape = (smallest + more,) * 3
    if card.dimensions == 2:
        shape = (max(3, card.slab + 1), shape[1], shape[2])
    within = min(max(1.0, card.spacing_mm.low), card.spacing_mm.high)
    across = card.slice_spacing_mm
    return Grid.isotropic(shape, (across.low if across is not None else within, within, within))


def _awkward(card: PriorCard, more: int = 0) -> Grid:
    """Like :func:`_fitting`, its sizes different and no multiples of the size rule, unless that is 2 or 1."""
    grid = _fitting(card, more)
    z, y, x = grid.shape
    return Grid.isotropic((z if card.dimensions == 2 else z + 3, y + 1, x + 2), grid.spacing)


@torch.no_grad()
def law_shapes_and_dtypes(trial: Trial) -> None:
    """States and images have the shapes of their spaces, stay of one kind and finite, and lie in memory in order.

    A saved state comes back in order; convolutions of one that was not round otherwise, and a resumed run is another.
    """
    prior = trial.bound()
    require(prior.image.shape == trial.grid.shape, f"images are {prior.image}, the grid is {trial.grid.shape}")
    x, sigma = trial.noisy(prior, 2)
    require(tuple(x.shape[1:]) == prior.space.shape, f"encode gives {tuple(x.shape)}, the space is {prior.space}")
    denoised, decoded = prior.denoise(x, sigma), prior.decode(x)
    require(denoised.shape == x.shape, f"denoise turns {tuple(x.shape)} into {tuple(denoised.shape)}")
    require(denoised.dtype == x.dtype, f"denoise turns {x.dtype} into {denoised.dtype}")
    require(tuple(decoded.shape) == (2, *prior.image.shape), f"decode gives {tuple(decoded.shape)}")
    for name, tensor in (("encode", x), ("denoise", denoised), ("decode", decoded)):
        require(bool(torch.isfinite(tensor).all()), f"{name} gives NaN or infinite values")
        require(tensor.is_contiguous(), f"{name} gives strides {tensor.stride()}: end it with .contiguous()")


@torch.no_grad()
def law_any_size(trial: Trial) -> None:
    """Sizes around the size rule are taken: those that fit, the next ones that do not, and a single slice."""
    card = trial.card
    grids = [_fitting(card), _awkward(card, card.size.multiple)]
    if card.dimensions == 2:
        grids.append(Grid.isotropic((1, *trial.grid.shape[1:]), trial.grid.spacing))
    for grid in grids:
        prior = trial.bound(grid)
        x, sigma = trial.noisy(prior, 1)
        image = prior.decode(prior.denoise(x, sigma))
        require(tuple(image.shape) == (1, *grid.shape), f"an image of {grid.shape} comes back as {tuple(image.shape)}")
        require(bool(torch.isfinite(image).all()), f"an image of {grid.shape} becomes NaN or infinite")


@torch.no_grad()
def law_reproducible(trial: Trial) -> None:
    """The same input gives the same output to the last bit, from a second binding with equal seed too.

    An encoder that samples its latent, or dropout that is left on, would make slices flicker.
    """
    first, second = trial.bound(seed=3), trial.bound(seed=3)
    image = trial.images(first, 1)
    require(torch.equal(first.encode(image), first.encode(image)), "encode gives another state each time")
    x, sigma = trial.noisy(first, 1)
    require(torch.equal(first.denoise(x, sigma), first.denoise(x, sigma)), "denoise gives another result each time")
    require(torch.equal(first.denoise(x, sigma), second.denoise(x, sigma)), "two bindings with one seed differ")
    require(torch.equal(first.decode(x), first.decode(x)), "decode gives another image each time")


@torch.no_grad()
def law_batch_is_loop(trial: Trial) -> None:
    """A sample's result does not depend on what it is batched with, each at its own noise level."""
    prior = trial.bound()
    x, sigma = trial.noisy(prior, 3)
    images = trial.images(prior, 3)
    for name, function, inputs in (
        ("denoise", prior.denoise, (x, sigma)),
        ("encode", prior.encode, (images,)),
        ("decode", prior.decode, (x,)),
    ):
        together = function(*inputs)
        alone = torch.cat([function(*(tensor[i : i + 1] for tensor in inputs)) for i in range(3)])
        require_close(together, alone, SAME, f"{name}: a batch differs from its samples one by one")


@torch.no_grad()
def law_parts_do_not_matter(trial: Trial) -> None:
    """How many slices the network sees at once does not change the result."""
    if trial.card.dimensions == 3:
        raise NotApplicable("the prior sees volumes as a whole")
    one, all_ = trial.bound(slices_at_once=1), trial.bound(slices_at_once=1000)
    x, sigma = trial.noisy(one, 2)
    require_close(one.denoise(x, sigma), all_.denoise(x, sigma), SAME, "one slice at once differs from all at once")


@torch.no_grad()
def law_inputs_unchanged(trial: Trial) -> None:
    """Nothing is changed in place."""
    # Without padding, whose copy would hide it.
    prior = trial.bound(_fitting(trial.card))
    image = trial.images(prior, 1)
    x, sigma = trial.noisy(prior, 1)
    kept = image.clone(), x.clone(), sigma.clone()
    prior.encode(image), prior.denoise(x, sigma), prior.decode(x)
    for name, before, after in zip(("image", "state", "noise level"), kept, (image, x, sigma), strict=True):
        require(torch.equal(before, after), f"the {name} was changed in place")


def law_nearly_the_identity_at_sigma_min(trial: Trial) -> None:
    """With the least noise of use, the image stays: by ``quality.identity_error`` of the card, or three sigma_min."""
    prior = trial.bound()
    if is_regressor(prior):
        raise NotApplicable("a regressor knows no noise levels")
    bound = stated(trial.card, "identity_error")
    if bound is None:
        if trial.card.prediction.kind == "x0":
            raise NotApplicable(
                "a network that predicts the image is near it once trained; state quality.identity_error"
            )
        bound = IDENTITY * prior.sigma_min
    states = trial.states(prior, 2)
    error = identity_error(prior, states, white(states, "identity"))
    require(
        error <= bound,
        f"at sigma_min {prior.sigma_min:.3g} the image changes by {error:.3g} (root mean square), allowed {bound:.3g}",
    )


def law_nearly_the_mean_at_sigma_max(trial: Trial) -> None:
    """With the greatest noise of use, all images become one, by ``quality.mean_error`` of the card."""
    if trial.card.regression is not None:
        raise NotApplicable("a regressor knows no noise levels")
    bound = stated(trial.card, "mean_error")
    if bound is None:
        raise NotApplicable("only a trained network gives the mean, and the card states no quality.mean_error")
    prior = trial.bound()
    states = trial.states(prior, 4)
    error = mean_error(prior, states, white(states, "mean"))
    require(
        error <= bound,
        f"at sigma_max {prior.sigma_max:.3g} denoised images still differ by {error:.3g}, allowed {bound:.3g}",
    )


def law_round_trip(trial: Trial) -> None:
    """``decode(encode(x))`` is x for a pixel prior; for a latent one its PSNR reaches ``quality.autoencoder_psnr``."""
    prior = trial.bound()
    images = trial.images(prior, 2)
    low, high = sorted(trial.card.intensity.to)
    psnr = round_trip_psnr(prior, images, high - low)
    if not prior.latent:
        require(psnr > 120, f"a pixel prior changes an image by encode and decode: {psnr:.1f} dB")
        return
    bound = stated(trial.card, "autoencoder_psnr")
    if bound is None:
        raise NotApplicable("the card states no quality.autoencoder_psnr")
    require(psnr >= bound, f"encode and decode leave {psnr:.1f} dB, the card states {bound:.1f}")


def law_gradient(trial: Trial) -> None:
    """The gradient through denoise is its derivative, and there is one through decode where the prior says so."""
    prior = trial.bound()
    x, sigma = trial.noisy(prior, 1)
    # Differences between images this close drown in the rounding of bfloat16.
    with trial.model.denoiser.in_full_precision():
        _require_derivative(lambda z: prior.denoise(z, sigma), x, 0.02 * float(sigma[0]) or 1e-3, "denoise")
    if prior.latent and prior.decode_gradient:
        states = trial.states(prior, 1)
        scale = float(states.abs().mean()) or 1.0
        _require_derivative(prior.decode, states, 0.02 * scale, "decode")


def _require_derivative(function: Callable[[Tensor], Tensor], x: Tensor, step: float, name: str) -> None:
    direction = white(x, "direction")
    with torch.no_grad():
        change = (function(x + step * direction) - function(x - step * direction)) / (2 * step)
    variable = x.clone().requires_grad_()
    result = function(variable)
    require(result.requires_grad, f"no gradient flows through {name}")
    (gradient,) = torch.autograd.grad(result, variable, change)
    require(bool(torch.isfinite(gradient).all()), f"the gradient through {name} is NaN or infinite")
    predicted, found = (float((a.conj() * b).real.double().sum()) for a, b in ((gradient, direction), (change, change)))
    require(
        abs(predicted - found) <= 0.05 * abs(found),
        f"the gradient through {name} predicts a change of {predicted:.4g}, found {found:.4g}",
    )


@torch.no_grad()
def law_precision(trial: Trial) -> None:
    """States in double precision come back so, and as those in single precision do."""
    prior = trial.bound()
    x, sigma = trial.noisy(prior, 1)
    double = torch.complex128 if x.is_complex() else torch.float64
    wide = prior.denoise(x.to(double), sigma.double())
    require(wide.dtype == double, f"denoise turns {double} into {wide.dtype}")
    require_close(wide.to(x.dtype), prior.denoise(x, sigma), SAME, "double and single precision differ")
    decoded = prior.decode(x.to(double))
    require_close(decoded.to(prior.image.dtype), prior.decode(x), SAME, "decode in double and single precision differ")


@torch.no_grad()
def law_devices(trial: Trial) -> None:
    """On a GPU the prior gives what it gives on the CPU, but for rounding."""
    if not torch.cuda.is_available():
        raise NotApplicable("there is no CUDA device here")
    prior = trial.bound()
    x, sigma = trial.noisy(prior, 1)
    here = prior.denoise(x, sigma), prior.decode(x)
    try:
        moved = cast(BoundPrior, cast(nn.Module, prior).to("cuda"))
        there = moved.denoise(x.cuda(), sigma.cuda()), moved.decode(x.cuda())
    finally:
        cast(nn.Module, prior).to("cpu")
    for name, a, b in zip(("denoise", "decode"), here, there, strict=True):
        require(b.device.type == "cuda", f"{name} on CUDA gives a tensor on {b.device}")
        require_close(a, b.cpu(), LOW_PRECISION, f"{name} differs between CPU and CUDA")


PRIOR_LAWS: tuple[PriorLaw, ...] = (
    law_shapes_and_dtypes,
    law_any_size,
    law_reproducible,
    law_batch_is_loop,
    law_parts_do_not_matter,
    law_inputs_unchanged,
    law_nearly_the_identity_at_sigma_min,
    law_nearly_the_mean_at_sigma_max,
    law_round_trip,
    law_gradient,
    law_precision,
    law_devices,
)
