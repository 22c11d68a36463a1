"""What every physics of k-space owes its sampling mask: samples that it leaves out do not matter, and it is 0 or 1."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from medldm.data import Acquisition
from medldm.errors import InputRefused
from medldm.inference import Noise
from medldm_mri.cartesian import CartesianMri
from medldm_mri.cartesian_3d import CartesianMri3d
from medldm_mri.examples import object_of
from medldm_mri.masks import SamplingMask
from medldm_mri.nonuniform import NonuniformMri
from medldm_mri.simultaneous_slices import SimultaneousSlices
from medldm_mri.trajectory import Trajectory

Physics = CartesianMri | CartesianMri3d | NonuniformMri | SimultaneousSlices

LINES = CartesianMri(coils=4, mask=SamplingMask(acceleration=2.0, calibration=0.3))
VOLUME = CartesianMri3d(coils=4, mask=SamplingMask(kind="variable-density-2d", acceleration=2.0, calibration=0.4))
SPOKES = NonuniformMri(coils=4, trajectory=Trajectory(shots=60))
BANDS = SimultaneousSlices(coils=6, bands=2, shift=2, reference=16)
EACH = pytest.mark.parametrize("physics", [LINES, VOLUME, SPOKES, BANDS], ids=["lines", "volume", "spokes", "bands"])


def _measured(physics: Physics) -> Acquisition:
    """With zeros in place of what the mask leaves out: of spokes, one whole and a part of another."""
    shape = (16, 24, 20) if isinstance(physics, CartesianMri3d) else (2, 40, 32)
    acquisition = physics.simulate(object_of(shape), Noise(1))
    if not isinstance(physics, NonuniformMri):
        return acquisition
    mask = torch.ones(acquisition.data.shape[-2:])
    mask[3, 10:30], mask[7] = 0, 0
    return dataclasses.replace(acquisition, data=acquisition.data * mask, tensors={**acquisition.tensors, "mask": mask})


def _filled(acquisition: Acquisition, values: Tensor | float) -> Acquisition:
    """The same measurement with something else in place of what the mask leaves out."""
    return dataclasses.replace(acquisition, data=torch.where(acquisition.tensor("mask") > 0, acquisition.data, values))


def _masked(acquisition: Acquisition, mask: Tensor) -> Acquisition:
    return dataclasses.replace(acquisition, tensors={**acquisition.tensors, "mask": mask})


def _made_of(physics: Physics, acquisition: Acquisition) -> dict[str, Tensor]:
    """All that a physics makes of a measurement."""
    operator = physics.operator(acquisition, acquisition.grid)
    likelihood = physics.likelihood(acquisition, operator)
    image = operator.domain.randn(generator=torch.Generator().manual_seed(1))
    real = dataclasses.replace(physics, image="real").operator(acquisition, acquisition.grid)
    return {
        "operator, maps": operator(image),
        "phase in the operator": real(image.abs()),
        "start": physics.start(acquisition, operator),
        "phase": physics.object_phase(acquisition, operator),
        "withheld": physics.withheld(acquisition, Noise(2)),
        "energy": likelihood.energy(image),
        "gradient": likelihood.gradient(image),
        "degrees of freedom": torch.tensor(likelihood.degrees_of_freedom),
    }


@pytest.mark.parametrize(
    "physics",
    [
        LINES,
        dataclasses.replace(LINES, maps="espirit"),
        dataclasses.replace(LINES, maps="walsh"),
        dataclasses.replace(LINES, coils=1),
        VOLUME,
        SPOKES,
        dataclasses.replace(SPOKES, density="ramp", maps="espirit"),
        BANDS,
    ],
    ids=lambda physics: f"{type(physics).__name__}-{physics.maps}-{physics.coils}",
)
def test_samples_left_out_by_the_mask_do_not_matter(physics: Physics) -> None:
    acquisition = _measured(physics)
    expected = _made_of(physics, acquisition)
    assert float(expected["withheld"].sum()) > 0
    rest = 100 * torch.randn(acquisition.data.shape, generator=torch.Generator().manual_seed(3))
    for left_out in (rest, math.nan):
        found = _made_of(physics, _filled(acquisition, left_out))
        for name, value in expected.items():
            assert torch.equal(found[name], value), name


@EACH
def test_masks_mean_the_same_in_any_type(physics: Physics) -> None:
    physics = dataclasses.replace(physics, maps="walsh")
    acquisition = _measured(physics)
    expected = _made_of(physics, acquisition)
    for dtype in (torch.bool, torch.uint8, torch.int64, torch.float64):
        found = _made_of(physics, _masked(acquisition, acquisition.tensor("mask").to(dtype)))
        for name, value in expected.items():
            assert torch.equal(found[name], value), name


@EACH
@pytest.mark.parametrize(
    "change",
    [
        lambda mask: (255 * mask).to(torch.uint8),
        lambda mask: 2 * mask,
        lambda mask: 0.5 * mask,
        lambda mask: mask - 1,
        lambda mask: mask / mask,
        lambda mask: 0 * mask,
        lambda mask: mask[:-1],
    ],
    ids=["255", "averages", "halves", "negative", "nan", "nothing", "size"],
)
@pytest.mark.parametrize("use", ["operator", "likelihood", "withheld"])
def test_masks_of_anything_else_are_refused(physics: Physics, change, use: str) -> None:  # type: ignore[no-untyped-def]
    physics = dataclasses.replace(physics, maps="walsh")
    acquisition = _measured(physics)
    operator = physics.operator(acquisition, acquisition.grid)
    other = _masked(acquisition, change(acquisition.tensor("mask")))
    calls = {
        "operator": lambda: physics.operator(other, other.grid),
        "likelihood": lambda: physics.likelihood(other, operator),
        "withheld": lambda: physics.withheld(other, Noise(1)),
    }
    with pytest.raises(InputRefused) as refusal:
        calls[use]()
    assert refusal.value.code == "E-MRI-04"


@EACH
def test_a_coil_that_speaks_only_where_nothing_was_sampled_is_silent(physics: Physics) -> None:
    acquisition = _measured(physics)
    data = _filled(acquisition, 1.0).data
    data.movedim(acquisition.axes.index("coil"), 0)[1] *= acquisition.tensor("mask") == 0
    with pytest.raises(InputRefused) as refusal:
        physics.operator(dataclasses.replace(acquisition, data=data), acquisition.grid)
    assert refusal.value.code == "E-MRI-10"
