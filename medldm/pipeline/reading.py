"""From a path to one case, and to the files that it is read from, through whichever reader accepts it."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from medldm.data import Acquisition, NamesItsFiles, Reader, ReadRequest, SeriesRow, Volume
from medldm.errors import InputRefused, UsageError
from medldm.host import Host
from medldm.pipeline.foreign_formats import way_out

_log = logging.getLogger(__name__)
# Squares, and sums of a million of them, are numbers in single precision up to here, and their inverses too.
_FAR = 1e15
# Scans that a refusal names.
_NAMED = 8


def readers(host: Host) -> Iterator[Reader]:
    """The registered readers in the order in which they are asked, but those that cannot be built."""
    return (reader for name in host.names("readers") if (reader := _built(host, name)) is not None)


@functools.lru_cache(maxsize=256)
def _built(host: Host, name: str) -> Reader | None:
    """Built once: it takes longer than to ask whether a file is of the reader's format."""
    try:
        return cast(Reader, host.build("readers", name, {}))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        plugin = host.find("readers", name).plugin
        _log.warning("the reader %r of the plugin %r cannot be built and is not asked: %s", name, plugin, error)
        return None


def accepts(reader: Reader, path: Path) -> bool:
    """Whether a path is of a reader's format; one that fails at the question does not keep others from reading."""
    try:
        return bool(reader.accepts(path))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        _warn_once(type(reader), type(error).__name__)
        return False


@functools.cache
def _warn_once(reader: type, error: str) -> None:
    """Of many files; without what the error says, which may name one of a patient."""
    _log.warning(
        "the reader %s.%s fails where it is asked for its format: %s", reader.__module__, reader.__name__, error
    )


def reader_for(host: Host, path: Path) -> Reader:
    """The first registered reader that accepts the path."""
    if not path.exists():
        raise InputRefused("E-IN-01", f"{path} does not exist.", fix="Check the path.")
    if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
        raise InputRefused("E-IN-06", f"{path} may not be read.", fix="Check its permissions.")
    if path.is_dir() and not any(path.iterdir()):
        raise InputRefused("E-IN-02", f"{path} is an empty folder.", fix="Check the path.")
    for reader in readers(host):
        if accepts(reader, path):
            return reader
    raise InputRefused(
        "E-IN-03",
        f"No reader understands {path}.",
        why=f"The readers are {', '.join(host.names('readers'))}, and none found a scan of its format there.",
        fix=way_out(path) or "medldm plugins list shows the readers; check the file with the program that made it.",
    )


def readers_at(host: Host, path: Path) -> list[Reader]:
    """The readers that find scans at a path, first that of :func:`reader_for`; in a folder there may be several.

    One whose files an earlier one takes is left out: projections that are stored as DICOM are no images.
    """
    found = [reader_for(host, path)]
    if path.is_dir():
        asked = list(readers(host))
        for reader in asked[asked.index(found[0]) + 1 :]:
            if accepts(reader, path) and not all(_taken(found, file) for file in files_by(reader, path)):
                found.append(reader)
    return found


def _taken(earlier: list[Reader], file: Path) -> bool:
    return any(accepts(reader, file) for reader in earlier)


def files_of(host: Host, path: Path) -> list[Path]:
    """The files that what lies at a path is read from; where no reader accepts it, itself or all below it."""
    return files_by(next((reader for reader in readers(host) if accepts(reader, path)), None), path)


def files_by(reader: Reader | None, path: Path) -> list[Path]:
    """The same for a known reader: regular files that are there, each once."""
    named = reader.files(path) if isinstance(reader, NamesItsFiles) else _files_at(path)
    return [file for file in dict.fromkeys(named) if _is_there(file)]


def _is_there(file: Path) -> bool:
    try:
        return file.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _files_at(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
    for folder, folders, names in os.walk(path):
        folders.sort()
        yield from (Path(folder) / name for name in sorted(names))


@dataclass(frozen=True)
class Listed:
    """A scan found under a path.

    Attributes:
        reader: that finds it.
        own: its row as this reader numbers them.
        row: the same, numbered over the scans of all readers.
    """

    reader: Reader
    own: SeriesRow
    row: SeriesRow


def scans_at(host: Host, path: Path) -> list[Listed]:
    """All scans under a path, those of one reader after those of another."""
    found: list[Listed] = []
    for reader in readers_at(host, path):
        before = len(found)
        found += [Listed(reader, own, replace(own, index=before + own.index)) for own in reader.inspect(path)]
    return found


def inspect(host: Host, path: Path) -> list[SeriesRow]:
    """All scans under a path with their geometry and problems."""
    return [scan.row for scan in scans_at(host, _for_readers(path))]


def read_cases(host: Host, path: Path, request: ReadRequest) -> list[Volume | Acquisition]:
    """The scans under a path, values checked to be finite and of a usable size; in a folder those of one reader."""
    path = _for_readers(path)
    return _read(reader_for(host, path), path, request)


def _read(reader: Reader, path: Path, request: ReadRequest) -> list[Volume | Acquisition]:
    return [_usable(case) for case in reader.read(path, request)]


def _choice(host: Host, path: Path, request: ReadRequest) -> tuple[Reader, ReadRequest]:
    """The reader of the scan that is asked for, and the request in that reader's own numbers.

    Raises:
        InputRefused: E-IN-04 a folder holds scans of several formats, and none of them is named.
    """
    first, *others = readers_at(host, path)
    if not others:
        return first, request
    found = scans_at(host, path)
    for scan in found:
        if request.series == f"#{scan.row.index}":
            return scan.reader, replace(request, series=f"#{scan.own.index}")
        if request.series == scan.row.identifier:
            return scan.reader, request
    if request.series is None and not any(scan.row.shape for scan in found if scan.reader != first):
        return first, request  # beside its scans there is only what none can be made of
    raise _several_formats(path, [scan.row for scan in found], request.series)


def _several_formats(path: Path, rows: list[SeriesRow], asked: str | None) -> InputRefused:
    named = ", ".join(f"#{row.index} {row.format} {row.identifier}" for row in rows[:_NAMED])
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return InputRefused(
        "E-IN-04",
        f"{path} holds {len(rows)} scans of several formats: {named}{more}"
        + ("." if asked is None else f"; none is {asked!r}."),
        why="One is reconstructed at a time, and which is not guessed.",
        fix="Choose one with --series '#n', or name its own file or folder; medldm inspect lists them.",
    )


def read_case(host: Host, path: str | Path, request: ReadRequest | None = None) -> Volume | Acquisition:
    """The one scan under a path.

    Raises:
        InputRefused: E-IN-04 there are several, of one format or of more.
    """
    where = _for_readers(Path(path))
    reader, request = _choice(host, where, request or ReadRequest())
    cases = _read(reader, where, request)
    if len(cases) != 1:
        names = ", ".join(case.name for case in cases)
        raise InputRefused(
            "E-IN-04",
            f"{path} holds {len(cases)} scans: {names}.",
            why="One is reconstructed at a time.",
            fix="Choose one with --series or --volume-index; medldm inspect lists them.",
        )
    return cases[0]


def read_image(host: Host, path: str | Path, request: ReadRequest | None = None) -> Volume:
    """The one image under a path; a measurement is refused."""
    case = read_case(host, path, request)
    if isinstance(case, Acquisition):
        raise UsageError(
            "E-RUN-02",
            f"{path} is a measurement.",
            why="An image is needed here.",
            fix="Reconstruct it first: medldm reconstruct.",
        )
    return case


def _for_readers(path: Path) -> Path:
    """The path as readers get it: no empty file, and for '.' and '..' the folder's own name, which messages repeat."""
    if path.is_file() and not path.stat().st_size:
        raise InputRefused("E-IN-02", f"{path} is an empty file.", fix="Copy or export the file again.")
    return path if path.name.strip(".") else path.resolve()


def _usable(case: Volume | Acquisition) -> Volume | Acquisition:
    """The case, where its values are numbers that one can reckon with."""
    if isinstance(case, Volume):
        case = case.require_finite()
    elif bad := int((~torch.isfinite(case.data)).sum()):
        raise InputRefused(
            "E-PIX-02",
            f"{bad} of {case.data.numel()} measured values are NaN or infinite.",
            why="They would spread over the whole image.",
            fix="Mask them out of the measurement, or measure again.",
        )
    largest = float(case.data.abs().max()) if case.data.numel() else 0.0
    if largest and not 1 / _FAR <= largest <= _FAR:
        raise InputRefused(
            "E-PIX-03",
            f"The largest value is {largest:.2g}; values up to between {1 / _FAR:g} and {_FAR:g} can be reckoned with.",
            why="Squares of others are infinite or zero in single precision.",
            fix="Check that the file was read or converted rightly, or scale the values.",
        )
    return case


def to_device(acquisition: Acquisition, device: torch.device) -> Acquisition:
    """The acquisition with all its tensors on a device."""
    return replace(
        acquisition,
        data=acquisition.data.to(device),
        tensors={name: tensor.to(device) for name, tensor in acquisition.tensors.items()},
    )


def case_hash(case: Volume | Acquisition) -> str:
    """Identity of a case's content: the same scan has the same one under any name and in any folder.

    It addresses the random draws of the case and names it in records, so nothing of the patient can enter.
    """
    digest = hashlib.sha256()
    _add(digest, case.data)
    return digest.hexdigest()


def stated_hash(case: Volume | Acquisition) -> str:
    """Of what a case states beside its values: its grid and unit, and of a measurement how it was made.

    Corrected, it is another job, with the same random draws.
    """
    facts: list[object] = [case.grid.shape, case.grid.affine.tolist(), case.quantity, case.modality]
    digest = hashlib.sha256()
    if isinstance(case, Acquisition):
        facts += [case.physics, case.axes, sorted(case.settings.items()), case.noise_std, case.output]
        for name in sorted(case.tensors):
            digest.update(name.encode())
            _add(digest, case.tensors[name])
    digest.update(repr(facts).encode())
    return digest.hexdigest()


def _add(digest: hashlib._Hash, values: Tensor) -> None:
    digest.update(repr((tuple(values.shape), values.dtype)).encode())
    values = values.detach().cpu().contiguous()
    if values.is_complex():
        values = torch.view_as_real(values)
    digest.update(values.numpy().tobytes())
