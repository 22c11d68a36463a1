"""NIfTI files as volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medldm.data import Acquisition, History, ReadRequest, SeriesRow, Source, Volume
from medldm.errors import InputRefused, MedldmError, Problem
from medldm_nifti.container import Container, pair, stem, suffix
from medldm_nifti.header import HEADER_BYTES, Header, looks_like_nifti, parse
from medldm_nifti.modality import inferred, is_measurement, may_be_inferred, sidecar_file, stated
from medldm_nifti.orientation import place


def _to_float(raw: NDArray[np.generic], header: Header) -> Tensor:
    """Stored samples -> values (z, y, x); scaled in float64 slice by slice to bound the memory."""
    z, y, x = header.shape[::-1]
    stored = raw.reshape(z, y, x)
    out = np.empty((z, y, x), dtype=np.complex64 if header.dtype.kind == "c" else np.float32)
    wide = np.complex128 if header.dtype.kind == "c" else np.float64
    plain = (header.slope, header.intercept) == (1.0, 0.0)
    # Values beyond float32 become infinite, which `Volume.require_finite` reports with their number.
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(z):
            out[k] = stored[k] if plain else stored[k].astype(wide) * header.slope + header.intercept
    return torch.from_numpy(out)


def _files_of(image: Path) -> list[Path]:
    beside = sidecar_file(image)
    sidecar = [] if beside is None else [beside]
    try:
        return [image, *pair(image), *sidecar]
    except (MedldmError, OSError):
        return [image, *sidecar]


@dataclass(frozen=True)
class NiftiReader:
    """Reads ``.nii``, ``.nii.gz`` and ``.hdr``/``.img`` (each also compressed), NIfTI-1 and NIfTI-2.

    The tensor is (z, y, x): the stored axes reversed, so that no voxel moves in memory and every one of the 48
    orientations comes back as it was written. The first tensor axis is therefore the file's third, whatever its
    direction in the patient; ``Grid.orientation`` tells it, and ``inspect`` notes when slices are not axial.
    """

    def accepts(self, path: Path) -> bool:
        """By name for ``.nii``; by the first bytes for ``.hdr``/``.img``, which other formats use too.

        A file whose JSON says that it is a measurement is left to the readers of measurements.
        """
        if path.is_dir():
            return bool(self._files(path))
        kind = suffix(path)
        if kind.startswith(".nii"):
            return path.is_file() and not is_measurement(path)
        if not kind or not path.is_file():
            return False
        try:
            return looks_like_nifti(Container.of(pair(path)[0]).head(4))
        except (MedldmError, OSError):
            return False

    def files(self, path: Path) -> list[Path]:
        """Images, each with the other half of its pair and its sidecar."""
        images = self._files(path) if path.is_dir() else [path]
        return [file for image in images for file in _files_of(image)]

    def inspect(self, path: Path) -> list[SeriesRow]:
        """One row per file; headers only, no voxel is read."""
        files = self._files(path) if path.is_dir() else [path]
        return [self._row(index, file) for index, file in enumerate(files, 1)]

    def read(self, path: Path, request: ReadRequest) -> Sequence[Volume | Acquisition]:
        """The one volume asked for.

        Raises:
            InputRefused: E-NII-01 to E-NII-17, see the plugin's README, and E-IN-07 another scan than that of a file.
        """
        file = self._choose(path, request)
        header, voxels = self._open(file)
        index = self._volume_index(header, request.volume_index, file)
        placement = place(header, file.name, request.assume_orientation)
        sample = 8 if header.dtype.kind == "c" else 4
        needed = header.voxels * (sample + header.dtype.itemsize)
        if needed > request.max_bytes:
            raise InputRefused(
                "E-NII-07",
                f"{file.name} needs {needed / 2**30:.3g} GiB of memory to read, "
                f"{request.max_bytes / 2**30:.3g} GiB are allowed.",
                fix="Allow more memory, or crop the file.",
            )
        first = header.offset + index * header.voxels * header.dtype.itemsize
        data = _to_float(voxels.voxels(first, header.voxels, header.dtype), header)
        kind = stated(file, header, request.modality) or inferred(header, data)
        history = History().then("read", format="nifti", orientation_from=placement.rule)
        history = history.noticed(placement.problems)
        if placement.rule == "assumed":
            history = history.then("orientation-assumed", code=request.assume_orientation)
        if header.volumes > 1:
            history = history.then("volume-chosen", index=index, of=header.volumes)
        if kind.said_by == "values":
            history = history.then("modality-inferred", modality=kind.modality, minimum=float(data.min()))
            sentence = f"The file does not say what it is; by its values it is taken for {kind.modality}."
            history = history.noticed((Problem("E-NII-20", "note", sentence, "State it with --modality."),))
        return [
            Volume(
                data,
                placement.grid,
                quantity=kind.quantity,
                modality=kind.modality,
                name=stem(file) or file.name,
                history=history,
                source=Source("nifti", (file,)),
            )
        ]

    def _files(self, folder: Path) -> list[Path]:
        try:
            inside = sorted(p for p in folder.iterdir() if suffix(p) and not p.name.startswith("."))
        except OSError:
            return []
        # One row for a pair: its header stands for it.
        return [p for p in inside if not suffix(p).startswith(".img") and p.is_file() and self.accepts(p)]

    def _choose(self, path: Path, request: ReadRequest) -> Path:
        if not path.is_dir():
            request.require_only_series(path)
            return path
        series = request.series
        files = self._files(path)
        named = {f"#{i}": f for i, f in enumerate(files, 1)} | {f.name: f for f in files}
        if series is None and len(files) == 1:
            return files[0]
        if series in named:
            return named[series]
        listed = ", ".join(f"#{i} {f.name}" for i, f in enumerate(files[:8], 1)) or "none"
        raise InputRefused(
            "E-NII-17",
            f"{path.name} holds {len(files)} NIfTI files ({listed}{', ...' if len(files) > 8 else ''}) and "
            + ("none was chosen." if series is None else f"none is {series!r}."),
            fix="Choose one with --series '#n', or give the file itself.",
        )

    def _open(self, file: Path) -> tuple[Header, Container]:
        head_file, voxel_file = pair(file)
        header = parse(Container.of(head_file).head(HEADER_BYTES), head_file.name)
        if header.single:
            voxel_file = head_file
        elif voxel_file == head_file:
            raise InputRefused(
                "E-NII-02",
                f"{file.name} is the header of a .hdr/.img pair under another name.",
                why="Its voxels are in a second file that its name does not lead to.",
                fix="Rename the pair to .hdr and .img.",
            )
        voxels = Container.of(voxel_file)
        voxels.require(header.content)
        return header, voxels

    def _volume_index(self, header: Header, asked: int | None, file: Path) -> int:
        if asked is None and header.volumes > 1:
            raise InputRefused(
                "E-NII-14",
                f"{file.name} holds {header.volumes} volumes along its fourth axis.",
                why="Time points, echoes or directions are different images.",
                fix=f"Choose one with --volume-index 0 to {header.volumes - 1}.",
            )
        index = asked or 0
        if not 0 <= index < header.volumes:
            raise InputRefused(
                "E-NII-15",
                f"There is no volume {index} in {file.name}; it holds {header.volumes}.",
                fix=f"Choose a --volume-index between 0 and {header.volumes - 1}.",
            )
        return index

    def _row(self, index: int, file: Path) -> SeriesRow:
        problems: list[Problem] = []
        shape: tuple[int, ...] | None = None
        spacing: tuple[float, ...] | None = None
        orientation: str | None = None
        modality, description, files = "OT", "", 1
        try:
            header, _ = self._open(file)
            files = 1 if header.single else 2
            shape = header.shape[::-1]
            description = header.dtype.name + (f", {header.volumes} volumes" if header.volumes > 1 else "")
            kind = stated(file, header, None)
            modality = kind.modality if kind else "OT"
            if kind is None and may_be_inferred(header):
                problems.append(
                    Problem(
                        "E-NII-20",
                        "note",
                        "The file does not say what it is; it is read as CT if its minimum is that of air in HU.",
                        "State it with --modality.",
                    )
                )
            try:
                self._volume_index(header, None, file)
            except InputRefused as refusal:
                problems.append(Problem(refusal.code, "error", refusal.what, refusal.fix))
            placement = place(header, file.name, None)
            spacing, orientation = placement.grid.spacing, placement.grid.orientation
            problems.extend(placement.problems)
        except MedldmError as refusal:
            problems.append(Problem(refusal.code, "error", refusal.what, refusal.fix))
        except OSError as error:
            problems.append(Problem("E-NII-01", "error", f"{file.name} cannot be read: {error.strerror}."))
        return SeriesRow(
            index, file.name, "nifti", modality, description, files, shape, spacing, orientation, tuple(problems)
        )
