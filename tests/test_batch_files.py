"""Scans of several files: what makes them the ones they were, and which files of a folder are one scan."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from batch_scene import Pretended, make_recipe, make_scans, pretended, run, states
from pydicom.data import get_testdata_file

from medldm.batch.fingerprint import content_hash, fingerprint
from medldm.batch.folder_scan import scan_folder
from medldm.host import Host, load_host
from medldm.pipeline.reading import files_of
from medldm_rawdata.example_files import write_bart
from medldm_rawdata.examples import kspace
from medldm_rawdata.projections.examples import ct_pd, data_exchange, discs, sinogram_header

__all__ = ["pretended"]

AXES = {"axes": ["z", "coil", "ky", "kx"], "spacing_mm": [4, 2, 1.5]}


@pytest.fixture(scope="module")
def host() -> Host:
    return load_host()


def measured(folder: Path, name: str = "disc", array: str = "disc.npy", level: float = 1.0) -> Path:
    """A sinogram and its description, the same one for all levels."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / array, level * discs(np.arange(15) * 24.0, 19, 9.0).astype(np.float32))
    path = folder / f"{name}.json"
    path.write_text(json.dumps(sinogram_header(data=array)))
    return path


def dicom(folder: Path) -> Path:
    """A series of CT."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in Path(str(get_testdata_file("dicomdirtests/98892001/CT5N/2062"))).parent.iterdir():
        shutil.copy(file, folder / file.name)
    return folder


def outputs(host: Host, folder: Path) -> list[str]:
    return [row.output for row in scan_folder(host, folder).rows]


def names(host: Host, path: Path) -> list[str]:
    return [file.name for file in files_of(host, path)]


def test_patients_measured_by_one_protocol_are_two_jobs(tmp_path: Path, pretended: Pretended) -> None:
    for number in (1, 2):
        measured(tmp_path / "ct" / f"p{number}", level=number)
    lines = run(tmp_path / "ct", tmp_path / "out", make_recipe(tmp_path), anonymous=True)
    assert len({line.job for line in lines}) == len({line.name for line in lines}) == 2
    assert pretended.done == ["disc.json", "disc.json"]


def test_a_replaced_measurement_is_another_job(tmp_path: Path, pretended: Pretended) -> None:
    recipe, out = make_recipe(tmp_path), tmp_path / "out"
    measured(tmp_path / "ct")
    before = run(tmp_path / "ct", out, recipe)
    measured(tmp_path / "ct", level=2.0)
    (line,) = run(tmp_path / "ct", out, recipe)
    assert (line.state, line.code) == ("failed", "E-BAT-08")
    (line,) = run(tmp_path / "ct", out, recipe, overwrite=True)
    assert line.state == "done"
    assert line.job != before[0].job
    assert len(pretended.done) == 2


def test_a_mark_of_other_files_is_looked_at_again_by_content(tmp_path: Path, pretended: Pretended) -> None:
    scans, recipe, out = make_scans(tmp_path / "scans", 1), make_recipe(tmp_path), tmp_path / "out"
    run(scans, out, recipe)
    manifest = out / "scan0" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["input"]["mark"] = "of a version that counted other files"
    manifest.write_text(json.dumps(content))
    shutil.rmtree(out / ".medldm-batch")
    assert states(run(scans, out, recipe)) == ["done"]
    assert len(pretended.done) == 1


def test_what_is_stated_beside_a_file_belongs_to_it(tmp_path: Path, host: Host) -> None:
    for example, stated in ((data_exchange(), "scan.medldm.json"), (ct_pd(), "scan.medldm.json")):
        folder = tmp_path / type(example.reader).__name__
        folder.mkdir()
        path = example.make(folder)
        seen = []
        for photons in (1000, 2000):
            (folder / stated).write_text(json.dumps({"photons": photons}))
            seen.append(content_hash(host, path))
            assert folder / stated in files_of(host, path)
        assert seen[0] != seen[1]


def test_readers_name_the_files_of_a_scan(tmp_path: Path, host: Host) -> None:
    json_file = measured(tmp_path)
    assert names(host, json_file) == ["disc.json", "disc.npy"]
    assert names(host, tmp_path / "disc.npy") == ["disc.npy", "disc.json"]
    write_bart(tmp_path / "bart", kspace(), {"spacing_mm": [4, 2, 1.5]})
    for half in ("cfl", "hdr"):
        assert set(names(host, tmp_path / f"bart.{half}")) == {"bart.cfl", "bart.hdr", "bart.json"}
    np.save(tmp_path / "lines.npy", kspace())
    (tmp_path / "lines.json").write_text(json.dumps({"format": "medldm-kspace", "version": 1, **AXES}))
    assert names(host, tmp_path / "lines.npy") == ["lines.npy", "lines.json"]
    image = nib.Nifti1Pair(np.ones((4, 5, 6), np.float32), np.eye(4))
    nib.save(image, tmp_path / "pair.img")
    (tmp_path / "pair.json").write_text('{"Modality": "MR"}')
    for half in ("img", "hdr"):
        assert set(names(host, tmp_path / f"pair.{half}")) == {"pair.img", "pair.hdr", "pair.json"}


def test_files_that_no_reader_knows_stand_for_themselves(tmp_path: Path, host: Host) -> None:
    (tmp_path / "notes").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "notes" / name).write_text(name)
    assert names(host, tmp_path / "notes" / "a.txt") == ["a.txt"]
    assert names(host, tmp_path / "notes") == ["a.txt", "b.txt"]
    assert names(host, tmp_path / "absent") == []


@pytest.mark.parametrize(
    "data", ["absent.npy", "../outside.npy", "/etc/passwd", "..", ".", "", ".hidden", "a\0b", "ü" * 200, 7, None, ["x"]]
)
def test_a_description_that_leads_astray_is_a_file_of_its_own(data: object, tmp_path: Path, host: Host) -> None:
    (tmp_path / "outside.npy").write_bytes(b"")
    path = tmp_path / "in" / "disc.json"
    path.parent.mkdir()
    (path.parent / ".hidden").write_bytes(b"")
    path.write_text(json.dumps(sinogram_header(data=data)))
    assert files_of(host, path) == [path]
    assert content_hash(host, path)
    found = scan_folder(host, path.parent)
    assert (len(found.rows), len(found.left_out)) == (0, 1)


def test_a_series_is_its_dicom_files_and_not_those_of_others(tmp_path: Path, host: Host) -> None:
    series = dicom(tmp_path / "ct")
    before = content_hash(host, series), fingerprint(host, series).mark
    make_scans(series / "derived", 1)
    assert (content_hash(host, series), fingerprint(host, series).mark) == before
    shutil.copy(next(series.glob("*")), series / "derived" / "IM1")
    assert content_hash(host, series) != before[0]


def test_scans_below_a_series_are_found(tmp_path: Path, host: Host) -> None:
    dicom(tmp_path / "mix")
    assert outputs(host, tmp_path / "mix") == ["scan"]
    for name in ("p1", "p2"):
        make_scans(tmp_path / "mix" / name, 1)
    dicom(tmp_path / "mix" / "p1" / "more")
    found = scan_folder(host, tmp_path / "mix")
    assert [row.output for row in found.rows] == ["scan", "p1/scan0", "p2/scan0"], "slices below are the series' own"
    assert not found.left_out
    # One folder further up the result of the series has a name, which stays, and nothing lies inside it.
    assert outputs(host, tmp_path) == ["mix", "mix-p1/scan0", "mix-p2/scan0"]


def test_a_description_and_its_array_are_one_scan(tmp_path: Path, host: Host) -> None:
    measured(tmp_path, "scan.v1", "scan.v1.npy")
    assert outputs(host, tmp_path) == ["scan.v1"]
    measured(tmp_path, "geom", "raw.npy")
    measured(tmp_path, "z-geom", "a-raw.npy")
    found = scan_folder(host, tmp_path)
    assert sorted(row.input.name for row in found.rows) == ["geom.json", "scan.v1.json", "z-geom.json"]
    assert not found.left_out


def test_two_descriptions_of_one_array_are_two_scans(tmp_path: Path, host: Host) -> None:
    measured(tmp_path, "low", "raw.npy")
    measured(tmp_path, "high", "raw.npy")
    assert outputs(host, tmp_path) == ["high", "low"]
    # An image keeps its place beside a description of something else.
    make_scans(tmp_path, 1)
    (tmp_path / "scan0.nii.gz").rename(tmp_path / "low.nii.gz")
    assert sorted(row.input.name for row in scan_folder(host, tmp_path).rows) == ["high.json", "low.json", "low.nii.gz"]


def test_names_keep_what_is_no_ending(tmp_path: Path, host: Host, pretended: Pretended) -> None:
    make_scans(tmp_path / "made", 2)
    scans, recipe, out = tmp_path / "scans", make_recipe(tmp_path), tmp_path / "out"
    scans.mkdir()
    shutil.copy(tmp_path / "made" / "scan0.nii.gz", scans / "brain_0.8mm.nii.gz")
    run(scans, out, recipe)
    shutil.copy(tmp_path / "made" / "scan1.nii.gz", scans / "brain_0.5mm.nii.gz")
    lines = run(scans, out, recipe)
    assert [(line.name, line.state) for line in lines] == [("brain_0.5mm", "done"), ("brain_0.8mm", "done")]
    assert pretended.done == ["brain_0.8mm.nii.gz", "brain_0.5mm.nii.gz"]
    for number in (1, 2):
        dicom(tmp_path / "pacs" / f"1.2.840.{number}")
    assert outputs(host, tmp_path / "pacs") == ["1.2.840.1", "1.2.840.2"]
