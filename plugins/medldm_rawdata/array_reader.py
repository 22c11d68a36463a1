"""k-space in ``NAME.npy``, ``NAME.npz`` or NIfTI, described by ``NAME.json``."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from medldm.errors import InputRefused
from medldm_rawdata.described_array import described_scan
from medldm_rawdata.described_shots import described_shots
from medldm_rawdata.hdf5_file import damaged
from medldm_rawdata.kspace_description import FORMAT, KSpaceDescription, description_file, stated_format
from medldm_rawdata.kspace_nifti import ENDINGS, read_nifti
from medldm_rawdata.kspace_scan import KSpaceScan, require_memory
from medldm_rawdata.one_scan import OneScanReader

_MAGIC = {".npy": b"\x93NUMPY", ".npz": b"PK\x03\x04"}
# What an npz may hold: k-space under this name, or alone; and these.
_KSPACE, _BESIDE = "kspace", ("mask", "noise", "trajectory")


@dataclass(frozen=True)
class KSpaceArrayReader(OneScanReader):
    """Reads NumPy arrays, whose pickles are refused, and NIfTI files that are described as k-space."""

    format: ClassVar[str] = "kspace-array"

    def accepts(self, path: Path) -> bool:
        """By the first bytes, unless the JSON file beside it is of another format; NIfTI only if it is of this one."""
        if path.name.lower().endswith(ENDINGS):
            return path.is_file() and stated_format(path) == FORMAT
        magic = _MAGIC.get(path.suffix.lower())
        try:
            if magic is None or not path.is_file():
                return False
            with path.open("rb") as file:
                return file.read(len(magic)) == magic and stated_format(path) in (None, FORMAT)
        except OSError:
            return False

    def files(self, path: Path) -> list[Path]:
        """With its description."""
        return [path, description_file(path)]

    def scan(self, path: Path, max_bytes: int) -> KSpaceScan:
        """See :class:`OneScanReader`."""
        try:
            arrays = _arrays(path, max_bytes)
        except FileNotFoundError as error:
            raise InputRefused("E-KSP-01", f"{path.name} does not exist.", fix="Check the path.") from error
        except PermissionError as error:
            raise InputRefused("E-KSP-01", f"{path.name} cannot be read.", fix="Check its permissions.") from error
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            # Object arrays end here too: allow_pickle is off.
            raise damaged(path) from error
        description = KSpaceDescription.beside(path)
        if description.axes is None or (description.sampling == "mask") != ("mask" in arrays):
            fault = "axes are missing" if description.axes is None else f"sampling is {description.sampling!r}"
            raise InputRefused(
                "E-KSP-05",
                f"The description of {path.name} does not fit it: {fault}, and the file holds {sorted(arrays)}.",
                why="It is not known which samples were measured, or what the axes are.",
                fix='Name the axes; "sampling": "mask" belongs to an npz with an array mask.',
            )
        if description.names_shots != ("trajectory" in arrays):
            raise InputRefused(
                "E-KSP-05",
                f"The description of {path.name} names the axes {', '.join(description.axes)}, and the file holds "
                f"{sorted(arrays)}.",
                why="A trajectory comes with the axes shot and sample, as an array trajectory (shot, sample, 2).",
                fix="Save it with numpy.savez(file, kspace=..., trajectory=...), and name its axes.",
            )
        if description.names_shots:
            return described_shots(arrays, description.axes, description, self.format, path, max_bytes)
        return described_scan(
            arrays[_KSPACE],
            description.axes,
            description,
            self.format,
            path,
            max_bytes,
            mask=arrays.get("mask"),
            noise=arrays.get("noise"),
        )


def _arrays(path: Path, max_bytes: int) -> dict[str, NDArray[Any]]:
    if path.name.lower().endswith(ENDINGS):
        return {_KSPACE: read_nifti(path, max_bytes)}
    if path.suffix.lower() == ".npy":
        # Mapped: nothing is read until its size is known to fit.
        return {_KSPACE: np.load(path, mmap_mode="r", allow_pickle=False)}
    with zipfile.ZipFile(path) as archive:
        sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
        name = _KSPACE if _KSPACE in sizes else next(iter(set(sizes) - set(_BESIDE)), "") if len(sizes) == 1 else ""
        strange = sorted(set(sizes) - {name, *_BESIDE})
        if not name or strange or len(sizes) != len(archive.infolist()):
            raise InputRefused(
                "E-KSP-08",
                f"{path.name} holds {sorted(sizes)[:8]}; it should hold kspace, and may hold mask, noise and "
                "trajectory.",
                why="It is not known which array is k-space.",
                fix="Save it with numpy.savez(file, kspace=...) under these names.",
            )
        require_memory((sum(sizes.values()) // 8,), max_bytes, path.name)
        for info in archive.infolist():
            with archive.open(info) as member:
                _require_content(member, info.file_size, path)
    with np.load(path, allow_pickle=False) as stored:
        return {_KSPACE if key == name else key: stored[key] for key in sizes}


def _require_content(member: Any, size: int, path: Path) -> None:
    """Refuse an array whose header claims more than the archive holds, before anything is allocated for it."""
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(member)
    claimed = dtype.itemsize
    for n in shape:
        claimed *= int(n)
    if claimed > size or dtype.hasobject:
        raise damaged(path)
