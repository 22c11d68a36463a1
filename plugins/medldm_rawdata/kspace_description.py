"""The JSON file beside an array of k-space: what the array itself does not say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pydantic

from medldm.data import Grid
from medldm.errors import InputRefused, Problem
from medldm_rawdata.kspace_grid import NOT_STATED, nominal_grid
from medldm_rawdata.trajectory_units import TrajectoryUnit

FORMAT: Literal["medldm-kspace"] = "medldm-kspace"
_LONGEST = 2**20
# Of a JSON that describes something else, such as the angles of projections.
_LONGEST_OF_OTHERS = 2**24
_Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
_Row = Annotated[list[pydantic.FiniteFloat], pydantic.Field(min_length=4, max_length=4)]
_Size = Annotated[pydantic.StrictInt, pydantic.Field(ge=1, le=65536)]
Axis = Literal["z", "kz", "coil", "ky", "kx", "shot", "sample"]


class Centre(pydantic.BaseModel):
    """Index of frequency zero along an axis; the middle, ``n // 2``, where not stated."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
    kz: pydantic.NonNegativeInt | None = None
    ky: pydantic.NonNegativeInt | None = None
    kx: pydantic.NonNegativeInt | None = None


class KSpaceDescription(pydantic.BaseModel):
    """``NAME.json`` beside ``NAME.npy``, ``NAME.npz``, ``NAME.nii``, ``NAME.nii.gz`` or ``NAME.cfl``.

    Attributes:
        format: ``medldm-kspace``.
        version: 1.
        axes: names of the array's axes in their order; not for BART, whose order is fixed. ``kz`` is a second phase
            encoding, which is transformed away. ``shot`` and ``sample`` are k-space along a trajectory.
        spacing_mm: of the image along z, y, x: distance of slices, and field of view over samples.
        affine: voxel (z, y, x) -> LPS in mm, 4 x 4, where the orientation is known; its columns agree with the spacing.
        centre: of k-space.
        sampling: ``non-zero``, samples that are not zero were measured; ``mask``, the array ``mask`` of the npz says.
        noise_std: per real component, in units of the array; where not stated it is estimated, or taken from the array
            ``noise`` of the npz (coil, sample).
        simulated: whether the array was computed from an image.
        matrix: of the image (y, x), where k-space was measured along a trajectory, which does not say it.
        trajectory: of BART, the name of the pair that holds it, in the same folder; an npz holds it itself.
        trajectory_unit: of the array ``trajectory`` of the npz; BART's is ``cycles/fov``.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    format: Literal["medldm-kspace"]
    version: Annotated[pydantic.StrictInt, pydantic.Field(ge=1, le=1)]
    axes: Annotated[tuple[Axis, ...], pydantic.Field(min_length=2, max_length=4)] | None = None
    spacing_mm: tuple[_Positive, _Positive, _Positive]
    affine: Annotated[list[_Row], pydantic.Field(min_length=4, max_length=4)] | None = None
    centre: Centre = Centre()
    sampling: Literal["non-zero", "mask"] = "non-zero"
    noise_std: _Positive | None = None
    simulated: pydantic.StrictBool = False
    matrix: tuple[_Size, _Size] | None = None
    trajectory: str | None = None
    trajectory_unit: TrajectoryUnit | None = None

    @pydantic.field_validator("trajectory")
    @classmethod
    def _in_the_same_folder(cls, name: str | None) -> str | None:
        if name is not None and (name in ("", "..") or Path(name).name != name):
            raise ValueError("trajectory is the name of a pair in the same folder")
        return name

    @classmethod
    def beside(cls, path: Path) -> KSpaceDescription:
        """Read the description of an array.

        Raises:
            InputRefused: E-KSP-04 when there is none, E-KSP-05 when it is not valid.
        """
        file = description_file(path)
        try:
            with file.open("rb") as opened:
                content = opened.read(_LONGEST + 1)
        except OSError as error:
            raise InputRefused(
                "E-KSP-04",
                f"There is no readable {file.name} beside {path.name}.",
                why="The array does not say what its axes are and how large a voxel is.",
                fix='Write one, e.g. {"format": "medldm-kspace", "version": 1, "axes": ["coil", "ky", "kx"], '
                '"spacing_mm": [5, 1, 1]} (without axes for BART); the README of medldm_rawdata lists all entries.',
            ) from error
        try:
            if len(content) > _LONGEST:
                raise ValueError("it is longer than 1 MiB")
            found = cls.model_validate_json(content)
            if found.axes is not None:
                _require_axes(found.axes)
            found._require_entries_of_shots()
            return found
        except pydantic.ValidationError as error:
            fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
            place = ".".join(map(str, fault["loc"])) or "the file"
            raise _invalid(file, f"{place}: {fault['msg'].removeprefix('Value error, ')}") from error
        except ValueError as error:
            raise _invalid(file, str(error)) from error

    @property
    def names_shots(self) -> bool:
        """Whether the axes are those of k-space along a trajectory."""
        return "shot" in (self.axes or ())

    @property
    def unit(self) -> TrajectoryUnit | None:
        """Of the trajectory, where there is one."""
        return "cycles/fov" if self.trajectory is not None else self.trajectory_unit

    def _require_entries_of_shots(self) -> None:
        if (self.trajectory_unit is not None) != self.names_shots:
            raise ValueError(f"trajectory_unit: {'is needed' if self.names_shots else 'comes'} with shot and sample")
        if self.trajectory is not None and self.axes is not None:
            raise ValueError("trajectory: names a pair of BART, which has no axes; an npz holds its own")
        if (self.matrix is not None) != (self.unit is not None):
            raise ValueError(f"matrix: {'comes' if self.unit is None else 'is needed'} with a trajectory")
        if self.unit is not None and self.centre != Centre():
            raise ValueError("centre: a trajectory says where frequency zero is")

    def grid(self, shape: tuple[int, int, int]) -> tuple[Grid, tuple[Problem, ...]]:
        """The grid of the image, and what is not known of it."""
        if self.affine is None:
            return nominal_grid(shape, self.spacing_mm), (NOT_STATED,)
        grid = Grid(shape, np.asarray(self.affine, dtype=np.float64))
        if not np.allclose(grid.spacing, self.spacing_mm, rtol=1e-3):
            raise InputRefused(
                "E-KSP-05",
                f"spacing_mm {self.spacing_mm} and the affine's steps "
                f"{tuple(round(s, 4) for s in grid.spacing)} disagree.",
                why="The voxel size is not known.",
                fix="Correct one of them.",
            )
        return grid, ()


def description_file(path: Path) -> Path:
    """The JSON file of an array's name."""
    return path.with_name(f"{path.name[:-7] if path.name.lower().endswith('.nii.gz') else path.stem}.json")


def stated_format(path: Path) -> str | None:
    """What the JSON file beside an array says that it is; None when there is none, or it does not say; never raises."""
    try:
        with description_file(path).open("rb") as opened:
            content: Any = pydantic.TypeAdapter(dict[str, Any]).validate_json(opened.read(_LONGEST_OF_OTHERS))
    except (OSError, ValueError):
        return None
    return str(content["format"]) if "format" in content else None


def _require_axes(axes: tuple[Axis, ...]) -> None:
    if len(set(axes)) != len(axes):
        raise ValueError("axes: one is named twice")
    if {"shot", "sample"} & set(axes):
        if not {"shot", "sample"} <= set(axes) <= {"z", "coil", "shot", "sample"}:
            raise ValueError("axes: shot and sample come together, with z and coil only")
        return
    if not {"ky", "kx"} <= set(axes):
        raise ValueError("axes: ky and kx are needed, or shot and sample")
    if {"z", "kz"} <= set(axes):
        raise ValueError("axes: slices and partitions (z and kz) together")


def _invalid(file: Path, fault: str) -> InputRefused:
    return InputRefused(
        "E-KSP-05",
        f"{file.name} does not describe k-space ({fault}).",
        why="A measurement whose description is incomplete cannot be explained.",
        fix="Correct the entry; the README of medldm_rawdata lists all entries.",
    )
