"""A card, a grid and a network that remembers what it was told, for the tests of priors bound to grids."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from medldm.data import Grid
from medldm.inference import BoundPrior
from medldm.priors.card import Intensity, Prediction, PriorCard, Range, Size
from medldm.priors.family import Networks
from medldm.priors.model import PriorModel
from medldm.testing.closed_form import GaussianNetwork, OrthonormalAutoencoder

GRID = Grid.isotropic((5, 6, 7), spacing=(3.0, 1.0, 0.5))
SIGMA = torch.tensor([0.4, 1.3])
MEAN, STD = 0.3, 0.5

CARD = PriorCard(
    name="test",
    family="test",
    summary="A Gaussian.",
    modality="MR",
    quantity="arbitrary",
    intensity=Intensity("percentile"),
    dimensions=2,
    spacing_mm=Range(0.5, 2.0),
    sigma=Range(0.002, 80.0),
    prediction=Prediction("edm", sigma_data=0.5),
    networks={"denoiser": {}},
    weights={},
    licence="CC0-1.0",
    size=Size(multiple=4),
)
SLAB = replace(CARD, slab=3)


class Listening(GaussianNetwork):
    """A Gaussian with a weight, that remembers what it was told and on how many images."""

    def __init__(self, **options: Any) -> None:
        closed = GaussianNetwork.edm(**options)
        super().__init__(closed.parametrization, closed.sigma_of, closed.mean, closed.std)
        self.weight = nn.Parameter(torch.ones(1, 1, 3, 3))
        self.told: list[Tensor] = []
        self.batches: list[int] = []

    def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            self.told.append(condition)
            self.batches.append(len(x))
        return super().forward(x, noise, condition) * self.weight[0, 0, 0, 0]


def model_of(card: PriorCard = CARD, **options: Any) -> PriorModel:
    """Loaded by the card; ``options`` are those of the Gaussian."""
    channels = 2 if card.complex == "channels" else 1
    coder = OrthonormalAutoencoder(card.dimensions, 2, channels) if card.latent else None
    return PriorModel(card, Networks(Listening(**options), coder))


def network_of(model: PriorModel) -> Listening:
    """What the model asks, to see what it was told."""
    network = model.networks.denoiser
    assert isinstance(network, Listening)
    return network


def state_of(prior: BoundPrior) -> Tensor:
    """A batch of two states, the same every time."""
    return prior.space.randn(2, generator=torch.Generator().manual_seed(0))


def random_phase() -> Tensor:
    """Of a volume on the grid, the same every time."""
    angles = torch.randn(GRID.shape, generator=torch.Generator().manual_seed(1))
    return torch.polar(torch.ones(GRID.shape), angles)
