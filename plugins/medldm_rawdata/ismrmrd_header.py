"""The XML header of ISMRMRD, which fastMRI files carry too: what a Cartesian reconstruction needs of it.

Only the standard library parses it; a document type, and with it every entity, is refused. The patient's entries are
not looked at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from medldm.errors import InputRefused

_LARGEST = 65536


@dataclass(frozen=True)
class Space:
    """Encoded or reconstructed space: samples and field of view in mm along read, phase and slice (x, y, z)."""

    matrix: tuple[int, int, int]
    field_of_view: tuple[float, float, float]


@dataclass(frozen=True)
class ScanHeader:
    """Of the first encoding.

    Attributes:
        encoded: the space of k-space, with oversampling.
        recon: the space of the image.
        trajectory: ``cartesian``, ``radial``, ...
        centre_line: kspace_encode_step_1 of frequency zero, None where not stated.
        centre_partition: kspace_encode_step_2 of frequency zero, None where not stated.
        calibration: ``embedded``, ``separate``, ... , empty where not stated.
        noise_bandwidth: ratio of the receiver's noise bandwidth to that of the samples.
        encodings: how many there are.
    """

    encoded: Space
    recon: Space
    trajectory: str
    centre_line: int | None = None
    centre_partition: int | None = None
    calibration: str = ""
    noise_bandwidth: float = 1.0
    encodings: int = 1

    @property
    def is_volume(self) -> bool:
        """Whether a second phase encoding makes the slices."""
        return self.encoded.matrix[2] > 1

    @property
    def read_pixels(self) -> int:
        """Pixels along the readout that are left when its oversampling is removed."""
        return self._pixels(0)

    @property
    def slab_pixels(self) -> int:
        """Slices of a volume that are left when the oversampling of its partitions is removed."""
        return self._pixels(2)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Thickness, step along phase encoding, step along readout in mm."""
        fx, fy, fz = self.encoded.field_of_view
        nx, ny, nz = self.encoded.matrix
        return fz / nz if self.is_volume else self.recon.field_of_view[2] / self.recon.matrix[2], fy / ny, fx / nx

    def _pixels(self, axis: int) -> int:
        ratio = self.recon.field_of_view[axis] / self.encoded.field_of_view[axis]
        return max(1, min(self.encoded.matrix[axis], round(self.encoded.matrix[axis] * ratio)))

    @classmethod
    def parse(cls, content: bytes, file: str) -> ScanHeader:
        """Read the header.

        Raises:
            InputRefused: E-KSP-06 when it is no XML, has a document type, or lacks an entry.
        """
        try:
            root = _root(content)
            encodings = root.findall("{*}encoding")
            if not encodings:
                raise ValueError("no encoding")
            first = encodings[0]
            line, partition = (first.find(f"{{*}}encodingLimits/{{*}}kspace_encoding_step_{i}") for i in (1, 2))
            bandwidth = root.find("{*}acquisitionSystemInformation/{*}relativeReceiverNoiseBandwidth")
            return cls(
                encoded=_space(first, "encodedSpace"),
                recon=_space(first, "reconSpace"),
                trajectory=_word(first, "{*}trajectory").lower(),
                centre_line=None if line is None else int(_number(line, "center")),
                centre_partition=None if partition is None else int(_number(partition, "center")),
                calibration=(first.findtext("{*}parallelImaging/{*}calibrationMode") or "").strip().lower(),
                noise_bandwidth=1.0 if bandwidth is None else _positive(float(bandwidth.text or "nan"), "bandwidth"),
                encodings=len(encodings),
            )
        except (ValueError, ElementTree.ParseError) as error:
            fault = "it is no well-formed XML" if isinstance(error, ElementTree.ParseError) else str(error)
            raise InputRefused(
                "E-KSP-06",
                f"The ISMRMRD header of {file} cannot be used: {fault}.",
                why="Sizes, field of view and trajectory stand in it.",
                fix="Convert the scan again.",
            ) from error


def _root(content: bytes) -> ElementTree.Element:
    try:
        text = content.decode("utf-8").rstrip("\0")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("it declares a document type, which this format has no use for")
    # As text, so that no encoding that the document declares is honoured.
    root = ElementTree.fromstring(text)
    if root.tag.rpartition("}")[2] != "ismrmrdHeader":
        raise ValueError("it is no ismrmrdHeader")
    return root


def _space(encoding: ElementTree.Element, name: str) -> Space:
    space = encoding.find(f"{{*}}{name}")
    if space is None:
        raise ValueError(f"no {name}")
    sizes: list[Any] = [int(_number(space, f"matrixSize/{{*}}{axis}")) for axis in "xyz"]
    lengths: list[Any] = [_number(space, f"fieldOfView_mm/{{*}}{axis}") for axis in "xyz"]
    if not all(1 <= n <= _LARGEST for n in sizes):
        raise ValueError(f"the matrix of {name} is {sizes}")
    for length in lengths:
        _positive(length, f"field of view of {name}")
    return Space((sizes[0], sizes[1], sizes[2]), (lengths[0], lengths[1], lengths[2]))


def _word(element: ElementTree.Element, path: str) -> str:
    found = (element.findtext(path) or "").strip()
    if not found:
        raise ValueError(f"no {path.rpartition('}')[2]}")
    return found


def _number(element: ElementTree.Element, path: str) -> float:
    try:
        value = float(_word(element, f"{{*}}{path}"))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{path.replace('{*}', '')} is no number")
    return value


def _positive(value: float, what: str) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"the {what} is not positive")
    return value
