"""A folder with scans of several formats: all are listed, and one is read only when it is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from batch_scene import make_recipe, make_scans
from batch_scene import run as run_batch
from cli_scene import run
from pydicom.data import get_testdata_file

from medldm.batch.folder_scan import scan_folder
from medldm.data import ReadRequest
from medldm.errors import InputRefused
from medldm.host import Host
from medldm.pipeline.reading import inspect, read_case
from medldm_rawdata.projections.examples import ct_pd


def ct_in(folder: Path) -> Path:
    """A CT series of DICOM files."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in Path(str(get_testdata_file("dicomdirtests/98892001/CT5N/2062"))).parent.iterdir():
        shutil.copy(file, folder / file.name)
    return folder


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A CT series in a folder of its own, beside two NIfTI files."""
    ct_in(tmp_path / "study" / "ct")
    return make_scans(tmp_path / "study", 2)


def test_all_formats_are_listed_under_one_numbering(study: Path) -> None:
    code, text, _ = run("inspect", study, "--json")
    rows = json.loads(text)["rows"]
    assert code == 0
    assert [row["index"] for row in rows] == list(range(1, len(rows) + 1))
    assert [row["format"] for row in rows if row["format"] != "dicom"] == ["nifti", "nifti"]
    assert [row["identifier"] for row in rows][-2:] == ["scan0.nii.gz", "scan1.nii.gz"]
    assert rows[0]["format"] == "dicom"


@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--series", "#9")])
def test_none_is_taken_unless_it_is_named(study: Path, more: tuple[str, ...], tmp_path: Path) -> None:
    words = ("reconstruct", study, "--simulate", "-r", make_recipe(tmp_path), "-o", tmp_path / "out")
    code, _, text = run(*words, *more)
    text = " ".join(text.split())
    assert (code, "error E-IN-04" in text) == (3, True), text
    assert "#1 dicom" in text and "nifti scan0.nii.gz" in text and "nifti scan1.nii.gz" in text
    assert "--series" in text
    assert not (tmp_path / "out").exists()


def test_the_one_that_is_named_is_read(study: Path, host: Host) -> None:
    rows = inspect(host, study)
    for row in rows:
        for name in (f"#{row.index}", row.identifier):
            case = read_case(host, study, ReadRequest(series=name))
            assert case.grid.shape == row.shape
            assert case.source is not None and case.source.format == row.format


def test_what_is_no_scan_leaves_the_choice_as_it_was(tmp_path: Path, host: Host) -> None:
    folder = ct_in(tmp_path / "ct")
    (folder / "broken.nii.gz").write_bytes(b"no NIfTI")
    assert "nifti" in [row.format for row in inspect(host, folder)]
    assert read_case(host, folder).modality == "CT"


def test_projections_that_are_stored_as_dicom_are_listed_once(tmp_path: Path, host: Host) -> None:
    example = ct_pd()
    folder = example.make(tmp_path)
    assert {row.format for row in inspect(host, folder)} == {example.reader.inspect(folder)[0].format}
    make_scans(folder, 1)
    with pytest.raises(InputRefused, match=r"E-IN-04.*nifti scan0\.nii\.gz"):
        read_case(host, folder)
    assert read_case(host, folder, ReadRequest(series="scan0.nii.gz")).name == "scan0"


def test_a_batch_reads_a_series_and_the_file_among_it(tmp_path: Path, host: Host) -> None:
    folder = make_scans(ct_in(tmp_path / "scans" / "ct"), 1)
    rows = scan_folder(host, tmp_path / "scans").rows
    assert [(row.input.name, row.series) for row in rows] == [("ct", "#1"), ("scan0.nii.gz", None)]
    lines = run_batch(folder.parent, tmp_path / "out", make_recipe(tmp_path), modality=None)
    assert {line.state for line in lines} <= {"done", "gate-failed"}
