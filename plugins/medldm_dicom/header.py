"""One file's header, read without its pixels and without trusting it."""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from medldm.errors import InputRefused, Problem
from medldm_dicom.problems import error, refusal, remark
from medldm_dicom.quiet import quiet
from medldm_dicom.scan import has_prefix, is_bare

HEADER_LIMIT = 64 * 2**20
MAX_SIDE = 32768
MAX_FRAMES = 100_000
_PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)


class NotDicom(ValueError):
    """The file is something else; whether that matters depends on its name."""


@dataclass(frozen=True)
class Header:
    """A file's data set without pixels.

    Attributes:
        file: where it was read.
        dataset: everything before the pixels, with file meta information.
        syntax: transfer syntax.
        pixel_bytes: stored bytes from the pixel element to the end of the file; None without pixels. For a
            deflated file, whose end is not looked at, the expected number.
        problems: what is odd about the file.
    """

    file: Path
    dataset: Dataset
    syntax: UID
    pixel_bytes: int | None
    problems: tuple[Problem, ...] = ()

    @property
    def frames(self) -> int:
        """Number of frames, 1 for a classic image."""
        return integer(self.dataset, "NumberOfFrames") or 1

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns; (0, 0) for an object that is no image."""
        return integer(self.dataset, "Rows") or 0, integer(self.dataset, "Columns") or 0

    @property
    def expected_bytes(self) -> int:
        """Bytes of the decoded pixels as the header states them."""
        rows, columns = self.size
        bits = integer(self.dataset, "BitsAllocated") or 16
        samples = integer(self.dataset, "SamplesPerPixel") or 1
        return (rows * columns * samples * self.frames * bits + 7) // 8


def value_of(dataset: Dataset | None, keyword: str) -> Any:
    """A value of the header; None when absent, or when its bytes are not what they are declared to be."""
    if dataset is None:
        return None
    try:
        return dataset.get(keyword)
    except Exception:  # values are converted on first use, and damaged ones fail in any way
        return None


def integer(dataset: Dataset, keyword: str) -> int | None:
    """A whole number of the header; None when absent or no number."""
    try:
        return int(value_of(dataset, keyword))
    except (TypeError, ValueError, OverflowError):
        return None


def number(dataset: Dataset | None, keyword: str) -> float | None:
    """A real number of the header; None when absent or no number. The first one of several."""
    values = numbers(dataset, keyword)
    return values[0] if values else None


def numbers(dataset: Dataset | None, keyword: str) -> tuple[float, ...] | None:
    """Real numbers of the header; None when absent, empty or not numbers."""
    value = value_of(dataset, keyword)
    if value is None or isinstance(value, (str, bytes)):
        return None
    try:
        return tuple(float(v) for v in value) if hasattr(value, "__iter__") else (float(value),)
    except (TypeError, ValueError):
        return None


def words(dataset: Dataset | None, keyword: str) -> tuple[str, ...]:
    """Text values of the header without surrounding blanks; empty when absent."""
    value = value_of(dataset, keyword)
    if value is None:
        return ()
    found = list(value) if hasattr(value, "__iter__") and not isinstance(value, (str, bytes)) else [value]
    return tuple(str(item).strip() for item in found)


def text(dataset: Dataset | None, keyword: str) -> str:
    """The first text value, empty when absent."""
    return (*words(dataset, keyword), "")[0]


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Items of a sequence, empty when absent or not a sequence."""
    value = value_of(dataset, keyword)
    return [item for item in value if isinstance(item, Dataset)] if hasattr(value, "__iter__") else []


def read_header(file: Path) -> Header:
    """Read one header.

    Raises:
        NotDicom: neither preamble nor a bare data set.
        InputRefused: ``E-DCM-02`` unreadable, ``E-DCM-05`` a deflated header without end,
            ``E-DCM-07`` implausible dimensions.
    """
    with file.open("rb") as stream, quiet() as oddities:
        start = stream.read(132)
        stream.seek(0)
        if not (has_prefix(start) or is_bare(start)):
            raise NotDicom(file.name)
        try:
            dataset, syntax, offset = _parse(stream, has_prefix(start))
        except InputRefused:
            raise
        except Exception as failure:  # damaged bytes make the parser fail in any way
            raise refusal(
                error(
                    "E-DCM-02",
                    f"The DICOM header of {file.name!r} cannot be read ({type(failure).__name__}).",
                    "Export the file again from the archive.",
                )
            ) from failure
        problems = []
        if start[:2] == b"MZ" or start[:4] == b"\x7fELF":
            problems.append(
                remark("E-DCM-19", "warning", f"The preamble of {file.name!r} is that of an executable program.")
            )
        if not _is_known(syntax):
            raise refusal(
                error("E-DCM-08", f"{file.name!r} is stored in an unknown transfer syntax.", "Export it again.")
            )
        header = Header(file, dataset, syntax, None)
        if offset is not None:
            stored = file.stat().st_size - offset
            stored = header.expected_bytes if syntax == DeflatedExplicitVRLittleEndian else stored
            header = Header(file, dataset, syntax, stored)
        _check_dimensions(header)
    if oddities:
        problems.append(
            remark("E-DCM-16", "note", f"{len(oddities)} header values of {file.name!r} do not follow the standard.")
        )
    return Header(file, header.dataset, header.syntax, header.pixel_bytes, tuple(problems))


def _parse(stream: BinaryIO, prefixed: bool) -> tuple[Dataset, UID, int | None]:
    meta = FileMetaDataset()
    if prefixed:
        stream.seek(132)
        group = read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
        meta = FileMetaDataset(group)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        data, _ = inflate(stream, meta, HEADER_LIMIT)
        body = io.BytesIO(data)
        dataset = FileDataset("", read_dataset(body, False, True, stop_when=_at_pixels), file_meta=meta)
        offset = body.tell() if body.tell() < len(data) else None
        if offset is None and len(data) >= HEADER_LIMIT:
            raise refusal(
                error(
                    "E-DCM-05",
                    f"The deflated header expands to more than {HEADER_LIMIT >> 20} MiB.",
                    "Discard the file.",
                )
            )
        return dataset, DeflatedExplicitVRLittleEndian, offset
    stream.seek(0)
    read = pydicom.dcmread(stream, stop_before_pixels=True, force=not prefixed)
    syntax = read.file_meta.get("TransferSyntaxUID") or ImplicitVRLittleEndian
    if "TransferSyntaxUID" not in read.file_meta:
        implicit, little = read.original_encoding
        syntax = UID("1.2.840.10008.1.2" if implicit else ("1.2.840.10008.1.2.1" if little else "1.2.840.10008.1.2.2"))
        read.file_meta.TransferSyntaxUID = syntax
    here = stream.tell()
    rest = stream.read(4)
    # The parser stands at the tag of the pixel element, in either byte order, or at the end of the file.
    at_pixels = rest[:2] in (b"\xe0\x7f", b"\x7f\xe0")
    return read, UID(syntax), here if at_pixels else None


def _is_known(syntax: UID) -> bool:
    try:
        return syntax.is_transfer_syntax
    except ValueError:  # a private one
        return False


def _at_pixels(tag: int, vr: str | None, length: int) -> bool:
    return tag in _PIXEL_TAGS


def inflate(stream: BinaryIO, meta: FileMetaDataset, limit: int) -> tuple[bytes, bool]:
    """The data set of a deflated file, at most ``limit`` bytes, and whether that is all of it."""
    length = meta.get("FileMetaInformationGroupLength")
    if length is None:
        raise ValueError("a deflated file needs the length of its meta information")
    stream.seek(132 + 12 + int(length))
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    data = engine.decompress(stream.read(), limit)
    return data, not engine.unconsumed_tail


def _check_dimensions(header: Header) -> None:
    rows, columns = header.size
    frames = header.frames
    if max(rows, columns) > MAX_SIDE or min(rows, columns) < 0 or not 0 < frames <= MAX_FRAMES:
        raise refusal(
            error(
                "E-DCM-07",
                f"The header of {header.file.name!r} states {rows} x {columns} pixels and {frames} frames.",
                "Export the file again from the archive.",
            )
        )
