"""Promises: no patient data outside the DICOM output, no network, inputs never changed."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import logging
import signal
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from typer.main import get_command
from typer.testing import CliRunner

from medldm.cli.app import app

# Tags of PS3.15 table E.1-1 that identify a person, a visit, a place or those who were there, each with a canary of its
# own; none of them may be found anywhere but in the DICOM series written.
CANARIES = {
    "PatientName": "CANARY^NAME",
    "OtherPatientNames": "CANARY^OTHER",
    "PatientBirthName": "CANARY^BORN",
    "PatientMotherBirthName": "CANARY^MOTHER",
    "PatientID": "CANARY-ID-4711",
    "OtherPatientIDs": "CANARY-ID-4712",
    "IssuerOfPatientID": "CANARYISSUER",
    "PatientBirthDate": "19010203",
    "PatientBirthTime": "040506.070809",
    "PatientAddress": "CANARY STREET 7",
    "PatientTelephoneNumbers": "CANARY PHONE",
    "PatientComments": "CANARY COMMENT",
    "Occupation": "CANARYKEEPER",
    "MedicalRecordLocator": "CANARY RECORD",
    "MilitaryRank": "CANARY RANK",
    "CountryOfResidence": "CANARYLAND",
    "RegionOfResidence": "CANARYSHIRE",
    "AdditionalPatientHistory": "CANARY HISTORY",
    "AccessionNumber": "CANARYACC99",
    "StudyID": "CANARYSTUDY1",
    "AdmissionID": "CANARYADMISSION",
    "ReferringPhysicianName": "CANARY^REFERRER",
    "PerformingPhysicianName": "CANARY^PERFORMER",
    "NameOfPhysiciansReadingStudy": "CANARY^READER",
    "OperatorsName": "CANARY^OPERATOR",
    "RequestingPhysician": "CANARY^REQUESTER",
    "InstitutionName": "CANARY HOSPITAL",
    "InstitutionAddress": "CANARY AVENUE 8",
    "InstitutionalDepartmentName": "CANARY WARD",
    "StationName": "CANARYSTATION",
    "DeviceSerialNumber": "CANARYSERIAL",
    "StudyDescription": "CANARY STUDY",
    "SeriesDescription": "CANARY SERIES",
    "ProtocolName": "CANARY PROTOCOL",
    "RequestedProcedureDescription": "CANARY REQUEST",
    "PerformedProcedureStepDescription": "CANARY STEP",
    "ImageComments": "CANARY IMAGE",
    "StudyDate": "19020304",
    "SeriesDate": "19030405",
    "AcquisitionDate": "19040506",
    "ContentDate": "19050607",
    "StudyTime": "010203.040506",
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.111222333444",
    "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.555666777888",
    "FrameOfReferenceUID": "1.2.826.0.1.3680043.8.498.999000111222",
}
# `medldm inspect` and `--series` name a series by its identifier and description: that is what they are for.
OF_A_SERIES = ("SeriesInstanceUID", "SeriesDescription")
SOP = "1.2.826.0.1.3680043.8.498.333444555"
RECIPE = """
acquisition: {physics: identity, noise: {std: 5.0, of: absolute}}
solver: {name: cgls, iterations: 2}
outputs: {write: [nifti, dicom]}
"""


@pytest.fixture(autouse=True)
def own_signal() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """pydicom's CT as four slices with canaries in every identifying tag, and in a private one."""
    folder = tmp_path / "scan"
    folder.mkdir()
    for index in range(4):
        slice_ = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
        for tag, value in CANARIES.items():
            setattr(slice_, tag, value)
        slice_.private_block(0x0099, "CANARY CREATOR", create=True).add_new(1, "LO", "CANARY PRIVATE")
        slice_.SOPInstanceUID = f"{SOP}.{index}"
        slice_.file_meta.MediaStorageSOPInstanceUID = slice_.SOPInstanceUID
        slice_.ImagePositionPatient = [-100.0, -100.0, 5.0 * index]
        slice_.save_as(folder / f"{index}.dcm")
    return folder


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.dcm"))}


def _content(path: Path) -> bytes:
    """What a file holds, whatever it is packed in."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        content += gzip.decompress(content)
    if path.suffix == ".html":
        for part in content.split(b"base64,")[1:]:
            packed = part.split(b'"')[0].split(b"'")[0].split(b")")[0]
            content += base64.b64decode(packed + b"=" * (-len(packed) % 4))
    if path.suffix == ".sqlite":
        lines = sqlite3.connect(path).iterdump()
        content += "\n".join(lines).encode()
    return content


def _found_in(text: bytes, *, but: tuple[str, ...] = ()) -> list[str]:
    """The canaries in some text, also of their parts and in UTF-16."""
    wanted = {**CANARIES, "SOPInstanceUID": SOP, "private": "CANARY PRIVATE", "creator": "CANARY CREATOR"}
    everything = text + text.decode("utf-16-le", errors="ignore").encode()
    found = [tag for tag, value in wanted.items() if tag not in but and value.encode() in everything]
    rest = everything
    for tag in but:
        rest = rest.replace(CANARIES[tag].encode(), b"")
    return [*found, "some part"] if b"CANARY" in rest.upper() and not found else found


def test_the_search_finds_what_it_should(tmp_path: Path) -> None:
    hidden = tmp_path / "a.gz"
    hidden.write_bytes(gzip.compress(b"of CANARY^NAME, born 19010203"))
    assert _found_in(_content(hidden)) == ["PatientName", "PatientBirthDate"]
    page = tmp_path / "a.html"
    page.write_bytes(b'<img src="data:image/png;base64,' + base64.b64encode(b"x canary hospital") + b'">')
    assert _found_in(_content(page)) == ["some part"]
    assert _found_in("CANARYACC99".encode("utf-16-le")) == ["AccessionNumber"]
    assert _found_in(b"CANARY SERIES", but=OF_A_SERIES) == []


def _spoken_and_written(words: list[list[str]], folders: list[Path], caplog: pytest.LogCaptureFixture) -> bytes:
    """All that commands print and log, all file names, and all content but that of DICOM files."""
    spoken = ""
    with caplog.at_level(logging.DEBUG):
        for command in words:
            result = CliRunner().invoke(app, command)
            spoken += result.stdout + result.stderr
    spoken += caplog.text
    files = [path for folder in folders for path in folder.rglob("*")]
    spoken += " ".join(str(path) for path in files)
    written = b"".join(_content(path) for path in files if path.is_file() and path.suffix != ".dcm")
    return spoken.encode() + written


def test_nothing_of_the_patient_leaves_but_in_dicom(
    series: Path,
    recipe: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "400")  # no word of the table is broken into two
    before = _hashes(series)
    out = tmp_path / "out"
    words = ["reconstruct", str(series), "--simulate", "-r", recipe, "-o", str(out)]
    refused = [*words[:-1], str(tmp_path / "refused"), "--slices", "900:901", "-v"]
    everything = _spoken_and_written(
        [words, [*words, "--overwrite", "--json"], [*words, "--resume"], words, refused], [out], caplog
    )
    assert _found_in(everything) == []
    inspected = _spoken_and_written([["inspect", str(series)], ["inspect", str(series), "--json"]], [], caplog)
    assert _found_in(inspected, but=OF_A_SERIES) == []
    assert _hashes(series) == before

    derived = [pydicom.dcmread(path) for path in out.rglob("*.dcm")]
    assert len(derived) == 4
    assert all(str(slice_.PatientName) == CANARIES["PatientName"] for slice_ in derived)
    assert all(slice_.StudyInstanceUID == CANARIES["StudyInstanceUID"] for slice_ in derived)
    assert all("PatientComments" not in slice_ for slice_ in derived)
    record = json.loads((out / "run.json").read_text())
    assert record["input"]["modality"] == "CT"


def test_nothing_of_the_patient_leaves_a_batch_but_in_dicom(
    series: Path,
    recipe: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    before = _hashes(series)
    out, bad = tmp_path / "out", tmp_path / "bad"
    words = ["batch", "run", str(series), "-o", str(out), "-r", recipe, "--simulate"]
    failing = ["batch", "run", str(series), "-o", str(bad), "-r", recipe, "--simulate", "--slices", "900:901", "-v"]
    commands = [
        [*words, "--dry-run"],
        words,
        [*words, "--json"],
        failing,
        [*failing, "--json"],
        ["batch", "status", str(out), "--json", "--rows", "--verify"],
        ["batch", "status", str(bad)],
        ["batch", "clean", str(out)],
    ]
    everything = _spoken_and_written(commands, [out, bad], caplog)
    assert _found_in(everything) == []
    assert len(list(out.rglob("*.dcm"))) == 4
    assert json.loads(next(out.rglob("manifest.json")).read_text())["state"] == "done"
    assert _hashes(series) == before


@pytest.mark.parametrize("command", ["reconstruct", "batch"])
def test_anonymous_names_hide_the_names_of_inputs_too(
    command: str,
    series: Path,
    recipe: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    named = series.rename(tmp_path / "CANARY_FOLDER")
    inside = named / "CANARY^NAME"
    inside.mkdir()
    for file in named.glob("*.dcm"):
        file.rename(inside / f"CANARY-{file.name}")
    out = tmp_path / "out"
    verb = ["reconstruct"] if command == "reconstruct" else ["batch", "run"]
    words = [*verb, str(named), "--simulate", "-r", recipe, "-o", str(out), "--anonymous-names"]
    commands = [words, [*words, "--json"], [*words, "--resume"]] if command == "reconstruct" else [words, words]
    everything = _spoken_and_written(commands, [out], caplog)
    assert _found_in(everything) == []
    results = [path.parent for path in out.rglob("run.json")]
    assert len(results) == 1
    assert len(results[0].name) == 16
    assert set(results[0].name) <= set("0123456789abcdef")
    assert len(list(results[0].rglob("*.dcm"))) == 4


def _commands(command: object, name: str = "") -> Iterator[str]:
    below = getattr(command, "commands", {})
    if not below:
        yield name
    for word, one in below.items():
        yield from _commands(one, f"{name} {word}".strip())


def test_no_network_is_touched(series: Path, recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command but those that exist for the network, or take minutes, runs with sockets blocked."""

    class Refused(socket.socket):
        def __init__(self, family: int = -1, *args: object, **kwargs: object) -> None:
            if family == socket.AF_UNIX:
                super().__init__(family, *args, **kwargs)  # type: ignore[arg-type]
                return
            raise AssertionError("a socket was opened")

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "socket", Refused)
    for name in ("create_connection", "getaddrinfo", "gethostbyname", "create_server"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    scan, out, batch = str(series), str(tmp_path / "out"), str(tmp_path / "batch")
    measured = str(tmp_path / "m.acq.safetensors")
    runs = {
        "reconstruct": [scan, "--simulate", "-r", recipe, "-o", out],
        "simulate": [scan, "-r", recipe, "-o", measured],
        "evaluate": [out, "--truth", scan],
        "report": [out],
        "inspect": [scan],
        "doctor": [],
        "plugins list": [],
        "plugins show": ["cgls"],
        "plugins matrix": [],
        "plugins check": ["cgls"],
        "priors list": [],
        "priors show": ["brain-mr-2d-pixel"],
        "recipes list": [],
        "recipes show": ["mri-4x"],
        "batch run": [scan, "--simulate", "-r", recipe, "-o", batch],
        "batch status": [batch],
        "batch retry": [batch],
        "batch cancel": [batch],
        "batch clean": [batch],
        "batch watch": [
            scan,
            "--simulate",
            "-r",
            recipe,
            "-o",
            f"{batch}2",
            *["--settle", "0", "--every", "0.1", "--idle", "0.1"],
        ],
    }
    for_the_network, takes_minutes = {"fetch", "send", "view"}, {"demo", "benchmark", "priors check", "priors import"}
    training = {f"train {what}" for what in ("autoencoder", "denoiser", "regressor", "pack")}
    assert set(_commands(get_command(app))) == {*runs, *for_the_network, *takes_minutes, *training}
    for name, words in runs.items():
        result = CliRunner().invoke(app, [*name.split(), *words])
        assert result.exit_code == 0, f"{name}: {result.stderr}"
        assert "E-BUG" not in result.stderr
