"""What comes of a study: whole, or told what is missing; archives that say little, hold other objects or stop early."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pydicom
import pytest
from pacs_commands import run
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, XRayRadiationDoseSRStorage

from medldm.errors import MedldmError
from medldm.pacs import web
from medldm.pacs.received import Received

STUDY = "1.2.3"


def slices(count: int = 4, series: str = "1.2.3.1") -> list[Dataset]:
    found = []
    for index in range(count):
        one = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
        one.StudyInstanceUID, one.SeriesInstanceUID = STUDY, series
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"{series}.{index + 1}"
        found.append(one)
    return found


def dose_report() -> Dataset:
    report = Dataset()
    report.file_meta = FileMetaDataset()
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = XRayRadiationDoseSRStorage
    report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = "1.2.3.9.1"
    report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    report.StudyInstanceUID, report.SeriesInstanceUID, report.Modality = STUDY, "1.2.3.9", "SR"
    return report


class _Archive:
    """Answers C-FIND and C-GET.

    Args:
        objects: that it has.
        sends: those that it can be made to send; all when None.
        tells: of the optional attributes, and ``objects`` where it lists them.
    """

    def __init__(
        self,
        objects: Sequence[Dataset],
        sends: Sequence[Dataset] | None = None,
        tells: Sequence[str] = ("Modality", "NumberOfSeriesRelatedInstances", "SOPClassUID", "objects"),
    ) -> None:
        net = pytest.importorskip("pynetdicom")
        classes = pytest.importorskip("pynetdicom.sop_class")
        self._objects, self._sends, self._tells = objects, objects if sends is None else sends, tells
        self.sent = 0
        entity = net.AE(ae_title="ARCHIVE")
        entity.add_supported_context(classes.StudyRootQueryRetrieveInformationModelFind)
        entity.add_supported_context(classes.StudyRootQueryRetrieveInformationModelGet)
        for kind in (CTImageStorage, XRayRadiationDoseSRStorage):
            entity.add_supported_context(kind, net.ALL_TRANSFER_SYNTAXES, scu_role=True, scp_role=True)
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            port = int(listening.getsockname()[1])
        self.node = f"ARCHIVE@127.0.0.1:{port}"
        handlers = [(net.evt.EVT_C_FIND, self._find), (net.evt.EVT_C_GET, self._get)]
        self._server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)

    def __enter__(self) -> _Archive:
        return self

    def __exit__(self, *what: object) -> None:
        self._server.shutdown()

    def fetch(self, out: Path, *more: str) -> tuple[int, str]:
        return run("fetch", "--from", self.node, "--study", STUDY, "-o", out, *more)

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset]]:
        wanted = event.identifier
        asked = [one for one in self._objects if wanted.SeriesInstanceUID in ("", one.SeriesInstanceUID)]
        images = wanted.QueryRetrieveLevel == "IMAGE"
        if images and "objects" not in self._tells:
            return
        for name, one in {one.SOPInstanceUID if images else one.SeriesInstanceUID: one for one in asked}.items():
            row = Dataset()
            row.QueryRetrieveLevel, row.StudyInstanceUID = wanted.QueryRetrieveLevel, STUDY
            row.SeriesInstanceUID = one.SeriesInstanceUID
            if images:
                row.SOPInstanceUID = name
            for keyword in ("SOPClassUID",) if images else ("Modality",):
                if keyword in self._tells:
                    row[keyword] = one[keyword]
            if not images and "NumberOfSeriesRelatedInstances" in self._tells:
                row.NumberOfSeriesRelatedInstances = sum(name == other.SeriesInstanceUID for other in asked)
            yield 0xFF00, row

    def _get(self, event: Any) -> Iterator[Any]:
        series = event.identifier.get("SeriesInstanceUID", "")
        asked = [one for one in self._sends if series in ("", one.SeriesInstanceUID)]
        yield len(asked)
        for one in asked:
            self.sent += 1
            yield 0xFF00, one


def names(folder: Path) -> list[str]:
    return [path.name for path in sorted(folder.iterdir())]


@pytest.mark.parametrize(
    "tells", [("Modality", "SOPClassUID", "objects"), ("Modality",), ("SOPClassUID", "objects"), ()]
)
@pytest.mark.parametrize("counts", [True, False], ids=["counts", "no counts"])
def test_a_study_with_a_dose_report_comes_without_it_and_says_so(
    tmp_path: Path, tells: tuple[str, ...], counts: bool
) -> None:
    more = ("NumberOfSeriesRelatedInstances",) if counts else ()
    with _Archive([*slices(), dose_report(), *slices(2, "1.2.3.2")], tells=(*tells, *more)) as archive:
        code, said = archive.fetch(tmp_path / "out")
        assert code == 0, said
        assert names(tmp_path / "out") == [f"{k:06d}.dcm" for k in range(1, 7)]
        kind = "X-Ray Radiation Dose SR Storage" if "objects" in tells else "of modality SR" if tells else "of unknown"
        assert f"warning Left out: 1 {kind}" in said
        assert ("is unchecked" in said) == ("objects" not in tells and not counts)
        code, said = archive.fetch(tmp_path / "told", "--json")
        assert json.loads(said)["objects"] == 6
        assert kind in json.loads(said)["remarks"][0]


def test_a_whole_study_gives_no_remark(tmp_path: Path) -> None:
    with _Archive(slices()) as archive:
        code, said = archive.fetch(tmp_path / "out", "--json")
    assert code == 0, said
    assert json.loads(said) == {"event": "fetched", "objects": 4, "path": str(tmp_path / "out"), "remarks": []}


@pytest.mark.parametrize("tells", [("Modality", "NumberOfSeriesRelatedInstances"), ("SOPClassUID", "objects")])
def test_less_than_there_is_is_refused_whoever_counts(tmp_path: Path, tells: tuple[str, ...]) -> None:
    both = [*slices(), *slices(3, "1.2.3.2")]
    for sent in (both[:-1], both[:4]):
        with _Archive(both, sent, tells) as archive:
            code, said = archive.fetch(tmp_path / "out")
        if sent == both[:4] and tells[0] == "SOPClassUID":
            assert "sent 0 of 3 objects of a series" in said
        assert code == 1, said
        assert "E-PACS-09" in said
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tells", [(), ("Modality",), ("Modality", "NumberOfSeriesRelatedInstances", "objects")])
def test_no_object_is_no_study(tmp_path: Path, tells: tuple[str, ...]) -> None:
    with _Archive(slices(), [], tells) as archive:
        code, said = archive.fetch(tmp_path / "out")
    assert code == 1, said
    assert "E-PACS-09" in said
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_neither_counts_nor_lists_is_told_of(tmp_path: Path) -> None:
    with _Archive(slices(), slices(3), ("Modality",)) as archive:
        code, said = archive.fetch(tmp_path / "out", "-q")
    assert code == 0, said
    assert "warning How many objects there are of 1 series the archive does not say" in said


def test_a_study_without_anything_to_read_names_what_it_has(tmp_path: Path) -> None:
    with _Archive([dose_report()]) as archive:
        code, said = archive.fetch(tmp_path / "out")
    assert code == 1
    assert "E-PACS-09" in said
    assert "1 X-Ray Radiation Dose SR Storage" in said


def _full(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_no_fault_of_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _Archive(slices(9)) as archive:
        monkeypatch.setattr(Path, "write_bytes", _full)
        code, said = archive.fetch(tmp_path / "out")
    assert code == 1
    assert "E-OUT-05" in said
    assert "The disk is full" in said
    assert archive.sent < 9, "what cannot be kept is not sent"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with _Archive(slices()) as archive:
        code, said = archive.fetch(tmp_path / "file" / "sub")
    assert code == 2
    assert "E-OUT-04" in said
    assert archive.sent == 0


def test_the_last_step_may_fail_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "rename", _full)
    with pytest.raises(MedldmError, match="E-OUT-05"), Received(tmp_path / "out") as received:
        received.keep(lambda path: path.write_bytes(b"whole"))
    assert list(tmp_path.iterdir()) == []


class _Service:
    """A DICOMweb client whose service has four objects, or says so."""

    def __init__(self, sends: int = 4, count: int | None = 4, lists: int = 4) -> None:
        self.sends, self.count, self.lists = sends, count, lists

    def search_for_series(self, **_: object) -> list[dict[str, Any]]:
        told = {} if self.count is None else {"00201209": {"Value": [self.count]}}
        return [{"0020000E": {"Value": ["1.2.3.1"]}, **told}]

    def search_for_instances(self, **_: object) -> list[dict[str, Any]]:
        return [{}] * self.lists

    def iter_series(self, **_: object) -> Iterator[Dataset]:
        yield from slices(self.sends)


def fetch(service: _Service, out: Path) -> Any:
    pytest.importorskip("dicomweb_client")
    return web._fetch(web.Web("https://pacs.example"), service, STUDY, None, out, None)


@pytest.mark.parametrize("service", [_Service(3), _Service(3, None), _Service(0, None, 0), _Service(0, 0)])
def test_a_web_service_that_sends_less_or_nothing_is_refused(tmp_path: Path, service: _Service) -> None:
    with pytest.raises(MedldmError, match="E-PACS-09"):
        fetch(service, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_web_service_may_leave_the_counting_to_us(tmp_path: Path) -> None:
    assert fetch(_Service(count=None), tmp_path / "listed").remarks == ()
    (remark,) = fetch(_Service(3, None, 0), tmp_path / "unlisted").remarks
    assert "unchecked" in remark


def test_a_full_disk_is_no_fault_of_the_web_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save_as(self: Dataset, *_: object, **__: object) -> NoReturn:
        try:
            _full()
        except OSError as error:
            raise OSError("With tag (7FE0,0010) got exception") from error  # as pydicom says it

    monkeypatch.setattr(Dataset, "save_as", save_as)
    with pytest.raises(MedldmError, match="E-OUT-05: The disk is full"):
        fetch(_Service(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
