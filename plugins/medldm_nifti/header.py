"""What a NIfTI header says, validated field by field."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader
from nibabel.nifti2 import Nifti2Header, Nifti2PairHeader
from numpy.typing import NDArray

from medldm.errors import InputRefused

HEADER_BYTES = 540
_MAGIC = {b"n+1\0": (348, True), b"ni1\0": (348, False), b"n+2\0": (540, True), b"ni2\0": (540, False)}
# Codes of nifti1.h: integers of 8 to 64 bits, float32, float64, complex64, complex128.
_DTYPES = (2, 4, 8, 16, 32, 64, 256, 512, 768, 1024, 1280, 1792)
_NAMES = {0: "unknown", 1: "binary", 128: "RGB", 1536: "float128", 2048: "complex256", 2304: "RGBA"}
_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 1e-3}


@dataclass(frozen=True, eq=False)
class Header:
    """The fields that medldm uses.

    Attributes:
        shape: (x, y, z) as stored, x fastest.
        volumes: images in the file, along the fourth axis.
        dtype: of the stored samples, with their byte order.
        slope, intercept: stored value -> value; (1, 0) when the file asks for none.
        offset: byte of the first sample in the file that holds the voxels.
        single: header and voxels share one file.
        pixdim: (x, y, z) voxel size in mm as stated.
        unit_known: whether the file states the unit of length; mm is taken otherwise.
        sform_code, qform_code: 0 where that transform is not stated.
        sform: (4, 4) voxel -> RAS in mm.
        qform: (4, 4) voxel -> RAS in mm; None when its quaternion or voxel size is invalid.
        intent_name: up to 16 characters, the meaning of the values.
    """

    shape: tuple[int, int, int]
    volumes: int
    dtype: np.dtype[np.generic]
    slope: float
    intercept: float
    offset: int
    single: bool
    pixdim: tuple[float, float, float]
    unit_known: bool
    sform_code: int
    qform_code: int
    sform: NDArray[np.float64]
    qform: NDArray[np.float64] | None
    intent_name: str

    @property
    def voxels(self) -> int:
        """Samples of one volume."""
        return math.prod(self.shape)

    @property
    def content(self) -> int:
        """Bytes from the start of the file to the end of the last volume."""
        return self.offset + self.voxels * self.volumes * self.dtype.itemsize


def _byte_order(block: bytes) -> str | None:
    for order in "<>":
        if len(block) >= 4 and struct.unpack(f"{order}i", block[:4])[0] in (348, 540):
            return order
    return None


def looks_like_nifti(block: bytes) -> bool:
    """Whether the first bytes are those of a NIfTI or ANALYZE header."""
    return _byte_order(block) is not None


def _magic(block: bytes, name: str) -> tuple[str, bool]:
    order = _byte_order(block)
    size = struct.unpack(f"{order}i", block[:4])[0] if order else 0
    if order is None or len(block) < size:
        raise InputRefused(
            "E-NII-03",
            f"{name} is not a NIfTI file.",
            why="It does not begin with a NIfTI header of 348 or 540 bytes.",
            fix="Check that the file is what its name says.",
        )
    magic = block[344:348] if size == 348 else block[4:8]
    if _MAGIC.get(magic, (0, False))[0] != size:
        raise InputRefused(
            "E-NII-03",
            f"{name} has a header of {size} bytes but the magic string {magic!r}.",
            why="It is damaged, or an ANALYZE 7.5 file, whose orientation is not defined.",
            fix="Convert it to NIfTI with a tool that knows its orientation.",
        )
    return order, _MAGIC[magic][1]


def _sizes(dim: NDArray[np.int64], name: str) -> tuple[tuple[int, int, int], int]:
    axes = int(dim[0])
    sizes = [int(n) for n in dim[1 : axes + 1]] if 1 <= axes <= 7 else []
    if not sizes or min(sizes) < 1:
        raise InputRefused(
            "E-NII-08",
            f"{name} states impossible dimensions: {[int(n) for n in dim]}.",
            why="The header is damaged.",
            fix="Copy or export the file again.",
        )
    x, y, z, t, *rest = [*sizes, 1, 1, 1, 1]
    if math.prod(rest) > 1:
        raise InputRefused(
            "E-NII-08",
            f"{name} has {axes} axes of sizes {sizes}.",
            why="It holds vectors or other parameters for each voxel, which is not an image of the patient.",
            fix="Extract one 3-D or 4-D image from it.",
        )
    return (x, y, z), t


def _scaling(slope: float, intercept: float, name: str) -> tuple[float, float]:
    if slope == 0:
        return 1.0, 0.0
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise InputRefused(
            "E-NII-10",
            f"{name} scales its values by slope {slope} and intercept {intercept}.",
            why="No value of the image is known.",
            fix="Repair scl_slope and scl_inter, or re-export the scan.",
        )
    return slope, intercept


def _qform(raw: Any, to_mm: NDArray[np.float64]) -> NDArray[np.float64] | None:
    # nifti1.h: the handedness is the sign of pixdim[0], and 0, which many files have, means 1.
    raw["pixdim"][0] = -1 if raw["pixdim"][0] < 0 else 1
    try:
        with np.errstate(all="ignore"):
            return np.asarray(to_mm @ raw.get_qform(coded=False), dtype=np.float64)
    except Exception:  # nibabel raises several kinds for an impossible quaternion or voxel size
        return None


def _first_voxel(offset: float, header_size: int, single: bool, name: str) -> int:
    least = header_size + 4 if single else 0
    if not (math.isfinite(offset) and least <= offset < 2**40):
        raise InputRefused(
            "E-NII-08",
            f"{name} puts its first voxel at byte {offset}; it must be {least} or later.",
            why="The header is damaged.",
            fix="Copy or export the file again.",
        )
    return int(offset)


def parse(block: bytes, name: str) -> Header:
    """Validate the first :data:`HEADER_BYTES` of a NIfTI-1 or NIfTI-2 header.

    Args:
        block: the bytes; fewer are fine for NIfTI-1.
        name: of the file, for messages.

    Raises:
        InputRefused: E-NII-03 not NIfTI, E-NII-08 dimensions or offset, E-NII-09 data type, E-NII-10 scaling.
    """
    order, single = _magic(block, name)
    size = struct.unpack(f"{order}i", block[:4])[0]
    kind: Any = {
        (348, True): Nifti1Header,
        (348, False): Nifti1PairHeader,
        (540, True): Nifti2Header,
        (540, False): Nifti2PairHeader,
    }[size, single]
    raw = kind(block[:size], endianness=order, check=False)
    shape, volumes = _sizes(np.asarray(raw["dim"], dtype=np.int64), name)
    code = int(raw["datatype"])
    if code not in _DTYPES:
        raise InputRefused(
            "E-NII-09",
            f"{name} stores samples of type {_NAMES.get(code, 'unknown')} (code {code}).",
            why="A scan is reconstructed from real or complex intensities of at most 64 bits per component.",
            fix="Export the scan as integers, float32 or complex64.",
        )
    slope, intercept = _scaling(float(raw["scl_slope"]), float(raw["scl_inter"]), name)
    unit = int(raw["xyzt_units"]) & 7
    factor = _MM.get(unit, 1.0)
    to_mm = np.diag([factor, factor, factor, 1.0])
    pixdim = tuple(float(p) * factor for p in raw["pixdim"][1:4])
    return Header(
        shape=shape,
        volumes=volumes,
        dtype=np.dtype(raw.get_data_dtype()).newbyteorder("<" if order == "<" else ">"),
        slope=slope,
        intercept=intercept,
        offset=_first_voxel(float(raw["vox_offset"]), size, single, name),
        single=single,
        pixdim=(pixdim[0], pixdim[1], pixdim[2]),
        unit_known=unit in (1, 2, 3),
        sform_code=int(raw["sform_code"]),
        qform_code=int(raw["qform_code"]),
        sform=to_mm @ np.asarray(raw.get_sform(coded=False), dtype=np.float64),
        qform=_qform(raw, to_mm),
        intent_name=bytes(raw["intent_name"].item()).decode("ascii", "replace").strip("\0 "),
    )
