"""What is written comes back; what nibabel writes is placed where nibabel places it."""

from __future__ import annotations

import gzip
import itertools
import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch

from medldm.data import Grid, History, ReadRequest, Volume
from medldm.errors import MedldmError, UsageError
from medldm_nifti.examples import provenance, volume
from medldm_nifti.reader import NiftiReader
from medldm_nifti.writer import NiftiWriter

CODES = [
    "".join(letters) for axes in itertools.permutations(("RL", "AP", "SI")) for letters in itertools.product(*axes)
]
# An anisotropic, slightly rotated head, so that no two axes can be exchanged unnoticed.
TURN = nibabel.eulerangles.euler2mat(0.05, -0.1, 0.15)


def affine_of(code: str, spacing=(0.75, 1.5, 4.0)) -> np.ndarray:
    linear = np.zeros((3, 3))
    for axis, (world, sign) in enumerate(nibabel.orientations.axcodes2ornt(code)):
        linear[int(world), axis] = sign * spacing[axis]
    return nibabel.affines.from_matvec(TURN @ linear, (11.0, -7.0, 3.5))


def test_there_are_48_orientations():
    assert len(set(CODES)) == 48


@pytest.mark.parametrize("code", CODES)
def test_nibabel_files_of_every_orientation_are_placed_in_lps(code, tmp_path):
    shape = (4, 5, 6)
    affine = affine_of(code)
    assert "".join(nibabel.aff2axcodes(affine)) == code
    # Every voxel stores a function of where it is, so a wrong axis or sign gives a wrong value.
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    ras = nibabel.affines.apply_affine(affine, index)
    values = (ras @ (1.0, 10.0, 100.0)).astype(np.float32)
    path = tmp_path / "scan.nii"
    nibabel.save(nibabel.Nifti1Image(values, affine), path)

    (found,) = NiftiReader().read(path, ReadRequest())

    positions = found.grid.world(np.stack(np.meshgrid(*map(np.arange, found.grid.shape), indexing="ij"), -1))
    expected = positions @ (-1.0, -10.0, 100.0)
    np.testing.assert_allclose(found.data.numpy(), expected, atol=2e-2, rtol=0)
    assert found.grid.shape == shape[::-1]


@pytest.mark.parametrize("code", CODES)
def test_every_orientation_round_trips(code, tmp_path):
    grid = Grid.from_nifti(affine_of(code), (4, 5, 6))
    before = Volume(torch.randn(grid.shape, generator=torch.Generator().manual_seed(1)), grid)
    NiftiWriter().write(before, tmp_path, "scan", provenance())

    (after,) = NiftiReader().read(tmp_path / "scan.nii.gz", ReadRequest())

    assert torch.equal(after.data, before.data)
    assert after.grid == before.grid
    assert "".join(nibabel.aff2axcodes(nibabel.load(tmp_path / "scan.nii.gz").affine)) == code


def test_qform_and_sform_agree_unless_sheared(tmp_path):
    before = volume()
    NiftiWriter().write(before, tmp_path, "plain", provenance())
    header = nibabel.load(tmp_path / "plain.nii.gz").header
    assert (header["sform_code"], header["qform_code"]) == (1, 1)
    np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-5)

    affine = before.grid.affine.copy()
    affine[:3, 0] += 0.3 * affine[:3, 1]
    sheared = replace(before, grid=Grid(before.grid.shape, affine))
    NiftiWriter().write(sheared, tmp_path, "tilted", provenance())
    header = nibabel.load(tmp_path / "tilted.nii.gz").header
    assert (header["sform_code"], header["qform_code"]) == (1, 0)
    (after,) = NiftiReader().read(tmp_path / "tilted.nii.gz", ReadRequest())
    assert after.grid == sheared.grid


def test_complex_is_kept_or_written_as_magnitude(tmp_path):
    before = volume(torch.complex64)
    NiftiWriter().write(before, tmp_path, "kept", provenance())
    (after,) = NiftiReader().read(tmp_path / "kept.nii.gz", ReadRequest())
    assert torch.equal(after.data, before.data)

    NiftiWriter(complex_values="magnitude").write(before, tmp_path, "magnitude", provenance())
    (after,) = NiftiReader().read(tmp_path / "magnitude.nii.gz", ReadRequest())
    torch.testing.assert_close(after.data, before.data.abs())


def test_lazily_conjugated_data_is_written_conjugated(tmp_path):
    before = volume(torch.complex64)
    NiftiWriter().write(replace(before, data=before.data.conj()), tmp_path, "scan", provenance())
    (after,) = NiftiReader().read(tmp_path / "scan.nii.gz", ReadRequest())
    assert torch.equal(after.data, before.data.conj().resolve_conj())


@pytest.mark.parametrize("quantity", ["HU", "1/mm"])
def test_the_unit_survives(quantity, tmp_path):
    before = replace(volume(), quantity=quantity, modality="CT")
    NiftiWriter().write(before, tmp_path, "scan", provenance())
    (tmp_path / "scan.json").unlink()
    (after,) = NiftiReader().read(tmp_path / "scan.nii.gz", ReadRequest())
    assert (after.quantity, after.modality) == (quantity, "CT")


def test_the_same_result_has_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        NiftiWriter().write(volume(), tmp_path / folder, "scan", provenance())
    for name in ("scan.nii.gz", "scan.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_provenance_stands_in_header_and_sidecar(tmp_path):
    history = History().then("read", format="nifti")
    written = NiftiWriter().write(replace(volume(), history=history), tmp_path, "scan", provenance())
    assert written == [tmp_path / "scan.nii.gz", tmp_path / "scan.json"]
    descrip = nibabel.load(written[0]).header["descrip"].item()
    assert b"RESEARCH ONLY" in descrip and b"SIMULATED" in descrip and len(descrip) <= 79
    sidecar = json.loads(written[1].read_text())
    assert sidecar["Simulated"] is True
    assert "RESEARCH USE ONLY" in sidecar["Comment"]
    assert sidecar["History"] == [{"event": "read", "format": "nifti"}]


def test_nothing_is_overwritten_and_nothing_is_left_over(tmp_path, monkeypatch):
    NiftiWriter().write(volume(), tmp_path, "scan", provenance())
    with pytest.raises(UsageError) as refusal:
        NiftiWriter().write(volume(), tmp_path, "scan", provenance())
    assert refusal.value.code == "E-NII-21"

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medldm_nifti.writer.os.fsync", full)
    with pytest.raises(MedldmError) as failure:
        NiftiWriter().write(volume(), tmp_path, "other", provenance())
    assert failure.value.code == "E-NII-22"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan.json", "scan.nii.gz"]


def test_long_axes_are_written_as_nifti_2(tmp_path):
    before = Volume(torch.arange(40000.0).reshape(1, 1, -1), Grid.isotropic((1, 1, 40000), 0.01))
    NiftiWriter().write(before, tmp_path, "scan", provenance())
    assert gzip.decompress((tmp_path / "scan.nii.gz").read_bytes())[4:7] == b"n+2"
    (after,) = NiftiReader().read(tmp_path / "scan.nii.gz", ReadRequest())
    assert torch.equal(after.data, before.data)
    assert after.grid == before.grid
