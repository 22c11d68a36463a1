"""Laws of readers. Each runs in an empty folder of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from medldm.data import Acquisition, Volume
from medldm.errors import MedldmError
from medldm.pipeline.reading import files_by
from medldm.testing.examples import ReaderExample
from medldm.testing.law import NotApplicable, require

ReaderLaw = Callable[[ReaderExample, Path], None]

# Formats hold float32 or integers with a slope; what is lost to rounding is below this share of the largest value.
ROUNDING = 1e-5


def require_same_image(found: Volume, expected: Volume, allowed: float) -> None:
    """Raise unless grid, unit and values agree; ``allowed`` is in units of the volume."""
    require(found.grid.shape == expected.grid.shape, f"shape {found.grid.shape}, expected {expected.grid.shape}")
    require(
        found.grid == expected.grid,
        f"the grid moved: affine {found.grid.affine.round(4).tolist()}, "
        f"expected {expected.grid.affine.round(4).tolist()}",
    )
    require(found.quantity == expected.quantity, f"unit {found.quantity!r}, expected {expected.quantity!r}")
    require(found.data.dtype == expected.data.dtype, f"values are {found.data.dtype}, expected {expected.data.dtype}")
    difference = float((found.data - expected.data).abs().max())
    require(difference <= allowed, f"values differ by up to {difference:.3g}, allowed {allowed:.3g}")


def require_same_measurement(found: Acquisition, expected: Acquisition) -> None:
    """Raise unless two measurements agree in all that the physics needs, to the last bit."""
    for name in ("physics", "axes", "grid", "quantity", "output", "noise_std", "simulated"):
        one, other = getattr(found, name), getattr(expected, name)
        require(one == other, f"{name} of the measurement is {one!r}, expected {other!r}")
    require(dict(found.settings) == dict(expected.settings), f"settings are {dict(found.settings)}")
    require(set(found.tensors) == set(expected.tensors), f"the measurement comes with {sorted(found.tensors)}")
    pairs = [(name, found.tensors[name], expected.tensors[name]) for name in expected.tensors]
    for name, one, other in (("data", found.data, expected.data), *pairs):
        require(one.dtype == other.dtype and torch.equal(one, other), f"{name!r} of the measurement changed")


def law_reads_what_was_written(example: ReaderExample, folder: Path) -> None:
    """The first case is the expected one: geometry, unit, modality and values."""
    cases = example.reader.read(example.make(folder), example.request)
    require(len(cases) > 0, "the reader returned no case")
    found, expected = cases[0], example.expected
    require(found.modality == expected.modality, f"modality {found.modality!r}, expected {expected.modality!r}")
    require(found.source is not None, "the case does not say where it came from")
    if isinstance(found, Acquisition) and isinstance(expected, Acquisition):
        require_same_measurement(found, expected)
    elif isinstance(found, Volume) and isinstance(expected, Volume):
        require_same_image(found, expected, ROUNDING * float(expected.data.abs().max()))
    else:
        raise AssertionError(f"the reader returned a {type(found).__name__}, expected a {type(expected).__name__}")


def law_reading_is_repeatable(example: ReaderExample, folder: Path) -> None:
    """Reading twice gives the same numbers and leaves the files as they were."""
    path = example.make(folder)
    before = _contents(folder)
    first, second = (example.reader.read(path, example.request) for _ in range(2))
    require(len(first) == len(second), "two readings give different numbers of cases")
    for a, b in zip(first, second, strict=True):
        require(torch.equal(a.data, b.data), "two readings give different values")
    require(_contents(folder) == before, "reading changed the files, or left others beside them")


def law_names_all_its_files(example: ReaderExample, folder: Path) -> None:
    """Without the files that the reader does not name as the scan's the reading is the same."""
    whole, alone = _inside(folder, "whole"), _inside(folder, "alone")
    path = example.make(whole)
    named = files_by(example.reader, path)
    require(path.is_dir() or path in named, "the file of the scan is not named among its files")
    for file in named:
        require(file.is_relative_to(whole), f"{file} is named, which does not belong to the scan")
        copy = alone / file.relative_to(whole)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)
    try:
        found = example.reader.read(alone / path.relative_to(whole), example.request)
    except MedldmError as error:
        raise AssertionError(f"{[file.name for file in named]} do not make the scan: {error}") from error
    for one, other in zip(found, example.reader.read(path, example.request), strict=True):
        if isinstance(one, Acquisition) and isinstance(other, Acquisition):
            require_same_measurement(one, other)
        elif isinstance(one, Volume) and isinstance(other, Volume):
            require_same_image(one, other, 0.0)


def law_accepts_its_own(example: ReaderExample, folder: Path) -> None:
    """The path of its own format is accepted."""
    require(example.reader.accepts(example.make(folder)), "the reader does not accept its own format")


def law_declines_what_is_not_its_own(example: ReaderExample, folder: Path) -> None:
    """A missing path, an empty folder, an empty file and a text under the right name: declined without an exception."""
    own = example.make(_inside(folder, "own"))
    suffix = "".join(own.suffixes[-2:]) if own.is_file() else ".txt"
    empty_file, text = folder / f"empty{suffix}", folder / "notes.txt"
    empty_file.write_bytes(b"")
    text.write_text("Dear colleague,\n")
    for path in (folder / "missing", _inside(folder, "empty"), text):
        require(not example.reader.accepts(path), f"the reader accepts {path.name!r}")
    # By its name alone an empty file may be taken for one of the reader's; that is found out when it is read.
    example.reader.accepts(empty_file)


def law_inspects(example: ReaderExample, folder: Path) -> None:
    """``inspect`` finds the scan, with its shape and without errors."""
    rows = example.reader.inspect(example.make(folder))
    require(len(rows) > 0, "inspect finds no scan")
    indices = [row.index for row in rows]
    require(len(set(indices)) == len(indices), f"two rows have one index: {indices}")
    shape = example.expected.grid.shape
    require(any(row.shape == shape for row in rows), f"no row has the shape {shape}: {[row.shape for row in rows]}")
    errors = [problem.code for row in rows for problem in row.problems if problem.severity == "error"]
    require(not errors, f"inspect reports errors in a scan that can be read: {errors}")


def law_refuses_what_is_missing(example: ReaderExample, folder: Path) -> None:
    """A path that does not exist is refused with a code."""
    _require_refusal(example, folder / "missing", "a missing path")


def law_refuses_another_scan(example: ReaderExample, folder: Path) -> None:
    """Refuses a series and a volume that are not there, instead of reading what is."""
    path = example.make(folder)
    for request in (replace(example.request, series="#99"), replace(example.request, volume_index=99)):
        try:
            example.reader.read(path, request)
        except MedldmError:
            continue
        require(False, f"what is there was read for the request {request}")


def law_refuses_truncated_files(example: ReaderExample, folder: Path) -> None:
    """A scan whose files end early is refused with a code: no half image, no bare exception."""
    path = example.make(_inside(folder, "whole"))
    files = [file for file in sorted((folder / "whole").rglob("*")) if file.is_file()]
    if not files:
        raise NotApplicable("the example writes no file under the folder it is given")
    shutil.copytree(folder / "whole", folder / "cut")
    for file in files:
        cut = folder / "cut" / file.relative_to(folder / "whole")
        content = file.read_bytes()
        cut.write_bytes(content[: len(content) // 2])
    _require_refusal(example, folder / "cut" / path.relative_to(folder / "whole"), "a truncated scan")


def _require_refusal(example: ReaderExample, path: Path, what: str) -> None:
    try:
        example.reader.read(path, example.request)
    except MedldmError as error:
        require(bool(error.code and error.what), f"{what} is refused without a code or a sentence")
    except Exception as error:
        raise AssertionError(f"{what} ends in {type(error).__name__} instead of a refusal: {error}") from error
    else:
        raise AssertionError(f"{what} was read as if it were whole")


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def _inside(folder: Path, name: str) -> Path:
    inner = folder / name
    inner.mkdir()
    return inner


READER_LAWS: tuple[ReaderLaw, ...] = (
    law_accepts_its_own,
    law_declines_what_is_not_its_own,
    law_inspects,
    law_reads_what_was_written,
    law_reading_is_repeatable,
    law_names_all_its_files,
    law_refuses_what_is_missing,
    law_refuses_another_scan,
    law_refuses_truncated_files,
)
