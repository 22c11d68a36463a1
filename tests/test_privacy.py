"""Promises: no patient data outside the DICOM output, no network, inputs never changed."""

from __future__ import annotations

import hashlib
import json
import logging
import socket
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from typer.testing import CliRunner

from medldm.cli.app import app

# One canary per kind of identifying tag; none of them may be found anywhere but in the DICOM series written.
CANARIES = {
    "PatientName": "CANARY^NAME",
    "PatientID": "CANARY-ID-4711",
    "PatientBirthDate": "19010203",
    "AccessionNumber": "CANARYACC99",
    "ReferringPhysicianName": "CANARY^REFERRER",
    "InstitutionName": "CANARY HOSPITAL",
    "StudyDescription": "CANARY STUDY",
    "PatientComments": "CANARY COMMENT",
}
RECIPE = """
acquisition: {physics: identity, noise: {std: 5.0, of: absolute}}
solver: {name: cgls, iterations: 2}
outputs: {write: [nifti, dicom]}
"""


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """pydicom's five-slice CT with canaries in every identifying tag."""
    folder = tmp_path / "scan"
    folder.mkdir()
    template = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    for index in range(4):
        slice_ = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
        for tag, value in CANARIES.items():
            setattr(slice_, tag, value)
        slice_.SOPInstanceUID = f"{template.SOPInstanceUID}.{index}"
        slice_.file_meta.MediaStorageSOPInstanceUID = slice_.SOPInstanceUID
        slice_.ImagePositionPatient = [-100.0, -100.0, 5.0 * index]
        slice_.save_as(folder / f"{index}.dcm")
    return folder


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.dcm"))}


def test_nothing_of_the_patient_leaves_but_in_dicom(
    series: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = _hashes(series)
    recipe = tmp_path / "r.yaml"
    recipe.write_text(RECIPE)
    out = tmp_path / "out"
    words = ["reconstruct", str(series), "--simulate", "-r", str(recipe), "-o", str(out)]
    spoken = ""
    with caplog.at_level(logging.DEBUG):
        for extra in ([], ["--overwrite", "--json"], ["--resume"]):
            result = CliRunner().invoke(app, [*words, *extra])
            assert result.exit_code == 0, result.stderr
            spoken += result.stdout + result.stderr
        for command in (["inspect", str(series)], ["inspect", str(series), "--json"], words):
            result = CliRunner().invoke(app, command)
            spoken += result.stdout + result.stderr
    spoken += caplog.text + " ".join(str(path) for path in out.rglob("*"))
    written = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file() and path.suffix != ".dcm")
    for tag, value in CANARIES.items():
        assert value not in spoken, tag
        assert value.encode() not in written, tag
    assert _hashes(series) == before

    derived = [pydicom.dcmread(path) for path in out.rglob("*.dcm")]
    assert len(derived) == 4
    assert all(str(slice_.PatientName) == CANARIES["PatientName"] for slice_ in derived)
    assert all("PatientComments" not in slice_ for slice_ in derived)
    record = json.loads((out / "run.json").read_text())
    assert record["input"]["modality"] == "CT"


def test_no_network_is_touched(series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    recipe = tmp_path / "r.yaml"
    recipe.write_text(RECIPE)
    words = ["reconstruct", str(series), "--simulate", "-r", str(recipe), "-o", str(tmp_path / "out")]
    for command in (words, ["doctor"], ["inspect", str(series)], ["plugins", "list"]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.stderr
