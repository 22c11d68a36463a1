"""``NAME.medldm.json`` beside a scan: what its own file does not state."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

import pydantic

from medldm.data import Grid
from medldm.errors import InputRefused

Length = Annotated[pydantic.FiniteFloat, pydantic.Field(gt=0)]
LARGEST = 1 << 24


class Strict(pydantic.BaseModel):
    """Nothing surplus, nothing misspelt."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class ImageGrid(Strict):
    """Pixels of the image, centred on the axis of rotation.

    Attributes:
        pixels: rows and columns.
        pixel_mm: size of a pixel.
    """

    pixels: tuple[Annotated[int, pydantic.Field(ge=1, le=16384)], Annotated[int, pydantic.Field(ge=1, le=16384)]]
    pixel_mm: Length

    def grid(self, rows: int, row_pitch: float) -> Grid:
        """The grid of ``rows`` slices."""
        return Grid.isotropic((rows, *self.pixels), (row_pitch, self.pixel_mm, self.pixel_mm))


class Stated(Strict):
    """What may stand beside a scan; each entry goes before what its file says.

    Attributes:
        pitch_mm: distance of the bins on the detector.
        row_pitch_mm: distance of the slices at the axis of rotation.
        offset_mm: position of the detector's middle along the detector, seen from the axis of rotation.
        photons: per bin without an object.
        mu_water_per_mm: attenuation of water, to write the image in HU.
        image: the image to reconstruct.
    """

    pitch_mm: Length | None = None
    row_pitch_mm: Length | None = None
    offset_mm: pydantic.FiniteFloat | None = None
    photons: Length | None = None
    mu_water_per_mm: Length | None = None
    image: ImageGrid | None = None

    @classmethod
    def beside(cls, path: Path) -> Stated:
        """What stands beside ``path``; nothing where there is no such file.

        Raises:
            InputRefused: E-PRJ-16 for entries that are not known or not valid.
        """
        file = stated_file(path)
        return parse(cls, file) if file.is_file() else cls()


def stated_file(path: Path) -> Path:
    """Where that stands for the file or folder of a scan, whether or not it is there."""
    # Of '.' and '..' the name is that of the folder they stand for; the root has none.
    path = path if path.name.strip(".") else path.resolve()
    return path.parent / f"{path.stem}.medldm.json"


Model = TypeVar("Model", bound=Strict)


def parse(model: type[Model], file: Path) -> Model:
    """A JSON file by its schema.

    Raises:
        InputRefused: E-PRJ-01 when it cannot be read, E-PRJ-16 when it is not what the schema says.
    """
    text = read_bytes(file, LARGEST)
    try:
        return model.model_validate_json(text)
    except pydantic.ValidationError as error:
        fault: Any = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, fault["loc"])) or "the file"
        raise InputRefused(
            "E-PRJ-16",
            f"{file.name} is not valid at {place}: {fault['msg'].removeprefix('Value error, ')}.",
            why="A geometry that is half understood gives a wrong image.",
            fix="The README of medldm_rawdata lists the entries and their units.",
        ) from error


def read_bytes(path: Path, limit: int) -> bytes:
    """A whole file of at most ``limit`` bytes.

    Raises:
        InputRefused: E-PRJ-01 when it cannot be read, E-PRJ-06 when it is larger.
    """
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise unreadable(path, error) from error
    if len(content) > limit:
        raise InputRefused(
            "E-PRJ-06",
            f"{path.name} is larger than {limit / 2**20:.4g} MiB.",
            why="Reading on could bring the machine to a halt.",
            fix="Allow more memory, or check what the file is.",
        )
    return content


def unreadable(path: Path, error: OSError) -> InputRefused:
    """The refusal of a file that the system does not give."""
    return InputRefused(
        "E-PRJ-01", f"{path.name} cannot be read: {error.strerror or error}.", fix="Check the path and permissions."
    )


def damaged(path: Path, what: str) -> InputRefused:
    """The refusal of a file whose content ends early or makes no sense."""
    return InputRefused(
        "E-PRJ-02",
        f"{path.name} is damaged or truncated: {what}.",
        why="Its measurement cannot be trusted.",
        fix="Copy the file again from where it was measured.",
    )
