"""One measurement in one safetensors file: ``NAME.acq.safetensors``.

The file holds the tensor ``data``, one tensor ``tensors/NAME`` for each array of the physics, and a single metadata
entry ``medldm-acquisition`` with a JSON object (:class:`medldm_rawdata.header.AcquisitionHeader`). No code can hide in
it, and nothing of the patient or of the source file is stored. The measurement is named like its own file.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from medldm.aside import whole_file
from medldm.data import Acquisition, Source
from medldm.errors import InputRefused
from medldm_rawdata.header import METADATA_KEY, AcquisitionHeader

SUFFIX = ".acq.safetensors"
_DATA = "data"
_PREFIX = "tensors/"
_MEASURED = (torch.float32, torch.float64, torch.complex64, torch.complex128)


def save_acquisition(acquisition: Acquisition, path: Path) -> Path:
    """Write a measurement; a file of that name is replaced as a whole or not at all.

    Args:
        acquisition: tensors on any device. Complex128 becomes pairs of float64, as safetensors has no such type.
        path: ``NAME.acq.safetensors`` in a folder that exists.

    Returns:
        The path.

    Raises:
        UsageError: E-RAW-09 for settings that are no plain numbers or words.
        OSError: the folder cannot be written, or the disk is full.
    """
    named = {_DATA: acquisition.data} | {_PREFIX + key: value for key, value in acquisition.tensors.items()}
    pairs = tuple(sorted(key for key, value in named.items() if value.dtype == torch.complex128))
    stored = {key: _storable(value, key in pairs) for key, value in named.items()}
    header = AcquisitionHeader.of(acquisition, pairs)
    with whole_file(path) as aside:
        aside.open("xb").close()
        mode = aside.stat().st_mode
        try:
            save_file(stored, aside, metadata={METADATA_KEY: header.model_dump_json()})
        except SafetensorError as error:
            raise OSError(*_os_reason(error)) from error
        # The library makes a file that only its owner reads; a result has the permissions of any new file.
        aside.chmod(mode)
        with aside.open("rb") as file:
            os.fsync(file.fileno())
    return path


def _storable(value: Tensor, as_pairs: bool) -> Tensor:
    plain = value.detach().cpu().resolve_conj().resolve_neg()
    # A copy of its own: safetensors refuses tensors that share memory.
    return (torch.view_as_real(plain) if as_pairs else plain).contiguous().clone()


def _os_reason(error: SafetensorError) -> tuple[int, str]:
    # The library reports system errors as text, "... (os error 28) at path ...".
    found = re.search(r"os error (\d+)", str(error))
    code = int(found[1]) if found else errno.EIO
    return code, os.strerror(code)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, KeyError) as error:
        raise InputRefused(
            "E-RAW-02",
            f"{path.name} is damaged, truncated or no safetensors file.",
            why="Its measurement cannot be trusted.",
            fix="Copy the file again, or write it again with medldm simulate.",
        ) from error
    except OSError as error:
        raise InputRefused(
            "E-RAW-01", f"{path.name} cannot be read: {error.strerror or error}.", fix="Check the path and permissions."
        ) from error


def _header(file: Any, path: Path) -> AcquisitionHeader:
    text = (file.metadata() or {}).get(METADATA_KEY)
    if text is None:
        raise InputRefused(
            "E-RAW-03",
            f"{path.name} is a safetensors file but no measurement of medldm.",
            why=f"Its metadata has no entry {METADATA_KEY!r}.",
            fix="Give a file written by medldm simulate; weights of a prior go to --prior.",
        )
    header = AcquisitionHeader.parse(text, path.name)
    keys = set(file.keys())
    strange = sorted(k for k in keys if k != _DATA and not (k.startswith(_PREFIX) and len(k) > len(_PREFIX)))
    missing = sorted({_DATA, *header.complex_pairs} - keys)
    if strange or missing:
        raise _mismatch(path, f"missing {missing}, not expected {strange}")
    for key in header.complex_pairs:
        part = file.get_slice(key)
        if part.get_dtype() != "F64" or part.get_shape()[-1:] != [2]:
            raise _mismatch(path, f"{key} does not hold pairs of float64")
    return header


def _mismatch(path: Path, what: str) -> InputRefused:
    return InputRefused(
        "E-RAW-06",
        f"The tensors of {path.name} do not fit its header: {what}.",
        why="The file was changed after it was written.",
        fix="Write it again with medldm simulate.",
    )


def read_header(path: Path) -> tuple[AcquisitionHeader, dict[str, int]]:
    """The header and the sizes of the measurement's named axes; no tensor is read.

    Raises:
        InputRefused: E-RAW-01 to E-RAW-06.
    """
    with _opened(path) as file:
        header = _header(file, path)
        shape = file.get_slice(_DATA).get_shape()
        sizes = list(shape[:-1] if _DATA in header.complex_pairs else shape)
    if len(sizes) != len(header.axes):
        raise _mismatch(path, f"{len(sizes)} axes of data and {len(header.axes)} names")
    return header, dict(zip(header.axes, sizes, strict=True))


def load_acquisition(path: Path, *, max_bytes: int | None = None) -> Acquisition:
    """Read a measurement.

    Args:
        path: written by :func:`save_acquisition`.
        max_bytes: refuse to allocate more than this.

    Raises:
        InputRefused: E-RAW-01 to E-RAW-08, E-RAW-10, or the codes of Grid and Acquisition.
    """
    header, _ = read_header(path)
    size = path.stat().st_size
    if max_bytes is not None and size > max_bytes:
        raise InputRefused(
            "E-RAW-08",
            f"{path.name} needs {size / 2**30:.3g} GiB of memory to read, {max_bytes / 2**30:.3g} GiB are allowed.",
            fix="Allow more memory.",
        )
    with _opened(path) as file:
        # Cloned, because the tensors as read are views of the file, which somebody may change or truncate.
        named = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118  (not a mapping)
    for key in header.complex_pairs:
        named[key] = torch.view_as_complex(named[key])
    for key, value in sorted(named.items()):
        if not bool(torch.isfinite(value).all()):
            raise InputRefused(
                "E-RAW-07",
                f"{int((~torch.isfinite(value)).sum())} of {value.numel()} values of {key!r} in {path.name} "
                "are NaN or infinite.",
                why="They would spread over the whole image.",
                fix="Mask them out of the measurement, or measure again.",
            )
    data = named.pop(_DATA)
    if data.dtype not in _MEASURED:
        raise InputRefused(
            "E-RAW-10",
            f"The measurement in {path.name} is of type {str(data.dtype).removeprefix('torch.')}.",
            why="Operators compute in real or complex floating point.",
            fix="Store it as float32 or complex64.",
        )
    return Acquisition(
        physics=header.physics,
        data=data,
        axes=header.axes,
        grid=header.grid_value(),
        quantity=header.quantity,
        modality=header.modality,
        output=header.output_value(),
        tensors={key.removeprefix(_PREFIX): value for key, value in sorted(named.items())},
        settings=header.settings,
        noise_std=header.noise_std,
        simulated=header.simulated,
        name=path.name[: -len(SUFFIX)] if path.name.lower().endswith(SUFFIX) else path.stem,
        history=header.history_value(),
        source=Source("acquisition", (path,)),
    )
