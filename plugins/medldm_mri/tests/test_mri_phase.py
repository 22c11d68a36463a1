"""The phase from k-space: right inside the object, defined everywhere, never guessed."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from medldm.data import Grid, Volume
from medldm.errors import InputRefused
from medldm.inference import HasObjectPhase, Noise
from medldm_mri.cartesian import CartesianMri
from medldm_mri.examples import object_of
from medldm_mri.masks import SamplingMask
from medldm_mri.noise_model import KSpaceNoise
from medldm_mri.object_phase import SmoothPhase

SHAPE = (3, 64, 72)


def physics(**changes: object) -> CartesianMri:
    mask = SamplingMask(acceleration=3.0, calibration=0.2)
    plain = CartesianMri(coils=4, mask=mask, noise=KSpaceNoise(std=0.0), maps="simulated")
    return dataclasses.replace(plain, **changes)


def inside(volume: Volume) -> torch.Tensor:
    """The object without its outermost pixels, where magnitude says enough about the phase."""
    return volume.data > 0.2 * volume.data.max()


def test_the_phase_of_a_constant_object_is_found_to_two_hundredths_of_a_radian() -> None:
    volume = Volume(torch.ones(SHAPE), Grid.isotropic(SHAPE), "arbitrary", "MR")
    options = physics()
    acquisition = options.simulate(volume, Noise(3))
    found = options.object_phase(acquisition, options.operator(acquisition, volume.grid))
    smooth = SmoothPhase(SHAPE, Noise(3))
    truth = torch.stack([smooth.at(z) for z in range(SHAPE[0])])
    centre = (slice(None), slice(16, -16), slice(16, -16))
    assert float((found * truth.conj()).angle()[centre].abs().max()) < 0.02


@pytest.mark.parametrize("maps", ["simulated", "espirit"])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_the_phase_of_the_whole_measurement_is_that_of_its_centre(maps: str, noise: float) -> None:
    """Whatever phase the maps leave to the image; the start image would have it from all of k-space."""
    volume = object_of(SHAPE)
    options = physics(maps=maps, noise=KSpaceNoise(std=noise), mask=SamplingMask(acceleration=1.0, calibration=0.3))
    acquisition = options.simulate(volume, Noise(4))
    operator = options.operator(acquisition, volume.grid)
    assert isinstance(options, HasObjectPhase)
    found = options.object_phase(acquisition, operator)
    full = options.start(acquisition, operator)
    difference = (found * full.conj()).angle()[inside(volume)].abs()
    assert float(difference.median()) < 0.1
    # The phase itself is nowhere near zero, so that a phase of 1 would not pass.
    assert float(full.angle()[inside(volume)].abs().median()) > 0.3


def test_it_is_of_unit_modulus_where_the_maps_see_anything_and_zero_elsewhere() -> None:
    volume = object_of(SHAPE)
    options = physics(maps="espirit")
    acquisition = options.simulate(volume, Noise(5))
    operator = options.operator(acquisition, volume.grid)
    seen = operator.maps.abs().amax(1) > 0
    assert 0.05 < float((~seen).float().mean()) < 0.9
    found = options.object_phase(acquisition, operator)
    assert found.shape == SHAPE and found.dtype == torch.complex64
    torch.testing.assert_close(found.abs(), seen.float().expand(SHAPE))
    empty = dataclasses.replace(acquisition, data=torch.zeros_like(acquisition.data))
    assert not bool(options.object_phase(empty, operator).any())


def test_k_space_of_one_coil_without_a_sampled_centre_is_refused() -> None:
    volume = object_of(SHAPE)
    options = dataclasses.replace(physics(), coils=1)
    acquisition = options.simulate(volume, Noise(6))
    operator = options.operator(acquisition, volume.grid)
    mask = acquisition.tensor("mask").clone()
    mask[:, SHAPE[2] // 2] = 0
    hollow = dataclasses.replace(acquisition, tensors={**acquisition.tensors, "mask": mask})
    with pytest.raises(InputRefused, match="E-MRI-07"):
        options.object_phase(hollow, operator)


def test_what_few_calibration_lines_miss_is_found_in_the_rest_of_k_space() -> None:
    """The truth with the phase found nearly fits the measurement; with that of six lines alone its chi is 5.3."""
    shape = (2, 96, 80)
    volume = object_of(shape)
    options = physics(mask=SamplingMask(acceleration=3.0, calibration=0.07), noise=KSpaceNoise(std=0.01))
    acquisition = options.simulate(volume, Noise(8))
    operator = options.operator(acquisition, volume.grid)
    likelihood = options.likelihood(acquisition, operator)
    assert float(likelihood.chi(volume.data * options.object_phase(acquisition, operator))) < 1.6
