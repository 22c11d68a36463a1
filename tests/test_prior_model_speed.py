"""Bound priors in less time and memory: slices at once, compiled, in another layout or place, with the same result."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from bound_scene import CARD, GRID, SIGMA, SLAB, model_of, network_of, random_phase, state_of
from torch import Tensor, nn

from medldm.inference import SlabPrior
from medldm.priors.card import Latent, Size
from medldm.priors.family import Networks
from medldm.priors.model import PriorModel


def test_slices_at_once_are_the_callers_or_fit_the_memory() -> None:
    model = model_of(replace(CARD, size=Size()))
    for options, at_once in (({"slices_at_once": 2}, 2), ({"memory": 1}, 1), ({"memory": 10**9}, 5)):
        bound = model.on(GRID, **options)  # type: ignore[arg-type]
        network_of(model).batches.clear()
        bound.denoise(bound.space.zeros(1), SIGMA[:1])
        assert max(network_of(model).batches) == at_once
    slab = model_of(SLAB)
    bound = slab.on(GRID, slices_at_once=7, seed=3)
    assert isinstance(bound, SlabPrior)
    assert (bound.slabs_at_once, bound.seed) == (2, 3)


def test_seeds_change_the_partition_into_slabs_and_nothing_else() -> None:
    model = model_of(SLAB)
    one, two = (model.on(GRID, seed=seed) for seed in (0, 1))
    assert isinstance(one, SlabPrior)
    assert isinstance(two, SlabPrior)
    levels = torch.logspace(-2, 1, 20).tolist()
    assert [one.offset(s) for s in levels] != [two.offset(s) for s in levels]
    state = state_of(one)
    torch.testing.assert_close(one.denoise(state, SIGMA), two.denoise(state, SIGMA), rtol=0, atol=1e-6)


# PyTorch reads .grad of the state while it traces, and hides its own warning only where warnings are no errors.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_a_compiled_network_is_used_and_gives_the_same() -> None:
    model = model_of()
    bound = model.on(GRID, slices_at_once=5)
    state = state_of(bound)
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
    state = state_of(bound)
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
    model = model_of(replace(CARD, latent=Latent(1.0)))
    assert model.device == torch.device("cpu")
    bound = model.on(GRID, dtype=torch.complex64, phase=random_phase(), device="meta")
    assert model.device == torch.device("meta")
    assert isinstance(bound, nn.Module)
    tensors = [*bound.parameters(), *bound.buffers()]
    assert tensors and all(tensor.device.type == "meta" for tensor in tensors)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_it_gives_what_it_gives_on_the_processor() -> None:
    model = model_of(replace(CARD, latent=Latent(2.0)))
    bound = model.on(GRID)
    state = state_of(bound)
    expected, decoded = bound.denoise(state, SIGMA), bound.decode(state)
    moved = model.on(GRID, device="cuda")
    clean = moved.denoise(state.cuda(), SIGMA.cuda())
    assert clean.dtype == torch.float32
    torch.testing.assert_close(clean.cpu(), expected, rtol=0, atol=0.02)
    torch.testing.assert_close(moved.decode(state.cuda()).cpu(), decoded, rtol=0, atol=1e-4)
