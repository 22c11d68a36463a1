"""One array of numbers from ``.npy``, ``.npz`` or NIfTI, its size known before it is read. Nothing is unpickled."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import nibabel
import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from medldm.errors import InputRefused
from medldm_rawdata.projections.measured import require_memory
from medldm_rawdata.projections.stated import damaged, unreadable

ENDINGS = (".npy", ".npz", ".nii", ".nii.gz")


def read_array(path: Path, name: str | None, max_bytes: int) -> NDArray[Any]:
    """The array; NIfTI's axes are turned round, so that the fastest comes last as in NumPy.

    Args:
        path: a file of one of :data:`ENDINGS`.
        name: of the array in an ``.npz`` file; None takes the only one.
        max_bytes: of the array.

    Raises:
        InputRefused: E-PRJ-01 unreadable, E-PRJ-02 damaged, E-PRJ-03 no such array, E-PRJ-04 not an array of numbers,
            E-PRJ-06 too large.
    """
    lower = path.name.lower()
    if not lower.endswith(ENDINGS):
        raise InputRefused(
            "E-PRJ-04", f"{path.name} is not one of {', '.join(ENDINGS)}.", fix="Store the sinogram in one of these."
        )
    try:
        if lower.endswith(".npy"):
            with path.open("rb") as file:
                return _npy(file, path, max_bytes)
        if lower.endswith(".npz"):
            with zipfile.ZipFile(path) as archive, archive.open(_member(archive, name, path)) as part:
                return _npy(part, path, max_bytes)  # type: ignore[arg-type]  # a readable stream is all it needs
        return _nifti(path, max_bytes)
    except OSError as error:
        # What the system refuses has a number; libraries raise the same type, without one, for contents.
        if error.errno is not None or not path.is_file():
            raise unreadable(path, error) from error
        raise damaged(path, "it cannot be read to its end") from error
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise damaged(path, "it is no file of its kind, or ends early") from error
    except nibabel.filebasedimages.ImageFileError as error:
        raise damaged(path, "it is no NIfTI file") from error


def _member(archive: zipfile.ZipFile, name: str | None, path: Path) -> str:
    names = [entry.removesuffix(".npy") for entry in archive.namelist() if entry.endswith(".npy")]
    if name is None and len(names) == 1:
        name = names[0]
    if name not in names:
        raise InputRefused(
            "E-PRJ-03",
            f"{path.name} holds the arrays {', '.join(sorted(names)) or 'none'}, not {name or 'a single one'}.",
            why="Which of them is the sinogram is not guessed.",
            fix="Name it as 'array' in the JSON file.",
        )
    return f"{name}.npy"


def _npy(file: BinaryIO, path: Path, max_bytes: int) -> NDArray[Any]:
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError("a later version of the format")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(file)
    _numeric(dtype, path)
    count = math.prod(shape)
    require_memory(count * dtype.itemsize, max_bytes, path.name)
    content = file.read(count * dtype.itemsize)
    values = np.frombuffer(content, dtype=dtype, count=count).reshape(shape, order="F" if fortran else "C")
    return values.astype(dtype.newbyteorder("="))


def _nifti(path: Path, max_bytes: int) -> NDArray[Any]:
    image = nibabel.nifti1.load(path)
    _numeric(image.get_data_dtype(), path)
    require_memory(8 * math.prod(image.shape), max_bytes, path.name)
    return np.asarray(image.dataobj).transpose()


def _numeric(dtype: np.dtype[Any], path: Path) -> None:
    if dtype.kind not in "iuf":
        raise InputRefused(
            "E-PRJ-04",
            f"{path.name} holds values of type {dtype}.",
            why="A sinogram is an array of whole or real numbers; Python objects are never unpickled.",
            fix="Store it as float32.",
        )
