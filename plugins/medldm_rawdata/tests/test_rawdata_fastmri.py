"""fastMRI files made from a known k-space give it back, with the mask that really was measured."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch

from medldm.data import ReadRequest
from medldm.errors import InputRefused
from medldm_rawdata.example_files import ismrmrd_xml, write_fastmri
from medldm_rawdata.fastmri_reader import FastMriReader
from medldm_rawdata.ismrmrd_reader import IsmrmrdReader
from medldm_rawdata.kspace_transform import to_image

# Knee: 2-fold oversampled readout, phase encoding finer and longer than the image.
READ, PHASE, KEEP = 24, 18, 12
ENCODED = ((READ, PHASE, 1), (48.0, 27.0, 4.5))
RECON = ((KEEP, KEEP, 1), (24.0, 18.0, 4.5))
XML = ismrmrd_xml(ENCODED, RECON, centre=8)


def truth(slices: int = 2, coils: int = 3, seed: int = 1) -> np.ndarray:
    random = np.random.default_rng(seed)
    shape = (slices, coils, READ, PHASE)
    return (random.standard_normal(shape) + 1j * random.standard_normal(shape)).astype(np.complex64)


def one(path, **request):
    (found,) = FastMriReader().read(path, ReadRequest(**request))
    return found


def code_of(path, **request):
    with pytest.raises(InputRefused) as refusal:
        FastMriReader().read(path, ReadRequest(**request))
    return refusal.value.code


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file1000001.h5"


def test_values_mask_and_voxels(path):
    kspace = truth()
    kspace[..., [0, 17]] = 0  # padding of the scanner: filled in, not measured
    write_fastmri(path, kspace, XML, reconstruction_rss=np.full((2, KEEP, KEEP), np.nan))
    found = one(path)
    assert found.grid.shape == (2, KEEP, PHASE)
    assert found.grid.spacing == pytest.approx((4.5, 2.0, 1.5))
    middle = to_image(kspace, -2)[:, :, READ // 2 - KEEP // 2 : READ // 2 + KEEP // 2]
    np.testing.assert_allclose(to_image(found.data.numpy(), -2), middle, atol=1e-5)
    assert found.tensor("mask")[3].tolist() == [0] + [1] * 16 + [0]
    assert FastMriReader().accepts(path) and not IsmrmrdReader().accepts(path)
    (row,) = FastMriReader().inspect(path)
    assert {problem.code for problem in row.problems} == {"E-KSP-20", "E-KSP-21"}
    assert "acceleration 1.12" in row.description


def test_the_distance_of_slices_is_said_to_be_their_thickness(path):
    for slices, expected in ((2, True), (1, False)):
        write_fastmri(path, truth(slices), XML)
        (row,) = FastMriReader().inspect(path)
        (told,) = [problem.sentence for problem in row.problems if problem.code == "E-KSP-21"]
        assert ("taken to be their thickness, 4.5 mm" in told) == expected


@pytest.mark.parametrize("shape", [(PHASE,), (1, 1, PHASE, 1)])
def test_the_stated_mask_holds(shape, path):
    lines = np.arange(PHASE) % 4 == 1
    lines[7:11] = True
    write_fastmri(path, truth() * lines, XML, mask=lines.astype(np.float32).reshape(shape))
    assert torch.equal(one(path).tensor("mask")[0] > 0, torch.from_numpy(lines))
    assert one(path).settings["full_centre"] == [KEEP, 4]
    # Of a scan that is complete, the mask leaves a part.
    write_fastmri(path, truth(), XML, mask=lines)
    found = one(path)
    assert torch.equal(found.tensor("mask")[0] > 0, torch.from_numpy(lines))
    assert not found.data[..., ~torch.from_numpy(lines)].any()
    (row,) = FastMriReader().inspect(path)
    assert "E-KSP-24" in {problem.code for problem in row.problems}


def test_a_single_coil(path):
    write_fastmri(path, truth()[:, 0], XML)
    assert one(path).data.shape == (2, 1, KEEP, PHASE)


def test_noise_is_estimated_from_outer_kspace(path):
    random = np.random.default_rng(2)
    shape = (4, 6, 64, 48)
    noise = 0.3 * (random.standard_normal(shape) + 1j * random.standard_normal(shape))
    radius = np.hypot(*np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 48), indexing="ij"))
    space = ((64, 48, 1), (64.0, 48.0, 5.0))
    for signal in (0, 50 * np.exp(-30 * radius**2)):
        write_fastmri(path, noise + signal, ismrmrd_xml(space, space))
        found = one(path)
        # 7000 samples: the median of their power is known to 1.5 %, its root to half of that.
        assert found.noise_std == pytest.approx(0.3, rel=0.02)
        assert found.settings["noise"] == "estimated"
    # A spectrum that falls off slowly is taken for noise: never too small.
    write_fastmri(path, noise + 0.6 / (0.2 + radius), ismrmrd_xml(space, space))
    assert one(path).noise_std > 0.3


def test_what_is_refused(path):
    write_fastmri(path, truth(), ismrmrd_xml(((READ, PHASE + 2, 1), ENCODED[1]), RECON))
    assert code_of(path) == "E-KSP-08"
    write_fastmri(path, truth(), XML, mask=np.ones(PHASE - 1))
    assert code_of(path) == "E-KSP-08"
    write_fastmri(path, truth(), XML, mask=np.zeros(PHASE))
    assert code_of(path) == "E-KSP-18"
    write_fastmri(path, 0 * truth(), XML)
    assert code_of(path) == "E-KSP-18"
    write_fastmri(path, truth(), ismrmrd_xml(ENCODED, RECON, trajectory="radial"))
    assert code_of(path) == "E-KSP-07"
    write_fastmri(path, truth(), "<a/>")
    assert code_of(path) == "E-KSP-06"
    write_fastmri(path, truth(), XML)
    assert code_of(path, max_bytes=10000) == "E-KSP-10"
    assert code_of(path, series="#2") == "E-KSP-17"
    with h5py.File(path, "r+") as file:
        del file["kspace"]
        file["kspace"] = np.ones((2, 3, READ, PHASE))
    assert code_of(path) == "E-KSP-08"


def test_a_claim_of_a_huge_array_costs_nothing(path):
    # HDF5 stores chunks that were never written as nothing at all.
    space = ((40000, 40000, 1), (300.0, 300.0, 5.0))
    write_fastmri(path, truth(), ismrmrd_xml(space, space))
    with h5py.File(path, "r+") as file:
        del file["kspace"]
        file.create_dataset("kspace", (100, 16, 40000, 40000), "c8", chunks=(1, 1, 100, 100), compression="gzip")
    assert path.stat().st_size < 2**20
    assert code_of(path) == "E-KSP-10"


@pytest.mark.parametrize(("where", "code"), [((0, 1), "E-KSP-11"), ((1, slice(None)), "E-KSP-11")])
def test_samples_missing_in_one_coil_or_slice(where, code, path):
    kspace = truth()
    kspace[where][..., 5:7] = 0
    write_fastmri(path, kspace, XML)
    assert code_of(path) == code


def test_silent_coils_and_lines_with_nan(path):
    kspace = truth()
    kspace[:, 1] = 0
    write_fastmri(path, kspace, XML)
    assert one(path).size("coil") == 2
    (row,) = FastMriReader().inspect(path)
    assert "E-KSP-22" in {problem.code for problem in row.problems}
    kspace[0, 0, :, 4] = np.inf
    write_fastmri(path, kspace, XML)
    with pytest.raises(InputRefused, match="E-KSP-09: 24 lines"):
        one(path)


@pytest.mark.parametrize("name", ["kspace", "mask", "ismrmrd_header"])
def test_links_are_not_followed(name, path, tmp_path):
    other = write_fastmri(tmp_path / "other.h5", truth(), XML, mask=np.ones(PHASE))
    with h5py.File(write_fastmri(path, truth(), XML, mask=np.ones(PHASE)), "r+") as file:
        del file[name]
        file[name] = h5py.ExternalLink(str(other), name)
    assert code_of(path) == "E-KSP-03"


def test_filters_from_elsewhere_are_not_loaded(path):
    with h5py.File(write_fastmri(path, truth(), XML), "r+") as file:
        del file["kspace"]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((1, 1, READ, PHASE))
        plist.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)
        kind = h5py.h5t.py_create(np.dtype("c8"))
        h5py.h5d.create(file.id, b"kspace", kind, h5py.h5s.create_simple((2, 3, READ, PHASE)), plist)
    assert code_of(path) == "E-KSP-03"


def test_truncated_and_garbled_files(path):
    content = write_fastmri(path, truth(), XML).read_bytes()
    for length in (0, 200, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert code_of(path) == "E-KSP-02"
    random = np.random.default_rng(3)
    for _ in range(40):
        broken = bytearray(content)
        for at in random.integers(8, 4000, 10):
            broken[at] = random.integers(256)
        path.write_bytes(bytes(broken))
        FastMriReader().inspect(path)
