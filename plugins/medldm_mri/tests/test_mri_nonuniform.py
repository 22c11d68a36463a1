"""The physics of trajectories end to end: scale and noise, coil maps from the centre, phase, refusals, memory."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from medldm.data import Acquisition, Volume, object_mean
from medldm.errors import InputRefused
from medldm.inference import Noise
from medldm.operators import LinearOperator, conjugate_gradient
from medldm.pipeline.recipe import load_recipe
from medldm_mri.cartesian import CartesianMri
from medldm_mri.examples import object_of
from medldm_mri.masks import SamplingMask
from medldm_mri.noise_model import KSpaceNoise
from medldm_mri.nonuniform import NonuniformMri
from medldm_mri.object_phase import SmoothPhase
from medldm_mri.trajectory import Trajectory

SHAPE = (2, 48, 40)
FULL = Trajectory(shots=80, order="uniform")


def _options(**changes: object) -> NonuniformMri:
    return dataclasses.replace(NonuniformMri(coils=4, trajectory=FULL), **changes)


def _relative(a: Tensor, b: Tensor) -> float:
    return float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b))


def _image(operator: LinearOperator, data: Tensor) -> Tensor:
    """Least squares; the small weight keeps the corners of k-space, which nothing measures, from the noise."""
    return conjugate_gradient(
        lambda u: operator.gram(u) + 0.01 * u,
        operator.H(data),
        dims=3,
        preconditioner=operator.preconditioner(torch.ones(()))(0.01),
    )


def test_noise_and_chi_are_in_the_stated_convention() -> None:
    volume = object_of(SHAPE)
    options = _options(maps="simulated", phase="none", noise=KSpaceNoise(std=0.05))
    acquisition = options.simulate(volume, Noise(1))
    clean = dataclasses.replace(options, noise=KSpaceNoise(std=0.0)).simulate(volume, Noise(1))
    assert acquisition.noise_std == pytest.approx(0.05 * object_mean(volume.data))
    parts = torch.view_as_real(acquisition.data - clean.data)
    assert float(parts.square().mean()) / acquisition.noise_std**2 == pytest.approx(
        1, abs=4 * math.sqrt(2 / parts.numel())
    )
    operator = options.operator(acquisition, volume.grid)
    chi = float(options.likelihood(acquisition, operator).chi(volume.data.to(torch.complex64)))
    assert chi == pytest.approx(1, abs=4 * math.sqrt(2 / parts.numel()))


@pytest.mark.parametrize("trajectory", [FULL, Trajectory(kind="spiral", shots=8, turns=3.5)])
@pytest.mark.parametrize("maps", ["walsh", "espirit", "jsense", "simulated"])
def test_full_sampling_gives_the_magnitude_back_at_its_scale(trajectory: Trajectory, maps: str) -> None:
    """Up to the corners of k-space, which neither spokes nor spirals reach: the object is smooth here."""
    volume = object_of(SHAPE)
    kernel = torch.hann_window(9, periodic=False)[None, None, 1:-1]
    smooth = torch.nn.functional.conv1d(volume.data.flatten(0, 1)[:, None], kernel, padding="same") / kernel.sum()
    smooth = smooth.view(SHAPE).transpose(1, 2).flatten(0, 1)[:, None]
    smooth = torch.nn.functional.conv1d(smooth, kernel, padding="same").view(2, 40, 48).transpose(1, 2) / kernel.sum()
    volume = dataclasses.replace(volume, data=smooth.contiguous())
    options = _options(trajectory=trajectory, maps=maps, noise=KSpaceNoise(std=0.001))
    acquisition = options.simulate(volume, Noise(1))
    operator = options.operator(acquisition, volume.grid)
    start = options.start(acquisition, operator)
    image = _image(operator, acquisition.data)
    allowed = {"walsh": 0.05, "espirit": 0.03, "jsense": 0.03, "simulated": 0.01}[maps]
    assert _relative(image.abs(), volume.data) < allowed
    assert _relative(start.abs(), volume.data) < allowed + 0.05


def test_undersampled_spokes_with_estimated_maps() -> None:
    volume = object_of((1, 64, 60))
    options = NonuniformMri(trajectory=Trajectory(shots=34), noise=KSpaceNoise(std=0.005))
    acquisition = options.simulate(volume, Noise(1))
    assert acquisition.settings["acceleration"] == pytest.approx(math.pi / 2 * 64 / 34)
    operator = options.operator(acquisition, volume.grid)
    start = options.start(acquisition, operator)
    image = conjugate_gradient(operator.gram, operator.H(acquisition.data), dims=3, iterations=20)
    # The object's edges are sharper than what the circle of spokes measures.
    assert _relative(image.abs(), volume.data) < 0.75 * _relative(start.abs(), volume.data)
    assert _relative(image.abs(), volume.data) < 0.15


@pytest.mark.parametrize(
    "physics", [_options(maps="espirit"), CartesianMri(coils=4, mask=SamplingMask(), maps="walsh")]
)
def test_the_phase_of_the_object_is_found(physics: NonuniformMri | CartesianMri) -> None:
    if isinstance(physics, CartesianMri):
        physics = dataclasses.replace(physics, mask=SamplingMask(acceleration=2.0, calibration=0.4))
    volume = object_of((1, 64, 60))
    acquisition = physics.simulate(volume, Noise(1))
    operator = physics.operator(acquisition, volume.grid)
    phase = physics.object_phase(acquisition, operator)
    rhs = operator.H(acquisition.data)
    image = conjugate_gradient(lambda u: operator.gram(u) + 0.01 * u, rhs, dims=3, iterations=20)
    inside = volume.data > 0.5 * volume.data.max()
    assert SmoothPhase(volume.grid.shape, Noise(1)).at(0).angle().std() > 0.3
    # Relative to the image of the same coil maps, which have a phase of their own.
    error = (phase.conj() * image / image.abs().clamp(min=1e-9))[inside].angle().abs()
    assert float(error.mean()) < 0.1


def test_samples_left_out_by_the_mask_do_not_matter() -> None:
    volume = object_of(SHAPE)
    options = _options(maps="simulated")
    acquisition = options.simulate(volume, Noise(1))
    mask = torch.ones(acquisition.data.shape[-2:])
    mask[3, 10:30], mask[7] = 0, 0
    broken = acquisition.data.clone()
    broken[..., mask == 0] = 1e6
    some = dataclasses.replace(acquisition, data=broken, tensors={**acquisition.tensors, "mask": mask})
    operator = options.operator(some, volume.grid)
    assert bool((operator(volume.data.to(torch.complex64))[..., mask == 0] == 0).all())
    clean = dataclasses.replace(some, data=acquisition.data)
    torch.testing.assert_close(operator.H(some.data), operator.H(clean.data))
    likelihood = options.likelihood(clean, operator)
    assert likelihood.degrees_of_freedom == 2 * int(mask.sum()) * 2 * 4


def test_the_start_does_not_depend_on_where_left_out_samples_lie() -> None:
    volume = object_of(SHAPE)
    options = _options(maps="simulated")
    acquisition = options.simulate(volume, Noise(1))
    mask = torch.ones(acquisition.data.shape[-2:])
    mask[:, 70:], mask[7] = 0, 0
    starts = []
    for place in (acquisition.tensors["trajectory"], torch.zeros(2, dtype=torch.float64)):
        points = torch.where(mask[..., None] > 0, acquisition.tensors["trajectory"], place)
        some = dataclasses.replace(acquisition, tensors={**acquisition.tensors, "mask": mask, "trajectory": points})
        starts.append(options.start(some, options.operator(some, volume.grid)))
    # Were they all in the centre, its samples would share their weight with them.
    assert _relative(starts[1], starts[0]) < 1e-4


def test_withheld_shots_are_whole_and_a_tenth() -> None:
    options = _options(maps="simulated")
    acquisition = options.simulate(object_of(SHAPE), Noise(1))
    withheld = options.withheld(acquisition, Noise(3))
    assert withheld.shape == (80, 1)
    assert int(withheld.sum()) == 8
    assert not torch.equal(withheld, options.withheld(acquisition, Noise(4)))


def _measured() -> tuple[NonuniformMri, Acquisition, Volume]:
    volume, options = object_of(SHAPE), _options(maps="espirit")
    return options, options.simulate(volume, Noise(1)), volume


@pytest.mark.parametrize(
    ("unit", "factors"),
    [
        ("cycles per field of view", (48 * 1.2, 40 * 1.0)),
        ("cycles per voxel", (1.2, 1.0)),
        ("radians per voxel", (1.2 * 2 * math.pi, 2 * math.pi)),
        ("1/m", (1000.0, 1000.0)),
        ("far more", (0.01, 0.01)),
    ],
)
def test_a_trajectory_in_other_units_is_refused(unit: str, factors: tuple[float, float]) -> None:
    """The voxels are 1.2 x 1.0 mm; the refusal names the unit that the numbers look like."""
    options, acquisition, volume = _measured()
    wrong = acquisition.tensor("trajectory") * torch.tensor(factors, dtype=torch.float64)
    tensors = {**acquisition.tensors, "trajectory": wrong}
    with pytest.raises(InputRefused) as refusal:
        options.operator(dataclasses.replace(acquisition, tensors=tensors), volume.grid)
    assert refusal.value.code == "E-MRI-08"
    assert unit in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("axes", "E-MRI-04"),
        ("real", "E-MRI-04"),
        ("slices", "E-MRI-05"),
        ("nan", "E-MRI-06"),
        ("silent coil", "E-MRI-10"),
        ("no trajectory", "E-ACQ-04"),
        ("short trajectory", "E-MRI-09"),
        ("nan in the trajectory", "E-MRI-09"),
        ("negative mask", "E-MRI-04"),
        ("few spokes", "E-MRI-11"),
        ("no maps", "E-ACQ-04"),
        ("maps of another size", "E-MRI-04"),
    ],
)
def test_refusals(change: str, code: str) -> None:
    options, acquisition, volume = _measured()
    data, tensors, grid = acquisition.data.clone(), dict(acquisition.tensors), volume.grid
    fields: dict[str, object] = {}
    if change == "axes":
        fields["axes"] = ("z", "coil", "ky", "kx")
    elif change == "real":
        data = data.real
    elif change == "slices":
        grid = object_of((3, 48, 40)).grid
    elif change == "nan":
        data[1, 2, 5] = math.nan
    elif change == "silent coil":
        data[:, 1] = 0
    elif change == "no trajectory":
        del tensors["trajectory"]
    elif change == "short trajectory":
        tensors["trajectory"] = tensors["trajectory"][:, 1:]
    elif change == "nan in the trajectory":
        tensors["trajectory"] = tensors["trajectory"].clone()
        tensors["trajectory"][0, 0, 0] = math.nan
    elif change == "negative mask":
        tensors["mask"] = -torch.ones(data.shape[-2:])
    elif change == "few spokes":
        keep = torch.tensor([0, 20, 40, 60])
        data, tensors["trajectory"] = data[:, :, keep], tensors["trajectory"][keep]
    elif change == "no maps":
        options = dataclasses.replace(options, maps="simulated")
    else:
        options = dataclasses.replace(options, maps="simulated")
        tensors["maps"] = torch.ones(1, 4, 48, 41, dtype=torch.complex64)
    with pytest.raises(InputRefused) as refusal:
        options.operator(dataclasses.replace(acquisition, data=data, tensors=tensors, **fields), grid)
    assert refusal.value.code == code


def test_gridding_and_finufft_reconstruct_alike() -> None:
    pytest.importorskip("finufft")
    volume = object_of(SHAPE)
    images = []
    for nufft in ("gridding", "finufft"):
        options = _options(maps="espirit", nufft=nufft)
        acquisition = options.simulate(volume, Noise(1))
        images.append(options.start(acquisition, options.operator(acquisition, volume.grid)))
    assert _relative(images[0], images[1]) < 1e-4


def test_the_recipe_states_its_memory() -> None:
    recipe = load_recipe("mri-radial")
    assert recipe.physics == "mri-nonuniform"
    volume = object_of(SHAPE)
    options = _options()
    assert options.measurement_bytes(volume.grid) == options.simulate(volume, Noise(1)).data.numel() * 8
    assert options.bytes_needed(volume.grid) > 2 * options.measurement_bytes(volume.grid)
