"""Fetching from archives and sending to them: a real Orthanc where it is installed, and peers that behave badly."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pydicom
import pytest
from pacs_commands import certificate_of_loopback, run
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from medldm.errors import InputRefused, UsageError
from medldm.pacs.address import Node, Tls, check_web
from medldm.pacs.received import Received
from medldm.pacs.results import dicom_files
from medldm.pacs.web import Web

RECIPE = """
acquisition: {physics: identity, noise: {std: 5.0, of: absolute}}
solver: {name: cgls, iterations: 2}
outputs: {write: [dicom], report: false}
"""


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four slices of a CT, a study of their own."""
    folder = tmp_path_factory.mktemp("scan")
    study, number = generate_uid(), generate_uid()
    for index in range(4):
        one = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
        one.StudyInstanceUID, one.SeriesInstanceUID = study, number
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        one.PatientName = "CANARY^NAME"
        one.ImagePositionPatient = [-100.0, -100.0, 5.0 * index]
        one.save_as(folder / f"{index}.dcm")
    return folder


@pytest.fixture(scope="module")
def result(series: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("result")
    (folder / "r.yaml").write_text(RECIPE)
    code, said = run("reconstruct", series, "--simulate", "-r", folder / "r.yaml", "-o", folder / "out", "-q")
    assert code == 0, said
    return folder / "out"


@dataclass(frozen=True)
class Archive:
    node: str
    web: str
    rest: str

    def instances(self) -> list[str]:
        with urlopen(f"{self.rest}/instances") as answer:
            return list(json.load(answer))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    program = shutil.which("Orthanc")
    plugins = Path("/usr/share/orthanc/plugins")
    if program is None or not plugins.is_dir():
        pytest.skip("Orthanc is not installed (Debian: orthanc, orthanc-dicomweb)")
    pytest.importorskip("pynetdicom")
    pytest.importorskip("dicomweb_client")
    folder = tmp_path_factory.mktemp("orthanc")
    http, dicom = free_port(), free_port()
    configuration = {
        "Name": "test",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": http,
        "DicomPort": dicom,
        "DicomAet": "ORTHANC",
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "RemoteAccessAllowed": False,
        "Plugins": [str(plugins)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        ends = time.monotonic() + 60
        while True:
            try:
                with urlopen(f"http://127.0.0.1:{http}/system"):
                    break
            except OSError:
                assert process.poll() is None and time.monotonic() < ends, (folder / "log").read_text()[-2000:]
                time.sleep(0.2)
        rest = f"http://127.0.0.1:{http}"
        yield Archive(f"ORTHANC@127.0.0.1:{dicom}", f"{rest}/dicom-web", rest)
    finally:
        process.terminate()
        process.wait(30)


def _slices(folder: Path) -> list[pydicom.Dataset]:
    return sorted(
        (pydicom.dcmread(path) for path in folder.rglob("*.dcm")), key=lambda one: one.ImagePositionPatient[2]
    )


def _same(ours: list[pydicom.Dataset], theirs: list[pydicom.Dataset]) -> None:
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        assert one.SOPInstanceUID == other.SOPInstanceUID
        assert one.StudyInstanceUID == other.StudyInstanceUID
        assert one.FrameOfReferenceUID == other.FrameOfReferenceUID
        assert one.PatientName == other.PatientName
        assert np.array_equal(one.pixel_array, other.pixel_array)
        assert (one.RescaleSlope, one.RescaleIntercept) == (other.RescaleSlope, other.RescaleIntercept)


def test_a_study_goes_through_an_archive_and_back(
    archive: Archive, series: Path, result: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    scan, made = _slices(series), _slices(result)
    study = str(scan[0].StudyInstanceUID)

    # The scan by C-STORE, the result twice: by C-STORE and by STOW-RS.
    said = ""
    for words in (
        ("send", series, "--to", archive.node, "-v"),
        ("send", result, "--to", archive.node),
        ("send", result, "--stow", archive.web, "--json"),
    ):
        code, spoken = run(*words)
        assert code == 0, spoken
        said += spoken
    assert len(archive.instances()) == len(scan) + len(made) == 8
    assert {one.StudyInstanceUID for one in made} == {study}
    assert {one.FrameOfReferenceUID for one in made} == {scan[0].FrameOfReferenceUID}

    # Back by C-GET and by WADO-RS: the study whole, and one series of it.
    number = str(made[0].SeriesInstanceUID)
    for name, where in (("dimse", ("--from", archive.node)), ("web", ("--web", archive.web))):
        code, spoken = run("fetch", *where, "--study", study, "-o", tmp_path / name, "-v")
        assert code == 0, spoken
        both = _slices(tmp_path / name)
        _same(made, [one for one in both if one.SeriesInstanceUID == number])
        _same(scan, [one for one in both if one.SeriesInstanceUID != number])
        code, more = run("fetch", *where, "--study", study, "--series", number, "-o", tmp_path / f"{name} one")
        assert code == 0, more
        _same(made, _slices(tmp_path / f"{name} one"))
        said += spoken + more
        assert {path.name for path in (tmp_path / f"{name} one").iterdir()} == {f"{k:06d}.dcm" for k in range(1, 5)}
        code, spoken = run("fetch", *where, "--study", "1.2.3.4", "-o", tmp_path / "nothing")
        assert code == 3
        assert "E-PACS-08" in spoken
        assert not (tmp_path / "nothing").exists()
    assert "CANARY" not in said + caplog.text
    code, spoken = run("inspect", tmp_path / "dimse")
    assert code == 0, spoken


def test_what_came_can_be_reconstructed(archive: Archive, series: Path, tmp_path: Path) -> None:
    assert run("send", series, "--to", archive.node)[0] == 0
    study, number = (str(_slices(series)[0][tag].value) for tag in ("StudyInstanceUID", "SeriesInstanceUID"))
    words = ("--study", study, "--series", number, "-o", tmp_path / "scan")
    assert run("fetch", "--from", archive.node, *words)[0] == 0
    (tmp_path / "r.yaml").write_text(RECIPE)
    code, said = run("reconstruct", tmp_path / "scan", "--simulate", "-r", tmp_path / "r.yaml", "-o", tmp_path / "out")
    assert code == 0, said


class _Peer:
    """A store that refuses from its third object on, or everybody who is not known to it."""

    def __init__(
        self, *, known: tuple[str, ...] = (), capacity: int = 99, context: ssl.SSLContext | None = None
    ) -> None:
        net = pytest.importorskip("pynetdicom")
        entity = net.AE(ae_title="STORE")
        entity.supported_contexts = net.StoragePresentationContexts
        if known:
            entity.require_calling_aet = list(known)
        self.stored: list[str] = []

        def keep(event: Any) -> int:
            if len(self.stored) >= capacity:
                return 0xA700
            self.stored.append(str(event.request.AffectedSOPInstanceUID))
            return 0

        self.port = free_port()
        handlers = [(net.evt.EVT_C_STORE, keep)]
        self._server = entity.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=handlers, ssl_context=context
        )

    def __enter__(self) -> _Peer:
        return self

    def __exit__(self, *what: object) -> None:
        self._server.shutdown()

    @property
    def node(self) -> str:
        return f"STORE@127.0.0.1:{self.port}"


def test_a_store_that_is_full_is_told_with_what_it_has(series: Path) -> None:
    with _Peer(capacity=2) as peer:
        code, said = run("send", series, "--to", peer.node)
    assert code == 1
    assert "E-PACS-10" in said
    assert "stored 2 of 4 objects, then answered 0xA700" in said
    assert len(peer.stored) == 2


def test_an_archive_that_does_not_know_us_is_told(series: Path) -> None:
    with _Peer(known=("FRIEND",)) as peer:
        code, said = run("send", series, "--to", peer.node)
        assert code == 1
        assert "E-PACS-07" in said
        assert run("send", series, "--to", peer.node, "--calling", "FRIEND")[0] == 0
        assert run("send", series, "--to", peer.node, env={"MEDLDM_AE_TITLE": "FRIEND"})[0] == 0
    assert len(peer.stored) == 8


# pynetdicom forgets the socket of a connection that was refused.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_nobody_there(series: Path, tmp_path: Path) -> None:
    pytest.importorskip("pynetdicom")
    pytest.importorskip("dicomweb_client")
    port = free_port()
    study = ("--study", "1.2.3", "-o", tmp_path / "out")
    for words in (
        ("send", series, "--to", f"A@127.0.0.1:{port}"),
        ("fetch", "--from", f"A@127.0.0.1:{port}", *study),
        ("send", series, "--stow", f"http://127.0.0.1:{port}/dicom-web"),
        ("fetch", "--web", f"http://127.0.0.1:{port}/dicom-web", *study),
    ):
        code, said = run(*words, env={"MEDLDM_DICOMWEB_TOKEN": "SECRET-TOKEN"})
        assert code == 1, said
        assert "E-PACS-06" in said
        assert "SECRET-TOKEN" not in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text",
    ["host:104", "A@host", "A@host:0", "A@host:70000", "A@:104", "A B@host:104", "A@host:104/x", "A" * 17 + "@h:1"],
)
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="E-PACS-02"):
        Node.parse(text)


def test_addresses() -> None:
    assert Node.parse("ARCHIVE@pacs.example:11112") == Node("ARCHIVE", "pacs.example", 11112)
    assert Node.parse("A@[::1]:104").host == "::1"
    assert check_web("https://pacs.example/dicom-web/", "token") == "https://pacs.example/dicom-web"
    assert check_web("http://127.0.0.1:8042/dicom-web", "token")
    for bad in ("ftp://x/y", "pacs.example/dicom-web", "https://me:secret@pacs.example/x"):
        with pytest.raises(UsageError, match="E-PACS-02") as refusal:
            check_web(bad, None)
        assert "secret" not in str(refusal.value)


def test_a_token_never_travels_in_the_clear_nor_shows() -> None:
    with pytest.raises(UsageError, match="E-PACS-04"):
        check_web("http://pacs.example/dicom-web", "SECRET")
    assert "SECRET" not in repr(Web("https://pacs.example", "SECRET"))


def test_certificates_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for authorities in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        with pytest.raises(UsageError, match="E-PACS-03"):
            Tls(authorities).context()
    context = Tls().context()
    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"


def test_a_folder_comes_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Received(tmp_path / "out") as received:
        received.keep(lambda path: path.write_bytes(b"half"))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with Received(tmp_path / "out") as received:
        received.keep(lambda path: path.write_bytes(b"whole"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["000001.dcm"]
    with pytest.raises(UsageError, match="E-PACS-05"):
        Received(tmp_path / "out")


def test_what_a_killed_run_left_is_not_sent(tmp_path: Path) -> None:
    whole = [tmp_path / "a" / "reconstruction" / "0001.dcm", tmp_path / "a.new-12" / "reconstruction" / "0001.dcm"]
    half = ["b.part-77/reconstruction", "c.old-77/reconstruction", "d/.reconstruction.part-77", "study.part-9"]
    for file in (*whole, *(tmp_path / name / "0001.dcm" for name in half)):
        file.parent.mkdir(parents=True)
        file.touch()
    assert dicom_files(tmp_path) == whole
    assert dicom_files(whole[0]) == whole[:1]
    with pytest.raises(InputRefused, match="E-PACS-12"):
        dicom_files(tmp_path / "d")


def test_commands_that_say_too_little_or_too_much(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    study = ("--study", "1.2.3", "-o", tmp_path / "out")
    assert "E-CLI-06" in run("fetch", *study)[1]
    assert run("fetch", *study, "--from", "A@h:1", "--web", "https://h")[0] == 2
    assert run("fetch", "--study", "../etc", "-o", tmp_path / "out", "--from", "A@h:1")[0] == 2
    assert "E-PACS-12" in run("send", tmp_path / "empty", "--to", "A@h:1")[1]
    assert run("fetch", *study, "--web", "https://h", "--token-file", tmp_path / "none")[0] == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_encrypted_association_checks_who_it_is(series: Path, tmp_path: Path) -> None:
    certificate, key = certificate_of_loopback(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(certificate), str(key))
    with _Peer(context=context) as peer:
        code, said = run("send", series, "--to", peer.node, "--tls", "--tls-ca", certificate)
        assert code == 0, said
        code, said = run("send", series, "--to", peer.node, "--tls")  # nobody vouches for it
        assert code == 1
        assert "E-PACS-06" in said
        assert len(peer.stored) == 4
