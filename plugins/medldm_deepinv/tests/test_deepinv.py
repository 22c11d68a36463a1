"""deepinv's physics and denoisers seen from here give what deepinv gives, and a wrong adjoint is found out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("torchvision", reason="torchvision is not installed: pip install 'medldm[deepinv]'")
deepinv = pytest.importorskip("deepinv", reason="deepinv is not installed: pip install 'medldm[deepinv]'")

import medldm  # noqa: E402
from medldm.data import Grid, Volume  # noqa: E402
from medldm.errors import InputRefused, UsageError  # noqa: E402
from medldm.pipeline.recipe import from_mapping  # noqa: E402
from medldm_deepinv import examples  # noqa: E402
from medldm_deepinv.family import DeepinvDenoisers  # noqa: E402
from medldm_deepinv.physics import DeepinvPhysics  # noqa: E402
from medldm_deepinv.slicewise_physics import SlicewisePhysics, built, tensor_of  # noqa: E402


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_slices_are_measured_as_deepinv_measures_them() -> None:
    physics = deepinv.physics.Tomography(angles=7, img_width=10, normalize=False)
    operator = SlicewisePhysics(physics, (3, 10, 10))
    x = noise(3, 10, 10)
    expected = torch.cat([physics.A(image[None, None])[:, 0] for image in x])
    torch.testing.assert_close(operator(x), expected)
    assert operator.codomain.shape == tuple(expected.shape)


def test_complex_images_are_two_channels() -> None:
    mask = (noise(1, 1, 8, 6) > 0).float().expand(1, 2, 8, 6)
    physics = deepinv.physics.MRI(mask=mask, img_size=(2, 8, 6))
    operator = SlicewisePhysics(physics, (2, 8, 6), complex_image=True)
    x = torch.complex(noise(2, 8, 6), noise(2, 8, 6, seed=1))
    y = physics.A(torch.stack((x.real, x.imag), 1))
    torch.testing.assert_close(operator(x), torch.complex(y[:, 0], y[:, 1]))


def test_an_approximate_adjoint_is_refused_with_the_law_that_it_breaks() -> None:
    physics = deepinv.physics.Tomography(angles=7, img_width=10, normalize=False, adjoint_via_backprop=False)
    with pytest.raises(UsageError, match=r"E-DIN-03.*law: adjoint"):
        SlicewisePhysics(physics, (3, 10, 10))


def test_what_deepinv_does_not_know_is_refused() -> None:
    for name, options in (("Tomografy", {}), ("A2", {}), ("Tomography", {"no_such": 1}), ("GaussianNoise", {})):
        with pytest.raises(UsageError, match="E-DIN-01"):
            built(name, options)
    with pytest.raises(UsageError, match="E-DIN-02"):
        SlicewisePhysics(deepinv.physics.Tomography(angles=7, img_width=10, normalize=False), (3, 9, 12))
    for values in ([[1.0], [1.0, 2.0]], [float("nan")], "words"):
        with pytest.raises(InputRefused, match="E-DIN-04"):
            tensor_of(values, "filter")
    for networks in ({}, {"denoiser": {"model": "Nothing"}}, {"denoiser": {"model": "DRUNet", "options": {"x": 1}}}):
        with pytest.raises(UsageError, match="E-DIN-05"):
            DeepinvDenoisers().build(networks)


def test_a_recipe_names_the_physics_and_its_arrays() -> None:
    image = torch.zeros(2, 16, 12)
    image[:, 4:9, 3:8] = 1.0
    volume = Volume(image, Grid.isotropic((2, 16, 12), (3.0, 1.0, 1.0)), "arbitrary", "OT", "block")
    recipe = from_mapping(
        "deblur",
        {
            "acquisition": {
                "physics": "deepinv", "name": "BlurFFT", "options": {"img_size": [1, 16, 12]},
                "arrays": {"filter": examples.FILTER}, "noise_std": 1e-4,
            },
            "solver": {"name": "cgls", "iterations": 60},
        },
    )  # fmt: skip
    result = medldm.reconstruct(volume, recipe=recipe, simulate=True, device="cpu")
    assert float((result.image.data - image).abs().max()) < 0.05
    assert float((result.baseline.data - image).abs().max()) > 0.2
    assert result.record["acquisition"]["settings"]["inverse_crime"] is True


def test_a_prior_denoises_as_the_network_does_in_its_own_units(tmp_path: Path) -> None:
    model = DeepinvDenoisers().load(examples.denoiser().make(tmp_path))
    network = DeepinvDenoisers().build(examples.CARD.networks).denoiser
    network.load_state_dict(model.denoiser.network.state_dict())
    x, sigma = noise(2, 1, 16, 8), torch.tensor([0.1, 0.7])
    with torch.no_grad():
        # -1 and 1 are 0 and 1 to deepinv, so that noise is half as large there.
        expected = 2 * network.denoiser((x + 1) / 2, sigma / 2) - 1
        found = model.denoiser(x, sigma, torch.zeros(2, 0))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_physics_of_a_measurement_is_its_own(tmp_path: Path) -> None:
    example = examples.blur()
    acquisition = example.physics.simulate(example.volume, medldm_noise())
    other = DeepinvPhysics("Denoising").operator(acquisition, acquisition.grid)
    torch.testing.assert_close(
        other(example.volume.data), example.physics.operator(acquisition, acquisition.grid)(example.volume.data)
    )


def medldm_noise():
    from medldm.inference import Noise

    return Noise(1)
