"""Calibration lines apart from the image: the maps are those of such a centre, and nothing else is made of them."""

from __future__ import annotations

import dataclasses
from typing import Literal, cast

import pytest
import torch
from torch import Tensor

from medldm.data import Acquisition, Volume
from medldm.errors import InputRefused
from medldm.inference import Noise
from medldm.operators import conjugate_gradient
from medldm_mri.cartesian import CartesianMri
from medldm_mri.cartesian_3d import CartesianMri3d
from medldm_mri.coil_maps import MapsOption
from medldm_mri.examples import object_of
from medldm_mri.masks import SamplingMask
from medldm_mri.noise_model import KSpaceNoise
from medldm_mri.sense import Sense
from medldm_mri.volume_sense import VolumeSense

FULL = SamplingMask(acceleration=1.0)
EVENLY = SamplingMask(kind="uniform", acceleration=4.0, calibration=0.0, axis="y")
SLICES = CartesianMri(noise=KSpaceNoise(std=0.01), maps="espirit")
VOLUME = CartesianMri3d(noise=KSpaceNoise(std=0.01), maps="espirit")
SHAPE = (2, 96, 80)


def _with(acquisition: Acquisition, block: Tensor) -> Acquisition:
    return dataclasses.replace(acquisition, tensors={**acquisition.tensors, "calibration": block})


def _evenly() -> Acquisition:
    return dataclasses.replace(SLICES, mask=EVENLY).simulate(object_of(SHAPE), Noise(1))


def _beforehand(volume: Volume, seed: int = 9) -> Tensor:
    """24 lines about frequency zero, of a measurement of their own."""
    return dataclasses.replace(SLICES, mask=FULL).simulate(volume, Noise(seed)).data[:, :, 36:60]


def _other_contrast() -> Volume:
    volume = object_of(SHAPE)
    data = torch.where(volume.data > 0, 1 / (0.3 + volume.data / volume.data.max()), 0)
    return dataclasses.replace(volume, data=data)


def _error(acquisition: Acquisition, maps: MapsOption) -> float:
    volume = object_of(SHAPE)
    operator = dataclasses.replace(SLICES, maps=maps).operator(acquisition, volume.grid)
    image = conjugate_gradient(
        lambda u: operator.gram(u) + 1e-3 * u, operator.H(acquisition.data), dims=3, iterations=40
    )
    return float((image.abs() - volume.data).norm() / volume.data.norm())


@pytest.mark.parametrize("maps", ["walsh", "espirit"])
def test_the_maps_are_those_of_an_image_with_that_centre(maps: MapsOption) -> None:
    physics, grid = dataclasses.replace(SLICES, maps=maps), object_of(SHAPE).grid
    whole = dataclasses.replace(SLICES, mask=FULL).simulate(object_of(SHAPE), Noise(1))
    rows = torch.zeros(96, 80)
    rows[36:60] = 1
    centre = dataclasses.replace(whole, data=whole.data * rows, tensors={"mask": rows})
    apart = _with(_evenly(), whole.data[:, :, 36:60])
    expected, found = (cast(Sense, physics.operator(one, grid)).maps for one in (centre, apart))
    assert torch.equal(found, expected)


def test_the_maps_of_a_volume() -> None:
    volume = object_of((20, 36, 32))
    whole = dataclasses.replace(VOLUME, mask=FULL).simulate(volume, Noise(1))
    centre, evenly = torch.zeros(20, 36, 1), torch.zeros(20, 36, 1)
    centre[4:16, 10:26], evenly[::2, ::2] = 1, 1
    one = dataclasses.replace(whole, data=whole.data * centre, tensors={"mask": centre})
    other = dataclasses.replace(whole, data=whole.data * evenly, tensors={"mask": evenly})
    apart = _with(other, whole.data[:, 4:16, 10:26])
    expected, found = (cast(VolumeSense, VOLUME.operator(a, volume.grid)).planes.maps for a in (one, apart))
    assert torch.equal(found, expected)
    assert VOLUME.withheld(apart, Noise(2)).sum() == round(0.1 * float(evenly.sum()))
    assert VOLUME.object_phase(apart, VOLUME.operator(apart, volume.grid)).shape == volume.grid.shape
    with pytest.raises(InputRefused, match="E-MRI-02"):
        VOLUME.operator(other, volume.grid)


@pytest.mark.parametrize("maps", ["espirit", "jsense"])
@pytest.mark.parametrize("contrast", ["own", "other"])
def test_even_undersampling_without_a_centre(contrast: str, maps: MapsOption) -> None:
    # The true maps leave 13 % here, which estimated ones, zero in the air, undercut.
    lines = _beforehand(object_of(SHAPE) if contrast == "own" else _other_contrast())
    assert _error(_with(_evenly(), lines), maps) < 0.1


def test_without_it_nothing_tells_the_maps() -> None:
    with pytest.raises(InputRefused, match="E-MRI-02"):
        SLICES.operator(_evenly(), object_of(SHAPE).grid)


@pytest.mark.parametrize(("physics", "axis"), [(SLICES, "y"), (VOLUME, "x")])
def test_maps_that_are_given_need_no_centre_at_all(
    physics: CartesianMri | CartesianMri3d, axis: Literal["x", "y"]
) -> None:
    volume = object_of((8, 96, 80))
    mask = dataclasses.replace(EVENLY, acceleration=2.0, axis=axis)
    simulated = dataclasses.replace(physics, mask=mask, maps="simulated", noise=KSpaceNoise(std=1e-4))
    acquisition = simulated.simulate(volume, Noise(1))
    operator = simulated.operator(acquisition, volume.grid)
    assert 0 < float(simulated.withheld(acquisition, Noise(2)).sum()) < float(acquisition.tensor("mask").sum())
    # The image that the measurement shows is real and positive but for the phase that was found.
    image = conjugate_gradient(
        lambda u: operator.gram(u) + 1e-6 * u, operator.H(acquisition.data), dims=3, iterations=60
    )
    turned = image * simulated.object_phase(acquisition, operator).conj()
    assert float(turned.imag.norm() / image.norm()) < 0.2
    assert float((turned.real - volume.data).norm() / volume.data.norm()) < 0.2


def test_nothing_but_the_maps_is_made_of_it() -> None:
    acquisition, grid = _evenly(), object_of(SHAPE).grid
    block = _beforehand(_other_contrast())
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3)).to(torch.complex64)
    chis, starts = [], []
    # Maps do not change with the brightness or the phase of what they are estimated from.
    for factor in (1, 5j):
        one = _with(acquisition, factor * block)
        operator = SLICES.operator(one, grid)
        chis.append(float(SLICES.likelihood(one, operator).chi(x)))
        starts.append(SLICES.start(one, operator))
    assert chis[0] == pytest.approx(chis[1], rel=1e-4)
    torch.testing.assert_close(starts[0].abs(), starts[1].abs(), rtol=1e-3, atol=1e-3 * float(starts[0].abs().max()))
    lines = SLICES.withheld(_with(acquisition, block), Noise(1))[:, 0].nonzero().flatten().tolist()
    assert len(lines) == 2
    assert all(line % 4 == int(acquisition.tensor("mask")[:, 0].nonzero()[0]) % 4 for line in lines)
    more = SLICES.bytes_needed(grid, _with(acquisition, block)) - SLICES.bytes_needed(grid, acquisition)
    assert more == 2 * 8 * block.numel()


def test_the_phase_is_that_of_the_image_not_of_the_reference() -> None:
    acquisition = dataclasses.replace(
        SLICES, mask=SamplingMask(kind="uniform", acceleration=2.0, calibration=0.0, axis="y")
    ).simulate(object_of(SHAPE), Noise(1))
    # The same object with another smooth phase.
    one = _with(acquisition, _beforehand(object_of(SHAPE), seed=4))
    operator = SLICES.operator(one, object_of(SHAPE).grid)
    image = conjugate_gradient(lambda u: operator.gram(u) + 1e-3 * u, operator.H(one.data), dims=3, iterations=40)
    turned = SLICES.object_phase(one, operator).conj() * image
    assert float(turned.imag.norm() / turned.norm()) < 0.04
    assert bool((turned[image == 0] == 0).all())


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda block: block[:1], "E-MRI-04"),
        (lambda block: block[:, :7], "E-MRI-04"),
        (lambda block: block[:, :, :3], "E-MRI-04"),
        (lambda block: block.repeat(1, 1, 5, 1), "E-MRI-04"),
        (lambda block: block[0], "E-MRI-04"),
        (lambda block: block.real, "E-MRI-04"),
        (lambda block: block / 0, "E-MRI-06"),
    ],
)
def test_blocks_that_do_not_fit(change, code: str) -> None:  # type: ignore[no-untyped-def]
    acquisition = _with(_evenly(), change(_beforehand(object_of(SHAPE))))
    with pytest.raises(InputRefused, match=code):
        SLICES.operator(acquisition, object_of(SHAPE).grid)
