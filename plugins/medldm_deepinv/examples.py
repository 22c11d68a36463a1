"""Small instances for the conformance kit."""

from __future__ import annotations

from pathlib import Path

import deepinv
import torch

from medldm.data import Grid, Volume
from medldm.priors.card import Intensity, Prediction, PriorCard, Range
from medldm.priors.folder import write_prior
from medldm.testing import PhysicsExample, PriorExample
from medldm_deepinv.family import DeepinvDenoisers
from medldm_deepinv.physics import DeepinvPhysics
from medldm_deepinv.slicewise_physics import SlicewisePhysics

FILTER = [[[[0.05, 0.1, 0.05], [0.1, 0.4, 0.1], [0.05, 0.1, 0.05]]]]
CARD = PriorCard(
    name="deepinv-drunet",
    family="deepinv",
    summary="A small DRUNet of deepinv with random weights.",
    modality="CT",
    quantity="HU",
    intensity=Intensity("window", low=-1000.0, high=1000.0),
    dimensions=2,
    spacing_mm=Range(0.5, 2.0),
    sigma=Range(0.01, 2.0),
    prediction=Prediction("flow", levels=1.0),
    networks={
        "denoiser": {
            "model": "DRUNet",
            "options": {"in_channels": 1, "out_channels": 1, "nc": [4, 4, 4, 4], "nb": 1},
            "pad": 8,
        }
    },
    weights={},
    licence="CC0-1.0",
    quality={"identity_error": {"bound": 3.0, "measured_on": "nothing: the weights are random"}},
)


def blur() -> PhysicsExample:
    """A blur; also parallel rays, Fourier samples of a complex image, coarse pixels by differentiation."""
    grid = Grid.isotropic((3, 12, 14), (2.0, 1.0, 1.0))
    image = 1 + torch.rand(grid.shape, generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(14) % 3 != 0).float().expand(1, 2, 12, 14)
    fourier = deepinv.physics.MRI(mask=mask, img_size=(2, 12, 14))
    rays = deepinv.physics.Tomography(angles=9, img_width=12, normalize=True)
    coarse = deepinv.physics.Downsampling(img_size=(1, 12, 14), factor=2, filter="gaussian")
    return PhysicsExample(
        DeepinvPhysics("BlurFFT", {"img_size": [1, 12, 14]}, {"filter": FILTER}),
        Volume(image, grid, name="phantom"),
        (
            SlicewisePhysics(fourier, (2, 12, 14), complex_image=True),
            SlicewisePhysics(rays, (2, 12, 12)),
            SlicewisePhysics(coarse, (2, 12, 14), adjoint="derivative"),
        ),
    )


def denoiser() -> PriorExample:
    """A DRUNet of a few thousand random weights."""

    def make(folder: Path) -> Path:
        torch.manual_seed(0)
        network = DeepinvDenoisers().build(CARD.networks).denoiser
        assert network is not None
        write_prior(folder / CARD.name, CARD, {"denoiser": network.state_dict()})
        return folder / CARD.name

    return PriorExample(DeepinvDenoisers(), make)
