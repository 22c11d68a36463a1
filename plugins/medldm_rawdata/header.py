"""What stands in the header of an acquisition file, and nothing else."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
import pydantic

from medldm.data import Acquisition, AffineMap, Grid, History, Quantity
from medldm.data.volume import Modality
from medldm.errors import InputRefused, MedldmError, UsageError

FORMAT: Literal["medldm-acquisition"] = "medldm-acquisition"
VERSION = 1
# One metadata entry keeps the bytes of a file independent of any order of keys.
METADATA_KEY: str = FORMAT
_TEXT = Annotated[str, pydantic.Field(min_length=1, max_length=1000)]
_Row = Annotated[list[pydantic.FiniteFloat], pydantic.Field(min_length=4, max_length=4)]


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class GridHeader(_Strict):
    """A :class:`medldm.data.Grid`: sizes, names of axes, voxel -> LPS in mm."""

    shape: tuple[pydantic.PositiveInt, pydantic.PositiveInt, pydantic.PositiveInt]
    axes: tuple[_TEXT, _TEXT, _TEXT]
    affine: Annotated[list[_Row], pydantic.Field(min_length=4, max_length=4)]


class OutputHeader(_Strict):
    """A :class:`medldm.data.AffineMap`."""

    name: _TEXT
    scale: pydantic.FiniteFloat
    offset: pydantic.FiniteFloat
    source: _TEXT
    target: _TEXT


class AcquisitionHeader(_Strict):
    """Everything of an acquisition that is not a tensor.

    Attributes:
        name: never written, since it is mostly that of the scanned file and so of the patient; files may state one.
        complex_pairs: tensors stored as real pairs in a last axis of length 2, since safetensors has no complex128.
    """

    format: Literal["medldm-acquisition"]
    version: pydantic.StrictInt
    physics: _TEXT
    axes: tuple[_TEXT, ...]
    grid: GridHeader
    quantity: Quantity
    modality: Modality
    output: OutputHeader
    settings: dict[str, Any]
    noise_std: Annotated[pydantic.FiniteFloat, pydantic.Field(ge=0)] | None
    simulated: pydantic.StrictBool
    name: Annotated[_TEXT | None, pydantic.Field(exclude=True)] = None
    history: list[dict[str, Any]]
    complex_pairs: tuple[_TEXT, ...] = ()

    @classmethod
    def of(cls, acquisition: Acquisition, complex_pairs: tuple[str, ...]) -> AcquisitionHeader:
        """The header of an acquisition.

        Raises:
            UsageError: E-RAW-09 when a setting is no number, word, truth value, list or table of these.
        """
        grid, output = acquisition.grid, acquisition.output
        return cls(
            format=FORMAT,
            version=VERSION,
            physics=acquisition.physics,
            axes=acquisition.axes,
            grid=GridHeader(shape=_three(grid.shape), axes=_three(grid.axes), affine=grid.affine.tolist()),
            quantity=acquisition.quantity,
            modality=acquisition.modality,
            output=OutputHeader(
                name=output.name,
                scale=output.scale,
                offset=output.offset,
                source=output.source,
                target=output.target,
            ),
            settings={key: _plain(value, key) for key, value in acquisition.settings.items()},
            noise_std=acquisition.noise_std,
            simulated=acquisition.simulated,
            history=[{key: _plain(value, key) for key, value in e.items()} for e in acquisition.history.as_list()],
            complex_pairs=complex_pairs,
        )

    @classmethod
    def parse(cls, text: str, file: str) -> AcquisitionHeader:
        """Validate the text of a header.

        Raises:
            InputRefused: E-RAW-04 for another version of the format, E-RAW-05 for anything missing, surplus or wrong.
        """
        try:
            version = pydantic.TypeAdapter(dict[str, Any]).validate_json(text).get("version")
            if isinstance(version, int) and version != VERSION:
                raise InputRefused(
                    "E-RAW-04",
                    f"{file} is of version {version} of the format, this medldm reads version {VERSION}.",
                    why="A measurement that is half understood gives a wrong image.",
                    fix="Use the medldm that wrote it, or a newer one.",
                )
            header = cls.model_validate_json(text)
            numbers: list[Any] = [header.settings, header.history]
            if not all(_finite(value) for value in numbers):
                raise ValueError("a number is NaN or infinite")
            if header.output.scale == 0:
                raise ValueError("output.scale is zero")
            if not all(isinstance(event.get("event"), str) for event in header.history):
                raise ValueError("history: an event without a name")
        except pydantic.ValidationError as error:
            # pydantic's own sentence would quote the values; the place and the kind of fault are enough.
            fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
            place = ".".join(map(str, fault["loc"])) or "the header"
            raise _invalid(file, f"{place}: {fault['type'].replace('_', ' ')}") from error
        except MedldmError:
            raise
        except ValueError as error:
            raise _invalid(file, str(error)) from error
        return header

    def grid_value(self) -> Grid:
        """The grid; refused by its own codes when it is degenerate."""
        return Grid(self.grid.shape, np.asarray(self.grid.affine), self.grid.axes)

    def output_value(self) -> AffineMap:
        """The map to the unit of written images."""
        output = self.output
        return AffineMap(output.name, output.scale, output.offset, output.source, output.target)

    def history_value(self) -> History:
        """What happened before the file was written."""
        return History.from_list(self.history)


def _invalid(file: str, fault: str) -> InputRefused:
    return InputRefused(
        "E-RAW-05",
        f"The header of {file} is invalid ({fault}).",
        why="A measurement whose description is incomplete cannot be explained.",
        fix="Write the file again with medldm.",
    )


def _three(values: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    first, second, third = values
    return first, second, third


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(_finite(v) for v in value.values())
    return all(_finite(v) for v in value) if isinstance(value, list) else True


def _plain(value: Any, key: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(v, key) for v in value]
    if isinstance(value, dict):
        return {str(k): _plain(v, key) for k, v in value.items()}
    if value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise UsageError(
        "E-RAW-09",
        f"The entry {key!r} of the acquisition cannot be stored: it is a {type(value).__name__}"
        + (" that is not finite." if isinstance(value, float) else "."),
        why="Settings and history are finite numbers, words and lists of them; arrays belong to the tensors.",
        fix="Move arrays to Acquisition.tensors.",
    )
