"""Writers of small files of k-space in the formats that are read, for examples and tests.

They follow the formats' own descriptions, not the readers: ISMRMRD's C structures, fastMRI's arrays, BART's pairs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

IDX = np.dtype(
    [
        *((name, "<u2") for name in ("kspace_encode_step_1", "kspace_encode_step_2", "average", "slice", "contrast")),
        *((name, "<u2") for name in ("phase", "repetition", "set", "segment")),
        ("user", "<u2", (8,)),
    ]
)
HEAD = np.dtype(
    [
        *(("version", "<u2"), ("flags", "<u8"), ("measurement_uid", "<u4"), ("scan_counter", "<u4")),
        *(("acquisition_time_stamp", "<u4"), ("physiology_time_stamp", "<u4", (3,))),
        *((name, "<u2") for name in ("number_of_samples", "available_channels", "active_channels")),
        ("channel_mask", "<u8", (16,)),
        *((name, "<u2") for name in ("discard_pre", "discard_post", "center_sample", "encoding_space_ref")),
        *(("trajectory_dimensions", "<u2"), ("sample_time_us", "<f4")),
        *((name, "<f4", (3,)) for name in ("position", "read_dir", "phase_dir", "slice_dir", "patient_table_position")),
        *(("idx", IDX), ("user_int", "<i4", (8,)), ("user_float", "<f4", (8,))),
    ]
)


def ismrmrd_xml(
    encoded: tuple[tuple[int, int, int], tuple[float, float, float]],
    recon: tuple[tuple[int, int, int], tuple[float, float, float]],
    *,
    centre: int | None = None,
    partition: int | None = None,
    trajectory: str = "cartesian",
    calibration: str = "",
    noise_bandwidth: float | None = None,
) -> str:
    """A header: matrix and field of view in mm along (x, y, z) of the encoded and the reconstructed space.

    ``centre`` and ``partition`` are the counters of frequency zero along the first and the second phase encoding.
    """

    def space(name: str, matrix: tuple[int, int, int], size: tuple[float, float, float]) -> str:
        numbers = "".join(f"<{a}>{n}</{a}>" for a, n in zip("xyz", matrix, strict=True))
        lengths = "".join(f"<{a}>{n}</{a}>" for a, n in zip("xyz", size, strict=True))
        return f"<{name}><matrixSize>{numbers}</matrixSize><fieldOfView_mm>{lengths}</fieldOfView_mm></{name}>"

    limits = ""
    for step, zero in ((1, centre), (2, partition)):
        limit = f"<minimum>0</minimum><maximum>{encoded[0][step] - 1}</maximum><center>{zero}</center>"
        limits += "" if zero is None else f"<kspace_encoding_step_{step}>{limit}</kspace_encoding_step_{step}>"
    factor = "<accelerationFactor><kspace_encoding_step_1>2</kspace_encoding_step_1></accelerationFactor>"
    mode = f"<calibrationMode>{calibration}</calibrationMode>"
    parallel = f"<parallelImaging>{factor}{mode}</parallelImaging>" if calibration else ""
    ratio = f"<relativeReceiverNoiseBandwidth>{noise_bandwidth}</relativeReceiverNoiseBandwidth>"
    system = f"<acquisitionSystemInformation>{ratio}</acquisitionSystemInformation>" if noise_bandwidth else ""
    return (
        '<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">'
        f"{system}<encoding><trajectory>{trajectory}</trajectory>{space('encodedSpace', *encoded)}"
        f"{space('reconSpace', *recon)}<encodingLimits>{limits}</encodingLimits>{parallel}</encoding></ismrmrdHeader>"
    )


def ismrmrd_line(samples: NDArray[Any], flags: Iterable[int] = (), **entries: Any) -> tuple[Any, NDArray[Any]]:
    """A line: its head, and its samples (coil, sample). Counters and the head's other entries by their names."""
    head = np.zeros((), dtype=HEAD)
    head["version"] = 1
    head["flags"] = sum(1 << (flag - 1) for flag in flags)
    head["active_channels"] = head["available_channels"] = samples.shape[0]
    head["number_of_samples"] = samples.shape[1]
    head["center_sample"] = samples.shape[1] // 2
    head["sample_time_us"] = 5.0
    for name, value in entries.items():
        (head["idx"] if name in (IDX.names or ()) else head)[name] = value
    return head, np.ascontiguousarray(samples, dtype=np.complex64).view(np.float32).reshape(-1)


def ismrmrd_shot(
    samples: NDArray[Any], places: NDArray[Any], flags: Iterable[int] = (), **entries: Any
) -> tuple[Any, NDArray[Any], NDArray[Any]]:
    """A line (coil, sample) along a trajectory (sample, dimension): kx, ky and maybe a third number."""
    head, values = ismrmrd_line(samples, flags, trajectory_dimensions=places.shape[1], **entries)
    return head, values, np.ascontiguousarray(places, dtype=np.float32).reshape(-1)


def write_ismrmrd(
    path: Path, xml: str | bytes, lines: Sequence[tuple[Any, ...]], group: str = "dataset", mode: str = "w"
) -> Path:
    """One measurement in ``group``, as the library of the format lays it out; ``mode`` "a" adds it to a file."""
    floats = h5py.vlen_dtype(np.dtype("<f4"))
    table = np.empty(len(lines), dtype=[("head", HEAD), ("traj", floats), ("data", floats)])
    for i, (head, values, *places) in enumerate(lines):
        trajectory = places[0] if places else np.zeros(0, np.float32)
        table[i]["head"], table[i]["traj"], table[i]["data"] = head, trajectory, values
    with h5py.File(path, mode) as file:
        inside = file.create_group(group)
        inside.create_dataset("xml", data=[xml], dtype=h5py.string_dtype())
        inside.create_dataset("data", data=table, maxshape=(None,), chunks=(1,))
    return path


def write_fastmri(path: Path, kspace: NDArray[Any], xml: str, **arrays: NDArray[Any]) -> Path:
    """One series: ``kspace`` (slice, coil, read, phase), its header, and what else there is (``mask``, ...)."""
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace.astype(np.complex64)
        file["ismrmrd_header"] = xml.encode()
        for name, values in arrays.items():
            file[name] = values
        file.attrs["acquisition"] = "AXT2"
    return path


def write_bart(path: Path, array: NDArray[Any], description: Mapping[str, Any]) -> Path:
    """A pair ``NAME.hdr`` and ``NAME.cfl`` of an array in BART's order of dimensions, and ``NAME.json``."""
    sizes = " ".join(map(str, [*array.shape, *[1] * (16 - array.ndim)]))
    path.with_suffix(".hdr").write_text(f"# Dimensions\n{sizes} \n# Command\nphantom -k\n")
    path.with_suffix(".cfl").write_bytes(array.astype("<c8").tobytes(order="F"))
    return described(path.with_suffix(".cfl"), description)


def described(path: Path, description: Mapping[str, Any]) -> Path:
    """Write the JSON file beside an array; returns the array's path."""
    name = path.name.removesuffix(".gz").removesuffix(".nii") if path.suffix == ".gz" else path.stem
    path.with_name(f"{name}.json").write_text(json.dumps({"format": "medldm-kspace", "version": 1, **description}))
    return path
