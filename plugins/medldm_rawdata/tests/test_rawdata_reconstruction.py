"""From the file of a scanner to the image: the object comes out where it is, as bright as it is."""

from __future__ import annotations

import numpy as np
import pytest

import medldm
from medldm.data import ReadRequest
from medldm.pipeline.recipe import load_recipe
from medldm_rawdata.example_files import ismrmrd_line, ismrmrd_xml, write_fastmri, write_ismrmrd
from medldm_rawdata.kspace_transform import to_frequency

NZ, NY, NX = 2, 20, 16
X, Y, Z = np.array([0.0, 0.0, -1.0]), np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0])
CENTRE = np.array([-12.0, 8.0, 30.0])


@pytest.fixture
def recipe():
    changes = ["classical={name: cg-sense, iterations: 30, lam: 0}"]
    return load_recipe("mri-4x", changes).without_prior()


def scene(nx: int) -> np.ndarray:
    """Blocks that no flip or turn leaves in place, in the middle NX columns of nx."""
    image = np.zeros((NZ, NY, nx))
    left = nx // 2 - NX // 2
    image[0, 4:9, left + 2 : left + 12] = 1.0
    image[0, 10:17, left + 2 : left + 5] = 2.0
    image[1, 12:14, left + 9 : left + 14] = 3.0
    return image


def kspace_of(image: np.ndarray) -> np.ndarray:
    """One coil, so that its map is 1 everywhere; noise of 0.001 per real component."""
    random = np.random.default_rng(1)
    clean = to_frequency(to_frequency(image, -1), -2)[:, None]
    noise = random.standard_normal(clean.shape) + 1j * random.standard_normal(clean.shape)
    return (clean + 0.001 * noise).astype(np.complex64)


def test_ismrmrd(recipe, tmp_path):
    kspace = kspace_of(scene(2 * NX))
    noise = 0.001 * np.random.default_rng(2).standard_normal((2, 1, 2000))
    lines = [ismrmrd_line(noise[0] + 1j * noise[1], [19])]
    for ky in range(NY):
        for z in range(NZ):
            place = {"position": CENTRE + 6 * z * Z, "read_dir": X, "phase_dir": Y, "slice_dir": Z}
            lines.append(ismrmrd_line(kspace[z, :, ky], slice=z, kspace_encode_step_1=ky, **place))
    encoded, recon = ((2 * NX, NY, 1), (64.0, 60.0, 5.0)), ((NX, NY, 1), (32.0, 60.0, 5.0))
    path = write_ismrmrd(tmp_path / "scan.h5", ismrmrd_xml(encoded, recon, centre=NY // 2), lines)
    result = medldm.reconstruct(path, recipe=recipe, device="cpu")
    # Whitened: in units of the noise's standard deviation.
    np.testing.assert_allclose(np.abs(result.image.data.numpy()) * 0.001, scene(NX), atol=0.05)
    assert result.image.grid.orientation == "LPI"
    np.testing.assert_allclose(result.image.grid.world((1, NY // 2, NX // 2)), CENTRE + 6 * Z, atol=1e-4)
    assert not result.record["simulated"]


def test_fastmri(recipe, tmp_path):
    # Readout along y: oversampled there, and cropped.
    kspace = kspace_of(scene(2 * NX)).transpose(0, 1, 3, 2)
    encoded, recon = ((2 * NX, NY, 1), (64.0, 60.0, 5.0)), ((NX, NX, 1), (32.0, 48.0, 5.0))
    path = write_fastmri(tmp_path / "file.h5", kspace, ismrmrd_xml(encoded, recon))
    result = medldm.reconstruct(path, recipe=recipe, device="cpu", read=ReadRequest())
    np.testing.assert_allclose(np.abs(result.image.data.numpy()), scene(NX).transpose(0, 2, 1), atol=0.05)
    assert result.image.grid.spacing == pytest.approx((5.0, 2.0, 3.0))
