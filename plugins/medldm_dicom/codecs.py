"""Decoding of the pixel element, by pydicom's plugins and, where they give up, by GDCM itself."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from medldm.errors import ComponentMissing
from medldm_dicom.header import HEADER_LIMIT, Header, inflate
from medldm_dicom.problems import error, refusal

# JPEG Extended in 12 bits, Spectral Selection and Full Progression: pydicom has no decoder, GDCM's reader has.
_GDCM_ONLY = frozenset({"1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55"})


def missing_decoder(syntax: UID) -> str | None:
    """What to install to decode a transfer syntax; None when it can be decoded here."""
    if not syntax.is_compressed or syntax == DeflatedExplicitVRLittleEndian:
        return None
    if _gdcm() is not None:
        return None
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return "python-gdcm"
    return None if decoder.is_available else "python-gdcm"


def _gdcm() -> Any | None:
    try:
        import gdcm
    except ImportError:
        return None
    return gdcm


def check_decoder(header: Header) -> None:
    """Refuse a file that cannot be decoded here.

    Raises:
        ComponentMissing: ``E-DCM-20``, naming the package to install.
    """
    package = missing_decoder(header.syntax)
    if package is not None:
        raise ComponentMissing(
            "E-DCM-20",
            f"No decoder for {header.syntax.name} is installed, which {header.file.name!r} needs.",
            why="The pixels are compressed.",
            fix=f"Install {package}: pip install 'medldm[codecs]'.",
        )


def decode(header: Header) -> NDArray[Any]:
    """Stored pixels of all frames of a file, (frame, row, column) or fewer axes.

    Raises:
        InputRefused: ``E-DCM-05`` a deflated file that expands beyond what its header states.
    """
    if header.syntax in _GDCM_ONLY and _gdcm() is not None:
        return _by_gdcm(header)
    dataset = _inflated(header) if header.syntax == DeflatedExplicitVRLittleEndian else None
    if dataset is None:
        dataset = pydicom.dcmread(header.file, force=True)
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = header.syntax
    array = dataset.pixel_array
    # Byte order of the file must not leak: torch knows the machine's only.
    return np.asarray(array.astype(array.dtype.newbyteorder("="), copy=False))


def _inflated(header: Header) -> FileDataset:
    budget = header.expected_bytes + HEADER_LIMIT
    with header.file.open("rb") as stream:
        data, complete = inflate(stream, header.dataset.file_meta, budget)
    if not complete:
        raise refusal(
            error(
                "E-DCM-05",
                f"{header.file.name!r} expands beyond the {header.expected_bytes} pixel bytes that its header states.",
                "Discard the file.",
            )
        )
    dataset = read_dataset(io.BytesIO(data), False, True)
    # pydicom decodes the inflated bytes like any explicit little-endian file.
    return FileDataset("", dataset, file_meta=header.dataset.file_meta, is_implicit_VR=False, is_little_endian=True)


def _by_gdcm(header: Header) -> NDArray[Any]:
    gdcm = _gdcm()
    assert gdcm is not None
    image_reader = gdcm.ImageReader()
    image_reader.SetFileName(str(header.file))
    if not image_reader.Read():
        raise ValueError("GDCM cannot read the image")
    image = image_reader.GetImage()
    pixel_format = image.GetPixelFormat()
    kinds = {
        gdcm.PixelFormat.UINT8: np.uint8,
        gdcm.PixelFormat.INT8: np.int8,
        gdcm.PixelFormat.UINT12: np.uint16,
        gdcm.PixelFormat.INT12: np.int16,
        gdcm.PixelFormat.UINT16: np.uint16,
        gdcm.PixelFormat.INT16: np.int16,
    }
    buffer = image.GetBuffer()
    # SWIG hands bytes over as text in which every byte that is no UTF-8 is escaped.
    raw = buffer.encode("utf-8", "surrogateescape") if isinstance(buffer, str) else buffer
    if len(raw) != image.GetBufferLength():
        raise ValueError("GDCM returned a buffer of another length than it states")
    return np.frombuffer(raw, dtype=kinds[pixel_format.GetScalarType()])
