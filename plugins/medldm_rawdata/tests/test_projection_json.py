"""Which JSON files are taken for projections, and what may stand in that beside a scan."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medldm.data import Acquisition, ReadRequest
from medldm.testing import ReaderExample
from medldm_rawdata.array_reader import KSpaceArrayReader
from medldm_rawdata.projections import examples
from medldm_rawdata.projections.ct_pd import CtPdReader
from medldm_rawdata.projections.examples import discs, sinogram_header
from medldm_rawdata.projections.sinogram_file import SinogramReader
from medldm_rawdata.projections.stated import Stated


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


@pytest.mark.parametrize(
    "example", [examples.data_exchange(), examples.htc(), examples.ct_pd()], ids=lambda e: e.expected.physics
)
def test_the_attenuation_of_water_beside_a_scan_makes_hounsfield_units(tmp_path: Path, example: ReaderExample) -> None:
    path = example.make(tmp_path)
    beside = path.with_name(f"{path.stem}.medldm.json")
    stated = json.loads(beside.read_text()) if beside.exists() else {}
    beside.write_text(json.dumps(stated | {"mu_water_per_mm": 0.025}))
    (found,) = example.reader.read(path, ReadRequest())
    assert isinstance(found, Acquisition)
    assert found.settings["mu_water_per_mm"] == 0.025
    assert found.output.target == "HU"
    np.testing.assert_allclose([found.output(0.0), found.output(0.025)], [-1000, 0], atol=1e-9)


def test_a_folder_may_be_named_by_a_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = examples.ct_pd().make(tmp_path)
    (tmp_path / f"{folder.name}.medldm.json").write_text('{"photons": 1234}')
    (folder / "inside").mkdir()
    for place, name in ((folder, "."), (folder / "inside", "..")):
        monkeypatch.chdir(place)
        assert Stated.beside(Path(name)).photons == 1234
        (row, *_) = CtPdReader().inspect(Path(name))
        assert "1.23e+03 photons" in row.description
        (found,) = CtPdReader().read(Path(name), ReadRequest())
        assert found.settings["photons"] == 1234  # type: ignore[union-attr]
    assert Stated.beside(Path("/")) == Stated()
