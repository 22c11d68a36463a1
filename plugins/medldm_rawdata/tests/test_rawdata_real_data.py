"""A slice of a brain that a scanner measured with 8 coils, an eighth of its samples."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import medldm
from medldm.data import ReadRequest
from medldm.pipeline.recipe import load_recipe
from medldm_rawdata.array_reader import KSpaceArrayReader
from medldm_rawdata.example_files import described

DATA = Path(os.environ.get("MEDLDM_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))
KSPACE = DATA / "raw" / "mri-cartesian-8coil" / "cartesian_ksp.npy"
pytestmark = pytest.mark.skipif(not KSPACE.is_file(), reason="no real k-space: set MEDLDM_TEST_DATA")


@pytest.fixture
def path(tmp_path):
    copy = tmp_path / KSPACE.name
    shutil.copyfile(KSPACE, copy)
    # The field of view is not published; a head is about this large.
    return described(copy, {"axes": ["coil", "ky", "kx"], "spacing_mm": [5, 1, 1]})


def test_what_is_found_in_it(path):
    (found,) = KSpaceArrayReader().read(path, ReadRequest())
    assert found.data.shape == (1, 8, 230, 180)
    np.testing.assert_array_equal(found.data[0].numpy(), np.load(KSPACE))
    assert found.settings["acceleration"] == pytest.approx(8.04, abs=0.01)
    # Evenly about n // 2, which is therefore its centre, though the largest sample is next to it.
    assert found.settings["full_centre"] == [24, 24]
    # The quietest samples have 0.011 in every component, of which some is the object.
    assert 0.008 < found.noise_std < 0.0125
    assert not found.simulated
    (row,) = KSpaceArrayReader().inspect(path)
    assert {problem.code for problem in row.problems} == {"E-KSP-20", "E-KSP-21"}


def test_it_reconstructs_to_a_head(path):
    changes = ["classical={name: cg-sense, iterations: 6}", "operator.maps=espirit"]
    recipe = load_recipe("mri-4x", changes).without_prior()
    result = medldm.reconstruct(path, recipe=recipe, device="cpu")
    image = np.abs(result.image.data[0].numpy())
    # The head lies in the middle: its inside is bright, and the corners are empty.
    inside, corner = image[90:140, 60:120].mean(), np.median(image[:25, :25])
    assert inside > 10 * corner
    assert 0.3 < result.record["chi"][0] < 1.2
