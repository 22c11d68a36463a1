"""Volumes with two phase encodings and slices measured together: closed forms, coil maps, images, refusals."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from medldm.data import Volume
from medldm.errors import InputRefused, UsageError
from medldm.inference import Noise
from medldm.operators import conjugate_gradient
from medldm.pipeline.recipe import load_recipe
from medldm_mri.cartesian_3d import CartesianMri3d
from medldm_mri.coils import CoilArray
from medldm_mri.examples import object_of
from medldm_mri.masks import SamplingMask
from medldm_mri.noise_model import KSpaceNoise
from medldm_mri.simultaneous_slices import SimultaneousSlices
from medldm_mri.slice_bands import SliceBands
from medldm_mri.volume_sense import VolumeSense, to_readout_frequency, to_readout_place

MASK = SamplingMask(kind="poisson-disc-2d", acceleration=3.0, calibration=0.4)


def _complex(*shape: int, seed: int = 0) -> Tensor:
    drawn = torch.randn(*shape, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.view_as_complex(drawn)


def _relative(a: Tensor, b: Tensor) -> float:
    return float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b))


@pytest.mark.parametrize("shape", [(6, 8, 10), (5, 9, 7)])
def test_a_volume_is_transformed_along_three_axes(shape: tuple[int, int, int]) -> None:
    nz, ny, nx = shape
    maps = _complex(nx, 3, nz, ny, seed=1)
    mask = (torch.rand(nz, ny, generator=torch.Generator().manual_seed(2)) < 0.6).double()
    operator, x = VolumeSense(maps, mask), _complex(2, *shape)
    d = (-3, -2, -1)
    coil_images = maps.permute(1, 2, 3, 0) * x[:, None]
    exact = torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(coil_images, dim=d), dim=d, norm="ortho"), dim=d)
    torch.testing.assert_close(operator(x), exact * mask[..., None], rtol=0, atol=1e-12)
    torch.testing.assert_close(operator.gram(x), operator.H(operator(x)), rtol=0, atol=1e-12)
    y = _complex(2, 3, *shape)
    torch.testing.assert_close(to_readout_frequency(to_readout_place(y)), y, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shift", [1, 2, 4])
def test_bands_are_shifted_by_a_fraction_of_the_field_of_view(shift: int) -> None:
    slices, ny, nx = 6, 16, 9
    images = _complex(slices, 1, ny, nx)
    d = (-2, -1)
    kspace = torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(images, dim=d), norm="ortho"), dim=d)
    bands = SliceBands((slices, 1, ny, nx), torch.ones(ny, nx), bands=3, shift=shift, dtype=torch.complex128)
    together = bands(kspace)
    assert together.shape == (2, 1, ny, nx)
    seen = torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(together, dim=d), norm="ortho"), dim=d)
    shifted = [images[2 * b : 2 * b + 2].roll(b * ny // shift, dims=-2) for b in range(3)]
    torch.testing.assert_close(seen, sum(shifted), rtol=0, atol=1e-12)


def _slab() -> Volume:
    """With air at both ends: a volume that is cut there folds over, and its coil maps jump."""
    volume = object_of((20, 36, 32))
    data = volume.data.clone()
    data[:4], data[-4:] = 0, 0
    return dataclasses.replace(volume, data=data)


@pytest.mark.parametrize("maps", ["walsh", "espirit", "jsense", "simulated"])
def test_volumes_are_reconstructed_with_estimated_maps(maps: str) -> None:
    volume = _slab()
    physics = CartesianMri3d(mask=MASK, maps=maps, noise=KSpaceNoise(std=0.005))
    acquisition = physics.simulate(volume, Noise(1))
    assert acquisition.data.shape == (8, 20, 36, 32)
    assert bool((acquisition.data[:, acquisition.tensor("mask")[..., 0] == 0] == 0).all())
    operator = physics.operator(acquisition, volume.grid)
    start = physics.start(acquisition, operator)
    image = conjugate_gradient(lambda u: operator.gram(u) + 0.003 * u, start, dims=3, iterations=20)
    assert _relative(image.abs(), volume.data) < (0.2 if maps == "walsh" else 0.15)
    assert _relative(image.abs(), volume.data) < 0.6 * _relative(start.abs(), volume.data)
    phase = physics.object_phase(acquisition, operator)
    inside = volume.data > 0.5 * volume.data.max()
    off = (phase.conj() * image / image.abs().clamp(min=1e-9))[inside].angle().abs()
    assert float(off.mean()) < 0.15
    withheld = physics.withheld(acquisition, Noise(2))
    assert withheld.shape == (20, 36, 1)
    assert float(withheld.sum()) > 0


def test_estimated_maps_of_a_volume_are_those_that_measured_it() -> None:
    volume = _slab()
    physics = CartesianMri3d(mask=MASK, maps="espirit", noise=KSpaceNoise(std=0.001))
    operator = physics.operator(physics.simulate(volume, Noise(1)), volume.grid)
    found = operator.planes.maps.abs() * math.sqrt(20 * 36)  # the centring of the planes is of modulus 1
    true = CoilArray(volume.grid, 8).all().permute(3, 1, 0, 2).abs()
    inside = (volume.data > 0).permute(2, 0, 1)[:, None].expand_as(true)
    assert float((found - true)[inside].abs().mean()) < 0.03


@pytest.mark.parametrize("maps", ["walsh", "espirit", "simulated"])
def test_simultaneous_slices_are_told_apart(maps: str) -> None:
    volume = object_of((6, 48, 40))
    physics = SimultaneousSlices(coils=16, bands=3, shift=3, maps=maps, noise=KSpaceNoise(std=0.002))
    acquisition = physics.simulate(volume, Noise(1))
    assert acquisition.data.shape == (2, 16, 48, 40)
    assert acquisition.settings["acceleration"] == pytest.approx(6)
    operator = physics.operator(acquisition, volume.grid)
    start = physics.start(acquisition, operator)
    image = conjugate_gradient(lambda u: operator.gram(u) + 1e-3 * u, start, dims=3, iterations=60)
    # Folded they are as wrong as they are bright.
    assert _relative(start.abs(), volume.data) > 0.5
    assert _relative(image.abs(), volume.data) < (0.25 if maps == "walsh" else 0.15)
    phase = physics.object_phase(acquisition, operator)
    inside = volume.data > 0.5 * volume.data.max()
    off = (phase.conj() * image / image.abs().clamp(min=1e-9))[inside].angle().abs()
    assert float(off.mean()) < 0.1
    withheld = physics.withheld(acquisition, Noise(2))
    assert bool((withheld == withheld[:, :1]).all())
    assert bool((acquisition.tensor("mask")[withheld.bool()] == 1).all())


def test_slices_that_do_not_divide_into_groups_are_refused() -> None:
    with pytest.raises(UsageError) as refusal:
        SimultaneousSlices(bands=4).simulate(object_of((6, 40, 32)), Noise(1))
    assert refusal.value.code == "E-MRI-13"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("axes", "E-MRI-04"),
        ("nan", "E-MRI-06"),
        ("silent coil", "E-MRI-10"),
        ("grid", "E-MRI-05"),
        ("mask", "E-MRI-04"),
        ("no mask", "E-ACQ-04"),
        ("calibration", "E-MRI-02"),
        ("no reference", "E-ACQ-04"),
        ("short reference", "E-MRI-04"),
        ("no bands", "E-MRI-14"),
    ],
)
def test_refusals(change: str, code: str) -> None:
    reference = "reference" in change or change == "no bands"
    volume = object_of((12, 40, 32))
    physics: CartesianMri3d | SimultaneousSlices
    physics = SimultaneousSlices(coils=4) if reference else CartesianMri3d(coils=4, mask=MASK)
    acquisition = physics.simulate(volume, Noise(1))
    data, tensors, settings = acquisition.data.clone(), dict(acquisition.tensors), dict(acquisition.settings)
    grid, axes = volume.grid, acquisition.axes
    if change == "axes":
        axes = ("z", "coil", "ky", "kx")
    elif change == "nan":
        data[1, 6, 20, 4] = math.nan
    elif change == "silent coil":
        data[2] = 0
    elif change == "grid":
        grid = object_of((12, 41, 32)).grid
    elif change == "mask":
        tensors["mask"] = tensors["mask"][..., 0]
    elif change == "no mask":
        del tensors["mask"]
    elif change == "calibration":
        tensors["mask"] = tensors["mask"].clone()
        tensors["mask"][6, 20] = 0
    elif change == "no reference":
        del tensors["reference"]
    elif change == "short reference":
        tensors["reference"] = tensors["reference"][..., :4]
    else:
        del settings["bands"]
    changed = dataclasses.replace(acquisition, data=data, tensors=tensors, settings=settings, axes=axes)
    with pytest.raises(InputRefused) as refusal:
        physics.operator(changed, grid)
    assert refusal.value.code == code


@pytest.mark.parametrize("name", ["mri-3d", "mri-multiband"])
def test_the_recipes_ship(name: str) -> None:
    assert load_recipe(name).physics in {"mri-cartesian-3d", "mri-simultaneous-slices"}


@pytest.mark.parametrize("physics", [CartesianMri3d(coils=4), SimultaneousSlices(coils=4)])
def test_they_state_their_memory(physics: CartesianMri3d | SimultaneousSlices) -> None:
    volume = object_of((12, 40, 32))
    if isinstance(physics, CartesianMri3d):
        physics = dataclasses.replace(physics, mask=MASK)
    assert physics.measurement_bytes(volume.grid) == 8 * physics.simulate(volume, Noise(1)).data.numel()
    assert physics.bytes_needed(volume.grid) > 3 * physics.measurement_bytes(volume.grid)


@pytest.mark.parametrize("setting", ["bands", "shift"])
@pytest.mark.parametrize("value", [2.5, True, "2", "FOV/2", 0, -2, math.nan, None])
def test_bands_and_shift_are_whole_numbers(setting: str, value: object) -> None:
    physics = SimultaneousSlices(coils=4, bands=2, shift=2, maps="simulated")
    acquisition = physics.simulate(object_of((2, 40, 32)), Noise(1))
    expected = physics.operator(acquisition, acquisition.grid)
    same, other = (
        dataclasses.replace(acquisition, settings={**acquisition.settings, setting: number}) for number in (2.0, value)
    )
    image = expected.domain.randn(generator=torch.Generator().manual_seed(1))
    assert torch.equal(physics.operator(same, same.grid)(image), expected(image))
    uses = [physics.operator] + ([physics.bytes_needed] if setting == "bands" else [])
    for use in uses:
        arguments = (other, other.grid) if use == physics.operator else (other.grid, other)
        with pytest.raises(InputRefused) as refusal:
            use(*arguments)  # type: ignore[operator]
        assert refusal.value.code == "E-MRI-14"
