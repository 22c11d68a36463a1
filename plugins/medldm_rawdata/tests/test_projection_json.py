"""Which JSON files are taken for projections."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np

from medldm.data import ReadRequest
from medldm_rawdata.array_reader import KSpaceArrayReader
from medldm_rawdata.projections.examples import discs, sinogram_header
from medldm_rawdata.projections.sinogram_file import SinogramReader


def test_the_format_may_stand_anywhere_in_the_json(tmp_path: Path) -> None:
    values = discs(np.arange(45) * 4.0, 19, 9.0).astype(np.float32)
    np.save(tmp_path / "discs.npy", values)
    nibabel.save(nibabel.Nifti1Image(values.transpose(), np.eye(4)), tmp_path / "discs.nii.gz")
    path = tmp_path / "discs.json"
    angles = [round(4.0 * k, 3) for k in range(45)]
    for data in ("discs.npy", "discs.nii.gz"):
        header = sinogram_header(data=data, angles_deg=angles)
        path.write_text(json.dumps(header, sort_keys=True).replace('"angles_deg"', " " * 2_000_000 + '"angles_deg"'))
        for named in (path, tmp_path / data):
            assert SinogramReader().accepts(named)
            assert not KSpaceArrayReader().accepts(named)
        np.testing.assert_array_equal(SinogramReader().read(path, ReadRequest())[0].data.numpy(), values)


def test_a_file_that_only_contains_the_word_is_no_sinogram(tmp_path: Path) -> None:
    for name, content in (
        ("notes.json", {"notes": "convert to medldm-sinogram"}),
        ("list.json", ["format", "medldm-sinogram"]),
        ("nested.json", {"scan": {"format": "medldm-sinogram"}}),
    ):
        (tmp_path / name).write_text(json.dumps(content))
        assert not SinogramReader().accepts(tmp_path / name)
    (tmp_path / "README.md").write_text(json.dumps(sinogram_header()))
    assert not SinogramReader().accepts(tmp_path / "README.md")


def test_a_slip_in_the_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "discs.json"
    path.write_text(json.dumps(sinogram_header())[:-1] + ",}")
    assert SinogramReader().accepts(path)
    (row,) = SinogramReader().inspect(path)
    assert [problem.code for problem in row.problems] == ["E-PRJ-16"]
