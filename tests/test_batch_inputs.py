"""Manifests, folders and BIDS data sets as rows; every refusal by its code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from batch_scene import bids, make_scans
from pydicom.data import get_testdata_file

from medldm.batch.bids_dataset import derivative, describe_derivatives, is_dataset, scan_dataset
from medldm.batch.fingerprint import content_hash, fingerprint
from medldm.batch.folder_scan import scan_folder
from medldm.batch.manifest_file import read_manifest, write_manifest
from medldm.batch.output_name import check_names, distinct, made_of
from medldm.batch.row import Row
from medldm.batch.source import find_source
from medldm.errors import MedldmError, UsageError
from medldm.host import load_host


def manifest(folder: Path, text: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text(text)
    return path


def test_a_manifest_gives_rows(tmp_path: Path) -> None:
    make_scans(tmp_path / "data")
    path = manifest(
        tmp_path,
        "input,output,set,recipe,modality,volume_index,truth\n"
        "data/scan0.nii.gz,p1/first,run.seed=3;solver.iterations=4,,mr,,data/scan1.nii.gz\n"
        ",,,,,,\n"
        "data/scan1.nii.gz,,,own.yaml,,1,\n"
        "data/scan2.nii.gz,,,mri-8x,,,\n",
    )
    first, second, third = read_manifest(path)
    assert (first.output, first.set, first.modality) == ("p1/first", ("run.seed=3", "solver.iterations=4"), "MR")
    assert first.truth == tmp_path / "data" / "scan1.nii.gz"
    assert (second.output, second.volume_index) == ("data/scan1/volume-1", 1)
    assert second.recipe == str(tmp_path / "own.yaml")
    assert third.recipe == "mri-8x"
    assert all(Row.from_dict(json.loads(json.dumps(row.as_dict()))) == row for row in (first, second, third))
    write_manifest(tmp_path / "again.csv", [first, second, third])
    assert read_manifest(tmp_path / "again.csv") == [first, second, third]


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("", "E-BAT-01", "no column 'input'"),
        ("output\nx\n", "E-BAT-01", "no column 'input'"),
        ("input,outptu\na,b\n", "E-BAT-02", "Did you mean 'output'"),
        ("input;output\na;b\n", "E-BAT-02", "separated by commas"),
        ("input,input\na,b\n", "E-BAT-02", "two columns"),
        ("input\nabsent.nii.gz\nscan0.nii.gz\nalso-absent.nii.gz\n", "E-BAT-03", "line 2"),
        ("input,output\nscan0.nii.gz,a\nscan1.nii.gz,A\n", "E-BAT-04", "lines 2 and 3"),
        ("input,output\nscan0.nii.gz,a\nscan1.nii.gz,a/b\n", "E-BAT-04", "lies inside"),
        ("input,output\nscan0.nii.gz,../a\n", "E-BAT-05", "'../a'"),
        ("input,output\nscan0.nii.gz,/tmp/a\n", "E-BAT-05", "plain name"),
        ("input,output\nscan0.nii.gz,con\n", "E-BAT-05", "'con'"),
        ("input,output\nscan0.nii.gz,.medldm-batch\n", "E-BAT-05", "leading dots"),
        ("input,output\nscan0.nii.gz,=cmd()\n", "E-BAT-05", "plain name"),
        ("input\n\n", "E-BAT-06", "no scan"),
        ("input,volume_index\nscan0.nii.gz,-1\n", "E-BAT-01", "line 2"),
        ("input,modality\nscan0.nii.gz,PET\n", "E-BAT-01", "'PET'"),
        ("input\nscan0.nii.gz,more\n", "E-BAT-01", "more values"),
        ('input\n"scan0\n', "E-BAT-01", "not CSV"),
    ],
)
def test_a_bad_manifest_is_refused(tmp_path: Path, text: str, code: str, words: str) -> None:
    make_scans(tmp_path)
    with pytest.raises(UsageError) as caught:
        read_manifest(manifest(tmp_path, text))
    assert caught.value.code == code
    assert words in str(caught.value)


def test_bytes_are_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"\xff\xfe\x00input")
    with pytest.raises(UsageError, match="E-BAT-01"):
        read_manifest(tmp_path / "m.csv")


def test_missing_inputs_may_be_left_to_fail(tmp_path: Path) -> None:
    assert len(read_manifest(manifest(tmp_path, "input\nabsent.nii.gz\n"), skip_missing=True)) == 1


def test_names_are_made_plain_and_distinct() -> None:
    assert made_of(Path("Müller, Anna/T1 (2).nii.gz")) == "M-ller-Anna/T1-2"
    assert made_of(Path("CON.nii")) == "CON-scan"
    assert made_of(Path("1.2/brain_0.8mm.NII.GZ")) == "1.2/brain_0.8mm"
    assert made_of(Path("p/scan.h5"), folder=True) == "p/scan.h5"
    assert made_of(Path("con.x.npy")) == "con-scan.x"
    assert made_of(Path(".nii")) == "nii"
    assert made_of(Path()) == "scan"
    for name in ("con.x.npy", "x" * 99 + ".8mm.nii", "nul", "a..b.json"):
        check_names([Row(Path("a"), made_of(Path(name)))])
    assert distinct(["a", "A", "a/b", "c"]) == ["a-2", "A-3", "a/b", "c"]


def test_a_folder_is_scanned(tmp_path: Path) -> None:
    make_scans(tmp_path / "p1")
    series = tmp_path / "p2" / "ct"
    series.mkdir(parents=True)
    source = Path(str(get_testdata_file("dicomdirtests/98892001/CT5N/2062"))).parent
    for file in source.iterdir():
        shutil.copy(file, series / file.name)
    (tmp_path / "p2" / "notes.txt").write_text("no scan")
    (tmp_path / ".hidden").mkdir()
    shutil.copy(tmp_path / "p1" / "scan0.nii.gz", tmp_path / ".hidden")
    (tmp_path / "broken.nii.gz").write_bytes(b"no NIfTI")

    found = scan_folder(load_host(), tmp_path)
    assert [row.output for row in found.rows] == ["p1/scan0", "p1/scan1", "p1/scan2", "p2/ct"]
    assert found.rows[-1].input == series
    assert found.rows[-1].series is None
    assert [one.path.name for one in found.left_out] == ["broken.nii.gz"]
    only = scan_folder(load_host(), tmp_path, ["*scan1*"])
    assert [row.output for row in only.rows] == ["p1/scan1"]
    assert (list(only.left_out), only.not_included) == ([], 4)


def test_several_series_in_a_folder_are_named_by_number_not_by_uid(tmp_path: Path) -> None:
    source = Path(str(get_testdata_file("dicomdirtests/98892001/CT5N/2062"))).parents[1]
    for kind in ("CT5N", "CT2N"):
        for file in (source / kind).iterdir():
            shutil.copy(file, tmp_path / f"{kind}{file.name}")
    found = scan_folder(load_host(), tmp_path)
    rows = found.rows
    assert [(row.output, row.series) for row in rows] == [("scan", "#2")] or rows[0].series in ("#1", "#2")
    assert found.left_out, "the localizers are left out"


def test_nothing_to_do_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="E-BAT-06"):
        find_source(load_host(), tmp_path)
    make_scans(tmp_path / "scans")
    (tmp_path / "scans" / "broken_T1w.nii.gz").write_bytes(b"no NIfTI")
    with pytest.raises(UsageError, match=r"E-BAT-06.*reconstructed: 1 left out, 3 not included\.") as caught:
        find_source(load_host(), tmp_path / "scans", include=["*_T1w*"])
    assert "--include" in str(caught.value)
    with pytest.raises(UsageError, match=r"E-BAT-06.*reconstructed: 2 not included\."):
        find_source(load_host(), bids(tmp_path), include=["*_FLAIR*"])
    with pytest.raises(MedldmError, match="E-IN-01"):
        find_source(load_host(), tmp_path / "absent")


def test_a_bids_data_set_gives_its_anatomical_images(tmp_path: Path) -> None:
    raw = bids(tmp_path)
    assert is_dataset(raw)
    assert not is_dataset(tmp_path)
    rows = scan_dataset(raw).rows
    assert [row.output for row in rows] == ["sub-01/ses-a/anat/sub-01_ses-a_T1w", "sub-02/anat/sub-02_T2w"]
    assert rows[0].modality == "MR"
    assert rows[0].bids == "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz"
    assert len(scan_dataset(raw, ["*_T2w*"]).rows) == 1
    describe_derivatives(raw, tmp_path)
    described = json.loads((tmp_path / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative"
    assert described["GeneratedBy"][0]["Name"] == "medldm"
    assert not is_dataset(tmp_path), "derivatives are no raw data"
    (raw / "dataset_description.json").write_text("{")
    with pytest.raises(UsageError, match="E-BAT-17"):
        is_dataset(raw)


def test_derivatives_are_named_by_bids() -> None:
    name = "sub-1/anat/sub-1_acq-x_T1w"
    assert derivative(name, "reconstruction.nii.gz") == "sub-1/anat/sub-1_acq-x_desc-medldm_T1w.nii.gz"
    assert derivative(name, "reconstruction-spread.json") == "sub-1/anat/sub-1_acq-x_desc-std_T1w.json"
    assert derivative(name, "reconstruction-prior-share.nii.gz") == "sub-1/anat/sub-1_acq-x_desc-priorshare_T1w.nii.gz"
    assert derivative(name, "preview.png") is None


def test_an_input_is_known_by_its_content(tmp_path: Path) -> None:
    make_scans(tmp_path / "a", 2)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "scan0.nii.gz").rename(tmp_path / "b" / "z.nii.gz")
    host = load_host()
    assert content_hash(host, tmp_path / "a") == content_hash(host, tmp_path / "b")
    assert fingerprint(host, tmp_path / "a").mark != fingerprint(host, tmp_path / "b").mark
    before = fingerprint(host, tmp_path / "a" / "scan0.nii.gz")
    (tmp_path / "a" / "scan0.json").write_text("{}")
    after = fingerprint(host, tmp_path / "a" / "scan0.nii.gz")
    assert (before.files, after.files) == (1, 2), "a sidecar belongs to its scan"
    assert before.mark != after.mark
