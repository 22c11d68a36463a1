"""The physics end to end: noise in its convention, scale, no inverse crime, refusals, memory."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from medldm.data import Acquisition, Grid, Volume, object_mean
from medldm.errors import InputRefused, UsageError
from medldm.host.options import build
from medldm.inference import Noise
from medldm.operators import conjugate_gradient
from medldm.pipeline.recipe import load_recipe
from medldm_mri.cartesian import CartesianMri
from medldm_mri.examples import object_of
from medldm_mri.masks import SamplingMask
from medldm_mri.noise_model import GaussianKSpace, KSpaceNoise

FULL = SamplingMask(acceleration=1.0)


def _options(**changes: object) -> CartesianMri:
    return dataclasses.replace(CartesianMri(coils=4, mask=SamplingMask(acceleration=2.0, calibration=0.25)), **changes)


def _relative(a: Tensor, b: Tensor) -> float:
    return float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b))


def test_noise_has_the_stated_deviation_per_real_component() -> None:
    volume = object_of((3, 40, 48))
    options = _options(mask=FULL, noise=KSpaceNoise(std=0.05))
    noisy = options.simulate(volume, Noise(1))
    clean = dataclasses.replace(options, noise=KSpaceNoise(std=0.0)).simulate(volume, Noise(1))
    assert noisy.noise_std == pytest.approx(0.05 * object_mean(volume.data))
    parts = torch.view_as_real(noisy.data - clean.data)
    # The deviation of a variance estimate from n samples is sqrt(2 / n).
    n = parts.numel() // 2
    for part in (parts[..., 0], parts[..., 1]):
        assert float(part.var()) / noisy.noise_std**2 == pytest.approx(1, abs=4 * math.sqrt(2 / n))
    assert abs(float((parts[..., 0] * parts[..., 1]).mean())) < 4 * noisy.noise_std**2 / math.sqrt(n)


def test_chi_of_the_true_image_is_one() -> None:
    volume = object_of((3, 40, 48))
    options = _options(phase="none", maps="simulated", noise=KSpaceNoise(std=0.03))
    acquisition = options.simulate(volume, Noise(2))
    likelihood = options.likelihood(acquisition, options.operator(acquisition, volume.grid))
    samples = int(acquisition.tensor("mask").sum()) * 3 * 4
    chi = float(likelihood.chi(volume.data.to(torch.complex64)))
    assert chi == pytest.approx(1, abs=4 * math.sqrt(1 / samples))


def test_object_mean_is_that_of_the_object() -> None:
    image = torch.zeros(4, 20, 20)
    image[:, 5:15, 5:15] = 7.0
    assert object_mean(image + 0.01) == pytest.approx(7.01)
    assert object_mean(image * 1j) == pytest.approx(7.0)
    assert object_mean(torch.zeros(3, 4, 5)) == 0.0
    assert KSpaceNoise(std=2.0, of="absolute").level(image) == 2.0


def test_unsampled_entries_are_zero_and_sampled_ones_are_not() -> None:
    acquisition = _options().simulate(object_of((2, 40, 48)), Noise(1))
    mask = acquisition.tensor("mask").bool()
    assert acquisition.axes == ("z", "coil", "ky", "kx")
    assert acquisition.data.dtype == torch.complex64
    assert bool((acquisition.data[..., ~mask] == 0).all())
    assert bool((acquisition.data[..., mask] != 0).all())
    # The centre of k-space is where the array says it is.
    energy = acquisition.data.abs().square().sum((0, 1))
    assert divmod(int(energy.argmax()), 48) == (20, 24)


@pytest.mark.parametrize("shape", [(2, 40, 48), (2, 41, 47)])
@pytest.mark.parametrize("maps", ["espirit", "simulated"])
def test_full_sampling_gives_the_magnitude_back_at_its_scale(shape: tuple[int, int, int], maps: str) -> None:
    volume = object_of(shape)
    options = _options(mask=FULL, maps=maps, noise=KSpaceNoise(std=0.0))
    acquisition = options.simulate(volume, Noise(1))
    start = options.start(acquisition, options.operator(acquisition, volume.grid))
    assert start.is_complex()
    assert float(start.imag.abs().max()) > 0.1 * float(volume.data.max())
    assert _relative(start.abs(), volume.data) < (1e-5 if maps == "simulated" else 0.03)


@pytest.mark.parametrize("kind", ["poisson-disc-1d", "poisson-disc-2d"])
def test_undersampled_reconstruction_with_estimated_maps(kind: str) -> None:
    volume = object_of((2, 64, 72))
    options = CartesianMri(
        mask=SamplingMask(kind=kind, acceleration=2.5, calibration=0.15), noise=KSpaceNoise(std=0.005)
    )
    acquisition = options.simulate(volume, Noise(1))
    operator = options.operator(acquisition, volume.grid)
    start = options.start(acquisition, operator)
    image = conjugate_gradient(operator.gram, start, dims=3, iterations=20)
    assert _relative(image.abs(), volume.data) < 0.5 * _relative(start.abs(), volume.data)
    assert _relative(image.abs(), volume.data) < 0.1


def test_a_complex_image_keeps_its_own_phase() -> None:
    volume = object_of((2, 40, 48))
    own = torch.polar(volume.data, torch.full_like(volume.data, 0.7))
    options = _options(mask=FULL, maps="simulated", noise=KSpaceNoise(std=0.0))
    acquisition = options.simulate(dataclasses.replace(volume, data=own), Noise(1))
    start = options.start(acquisition, options.operator(acquisition, volume.grid))
    assert _relative(start, own) < 1e-5
    assert acquisition.settings["phase"] == "own"


def test_maps_of_the_simulation_are_kept_only_when_asked_for() -> None:
    volume = object_of((2, 40, 48))
    acquisition = _options().simulate(volume, Noise(1))
    assert set(acquisition.tensors) == {"mask"}
    with pytest.raises(InputRefused) as refusal:
        _options(maps="simulated").operator(acquisition, volume.grid)
    assert refusal.value.code == "E-ACQ-04"


def test_a_single_coil_needs_no_maps() -> None:
    volume = object_of((2, 40, 48))
    options = _options(coils=1, phase="none", mask=FULL, noise=KSpaceNoise(std=0.0))
    acquisition = options.simulate(volume, Noise(1))
    start = options.start(acquisition, options.operator(acquisition, volume.grid))
    torch.testing.assert_close(start.real, volume.data, rtol=1e-4, atol=1e-3)


def _acquisition() -> Acquisition:
    return _options().simulate(object_of((2, 40, 48)), Noise(1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tensors": {"mask": torch.ones(40, 40)}}, "40 x 40 values, not 40 x 48"),
        ({"tensors": {"mask": -torch.ones(40, 48)}}, "1920 of 1920 values .* neither zero nor one: -1"),
        ({"tensors": {"mask": torch.zeros(40, 48)}}, "samples nothing"),
        ({"axes": ("coil", "z", "ky", "kx")}, "axes"),
        ({"data": torch.ones(2, 4, 40, 48)}, "not complex"),
    ],
)
def test_kspace_that_does_not_fit_is_refused(changes: dict[str, object], message: str) -> None:
    acquisition = dataclasses.replace(_acquisition(), **changes)
    with pytest.raises(InputRefused, match=message) as refusal:
        _options().operator(acquisition, acquisition.grid)
    assert refusal.value.code == "E-MRI-04"


def test_samples_that_are_not_finite_are_refused() -> None:
    acquisition = _acquisition()
    acquisition.data[1, 2, 20, 24] = math.nan
    with pytest.raises(InputRefused, match="1 of 15360 k-space samples") as refusal:
        _options().operator(acquisition, acquisition.grid)
    assert refusal.value.code == "E-MRI-06"


def test_without_a_mask_zeros_were_not_sampled() -> None:
    acquisition = _acquisition()
    bare = dataclasses.replace(acquisition, tensors={})
    with_mask, without = (_options().operator(a, a.grid) for a in (acquisition, bare))
    x = with_mask.domain.randn(generator=torch.Generator().manual_seed(1))
    assert with_mask(x).equal(without(x))
    assert _options().likelihood(bare, without).chi(0 * x) == _options().likelihood(acquisition, with_mask).chi(0 * x)


def test_maps_of_another_size_are_refused() -> None:
    acquisition = _acquisition()
    tensors = {**acquisition.tensors, "maps": torch.ones(2, 3, 40, 48, dtype=torch.complex64)}
    with pytest.raises(InputRefused, match="2 x 3 x 40 x 48") as refusal:
        _options(maps="simulated").operator(dataclasses.replace(acquisition, tensors=tensors), acquisition.grid)
    assert refusal.value.code == "E-MRI-04"


def test_another_grid_is_refused_naming_both() -> None:
    acquisition = _acquisition()
    with pytest.raises(InputRefused, match=r"2 x 40 x 44 .* 2 x 40 x 48") as refusal:
        _options().operator(acquisition, Grid.isotropic((2, 40, 44)))
    assert refusal.value.code == "E-MRI-05"


def test_ct_is_refused() -> None:
    volume = Volume(torch.zeros(2, 8, 9), Grid.isotropic((2, 8, 9)), quantity="HU", modality="CT")
    with pytest.raises(InputRefused) as refusal:
        CartesianMri().simulate(volume, Noise(1))
    assert refusal.value.code == "E-MRI-03"


def test_unknown_noise_is_refused_unless_given() -> None:
    acquisition = dataclasses.replace(_acquisition(), noise_std=None)
    operator = _options().operator(acquisition, acquisition.grid)
    with pytest.raises(UsageError) as refusal:
        _options().likelihood(acquisition, operator)
    assert refusal.value.code == "E-LIK-09"
    given = _options(likelihood=GaussianKSpace(std=2.0)).likelihood(acquisition, operator)
    assert float(given.weights.max()) == 0.25


@pytest.mark.parametrize("name", ["mri-4x", "mri-8x"])
def test_shipped_recipes_are_its_options(name: str) -> None:
    physics = build(CartesianMri, load_recipe(name).physics_options(), where="acquisition")
    assert physics.coils == 8
    assert (physics.mask.acceleration, physics.mask.calibration) == {"mri-4x": (4, 0.08), "mri-8x": (8, 0.04)}[name]
    assert physics.mask.draw((256, 256), Noise(1)).mean() == 1 / physics.mask.acceleration


@pytest.mark.parametrize("option", ["mask.accelleration", "noise.sd", "likelihood.sigma", "coil"])
def test_unknown_options_are_named(option: str) -> None:
    *path, name = option.split(".")
    options = {path[0]: {name: 1}} if path else {name: 1}
    with pytest.raises(UsageError, match=name):
        build(CartesianMri, options, where="acquisition")


def test_bytes_needed_counts_kspace_and_maps() -> None:
    stack = 8 * 8 * 180 * 256 * 256
    need = CartesianMri().bytes_needed(Grid.isotropic((180, 256, 256)))
    assert 2 * stack < need < 4 * stack
    assert CartesianMri(coils=1).bytes_needed(Grid.isotropic((180, 256, 256))) < need / 4
