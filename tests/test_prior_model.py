"""A loaded prior bound to a grid: composed by its card, each slice in its plane, refused where it does not fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from bound_scene import CARD, GRID, MEAN, SIGMA, SLAB, STD, Listening, model_of, network_of, random_phase, state_of
from torch import Tensor, nn

from medldm.data import Grid
from medldm.errors import ComponentMissing, MedldmError, UsageError
from medldm.inference import (
    BoundPrior,
    DiffusionPrior,
    LatentPrior,
    PhaseFrozen,
    PixelPrior,
    SlabPrior,
    SlicewisePrior,
    Turned,
)
from medldm.priors.card import Latent, Prediction, PriorCard, Range, Size
from medldm.priors.family import Networks
from medldm.priors.model import PriorModel
from medldm.priors.planes import planes_of
from medldm.testing.closed_form import OrthonormalAutoencoder, gaussian_mean

CARDS: dict[str, tuple[PriorCard, dict[str, Any], list[type]]] = {
    "slices": (CARD, {}, [SlicewisePrior, PixelPrior]),
    "slab": (replace(CARD, slab=3), {}, [SlabPrior, PixelPrior]),
    "volume": (replace(CARD, dimensions=3), {}, [PixelPrior]),
    "latent": (replace(CARD, latent=Latent(2.0)), {}, [SlicewisePrior, LatentPrior]),
    "latent-volume": (replace(CARD, dimensions=3, latent=Latent(2.0)), {}, [LatentPrior]),
    "phase": (CARD, {"dtype": torch.complex64, "phase": random_phase()}, [PhaseFrozen, SlicewisePrior]),
    "phase-latent": (
        replace(CARD, latent=Latent(2.0)),
        {"dtype": torch.complex64, "phase": random_phase()},
        [PhaseFrozen, SlicewisePrior, LatentPrior],
    ),
    "channels": (replace(CARD, complex="channels"), {"dtype": torch.complex64}, [SlicewisePrior]),
    "channels-slab": (replace(CARD, complex="channels", slab=3), {"dtype": torch.complex64}, [SlabPrior]),
    "channels-latent": (replace(CARD, complex="channels", latent=Latent(1.0)), {"dtype": torch.complex64}, []),
    "coronal": (replace(CARD, planes=("axial", "coronal")), {"plane": "coronal"}, [Turned, SlicewisePrior]),
    "falls-back": (CARD, {"use": "slab"}, [SlicewisePrior, PixelPrior]),
}


def coded(image: Tensor, bound: BoundPrior, phase: Tensor | None) -> Tensor:
    """What is left of an image in a round trip: all of it, but that latents know magnitudes along a phase alone."""
    if phase is None or not bound.latent:
        return image
    return phase * (phase.conj() * image).real.clamp_min(0)


@pytest.mark.parametrize(("card", "options", "parts"), CARDS.values(), ids=CARDS.keys())
def test_a_card_is_composed_into_a_prior_of_the_volume(
    card: PriorCard, options: dict[str, Any], parts: list[type]
) -> None:
    bound = model_of(card).on(GRID, **options)
    assert isinstance(bound, DiffusionPrior)
    assert isinstance(bound, BoundPrior)
    assert isinstance(bound, nn.Module)
    found: Any = bound
    for part in parts:
        assert isinstance(found, part)
        found = getattr(found, "inner", None)
    assert bound.image.shape == GRID.shape
    assert bound.image.axes == ("z", "y", "x")
    assert bound.image.is_complex == options.get("dtype", torch.float32).is_complex
    assert (bound.sigma_min, bound.sigma_max) == (0.002, 80.0)
    state = state_of(bound)
    assert bound.denoise(state, SIGMA).shape == state.shape
    assert bound.decode(state).shape == (2, *GRID.shape)
    image = bound.image.randn(1, generator=torch.Generator().manual_seed(2))
    again = bound.decode(bound.encode(image))
    torch.testing.assert_close(again, coded(image, bound, options.get("phase")), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["slices", "slab", "volume", "coronal", "channels", "channels-slab"])
def test_bound_priors_give_the_posterior_mean(name: str) -> None:
    card, options, _ = CARDS[name]
    bound = model_of(card).on(GRID, **options)
    state = state_of(bound)
    level = SIGMA.reshape(-1, 1, 1, 1)
    if state.is_complex():
        expected = torch.complex(*(gaussian_mean(part, level, MEAN, STD) for part in (state.real, state.imag)))
    else:
        expected = gaussian_mean(state, level, MEAN, STD)
    torch.testing.assert_close(bound.denoise(state, SIGMA), expected, rtol=0, atol=1e-5)


def test_latent_figures_come_from_the_card() -> None:
    card = replace(CARD, latent=Latent(scale=2.0, shift=0.25, gain=0.5, error=0.03))
    bound = model_of(card).on(GRID)
    assert (bound.gain, bound.error) == (0.5, 0.03)
    zeros = bound.space.zeros(1)
    mean = bound.decode(zeros)  # state 0 is a latent of 0.25 everywhere
    torch.testing.assert_close(bound.encode(mean), zeros, rtol=0, atol=1e-5)
    assert float(bound.encode(torch.zeros(1, *GRID.shape)).mean()) == pytest.approx(-0.5, abs=1e-5)


def test_the_size_rule_is_the_cards() -> None:
    sizes: list[tuple[int, ...]] = []

    class Network(Listening):
        def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
            sizes.append(tuple(x.shape[2:]))
            return super().forward(x, noise, condition)

    for size, expected in ((Size(4), (8, 8)), (Size(4, at_least=16), (16, 16)), (Size(4, at_most=4), (4, 4))):
        sizes.clear()
        bound = PriorModel(replace(CARD, size=size), Networks(Network())).on(GRID)
        bound.denoise(state_of(bound), SIGMA)
        assert set(sizes) == {expected}


def test_weights_are_frozen_and_gradients_reach_the_image() -> None:
    model = model_of()
    network = network_of(model)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    bound = model.on(GRID)
    state = state_of(bound).requires_grad_()
    (gradient,) = torch.autograd.grad(bound.denoise(state, SIGMA).sum(), state)
    slope = STD**2 / (STD**2 + SIGMA**2)
    torch.testing.assert_close(gradient, slope.reshape(-1, 1, 1, 1).expand_as(gradient), rtol=0, atol=1e-5)


def test_a_schedule_kept_with_the_weights_is_found() -> None:
    class Scheduled(Listening):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("alpha_bars", torch.linspace(0.999, 0.01, 50))

    model = PriorModel(replace(CARD, prediction=Prediction("v"), sigma=Range(0.05, 5.0)), Networks(Scheduled()))
    assert (model.denoiser.parametrization.sigma_min, model.denoiser.parametrization.sigma_max) == (0.05, 5.0)
    assert float(model.denoiser.parametrization.noise(torch.tensor([1e3]))) == 49


# Planes.


@pytest.mark.parametrize(
    ("columns", "planes"),
    [
        (((0, 0, 1), (0, 1, 0), (1, 0, 0)), ("axial", "coronal", "sagittal")),
        (((0, -1, 0), (0, 0, -1), (1, 0, 0)), ("coronal", "axial", "sagittal")),
        (((1, 0, 0), (0, 0, 1), (0, 1, 0)), ("sagittal", "axial", "coronal")),
        # 50 degrees from axial: two axes lean to the same direction, and each plane still comes once.
        (((0, 0.77, 0.64), (0, 0.64, -0.77), (1, 0, 0)), ("coronal", "axial", "sagittal")),
        (((0.6, 0.0, 0.8), (0.64, 0.6, -0.48), (0.48, -0.8, -0.36)), ("axial", "sagittal", "coronal")),
    ],
)
def test_planes_of_a_grid(columns: tuple[tuple[float, ...], ...], planes: tuple[str, ...]) -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.array(columns).T * [3.0, 1.0, 0.5]
    assert planes_of(Grid((4, 5, 6), affine)) == planes


def test_slices_of_another_plane_are_taken_across_its_axis() -> None:
    seen: list[tuple[int, ...]] = []

    class Network(Listening):
        def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
            seen.append(tuple(x.shape))
            return super().forward(x, noise, condition)

    card = replace(CARD, planes=("axial", "coronal", "sagittal"), size=Size())
    model = PriorModel(card, Networks(Network()))
    for plane, shape in (("axial", (5, 1, 6, 7)), ("coronal", (6, 1, 5, 7)), ("sagittal", (7, 1, 5, 6))):
        seen.clear()
        bound = model.on(GRID, plane=plane, slices_at_once=100)  # type: ignore[arg-type]
        bound.denoise(bound.space.zeros(1), SIGMA[:1])
        assert seen == [shape]


# What does not go together.


CHANNELS = replace(CARD, complex="channels")


@pytest.mark.parametrize(
    ("card", "options", "code"),
    [
        (CARD, {"dtype": torch.complex64}, "E-PRM-07"),
        (CARD, {"phase": random_phase()}, "E-PRM-07"),
        (CHANNELS, {}, "E-PRM-07"),
        (CHANNELS, {"dtype": torch.complex64, "phase": random_phase()}, "E-PRM-07"),
        (CARD, {"use": "volume"}, "E-PRM-08"),
        (SLAB, {"use": "slicewise"}, "E-PRM-08"),
        (replace(CARD, dimensions=3), {"use": "slicewise"}, "E-PRM-08"),
        (CARD, {"plane": "coronal"}, "E-PRM-09"),
        (replace(CARD, dimensions=3), {"plane": "axial"}, "E-PRM-09"),
    ],
)
def test_uses_that_the_card_rules_out_are_refused(card: PriorCard, options: dict[str, Any], code: str) -> None:
    with pytest.raises(UsageError) as caught:
        model_of(card).on(GRID, **options)
    assert caught.value.code == code
    assert caught.value.what and caught.value.fix


@pytest.mark.parametrize(
    ("card", "networks", "code"),
    [
        (CARD, Networks(), "E-PRM-03"),
        (CARD, Networks(Listening(), OrthonormalAutoencoder()), "E-PRM-03"),
        (replace(CARD, latent=Latent(1.0)), Networks(Listening()), "E-PRM-03"),
        (replace(SLAB, latent=Latent(1.0)), Networks(Listening(), OrthonormalAutoencoder()), "E-PRM-04"),
        (replace(SLAB, dimensions=3), Networks(Listening()), "E-PRM-04"),
        (replace(CARD, prediction=Prediction("epsilon")), Networks(Listening()), "E-PRM-01"),
        (replace(CARD, sigma=Range(1.0, 0.5)), Networks(Listening()), "E-PRM-02"),
    ],
)
def test_networks_that_do_not_go_with_the_card_are_refused(card: PriorCard, networks: Networks, code: str) -> None:
    with pytest.raises(ComponentMissing) as caught:
        PriorModel(card, networks)
    assert isinstance(caught.value, MedldmError)
    assert caught.value.code == code
