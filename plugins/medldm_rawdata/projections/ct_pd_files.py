"""DICOM-CT-PD files made from a known truth: discs seen by a cylindrical or flat detector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

Array = NDArray[np.float64]
SERIES = "2.25.200"
SLOPE = 1e-4
MU_WATER = 0.02
PHOTONS = 20000.0
# x, y (to the back), radius in mm; attenuation in 1/mm.
DISCS = ((-4.0, 6.0, 28.0, 0.02), (10.0, -8.0, 6.0, 0.01), (-12.0, 14.0, 4.0, -0.015))
_CREATORS = {
    0x7029: "DetectorSystemArrangementModule",
    0x7031: "DetectorDynamicsModule",
    0x7033: "SourceDynamicsModule",
    0x7037: "ProjectionDataDefinitions",
    0x7039: "PreprocessingFlagsModule",
    0x7041: "WaterAttenuationModule",
}


def place(columns: int, central: float, pitch: float) -> Array:
    """Positions of columns in mm, as the format stores them: growing against the turning, 0 at the central element."""
    return np.asarray(-(np.arange(columns) - (central - 1)) * pitch, dtype=np.float64)


def disc_integrals(phi: Array, gamma: Array, radius: float) -> Array:
    """(view, column) line integrals of :data:`DISCS` from sources at ``radius (sin phi, -cos phi)``."""
    theta = phi[:, None] - gamma
    lines = radius * np.sin(gamma)
    total = np.zeros(theta.shape)
    for x, y, size, value in DISCS:
        distance = lines - x * np.cos(theta) - y * np.sin(theta)
        total += 2 * value * np.sqrt(np.maximum(size**2 - distance**2, 0))
    return total


def header(size: tuple[int, int], **more: Any) -> dict[tuple[int, int], tuple[str, Any]]:
    """Private attributes of a projection of (rows, columns): tag -> representation, value."""
    known: dict[str, tuple[tuple[int, int], str, Any]] = {
        "rows": ((0x7029, 0x1010), "US", size[0]),
        "columns": ((0x7029, 0x1011), "US", size[1]),
        "pitch": ((0x7029, 0x1002), "FL", 2.0),
        "row_pitch": ((0x7029, 0x1006), "FL", 3.0),
        "shape": ((0x7029, 0x100B), "CS", "CYLINDRICAL"),
        "angle": ((0x7031, 0x1001), "FL", 0.0),
        "z": ((0x7031, 0x1002), "FL", 0.0),
        "radius": ((0x7031, 0x1003), "FL", 200.0),
        "source_to_detector": ((0x7031, 0x1031), "FL", 400.0),
        "central": ((0x7031, 0x1033), "FL", [size[1] / 2 + 1.25, (size[0] + 1) / 2]),
        "angle_shift": ((0x7033, 0x100B), "FL", 0.0),
        "z_shift": ((0x7033, 0x100C), "FL", 0.0),
        "radius_shift": ((0x7033, 0x100D), "FL", 0.0),
        "focal_spot_mode": ((0x7033, 0x100E), "CS", "FFSNONE"),
        "views_per_turn": ((0x7033, 0x1013), "US", 72),
        "photons": ((0x7033, 0x1065), "FL", [PHOTONS] * size[1]),
        "projection_geometry": ((0x7037, 0x100A), "CS", "FANBEAM"),
        "logarithm": ((0x7039, 0x1009), "CS", "YES"),
        "water": ((0x7041, 0x1001), "DS", MU_WATER),
    }
    unknown = set(more) - set(known)
    assert not unknown, unknown
    return {tag: (kind, more.get(name, value)) for name, (tag, kind, value) in known.items()}


def write_projection(
    file: Path, values: Array, number: int, *, untyped: bool = False, transposed: bool = True, **more: Any
) -> Path:
    """One view (row, column) of line integrals as 16-bit values; ``None`` leaves an attribute out.

    Args:
        file: to write.
        values: of the detector.
        number: of the view, from 1.
        untyped: private attributes as bytes of unknown type, as files that went through archives have them.
        transposed: a detector column after the other, as the format says.
        more: attributes in place of those of :func:`header`.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = UID(f"{SERIES}.{number}")
    dataset = pydicom.FileDataset(str(file), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"{SERIES}.{number}"
    dataset.SeriesInstanceUID, dataset.InstanceNumber, dataset.Modality = SERIES, number, "CT"
    for group, creator in _CREATORS.items():
        dataset.add_new((group, 0x0010), "LO", creator)
    for tag, (kind, value) in header(values.shape, **more).items():
        if value is None:
            continue
        if not untyped:
            dataset.add_new(tag, kind, value)
        elif kind in ("CS", "DS"):
            text = str(value).encode()
            dataset.add_new(tag, "UN", text + b" " * (len(text) % 2))
        else:
            dataset.add_new(tag, "UN", np.asarray(value, "<f4" if kind == "FL" else "<u2").tobytes())
    stored = values.T if transposed else values
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.RescaleSlope, dataset.RescaleIntercept = SLOPE, 0
    dataset.PixelData = np.round(stored / SLOPE).astype("<u2").tobytes()
    dataset.save_as(file, enforce_file_format=True)
    return file


def write_fan(folder: Path, views: int = 72, columns: int = 64, rows: int = 1, **more: Any) -> Path:
    """A circular scan of :data:`DISCS`, the same in all rows; file names are no order of the views."""
    folder.mkdir(exist_ok=True)
    more = {"views_per_turn": views} | more
    phi = 0.3 + np.arange(views) * 2 * np.pi / views
    central = columns / 2 + 1.25
    ratio = place(columns, central, 2.0) / 400
    gamma = np.arctan(ratio) if more.get("shape") == "FLAT" else ratio
    values = disc_integrals(phi, gamma, 200.0)
    for view in range(views):
        name = f"{(view * 29) % 997:04d}-{view}.dcm"
        detector = np.repeat(values[view : view + 1], rows, axis=0)
        write_projection(folder / name, detector, view + 1, angle=float(np.mod(phi[view], 2 * np.pi)), **more)
    return folder
