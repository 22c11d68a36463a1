"""HDF5 files that are damaged, lead elsewhere or only resemble a format: a reader takes them and says what is wrong."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from medldm.data import ReadRequest
from medldm.errors import InputRefused
from medldm.pipeline.reading import reader_for
from medldm_rawdata import examples, hdf5_file
from medldm_rawdata.guarded_hdf5 import FILTERS
from medldm_rawdata.projections import examples as projections
from medldm_rawdata.projections import hdf5_tree


@pytest.fixture(scope="module")
def host():
    from medldm.host import load_host

    return load_host()


def refused(host, path: Path, code: str) -> str:
    """What the command line says: by the first reader that takes the file."""
    reader = reader_for(host, path)
    with pytest.raises(InputRefused) as caught:
        reader.read(path, ReadRequest())
    assert caught.value.code == code
    assert [p.code for row in reader.inspect(path) for p in row.problems if p.severity == "error"] == [code]
    return str(caught.value)


@pytest.mark.parametrize("share", [0.95, 0.5, 0.02])
@pytest.mark.parametrize("name", ["ismrmrd_reader", "fastmri_reader"])
def test_files_cut_short_are_refused_as_damaged(host, tmp_path: Path, name: str, share: float) -> None:
    path = getattr(examples, name)().make(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "truncated" in refused(host, path, "E-KSP-02")


@pytest.mark.parametrize("name", ["dataset", "other"])
def test_a_group_in_another_file_is_refused_as_a_link(host, tmp_path: Path, name: str) -> None:
    own = examples.ismrmrd_reader().make(tmp_path)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file[name] = h5py.ExternalLink(own.name, "dataset")
    assert "link" in refused(host, tmp_path / "link.h5", "E-KSP-03")


def test_data_exchange_in_another_file_is_refused_as_a_link(host, tmp_path: Path) -> None:
    own = projections.data_exchange().make(tmp_path)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["exchange"] = h5py.ExternalLink(own.name, "exchange")
    assert "link" in refused(host, tmp_path / "link.h5", "E-PRJ-05")


def test_every_filter_of_hdf5_is_taken_and_no_other(tmp_path: Path) -> None:
    assert all(h5py.h5z.filter_avail(number) for number in FILTERS)
    values = np.arange(24, dtype=np.int32).reshape(4, 6)
    with h5py.File(tmp_path / "packed.h5", "w") as file:
        for name, how in {
            "deflate": {"compression": "gzip", "shuffle": True, "fletcher32": True},
            "lzf": {"compression": "lzf"},
            "scale-offset": {"scaleoffset": 0},
        }.items():
            file.create_dataset(name, data=values, **how)
            for found in (hdf5_file.member(file, name, tmp_path), hdf5_tree.data_set(file, name, tmp_path)):
                np.testing.assert_array_equal(found[()], values)
        created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        created.set_chunk((2, 2))
        created.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)
        h5py.h5d.create(file.id, b"foreign", h5py.h5t.NATIVE_INT32, h5py.h5s.create_simple((4, 6)), created)
        with pytest.raises(InputRefused, match=r"E-KSP-03.*filter 32015"):
            hdf5_file.member(file, "foreign", tmp_path)
        with pytest.raises(InputRefused, match=r"E-PRJ-05.*filter 32015"):
            hdf5_tree.data_set(file, "foreign", tmp_path)


def test_what_resembles_a_format_is_told_what_it_holds(host, tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["kspace"] = np.zeros((2, 4, 8, 8), np.complex64)
    said = refused(host, path, "E-KSP-08")
    assert "kspace (2 x 4 x 8 x 8)" in said and "fastMRI, has kspace and ismrmrd_header" in said
    with h5py.File(path, "w") as file:
        file["dataset/image_0/data"] = np.zeros((3, 4))
    said = refused(host, path, "E-KSP-08")
    assert "dataset/image_0/data (3 x 4)" in said and "ISMRMRD, has a group with xml and data" in said


def test_other_hdf5_files_are_left_to_other_readers(host, tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/first"] = np.zeros(3)
    with pytest.raises(InputRefused) as caught:
        reader_for(host, path)
    assert caught.value.code == "E-IN-03"


def test_matlab_7_3_is_refused_with_how_to_save_it(host, tmp_path: Path) -> None:
    path = tmp_path / "scan.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["CtDataLimited/sinogram"] = np.ones((3, 4))
    content = bytearray(path.read_bytes())
    content[:19] = b"MATLAB 7.3 MAT-file"
    path.write_bytes(content)
    assert "-v7" in refused(host, path, "E-PRJ-04")
