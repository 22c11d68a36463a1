"""A loaded prior bound to a grid: composed by its card, told what it may be told, refused where it does not fit."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
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
from medldm.priors.card import Facts, Intensity, Latent, Prediction, PriorCard, Range, Size
from medldm.priors.family import Networks
from medldm.priors.model import PriorModel
from medldm.priors.planes import planes_of
from medldm.testing.closed_form import GaussianNetwork, OrthonormalAutoencoder, gaussian_mean

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
FACTS = Facts(
    classes={"modality": ("mr", "ct"), "contrast": ("t1w", "t2w"), "plane": ("axial", "coronal")},
    numbers={"spacing_mm": (1.0, 0.5), "slice_spacing_mm": (1.0, 1.0)},
    fixed={"modality": "mr"},
)


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


def _model(card: PriorCard = CARD, **options: Any) -> PriorModel:
    channels = 2 if card.complex == "channels" else 1
    coder = OrthonormalAutoencoder(card.dimensions, 2, channels) if card.latent else None
    return PriorModel(card, Networks(Listening(**options), coder))


def _network(model: PriorModel) -> Listening:
    network = model.networks.denoiser
    assert isinstance(network, Listening)
    return network


def _state(prior: BoundPrior) -> Tensor:
    return prior.space.randn(2, generator=torch.Generator().manual_seed(0))


def _phase() -> Tensor:
    angles = torch.randn(GRID.shape, generator=torch.Generator().manual_seed(1))
    return torch.polar(torch.ones(GRID.shape), angles)


CARDS: dict[str, tuple[PriorCard, dict[str, Any], list[type]]] = {
    "slices": (CARD, {}, [SlicewisePrior, PixelPrior]),
    "slab": (replace(CARD, slab=3), {}, [SlabPrior, PixelPrior]),
    "volume": (replace(CARD, dimensions=3), {}, [PixelPrior]),
    "latent": (replace(CARD, latent=Latent(2.0)), {}, [SlicewisePrior, LatentPrior]),
    "latent-volume": (replace(CARD, dimensions=3, latent=Latent(2.0)), {}, [LatentPrior]),
    "phase": (CARD, {"dtype": torch.complex64, "phase": _phase()}, [PhaseFrozen, SlicewisePrior]),
    "channels": (replace(CARD, complex="channels"), {"dtype": torch.complex64}, [SlicewisePrior]),
    "channels-slab": (replace(CARD, complex="channels", slab=3), {"dtype": torch.complex64}, [SlabPrior]),
    "channels-latent": (replace(CARD, complex="channels", latent=Latent(1.0)), {"dtype": torch.complex64}, []),
    "coronal": (replace(CARD, planes=("axial", "coronal")), {"plane": "coronal"}, [Turned, SlicewisePrior]),
    "falls-back": (CARD, {"use": "slab"}, [SlicewisePrior, PixelPrior]),
}


@pytest.mark.parametrize(("card", "options", "parts"), CARDS.values(), ids=CARDS.keys())
def test_a_card_is_composed_into_a_prior_of_the_volume(
    card: PriorCard, options: dict[str, Any], parts: list[type]
) -> None:
    bound = _model(card).on(GRID, **options)
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
    state = _state(bound)
    assert bound.denoise(state, SIGMA).shape == state.shape
    assert bound.decode(state).shape == (2, *GRID.shape)
    image = bound.image.randn(1, generator=torch.Generator().manual_seed(2))
    again = bound.decode(bound.encode(image))
    torch.testing.assert_close(again, image if not isinstance(bound, PhaseFrozen) else again, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["slices", "slab", "volume", "coronal", "channels", "channels-slab"])
def test_bound_priors_give_the_posterior_mean(name: str) -> None:
    card, options, _ = CARDS[name]
    bound = _model(card).on(GRID, **options)
    state = _state(bound)
    level = SIGMA.reshape(-1, 1, 1, 1)
    if state.is_complex():
        expected = torch.complex(*(gaussian_mean(part, level, MEAN, STD) for part in (state.real, state.imag)))
    else:
        expected = gaussian_mean(state, level, MEAN, STD)
    torch.testing.assert_close(bound.denoise(state, SIGMA), expected, rtol=0, atol=1e-5)


def test_latent_figures_come_from_the_card() -> None:
    card = replace(CARD, latent=Latent(scale=2.0, shift=0.25, gain=0.5, error=0.03))
    bound = _model(card).on(GRID)
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
        bound.denoise(_state(bound), SIGMA)
        assert set(sizes) == {expected}


def test_weights_are_frozen_and_gradients_reach_the_image() -> None:
    model = _model()
    network = _network(model)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    bound = model.on(GRID)
    state = _state(bound).requires_grad_()
    (gradient,) = torch.autograd.grad(bound.denoise(state, SIGMA).sum(), state)
    slope = STD**2 / (STD**2 + SIGMA**2)
    torch.testing.assert_close(gradient, slope.reshape(-1, 1, 1, 1).expand_as(gradient), rtol=0, atol=1e-5)


# What is told.


def test_card_caller_and_grid_tell_the_network() -> None:
    model = _model(replace(CARD, facts=FACTS))
    assert model.told(GRID, {"contrast": "t2w"}) == {
        "plane": "axial",
        "spacing_mm": pytest.approx(0.5**0.5),
        "slice_spacing_mm": 3.0,
        "contrast": "t2w",
        "modality": "mr",
    }
    bound = model.on(GRID, facts={"contrast": "t2w"})
    bound.denoise(_state(bound), SIGMA)
    #  modality mr, ct; contrast t1w, t2w; plane axial, coronal; spacing and slice spacing, each with its one
    expected = torch.tensor([1.0, 0, 0, 1, 1, 0, (0.5**0.5 - 1) / 0.5, 1, 2, 1])
    for told in _network(model).told:
        torch.testing.assert_close(told, expected.expand(len(told), -1))


def test_what_is_given_goes_before_what_the_grid_knows_and_none_is_unknown() -> None:
    model = _model(replace(CARD, facts=FACTS))
    told = model.told(GRID, {"spacing_mm": None, "plane": "coronal"})
    assert told["spacing_mm"] is None
    assert told["plane"] == "coronal"
    turned = _model(replace(CARD, facts=FACTS, planes=("axial", "coronal")))
    told = turned.told(GRID, plane="coronal")
    assert (told["plane"], told["slice_spacing_mm"]) == ("coronal", 1.0)
    assert told["spacing_mm"] == pytest.approx((3 * 0.5) ** 0.5)
    assert _model().told(GRID) == {}, "a network that understands nothing is told nothing"


def test_a_network_that_understands_nothing_gets_an_empty_vector() -> None:
    model = _model()
    bound = model.on(GRID)
    bound.denoise(_state(bound), SIGMA)
    assert all(told.shape[1] == 0 for told in _network(model).told)


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"kernel": "b30"}, "E-PRM-05"),
        ({"contrast": "pd"}, "E-PRM-05"),
        ({"spacing_mm": "wide"}, "E-PRM-05"),
        ({"modality": "ct"}, "E-PRM-06"),
    ],
)
def test_facts_that_the_prior_does_not_understand_are_refused(facts: dict[str, Any], code: str) -> None:
    with pytest.raises(UsageError) as caught:
        _model(replace(CARD, facts=FACTS)).on(GRID, facts=facts)
    assert caught.value.code == code
    assert caught.value.fix


# What does not go together.

SLAB = replace(CARD, slab=3)
CHANNELS = replace(CARD, complex="channels")


@pytest.mark.parametrize(
    ("card", "options", "code"),
    [
        (CARD, {"dtype": torch.complex64}, "E-PRM-07"),
        (CARD, {"phase": _phase()}, "E-PRM-07"),
        (CHANNELS, {}, "E-PRM-07"),
        (CHANNELS, {"dtype": torch.complex64, "phase": _phase()}, "E-PRM-07"),
        (CARD, {"use": "volume"}, "E-PRM-08"),
        (SLAB, {"use": "slicewise"}, "E-PRM-08"),
        (replace(CARD, dimensions=3), {"use": "slicewise"}, "E-PRM-08"),
        (CARD, {"plane": "coronal"}, "E-PRM-09"),
        (replace(CARD, dimensions=3), {"plane": "axial"}, "E-PRM-09"),
    ],
)
def test_uses_that_the_card_rules_out_are_refused(card: PriorCard, options: dict[str, Any], code: str) -> None:
    with pytest.raises(UsageError) as caught:
        _model(card).on(GRID, **options)
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


# Speed and memory.


def test_slices_at_once_are_the_callers_or_fit_the_memory() -> None:
    model = _model(replace(CARD, size=Size()))
    for options, at_once in (({"slices_at_once": 2}, 2), ({"memory": 1}, 1), ({"memory": 10**9}, 5)):
        bound = model.on(GRID, **options)  # type: ignore[arg-type]
        _network(model).batches.clear()
        bound.denoise(bound.space.zeros(1), SIGMA[:1])
        assert max(_network(model).batches) == at_once
    slab = _model(SLAB)
    bound = slab.on(GRID, slices_at_once=7, seed=3)
    assert isinstance(bound, SlabPrior)
    assert (bound.slabs_at_once, bound.seed) == (2, 3)


def test_seeds_change_the_partition_into_slabs_and_nothing_else() -> None:
    model = _model(SLAB)
    one, two = (model.on(GRID, seed=seed) for seed in (0, 1))
    assert isinstance(one, SlabPrior)
    assert isinstance(two, SlabPrior)
    levels = torch.logspace(-2, 1, 20).tolist()
    assert [one.offset(s) for s in levels] != [two.offset(s) for s in levels]
    state = _state(one)
    torch.testing.assert_close(one.denoise(state, SIGMA), two.denoise(state, SIGMA), rtol=0, atol=1e-6)


# PyTorch reads .grad of the state while it traces, and hides its own warning only where warnings are no errors.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_a_compiled_network_is_used_and_gives_the_same() -> None:
    model = _model()
    bound = model.on(GRID, slices_at_once=5)
    state = _state(bound)
    expected = bound.denoise(state, SIGMA)
    graphs: list[Any] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    assert model.compile(backend=backend) is model
    torch.testing.assert_close(bound.denoise(state, SIGMA), expected, rtol=0, atol=1e-6)
    assert graphs
    state.requires_grad_()
    assert bound.denoise(state, SIGMA).requires_grad


@pytest.mark.parametrize("dimensions", [2, 3])
def test_channels_last_changes_the_layout_and_not_the_result(dimensions: int) -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            make = nn.Conv2d if dimensions == 2 else nn.Conv3d
            self.layers = nn.Sequential(make(1, 4, 3, padding=1), nn.SiLU(), make(4, 1, 3, padding=1))
            self.other = nn.Conv1d(2, 2, 3)

        def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
            result: Tensor = self.layers(x)
            return result

    network = Network()
    model = PriorModel(replace(CARD, dimensions=dimensions), Networks(network))  # type: ignore[arg-type]
    plain = copy.deepcopy(network)
    bound = model.on(GRID)
    state = _state(bound)
    layout = torch.channels_last if dimensions == 2 else torch.channels_last_3d
    weight = network.layers[2].weight
    assert isinstance(weight, Tensor)
    assert weight.is_contiguous(memory_format=layout) == (dimensions == 2), "bound on a processor, slices have it"
    assert model.channels_last() is model
    assert weight.is_contiguous(memory_format=layout)
    found = bound.denoise(state, SIGMA)
    network.layers = plain.layers
    assert not network.layers[2].weight.is_contiguous(memory_format=layout)  # type: ignore[operator]
    torch.testing.assert_close(found, bound.denoise(state, SIGMA), rtol=0, atol=1e-6)


def test_it_moves_with_all_that_is_bound_afterwards() -> None:
    model = _model(replace(CARD, latent=Latent(1.0)))
    assert model.device == torch.device("cpu")
    bound = model.on(GRID, dtype=torch.complex64, phase=_phase(), device="meta")
    assert model.device == torch.device("meta")
    assert isinstance(bound, nn.Module)
    tensors = [*bound.parameters(), *bound.buffers()]
    assert tensors and all(tensor.device.type == "meta" for tensor in tensors)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_it_gives_what_it_gives_on_the_processor() -> None:
    model = _model(replace(CARD, latent=Latent(2.0)))
    bound = model.on(GRID)
    state = _state(bound)
    expected, decoded = bound.denoise(state, SIGMA), bound.decode(state)
    moved = model.on(GRID, device="cuda")
    clean = moved.denoise(state.cuda(), SIGMA.cuda())
    assert clean.dtype == torch.float32
    torch.testing.assert_close(clean.cpu(), expected, rtol=0, atol=0.02)
    torch.testing.assert_close(moved.decode(state.cuda()).cpu(), decoded, rtol=0, atol=1e-4)
