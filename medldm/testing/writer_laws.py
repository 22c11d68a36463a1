"""Laws of writers. Each runs in an empty folder of its own."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn
from unittest import mock

import torch

from medldm.data import Acquisition, Provenance, ReadRequest, Volume
from medldm.errors import MedldmError
from medldm.testing.examples import WriterExample
from medldm.testing.law import require
from medldm.testing.reader_laws import require_same_image

WriterLaw = Callable[[WriterExample, Path], None]

PROVENANCE = Provenance(
    role="reconstruction",
    method="conformance kit",
    version="0",
    recipe_hash="0" * 64,
    seed=7,
    created=datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC),
    simulated=True,
)


def law_round_trip(example: WriterExample, folder: Path) -> None:
    """What is written comes back through the reader: grid, unit and values.

    A format of measurements holds an image as the measurement of the identity.
    """
    written = _write(example, folder)
    # A format of one file is read by its path, a series by its folder.
    path = next(
        (path for path in (folder, *written, *{p.parent for p in written}) if example.reader.accepts(path)), None
    )
    if path is None:
        raise AssertionError("the reader accepts nothing of what was written")
    cases = example.reader.read(path, ReadRequest())
    require(len(cases) == 1, f"{len(cases)} cases come back, one was written")
    found = cases[0]
    if isinstance(found, Acquisition):
        require(tuple(found.data.shape) == found.grid.shape, "a measurement comes back that is no image")
        found = Volume(found.output(found.data), found.grid, example.volume.quantity)
    require_same_image(found, example.volume, example.tolerance)


def law_tells_what_it_wrote(example: WriterExample, folder: Path) -> None:
    """The paths returned exist, lie in the folder and carry the stem; there is nothing else."""
    written = _write(example, folder)
    require(len(written) > 0, "the writer names no file")
    for path in written:
        require(path.exists(), f"{path.name} was named but does not exist")
        require(folder in path.parents, f"{path.name} lies outside of the folder")
        top = path.relative_to(folder).parts[0]
        require(top.startswith("image"), f"{top} does not carry the stem 'image'")
    named = {inner for path in written for inner in ([path] if path.is_file() else _files(path))}
    require(set(_files(folder)) == named, f"files not named: {sorted(p.name for p in set(_files(folder)) - named)}")


def law_writing_is_repeatable(example: WriterExample, folder: Path) -> None:
    """The same volume with the same provenance gives the same bytes."""
    contents = []
    for name in ("one", "two"):
        inner = folder / name
        inner.mkdir()
        _write(example, inner)
        contents.append({str(file.relative_to(inner)): file.read_bytes() for file in _files(inner)})
    require(contents[0].keys() == contents[1].keys(), "two writings give files of different names")
    different = [name for name, content in contents[0].items() if contents[1][name] != content]
    require(not different, f"two writings differ in {different}")


def law_overwrites_nothing(example: WriterExample, folder: Path) -> None:
    """A second writing under the same name is refused, and what was there stays."""
    _write(example, folder)
    before = {file: file.read_bytes() for file in _files(folder)}
    try:
        _write(example, folder)
    except MedldmError:
        pass
    else:
        raise AssertionError("an existing image was written over")
    require({file: file.read_bytes() for file in _files(folder)} == before, "a refused writing changed the folder")


def law_leaves_nothing_half_written(example: WriterExample, folder: Path) -> None:
    """When the disk fills up before the files get their names, none has its name and no remainder is left."""

    def full(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with mock.patch("os.replace", full), mock.patch("os.rename", full), mock.patch("os.link", full):
        try:
            _write(example, folder)
        except (MedldmError, OSError):
            pass
        else:
            raise AssertionError("files are not written aside and renamed: a full disk would leave half an image")
    left = [file.name for file in _files(folder)]
    require(not left, f"after a failed writing {left} remain")


def law_inputs_unchanged(example: WriterExample, folder: Path) -> None:
    """The volume is as it was."""
    before = example.volume.data.clone()
    _write(example, folder)
    require(torch.equal(before, example.volume.data), "writing changed the volume")


def _write(example: WriterExample, folder: Path) -> list[Path]:
    return example.writer.write(example.volume, folder, "image", PROVENANCE)


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


WRITER_LAWS: tuple[WriterLaw, ...] = (
    law_round_trip,
    law_tells_what_it_wrote,
    law_writing_is_repeatable,
    law_overwrites_nothing,
    law_leaves_nothing_half_written,
    law_inputs_unchanged,
)
