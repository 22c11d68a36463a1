"""Small scans for the conformance kit, each written in its own format from known line integrals."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from medldm.data import Acquisition, AffineMap, Grid
from medldm.data.intensity import attenuation_from_hu
from medldm.testing import ReaderExample
from medldm_rawdata.projections import ct_pd_files
from medldm_rawdata.projections.cone_file import ConeBeamReader
from medldm_rawdata.projections.ct_pd import CtPdReader
from medldm_rawdata.projections.data_exchange import DataExchangeReader
from medldm_rawdata.projections.htc import HtcReader
from medldm_rawdata.projections.measured import Detector
from medldm_rawdata.projections.sinogram_file import SinogramReader

PHOTONS = 1.0e4


def discs(degrees: NDArray[np.float64], bins: int, centre: float, rows: int = 2) -> NDArray[np.float64]:
    """Line integrals ``(row, view, bin)`` of two discs under parallel rays, the axis at bin ``centre``."""
    angles, position = np.deg2rad(degrees)[:, None], np.arange(bins)[None] - centre
    result = np.zeros((len(degrees), bins))
    for x, y, radius, value in ((0.04, -0.1, 0.28, 0.02), (-0.12, 0.09, 0.08, 0.03)):
        along = position - bins * (x * np.cos(angles) + y * np.sin(angles))
        result += value * 2 * np.sqrt(np.maximum((radius * bins) ** 2 - along**2, 0))
    return result * (1 + 0.25 * np.arange(rows)[:, None, None])


def write_data_exchange(
    path: Path, integrals: NDArray[np.float64], degrees: NDArray[np.float64], **more: object
) -> Path:
    """Counts without noise of a beam of 30000 counts above a dark field of 100; ``more`` replaces data sets."""
    rows, _, bins = integrals.shape
    arrays: dict[str, object] = {
        "data": (100 + 30000 * np.exp(-integrals)).transpose(1, 0, 2).astype(np.float32),
        "data_white": np.full((3, rows, bins), 30100, dtype=np.float32),
        "data_dark": np.full((3, rows, bins), 100, dtype=np.float32),
        "theta": degrees,
    }
    with h5py.File(path, "w") as file:
        for name, values in (arrays | more).items():
            if values is not None:
                file[f"exchange/{name}"] = values
        if "theta" in file["exchange"]:
            file["exchange/theta"].attrs["units"] = "degrees"
        node = file.create_dataset("measurement/instrument/detector/pixel_size_x", data=[500.0])
        node.attrs["units"] = "um"
        file.create_dataset("padding", data=np.zeros(200_000, dtype=np.uint8))
    return path


def _expected(
    values: NDArray[np.float32], degrees: NDArray[np.float64], detector: Detector, **more: object
) -> Acquisition:
    settings: dict[str, object] = {
        "geometry": detector.geometry,
        "pitch_mm": detector.pitch,
        "offset_mm": detector.offset,
        "angle_unit": "rad",
        "photons": PHOTONS,
        "electronic_std": 0.0,
    }
    if detector.source:
        settings["source_to_centre_mm"], settings["source_to_detector_mm"] = detector.source
    tensors = {"angles": torch.from_numpy(np.deg2rad(degrees))}
    counts = more.pop("counts", None)
    if isinstance(counts, np.ndarray):
        tensors["counts"] = torch.from_numpy(counts)
    return Acquisition(
        physics="ct-fan" if detector.fan else "ct-parallel",
        data=torch.from_numpy(values),
        axes=("z", "view", "bin"),
        grid=detector.grid(len(values)),
        quantity="1/mm",
        modality="CT",
        output=AffineMap.identity("1/mm"),
        tensors=tensors,
        settings=settings | more,
    )


def data_exchange() -> ReaderExample:
    """Half a turn, the axis two bins off the middle, photons stated beside."""
    degrees, bins, centre = np.arange(0.0, 180.0, 6.0), 21, 12.0
    integrals = discs(degrees, bins, centre)
    counts = (100 + 30000 * np.exp(-integrals)).astype(np.float32).astype(np.float64) - 100
    transmission = counts / 30000
    detector = Detector("parallel", bins, 0.5, -1.0)
    expected = _expected(
        (-np.log(transmission)).astype(np.float32), degrees, detector,
        counts=(transmission * PHOTONS).astype(np.float32), weights="half-turn", arc_deg=180.0,
    )  # fmt: skip

    def make(folder: Path) -> Path:
        stated = {"photons": PHOTONS, "offset_mm": -1.0}
        (folder / "scan.medldm.json").write_text(json.dumps(stated))
        return write_data_exchange(folder / "scan.h5", integrals, degrees)

    return ReaderExample(DataExchangeReader(), make, expected)


def ct_pd() -> ReaderExample:
    """A circle of one detector row of a clinical scanner."""
    views, columns = 36, 24
    phi = 0.3 + np.arange(views) * 2 * np.pi / views
    exact = ct_pd_files.disc_integrals(phi, ct_pd_files.place(columns, 13.25, 2.0) / 400, 200.0)
    stored = np.round(exact / ct_pd_files.SLOPE).astype(np.uint16)
    values = np.ascontiguousarray((stored * np.float32(ct_pd_files.SLOPE))[None, :, ::-1], dtype=np.float32)
    degrees = np.rad2deg(np.unwrap(np.mod(phi, 2 * np.pi).astype(np.float32).astype(np.float64)))
    detector = Detector("fan-curved", columns, 2.0, 1.5, (200.0, 400.0))
    expected = _expected(
        values, degrees, detector, weights="full-turn", arc_deg=360.0,
        photons=ct_pd_files.PHOTONS, mu_water_per_mm=ct_pd_files.MU_WATER,
        counts=np.asarray(np.float32(ct_pd_files.PHOTONS) * np.exp(-values), np.float32),
    )  # fmt: skip
    expected = replace(expected, output=attenuation_from_hu(ct_pd_files.MU_WATER).inverse, grid=detector.grid(1, 1.5))
    return ReaderExample(CtPdReader(), lambda folder: ct_pd_files.write_fan(folder / "scan", views, columns), expected)


def matlab_struct(members: dict[str, object]) -> bytes:
    """A 1 x 1 struct without a name, of numbers, texts and structs, as an element of a MATLAB 5 file."""

    def element(kind: int, data: bytes) -> bytes:
        return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)

    def array(kind: int, shape: tuple[int, ...], body: bytes, name: bytes = b"") -> bytes:
        head = element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack(f"<{len(shape)}i", *shape))
        return element(14, head + element(1, name) + body)

    def member(value: object) -> bytes:
        if isinstance(value, dict):
            return matlab_struct(value)
        if isinstance(value, str):
            return array(4, (1, len(value)), element(17, value.encode("utf-16-le")))
        values = np.atleast_2d(np.asarray(value, dtype=np.float64))
        return array(6, values.shape, element(9, values.tobytes(order="F")))

    names = b"".join(name.encode().ljust(32, b"\0") for name in members)
    body = struct.pack("<HHI", 5, 4, 32) + element(1, names) + b"".join(member(value) for value in members.values())
    return array(2, (1, 1), body, b"CtDataLimited" if "sinogram" in members else b"")


def write_matlab(path: Path, members: dict[str, object]) -> Path:
    """A MATLAB 5 file with one compressed variable ``CtDataLimited``."""
    packed = zlib.compress(matlab_struct(members))
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    path.write_bytes(head + struct.pack("<II", 15, len(packed)) + packed)
    return path


def htc_members() -> dict[str, object]:
    """The struct of a limited arc that passes zero."""
    degrees = np.mod(350 + np.arange(11) * 2.0, 360)
    parameters = {
        "distanceSourceOrigin": 400.0,
        "distanceSourceDetector": 500.0,
        "distanceUnit": "mm",
        "geometricMagnification": 1.25,
        "geometryType": "Cone",
        "angles": degrees,
        "pixelSizePost": 0.5,
        "numDetectorsPost": 17,
    }
    return {"type": "2d", "sinogram": discs(degrees, 17, 8.0, 1)[0], "parameters": parameters}


def htc() -> ReaderExample:
    """A limited arc that passes zero degrees, which the reader unwraps."""
    members = htc_members()
    values = np.asarray(members["sinogram"], dtype=np.float32)[None]
    degrees = np.mod(350 + np.arange(11) * 2.0, 360)
    unwrapped = np.where(degrees < 180, degrees + 360, degrees)
    detector = Detector("fan-flat", 17, 0.5, 0.0, (400.0, 500.0))
    expected = _expected(values, unwrapped, detector, weights="limited", arc_deg=22.0)

    def make(folder: Path) -> Path:
        (folder / "disc.medldm.json").write_text(json.dumps({"photons": PHOTONS}))
        return write_matlab(folder / "disc.mat", members)

    return ReaderExample(HtcReader(), make, expected)


def sinogram_header(**more: object) -> dict[str, object]:
    """What describes :func:`sinogram`."""
    header: dict[str, object] = {
        "format": "medldm-sinogram",
        "version": 1,
        "data": "discs.npy",
        "content": "line-integrals",
        "geometry": "fan-curved",
        "angles_deg": {"first_deg": 0.0, "step_deg": 24.0},
        "pitch_mm": 2.0,
        "offset_mm": 0.5,
        "source_to_centre_mm": 500.0,
        "source_to_detector_mm": 1000.0,
        "photons": PHOTONS,
    }
    return header | more


def sinogram() -> ReaderExample:
    """A full turn of a curved detector."""
    degrees = np.arange(0.0, 360.0, 24.0)
    values = discs(degrees, 19, 9.0).astype(np.float32)
    detector = Detector("fan-curved", 19, 2.0, 0.5, (500.0, 1000.0))
    expected = _expected(values, degrees, detector, weights="full-turn", arc_deg=360.0)

    def make(folder: Path) -> Path:
        np.save(folder / "discs.npy", values)
        path = folder / "discs.json"
        path.write_text(json.dumps(sinogram_header()))
        return path

    return ReaderExample(SinogramReader(), make, expected)


def cone_header(**more: object) -> dict[str, object]:
    """What describes :func:`cone_beam`."""
    header: dict[str, object] = {
        "format": "medldm-cone-beam",
        "version": 1,
        "data": "helix.npy",
        "content": "line-integrals",
        "detector": "curved",
        "angles_deg": {"first_deg": 0.0, "step_deg": 30.0},
        "heights_mm": {"first_mm": -11.0, "step_mm": 1.0},
        "column_pitch_mm": 2.0,
        "row_pitch_mm": 3.0,
        "column_offset_mm": 0.5,
        "source_to_centre_mm": 500.0,
        "source_to_detector_mm": 1000.0,
        "photons": PHOTONS,
        "image": {"voxels": [6, 17, 17], "voxel_mm": [2.0, 1.0, 1.0]},
    }
    return header | more


def cone_beam() -> ReaderExample:
    """Two turns of a curved detector of four rows."""
    views = 23
    degrees: NDArray[np.float64] = 30.0 * np.arange(views, dtype=np.float64)
    heights: NDArray[np.float64] = -11.0 + np.arange(views, dtype=np.float64)
    values = discs(degrees, 19, 9.0, rows=4).swapaxes(0, 1).astype(np.float32)
    acquisition = Acquisition(
        physics="ct-helical",
        data=torch.from_numpy(np.ascontiguousarray(values)),
        axes=("view", "row", "column"),
        grid=Grid.isotropic((6, 17, 17), (2.0, 1.0, 1.0)),
        quantity="1/mm",
        modality="CT",
        output=AffineMap.identity("1/mm"),
        tensors={"angles": torch.from_numpy(np.deg2rad(degrees)), "heights_mm": torch.from_numpy(heights)},
        settings={
            "geometry": "cone-curved",
            "column_pitch_mm": 2.0,
            "row_pitch_mm": 3.0,
            "column_offset_mm": 0.5,
            "row_offset_mm": 0.0,
            "angle_unit": "rad",
            "source_to_centre_mm": 500.0,
            "source_to_detector_mm": 1000.0,
            "photons": PHOTONS,
            "electronic_std": 0.0,
        },
    )

    def make(folder: Path) -> Path:
        np.save(folder / "helix.npy", values)
        path = folder / "helix.json"
        path.write_text(json.dumps(cone_header()))
        return path

    return ReaderExample(ConeBeamReader(), make, acquisition)
