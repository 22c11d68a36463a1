"""Networks of volumes see the body upright, however the scan's axes lie; proven against a scene placed in mm."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from medldm.data import Grid
from medldm.inference import BoundPrior, PixelPrior, Turned
from medldm.priors.card import GRID_FACTS, Facts, Intensity, Latent, Prediction, PriorCard, Range, Size
from medldm.priors.family import Networks
from medldm.priors.fit import ScanFacts, check_fit
from medldm.priors.model import PriorModel
from medldm.priors.planes import Pose, pose_of
from medldm.testing.closed_form import GaussianNetwork, OrthonormalAutoencoder, gaussian_mean

UPRIGHT = Grid.isotropic((4, 6, 8), spacing=(3.0, 2.0, 1.0))
CARD = PriorCard(
    name="volumes",
    family="test",
    summary="A scene with Gaussian errors.",
    modality="MR",
    quantity="arbitrary",
    intensity=Intensity("percentile"),
    dimensions=3,
    spacing_mm=Range(0.5, 4.0),
    sigma=Range(0.002, 80.0),
    prediction=Prediction("edm", sigma_data=0.5),
    networks={"denoiser": {}},
    weights={},
    licence="CC0-1.0",
)
STD = 0.1
SIGMA = torch.tensor([0.4, 1.3])

Turn = tuple[tuple[int, ...], tuple[int, ...]]
EVERY: list[Turn] = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]
every = pytest.mark.parametrize(
    "turn", EVERY, ids=lambda turn: "".join(f"{'+-'[s < 0]}{'zyx'[a]}" for a, s in zip(*turn, strict=True))
)


def lying(turn: Turn) -> Grid:
    """The voxels of UPRIGHT stored otherwise: each axis is one of UPRIGHT's, forwards or backwards."""
    order, signs = turn
    affine = UPRIGHT.affine.copy()
    for axis, (upright, sign) in enumerate(zip(order, signs, strict=True)):
        affine[:3, axis] = sign * UPRIGHT.affine[:3, upright]
    shape = tuple(UPRIGHT.shape[axis] for axis in order)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def scene(grid: Grid) -> Tensor:
    """(z, y, x) of a grid: a function of the place in the patient that no turn leaves as it is."""
    index = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float64) for n in grid.shape), indexing="ij"), -1)
    left, back, up = np.moveaxis(grid.world(index), -1, 0)
    return torch.from_numpy(0.1 * up + 0.03 * back + 0.007 * left + 0.002 * up * back + 0.001 * left**2).float()


def volumes(card: PriorCard = CARD, mean: Tensor | None = None) -> PriorModel:
    """A network that has learnt the scene upright."""
    network = GaussianNetwork.edm(scene(UPRIGHT) if mean is None else mean, STD)
    return PriorModel(card, Networks(network, OrthonormalAutoencoder(3, 2) if card.latent else None))


def noise(prior: BoundPrior) -> Tensor:
    return prior.space.randn(2, generator=torch.Generator().manual_seed(0))


@every
def test_a_pixel_prior_gives_the_posterior_mean_where_the_scan_lies(turn: Turn) -> None:
    grid = lying(turn)
    bound = volumes().on(grid)
    assert bound.image.shape == bound.space.shape == grid.shape
    x = noise(bound)
    expected = gaussian_mean(x, SIGMA.reshape(-1, 1, 1, 1), scene(grid), STD)
    torch.testing.assert_close(bound.denoise(x, SIGMA), expected, rtol=0, atol=2e-5)
    assert bound.decode(x) is x
    assert bound.encode(x) is x


@every
def test_the_state_of_a_latent_prior_is_upright_and_the_image_lies_as_the_scan(turn: Turn) -> None:
    card = replace(CARD, latent=Latent(2.0))
    coder = OrthonormalAutoencoder(3, 2)
    mean = 2.0 * coder.moments(scene(UPRIGHT)[None, None])[0][0]
    model = volumes(card, mean)
    upright, bound = model.on(UPRIGHT), model.on(lying(turn))
    assert bound.space == upright.space
    image = scene(lying(turn))[None]
    assert bound.image.shape == tuple(image.shape[1:])
    state = bound.encode(image)
    torch.testing.assert_close(state, mean[None], rtol=0, atol=1e-5)
    torch.testing.assert_close(bound.decode(state), image, rtol=0, atol=1e-5)
    # Of an image without details the network's mean remains: the scene, in the scan's pose.
    denoised = bound.denoise(torch.zeros(1, *bound.space.shape), torch.tensor([50.0]))
    torch.testing.assert_close(bound.decode(denoised), image, rtol=0, atol=1e-4)


@every
def test_turning_the_scan_turns_the_result_to_the_last_bit(turn: Turn) -> None:
    torch.manual_seed(0)
    layers = torch.nn.Conv3d(1, 1, 3, padding=1)

    class Convolution(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
            predicted: Tensor = self.layers(x)
            return predicted

    model = PriorModel(replace(CARD, size=Size(multiple=4)), Networks(Convolution()))
    x = noise(model.on(UPRIGHT))
    order, signs = turn

    def turned(volume: Tensor) -> Tensor:
        flips = [1 + axis for axis, sign in enumerate(signs) if sign < 0]
        return volume.permute(0, *(1 + axis for axis in order)).flip(flips)

    upright, bound = model.on(UPRIGHT), model.on(lying(turn))
    assert torch.equal(bound.denoise(turned(x), SIGMA), turned(upright.denoise(x, SIGMA)))


def test_a_complex_image_and_its_phase_lie_as_the_scan() -> None:
    grid = lying(((2, 0, 1), (1, -1, -1)))
    phase = torch.polar(torch.ones(grid.shape), scene(grid))
    bound = volumes(mean=scene(UPRIGHT) + 2).on(grid, dtype=torch.complex64, phase=phase)
    denoised = bound.denoise(torch.zeros(1, *grid.shape, dtype=torch.complex64), torch.tensor([70.0]))
    torch.testing.assert_close(denoised, ((scene(grid) + 2) * phase)[None], rtol=0, atol=1e-3)


def test_a_scan_that_lies_upright_is_not_touched() -> None:
    assert pose_of(UPRIGHT) == Pose((0, 1, 2), ())
    assert isinstance(volumes().on(UPRIGHT), PixelPrior)
    assert isinstance(volumes().on(lying(((0, 1, 2), (1, 1, -1)))), Turned)


@pytest.mark.parametrize(
    ("degrees", "order", "mirrored"),
    [(20, (0, 1, 2), ()), (70, (1, 0, 2), (0,)), (160, (0, 1, 2), (0, 1)), (-70, (1, 0, 2), (1,))],
)
def test_an_oblique_scan_goes_by_its_nearest_directions(
    degrees: float, order: tuple[int, ...], mirrored: tuple[int, ...]
) -> None:
    # About the patient's left: z from up towards the back, y from the back towards down.
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, s, c], [0, c, -s], [1, 0, 0]]).T
    assert pose_of(Grid((4, 5, 6), affine)) == Pose(order, mirrored)  # type: ignore[arg-type]


def test_the_network_is_told_of_the_axes_of_the_body() -> None:
    plane, *numbers = GRID_FACTS
    facts = Facts(classes={plane: ("axial", "coronal")}, numbers=dict.fromkeys(numbers, (1.0, 1.0)))
    card = replace(CARD, facts=facts)
    for turn in EVERY:
        assert volumes(card).told(lying(turn)) == {
            "plane": "axial",
            "slice_spacing_mm": 3.0,
            "spacing_mm": pytest.approx((3 * 2 * 1) ** (1 / 3)),
            "spacing_x_mm": 1.0,
            "spacing_y_mm": 2.0,
            "spacing_z_mm": 3.0,
        }
    assert volumes(card).told(UPRIGHT, {"spacing_y_mm": None})["spacing_y_mm"] is None


@every
def test_a_card_is_held_against_the_axes_of_the_body_and_says_that_it_turns(turn: Turn) -> None:
    card = replace(CARD, spacing_mm=Range(0.5, 2.0), slice_spacing_mm=Range(3.0, 3.0))
    plan = check_fit(card, ScanFacts("MR", "arbitrary", lying(turn))).require()
    assert not plan.resample
    upright = turn == ((0, 1, 2), (1, 1, 1))
    assert [f"lies {plan.grid.orientation} " in sentence for sentence in plan.sentences] == [] if upright else [True]
    slices = replace(card, dimensions=2, planes=("axial", "coronal", "sagittal"), spacing_mm=Range(0.5, 4.0))
    assert check_fit(slices, ScanFacts("MR", "arbitrary", lying(turn))).require().sentences == ()
