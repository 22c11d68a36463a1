"""Denoising and thick slices against closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from medldm.data import Grid, Volume
from medldm.errors import InputRefused, UsageError
from medldm.host.options import build
from medldm.inference import Noise, Physics
from medldm.operators import Resample
from medldm_image.examples import blob, thick_slice
from medldm_image.identity import IdentityPhysics
from medldm_image.noise_model import GaussianNoise, NoiseOptions
from medldm_image.slice_profile import SliceProfile, profile_matrix, slice_positions
from medldm_image.thick_slice import ThickSlicePhysics

QUIET = NoiseOptions(std=0.0)
NOISE = Noise(7, "case")


def volume_of(values: torch.Tensor, spacing=(1.0, 1.0, 1.0), **facts) -> Volume:
    return Volume(values, Grid.isotropic(tuple(values.shape), spacing), **facts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_identity_noise_has_the_stated_standard_deviation_per_real_component(dtype):
    volume = volume_of(torch.full((20, 61, 50), 3.0, dtype=dtype))
    physics = IdentityPhysics(noise=NoiseOptions(std=0.05, of="object-mean"))
    acquisition = physics.simulate(volume, NOISE)
    assert acquisition.noise_std == pytest.approx(0.15)
    noise = acquisition.data - volume.data
    parts = torch.view_as_real(noise) if dtype.is_complex else noise
    # The standard error of a standard deviation from 61000 samples is 0.3 %.
    assert float(parts.std()) == pytest.approx(0.15, rel=0.012)
    operator = physics.operator(acquisition, volume.grid)
    chi = physics.likelihood(acquisition, operator).chi(volume.data)
    assert float(chi) == pytest.approx(1, abs=0.03)


def test_levels_of_noise():
    values = torch.zeros(4, 10, 10)
    values[1:3, 2:8, 2:8] = 200.0
    values[2, 4, 4] = -100.0
    assert NoiseOptions(0.1, "range").level(volume_of(values)) == pytest.approx(30)
    assert NoiseOptions(0.1, "absolute").level(volume_of(values)) == 0.1
    inside = values[values != 0].abs().double().mean()
    assert NoiseOptions(0.1, "object-mean").level(volume_of(values)) == pytest.approx(0.1 * float(inside))
    assert NoiseOptions(0.1, "range").level(volume_of(values * 1j)) == pytest.approx(20)


def test_noise_that_has_no_size_is_refused():
    with pytest.raises(UsageError) as usage:
        NoiseOptions(0.1, "object-mean").level(volume_of(torch.rand(3, 4, 5), quantity="HU", modality="CT"))
    assert usage.value.code == "E-IMG-01"
    for of in ("range", "object-mean"):
        with pytest.raises(InputRefused) as refusal:
            NoiseOptions(0.1, of).level(volume_of(torch.zeros(3, 4, 5)))
        assert refusal.value.code == "E-IMG-02"
    assert QUIET.level(volume_of(torch.zeros(3, 4, 5))) == 0


def test_identity_prox_is_the_weighted_mean():
    volume = blob()
    physics = IdentityPhysics(noise=NoiseOptions(2.0, "absolute"))
    acquisition = physics.simulate(volume, NOISE)
    likelihood = physics.likelihood(acquisition, physics.operator(acquisition, volume.grid))
    v = volume.data.flip(0)
    expected = (acquisition.data / 4 + 0.5 * v) / (1 / 4 + 0.5)
    torch.testing.assert_close(likelihood.prox(v, 0.5, iterations=3), expected)


def test_the_recipe_makes_the_physics():
    options = {
        "slice_mm": 6.0,
        "spacing_mm": 3.0,
        "profile": "gaussian",
        "noise": {"std": 20.0, "of": "absolute"},
        "likelihood": {"name": "gaussian", "std": 25.0},
    }
    physics = build(ThickSlicePhysics, options)
    assert isinstance(physics, Physics)
    assert physics == ThickSlicePhysics(
        6.0, 3.0, "gaussian", 2, NoiseOptions(20.0, "absolute"), GaussianNoise(std=25.0)
    )
    for wrong in ({"slice_mm": 0.0}, {"oversample": 0}, {"noise": {"std": -1.0}}, {"likelihood": {"name": "poisson"}}):
        with pytest.raises(UsageError):
            build(ThickSlicePhysics, wrong)


def test_the_likelihood_takes_the_noise_of_the_recipe_or_the_acquisition():
    volume = blob()
    acquisition = IdentityPhysics(noise=NoiseOptions(2.0, "absolute")).simulate(volume, NOISE)
    operator = IdentityPhysics().operator(acquisition, volume.grid)
    assert float(GaussianNoise()(acquisition, operator).weights) == pytest.approx(1 / 4)
    assert float(GaussianNoise(std=5.0)(acquisition, operator).weights) == pytest.approx(1 / 25)
    with pytest.raises(UsageError) as usage:
        GaussianNoise()(replace(acquisition, noise_std=None), operator)
    assert usage.value.code == "E-LIK-09"


@pytest.mark.parametrize("physics", [IdentityPhysics(noise=QUIET), ThickSlicePhysics(3.0, noise=QUIET)])
def test_another_grid_is_resampled(physics):
    volume = blob()
    acquisition = physics.simulate(volume, NOISE)
    coarser = Grid.isotropic((9, 6, 7), (1.4, 2.0, 2.5))
    operator = physics.operator(acquisition, coarser)
    assert operator.domain.shape == coarser.shape
    u = Resample(volume.grid, coarser)(volume.data)
    native = physics.operator(acquisition, volume.grid)
    torch.testing.assert_close(operator(u), native(Resample(coarser, volume.grid)(u)))
    assert physics.start(acquisition, operator).shape == coarser.shape


@pytest.mark.parametrize("profile", ["box", "gaussian"])
@pytest.mark.parametrize(("thickness", "increment"), [(5.0, 5.0), (5.0, 2.0), (2.0, 5.0), (1.0, 1.0), (3.3, 2.7)])
def test_profiles_average(profile, thickness, increment):
    slices, spacing = 23, 0.9
    positions = slice_positions(slices, spacing, increment)
    matrix = profile_matrix(positions, slices, spacing, thickness, profile)
    np.testing.assert_allclose(matrix.sum(1), 1)
    assert (matrix >= 0).all()
    assert len(positions) == int(slices * spacing / increment + 1e-6)
    np.testing.assert_allclose((positions[0] + positions[-1]) / 2, (slices - 1) * spacing / 2)
    # Away from the ends the mean of a ramp along z is its value at the centre of the slice.
    z = np.arange(slices) * spacing
    reach = thickness / 2 if profile == "box" else 2.3 * thickness
    inner = (positions - reach > -spacing / 2) & (positions + reach < z[-1] + spacing / 2)
    offset = np.abs((matrix @ z - positions)[inner])
    # A slice constant over its thickness displaces the centre by less than half of itself.
    assert (offset < spacing / 2).all()


def test_a_box_of_whole_slices_is_their_plain_mean():
    x = torch.arange(12.0)[:, None, None].expand(12, 2, 3)
    matrix = profile_matrix(slice_positions(12, 0.5, 1.5), 12, 0.5, 1.5, "box")
    expected = x.reshape(4, 3, 2, 3).mean(1)
    torch.testing.assert_close(SliceProfile(matrix, (2, 3))(x.contiguous()), expected)


def test_a_gaussian_has_the_stated_width():
    z = np.arange(801) * 0.05
    matrix = profile_matrix(np.array([20.0]), 801, 0.05, 4.0, "gaussian")[0]
    assert matrix[np.abs(z - 18.0).argmin()] / matrix.max() == pytest.approx(0.5, abs=1e-3)
    assert matrix[np.abs(z - 22.0).argmin()] / matrix.max() == pytest.approx(0.5, abs=1e-3)


def test_truncated_ends_keep_constants():
    matrix = profile_matrix(np.array([0.0, 9.0]), 10, 1.0, 6.0, "box")
    np.testing.assert_allclose(matrix[0], [1 / 3.5] * 3 + [0.5 / 3.5] + [0] * 6)
    np.testing.assert_allclose(matrix[1], matrix[0][::-1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_the_adjoint_is_exact(dtype):
    matrix = profile_matrix(slice_positions(12, 1.0, 2.0), 12, 1.0, 3.0, "gaussian")
    operator = SliceProfile(matrix, (5, 7), dtype)
    g = torch.Generator().manual_seed(2)
    x, y = operator.domain.randn(2, 3, generator=g), operator.codomain.randn(2, 3, generator=g)
    left = operator.codomain.inner(operator(x), y)
    torch.testing.assert_close(left, operator.domain.inner(x, operator.H(y)), rtol=1e-12, atol=1e-12)


def test_simulation_and_operator_agree_on_a_ramp_but_do_not_share_a_model():
    z = torch.arange(24.0)[:, None, None].expand(24, 5, 6)
    ramp = volume_of((10 * z).contiguous(), (1.0, 1.0, 1.0))
    physics = ThickSlicePhysics(4.0, noise=QUIET)
    acquisition = physics.simulate(ramp, NOISE)
    assert acquisition.axes == ("slice", "y", "x")
    centres = 10 * torch.arange(1.5, 24, 4.0)
    torch.testing.assert_close(acquisition.data[1:-1, 0, 0], centres[1:-1])
    predicted = physics.operator(acquisition, ramp.grid)(ramp.data)
    torch.testing.assert_close(predicted[1:-1], acquisition.data[1:-1])

    rough = volume_of(torch.randn(24, 5, 6, generator=torch.Generator().manual_seed(1)))
    measured = physics.simulate(rough, NOISE)
    difference = physics.operator(measured, rough.grid)(rough.data) - measured.data
    assert difference.abs().max() > 0.01
    crime = replace(physics, oversample=1).simulate(rough, NOISE)
    torch.testing.assert_close(physics.operator(crime, rough.grid)(rough.data), crime.data)
    assert crime.history.as_list()[-1]["inverse_crime"] is True


def test_the_start_interpolates_along_z():
    z = torch.arange(24.0)[:, None, None].expand(24, 5, 6)
    ramp = volume_of((10 * z).contiguous())
    physics = ThickSlicePhysics(4.0, noise=QUIET)
    acquisition = physics.simulate(ramp, NOISE)
    start = physics.start(acquisition, physics.operator(acquisition, ramp.grid))
    torch.testing.assert_close(start[6:-6], ramp.data[6:-6])


def test_the_acquisition_decides_not_the_options():
    example = thick_slice()
    acquisition = example.physics.simulate(example.volume, NOISE)
    grid = example.volume.grid
    a = example.physics.operator(acquisition, grid)
    b = ThickSlicePhysics(slice_mm=9.0).operator(acquisition, grid)
    torch.testing.assert_close(a(example.volume.data), b(example.volume.data))


@pytest.mark.parametrize(
    ("options", "code"),
    [({"slice_mm": 0.5}, "E-IMG-04"), ({"slice_mm": 13.0}, "E-IMG-05"), ({"spacing_mm": 20.0}, "E-IMG-05")],
)
def test_impossible_slices_are_refused(options, code):
    with pytest.raises(UsageError) as refusal:
        ThickSlicePhysics(**options).simulate(blob(), NOISE)
    assert refusal.value.code == code


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"slice_mm": 0.0, "profile": "box"}},
        {"settings": {"slice_mm": 3.0, "profile": "triangle"}},
        {"settings": {}},
        {"tensors": {"positions": torch.tensor([0.0, 2.0])}},
        {"tensors": {"positions": torch.tensor([8.0, 5.0, 4.0, 2.0])}},
        {"tensors": {"positions": torch.tensor([0.0, 5.0, 8.0, 40.0])}},
        {"axes": ("z", "y", "x")},
    ],
)
def test_measurements_that_do_not_fit_themselves_are_refused(change):
    physics = ThickSlicePhysics(3.0, noise=QUIET)
    volume = blob()
    acquisition = physics.simulate(volume, NOISE)
    assert acquisition.data.shape[0] == 4
    with pytest.raises(InputRefused) as refusal:
        physics.operator(replace(acquisition, **change), volume.grid)
    assert refusal.value.code == "E-IMG-06"
