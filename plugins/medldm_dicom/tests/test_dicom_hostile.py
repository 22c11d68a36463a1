"""Files that are broken, forged or no images at all: a code, no traceback, nothing large allocated."""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

from medldm.data import ReadRequest
from medldm.errors import ComponentMissing, InputRefused
from medldm_dicom import codecs, examples, header, isolation
from medldm_dicom.reader import DicomReader


@pytest.fixture
def slices() -> list[Dataset]:
    return examples.ct_slices(examples.oblique_grid(), examples.hounsfield())


def code_of(path: Path, **request: object) -> str:
    with pytest.raises(InputRefused) as caught:
        DicomReader().read(path, ReadRequest(**request))  # type: ignore[arg-type]
    assert caught.value.what
    return caught.value.code


def test_missing_path_and_empty_folder(tmp_path: Path) -> None:
    assert code_of(tmp_path / "nowhere") == "E-DCM-21"
    assert code_of(tmp_path) == "E-DCM-01"
    assert DicomReader().inspect(tmp_path) == []
    assert not DicomReader().accepts(tmp_path) and not DicomReader().accepts(tmp_path / "nowhere")


def test_text_file_named_dcm(tmp_path: Path, slices: list[Dataset]) -> None:
    (tmp_path / "notes.dcm").write_text("these are notes, not an image\n" * 20)
    assert DicomReader().accepts(tmp_path)
    assert code_of(tmp_path) == "E-DCM-01"
    (row,) = DicomReader().inspect(tmp_path)
    assert row.problems[0].code == "E-DCM-01" and "notes.dcm" in row.problems[0].sentence
    assert code_of(tmp_path, series="#1") == "E-DCM-01"
    # Beside a good series it is reported and does not stop it.
    examples.save(slices, tmp_path)
    (volume,) = DicomReader().read(tmp_path, ReadRequest())
    assert any(e.settings.get("code") == "E-DCM-01" for e in volume.history.events)


def test_companions_are_ignored(tmp_path: Path, slices: list[Dataset]) -> None:
    examples.save(slices, tmp_path)
    (tmp_path / "README.txt").write_text("hello")
    (tmp_path / "thumbs.db").write_bytes(b"\0" * 200)
    (tmp_path / "empty").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    report = examples.ct_slices(examples.oblique_grid(), examples.hounsfield())[0]
    for keyword in ("Rows", "Columns", "PixelData", "PixelSpacing"):
        delattr(report, keyword)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.88.11")
    report.save_as(tmp_path / "report.dcm", enforce_file_format=True)
    (volume,) = DicomReader().read(tmp_path, ReadRequest())
    assert volume.grid.shape == examples.SHAPE
    assert [row.files for row in DicomReader().inspect(tmp_path)] == [5, 1]
    assert code_of(tmp_path / "report.dcm") == "E-DCM-03"


def test_links_that_lead_out_of_the_folder_are_not_followed(tmp_path: Path, slices: list[Dataset]) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    examples.save(slices[:3], inside)
    examples.save(slices, outside)
    (inside / "9.dcm").symlink_to(outside / "4.dcm")
    (inside / "folder").symlink_to(outside)
    (volume,) = DicomReader().read(inside, ReadRequest())
    assert volume.grid.shape[0] == 3


def test_too_many_files(tmp_path: Path, slices: list[Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    examples.save(slices, tmp_path)
    monkeypatch.setattr("medldm_dicom.scan.MAX_FILES", 4)
    assert code_of(tmp_path) == "E-DCM-18"


@pytest.mark.parametrize("keep", [140, 300, 700])
def test_header_cut_off(tmp_path: Path, slices: list[Dataset], keep: int) -> None:
    examples.save(slices[:1], tmp_path)
    file = tmp_path / "0.dcm"
    file.write_bytes(file.read_bytes()[:keep])
    assert code_of(tmp_path) in {"E-DCM-02", "E-DCM-03", "E-GEO-06"}


def test_random_bytes_behind_the_magic(tmp_path: Path) -> None:
    noise = np.random.default_rng(3)
    for k in range(40):
        (tmp_path / f"{k}.dcm").write_bytes(b"\0" * 128 + b"DICM" + noise.bytes(400))
    assert code_of(tmp_path) in {"E-DCM-02", "E-DCM-03"}
    assert {p.code for row in DicomReader().inspect(tmp_path) for p in row.problems} <= {"E-DCM-02", "E-DCM-03"}


def test_every_single_byte_flipped_ends_in_a_volume_or_a_code(tmp_path: Path, slices: list[Dataset]) -> None:
    examples.save(slices[:1], tmp_path)
    file = tmp_path / "0.dcm"
    whole = file.read_bytes()
    noise = np.random.default_rng(5)
    for place in noise.choice(np.arange(128, len(whole) - 400), size=120, replace=False):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            (volume,) = DicomReader().read(file, ReadRequest())
            assert volume.grid.shape[0] == 1
        except (InputRefused, ComponentMissing) as refused:
            assert refused.code.startswith(("E-DCM", "E-GEO", "E-PIX"))


def test_deeply_nested_sequences(tmp_path: Path, slices: list[Dataset]) -> None:
    """Written by hand: 3000 sequences of undefined length, one inside the other."""
    examples.save(slices[:1], tmp_path)
    file = tmp_path / "0.dcm"
    whole = file.read_bytes()
    opening = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    at = whole.index(b"\x10\x00\x10\x00PN")
    file.write_bytes(whole[:at] + opening * 3000 + whole[at:])
    assert code_of(tmp_path) == "E-DCM-02"


def _deflated(image: Dataset, body: bytes) -> bytes:
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    target = io.BytesIO()
    pydicom.filewriter.write_file_meta_info(target, image.file_meta)
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return b"\0" * 128 + b"DICM" + target.getvalue() + engine.compress(body) + engine.flush()


def _body(image: Dataset, **extra: object) -> bytes:
    for keyword, value in extra.items():
        setattr(image, keyword, value)
    target = io.BytesIO()
    pydicom.filewriter.write_dataset(_explicit(target), image)
    return target.getvalue()


def _explicit(target: io.BytesIO) -> pydicom.filebase.DicomFileLike:
    stream = pydicom.filebase.DicomFileLike(target)
    stream.is_implicit_VR, stream.is_little_endian = False, True
    return stream


def test_deflated_series_loads(tmp_path: Path, slices: list[Dataset]) -> None:
    (tmp_path / "0.dcm").write_bytes(_deflated(slices[0], _body(slices[0])))
    (volume,) = DicomReader().read(tmp_path, ReadRequest())
    np.testing.assert_array_equal(volume.data[0].numpy(), examples.hounsfield()[0])


def test_deflate_bomb_in_the_header(tmp_path: Path, slices: list[Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header, "HEADER_LIMIT", 2**20)
    body = _body(slices[0], EncapsulatedDocument=b"\0" * 2**22)
    file = tmp_path / "0.dcm"
    file.write_bytes(_deflated(slices[0], body))
    assert file.stat().st_size < 10_000
    assert code_of(tmp_path) == "E-DCM-05"


def test_deflate_bomb_behind_the_pixels(tmp_path: Path, slices: list[Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "HEADER_LIMIT", 2**20)
    body = _body(slices[0], DataSetTrailingPadding=b"\0" * 2**22)
    (tmp_path / "0.dcm").write_bytes(_deflated(slices[0], body))
    assert code_of(tmp_path) == "E-DCM-05"


def test_absurd_dimensions(tmp_path: Path, slices: list[Dataset]) -> None:
    for k, (rows, columns, frames) in enumerate(((60000, 60000, 1), (30000, 30000, 1), (16, 12, 2_000_000))):
        folder = tmp_path / str(k)
        folder.mkdir()
        image = slices[0]
        image.Rows, image.Columns, image.NumberOfFrames = rows, columns, frames
        examples.save([image], folder)
    assert code_of(tmp_path / "0") == "E-DCM-07"
    assert code_of(tmp_path / "1") == "E-DCM-06"
    assert code_of(tmp_path / "2") == "E-DCM-07"


def test_memory_limit_is_kept_before_anything_is_decoded(tmp_path: Path, slices: list[Dataset]) -> None:
    examples.save(slices, tmp_path)
    assert code_of(tmp_path, max_bytes=1000) == "E-DCM-09"
    with pytest.raises(InputRefused, match="GiB"):
        DicomReader().read(tmp_path, ReadRequest(max_bytes=1000))
    assert DicomReader().read(tmp_path, ReadRequest(max_bytes=8000))


def test_compressed_pixels_cut_off(tmp_path: Path) -> None:
    pytest.importorskip("openjpeg", reason="the codecs extra is not installed")
    source = Path(str(pydicom.data.get_testdata_file("MR_small_jp2klossless.dcm")))
    (tmp_path / "0.dcm").write_bytes(source.read_bytes()[:-3000])
    assert code_of(tmp_path) in {"E-DCM-08", "E-DCM-06"}


def test_missing_decoder_names_the_extra(
    tmp_path: Path, slices: list[Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(str(pydicom.data.get_testdata_file("MR_small_jp2klossless.dcm")))
    (tmp_path / "0.dcm").write_bytes(source.read_bytes())
    monkeypatch.setattr(codecs, "_gdcm", lambda: None)
    monkeypatch.setattr(
        codecs, "get_decoder", lambda syntax: type("Decoder", (), {"is_available": syntax != JPEG2000Lossless})()
    )
    with pytest.raises(ComponentMissing) as caught:
        DicomReader().read(tmp_path, ReadRequest())
    assert caught.value.code == "E-DCM-20"
    assert "medldm[codecs]" in caught.value.fix and "JPEG 2000" in caught.value.what
    (row,) = DicomReader().inspect(tmp_path)
    assert "E-DCM-20" in {problem.code for problem in row.problems}


def test_executable_preamble_is_warned_of(tmp_path: Path, slices: list[Dataset]) -> None:
    examples.save(slices, tmp_path)
    file = tmp_path / "0.dcm"
    file.write_bytes(b"MZ" + file.read_bytes()[2:])
    (volume,) = DicomReader().read(tmp_path, ReadRequest())
    (noticed,) = [problem for problem in volume.history.problems if problem.code == "E-DCM-19"]
    assert "0.dcm" not in noticed.sentence  # names of files stay out of records


def test_nonsense_values_become_a_note_not_a_warning(tmp_path: Path, slices: list[Dataset]) -> None:
    examples.save(slices[:1], tmp_path)
    file = tmp_path / "0.dcm"
    file.write_bytes(
        file.read_bytes().replace(b"1.2.3.4.1", b"1.2.x.4.1").replace(b"DS\x04\x0040.0", b"DS\x04\x004O.0")
    )
    (volume,) = DicomReader().read(tmp_path, ReadRequest())
    assert volume.display is None


def test_escape_sequences_never_reach_the_table(tmp_path: Path, slices: list[Dataset]) -> None:
    for image in slices:
        image.SeriesDescription = "\x1b[31m<script>alert(1)</script>"
        image.Modality = "CT"
    examples.save(slices, tmp_path)
    (row,) = DicomReader().inspect(tmp_path)
    assert "\x1b" not in row.description and "<" not in row.description


def test_patient_data_stay_out_of_messages_names_and_history(tmp_path: Path, slices: list[Dataset]) -> None:
    canary = "Canary^Zanzibar"
    for image in slices:
        image.PatientName, image.PatientID, image.PatientBirthDate = canary, "ZANZIBAR-7", "19330303"
    slices[2].KVP = "80"
    examples.save(slices, tmp_path)
    (volume,) = DicomReader().read(tmp_path, ReadRequest())
    told = repr(volume.as_record()) + volume.name + repr(DicomReader().inspect(tmp_path))
    (tmp_path / "2.dcm").unlink()
    with pytest.raises(InputRefused) as caught:
        DicomReader().read(tmp_path, ReadRequest())
    told += str(caught.value)
    for secret in ("Canary", "ZANZIBAR", "1933"):
        assert secret not in told


def test_sequence_of_another_type_in_place_of_functional_groups(tmp_path: Path, slices: list[Dataset]) -> None:
    image = slices[0]
    image.PerFrameFunctionalGroupsSequence = Sequence([Dataset(), Dataset()])
    image.SOPInstanceUID = generate_uid()
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    examples.save([image], tmp_path)
    assert code_of(tmp_path) == "E-DCM-17"


def _compressed() -> header.Header:
    pytest.importorskip("openjpeg", reason="the codecs extra is not installed")
    return header.read_header(Path(str(pydicom.data.get_testdata_file("MR_small_jp2klossless.dcm"))))


def test_decoder_is_started_once_and_gives_what_decoding_here_gives() -> None:
    one = _compressed()
    with isolation.Decoder() as decoder:
        first = decoder(one)
        worker = decoder._worker
        np.testing.assert_array_equal(first, codecs.decode(one))
        decoder(one)
        assert decoder._worker is worker and worker is not None
    assert worker.poll() is not None


def test_crashed_decoder_is_a_refusal() -> None:
    one = _compressed()
    with isolation.Decoder() as decoder:
        decoder(one)
        assert decoder._worker is not None
        decoder._worker.kill()
        with pytest.raises(isolation.DecoderStopped):
            decoder(one)


def test_decoder_that_takes_too_long_is_stopped() -> None:
    one = _compressed()
    with isolation.Decoder(timeout_s=0.001) as decoder, pytest.raises(isolation.DecoderStopped):
        decoder(one)


def test_decoder_beyond_its_memory_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_PROCESS_BYTES", 2**24)
    with isolation.Decoder() as decoder, pytest.raises(isolation.DecoderStopped):
        decoder(_compressed())
