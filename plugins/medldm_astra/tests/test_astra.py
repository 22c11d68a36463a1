"""ASTRA's weights in medldm's geometry: against line integrals known in closed form, and ASTRA's own projections."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

astra = pytest.importorskip("astra", reason="astra-toolbox is not installed: pip install 'medldm[astra]'")

import medldm  # noqa: E402
from medldm.data import Acquisition  # noqa: E402
from medldm.errors import InputRefused, UsageError  # noqa: E402
from medldm.host import load_host  # noqa: E402
from medldm.inference import Noise  # noqa: E402
from medldm.pipeline.recipe import from_mapping  # noqa: E402
from medldm_astra import examples  # noqa: E402
from medldm_astra.geometry import AstraScan  # noqa: E402
from medldm_astra.matrix_operator import SliceMatrix  # noqa: E402
from medldm_astra.physics import AstraCt  # noqa: E402

N, X0, Y0, WIDTH = 64, 7.0, -11.0, 5.0


def blob() -> torch.Tensor:
    """A Gaussian off the axis: x to the right, y downwards, in pixels of 1 mm."""
    y, x = np.mgrid[:N, :N] - (N - 1) / 2
    return torch.from_numpy(np.exp(-((x - X0) ** 2 + (y - Y0) ** 2) / (2 * WIDTH**2))).float()[None]


def integrals(theta: np.ndarray, s: np.ndarray) -> np.ndarray:
    distance = s - X0 * np.cos(theta) - Y0 * np.sin(theta)
    return WIDTH * math.sqrt(2 * math.pi) * np.exp(-(distance**2) / (2 * WIDTH**2))


@pytest.mark.parametrize("projector", ["linear", "strip", "line"])
def test_parallel_rays_are_line_integrals_in_mm(projector: str) -> None:
    scan = AstraScan((0.0, 0.4, 1.9, 3.0), 90, 1.0, 2.5)
    found = SliceMatrix(scan.matrix((N, N), 1.0, projector), (1, N, N), 4)(blob())[0].numpy()
    s = np.arange(90) - 44.5 + 2.5
    exact = integrals(np.array(scan.angles)[:, None], s[None])
    # The line projector's weights jump from pixel to pixel.
    assert np.linalg.norm(found - exact) / np.linalg.norm(exact) < (0.05 if projector == "line" else 0.01)


def test_a_fan_stands_where_medldm_puts_it() -> None:
    scan = AstraScan((0.0, 1.0, 4.0), 90, 1.8, 4.0, (200.0, 350.0))
    found = SliceMatrix(scan.matrix((N, N), 1.0, "auto"), (1, N, N), 3)(blob())[0].numpy()
    gamma = np.arctan(((np.arange(90) - 44.5) * 1.8 + 4.0) / 350.0)
    exact = integrals(np.array(scan.angles)[:, None] - gamma, 200.0 * np.sin(gamma)[None])
    assert np.linalg.norm(found - exact) / np.linalg.norm(exact) < 0.03


def test_the_matrix_is_astras_own_projector() -> None:
    scan = AstraScan((0.1, 2.0), 50, 1.0)
    volume = astra.create_vol_geom(20, 24, -12.0, 12.0, -10.0, 10.0)
    projector = astra.create_projector("linear", scan.geometry(), volume)
    image = np.random.default_rng(0).standard_normal((20, 24)).astype(np.float32)
    sinogram_id, sinogram = astra.create_sino(image, projector)
    astra.data2d.delete(sinogram_id)
    found = SliceMatrix(scan.matrix((20, 24), 1.0, "linear"), (1, 20, 24), 2)(torch.from_numpy(image)[None])
    np.testing.assert_allclose(found[0].numpy(), sinogram, atol=1e-4)


def test_a_measurement_of_another_physics_is_reconstructed_with_its_weights() -> None:
    volume = examples.body((2, 30, 36), (3.0, 1.5, 1.5))
    host = load_host()
    physics = host.build("operators", "ct-fan", {"views": 90, "arc_deg": 360, "detector": "flat"})
    acquisition: Acquisition = physics.simulate(volume, Noise(3))
    recipe = from_mapping(
        "astra", {"acquisition": {"physics": "ct-astra"}, "solver": {"name": "cgls", "iterations": 12}}
    )
    result = medldm.reconstruct(acquisition, recipe=recipe, truth=volume, device="cpu", host=host)
    assert result.record["metrics"]["reconstruction"]["psnr"] > 28
    curved = replace(acquisition, settings={**acquisition.settings, "geometry": "fan-curved"})
    with pytest.raises(InputRefused, match="E-AST-02"):
        medldm.reconstruct(curved, recipe=recipe, device="cpu", host=host)


def test_what_astra_has_not_is_refused() -> None:
    fan = AstraScan((0.0, 1.0), 9, 1.0, 0.0, (30.0, 50.0))
    with pytest.raises(UsageError, match="E-AST-01"):
        fan.matrix((5, 5), 1.0, "strip")
    flat = examples.body((2, 8, 9), (3.0, 1.5, 1.0))
    with pytest.raises(InputRefused, match="E-AST-03"):
        AstraCt().simulate(flat, Noise(1))
    with pytest.raises(InputRefused, match="E-AST-04"):
        AstraCt().simulate(replace(flat, quantity="arbitrary"), Noise(1))
    with pytest.raises(InputRefused, match="E-AST-02"):
        AstraCt(geometry="fan", source_to_centre_mm=3.0).simulate(examples.body((2, 8, 9), (1, 1.0, 1.0)), Noise(1))
