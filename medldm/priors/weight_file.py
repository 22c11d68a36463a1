"""One safetensors file of weights: found, measured against its own header and the card's hash, then read.

The header is read here before the library maps anything, so that a file that lies about its size costs nothing and
listing priors loads no torch. Format: eight bytes, little endian, the length of a JSON object; that object, name ->
``{dtype, shape, data_offsets}``; the data, without holes (https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medldm.errors import ComponentMissing
from medldm.priors.pickles import pickle_refused, pickles_in

if TYPE_CHECKING:
    from torch import Tensor

# Two thousand tensors need about 0.2 MiB.
MAX_HEADER_BYTES = 8 * 2**20
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_COPY_AGAIN = "Copy or download the file again."

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Examined:
    """What became of a file.

    Attributes:
        tensors: by name, as stored; empty when it could not be read.
        errors: all that is wrong with it, in the order found.
    """

    tensors: Mapping[str, Tensor]
    errors: tuple[ComponentMissing, ...]


def locate(folder: Path, file: str) -> Path:
    """Where the file of a card lies.

    Args:
        folder: of the card.
        file: as the card names it, relative to the folder.

    Raises:
        ComponentMissing: ``E-PRI-03`` only a pickle is there, ``E-PRI-08`` nothing is there, ``E-PRI-09`` it lies
            outside of the folder and its siblings, by a symbolic link for example.
    """
    root = folder.resolve()
    path = Path(os.path.normpath(root / file))
    if not path.is_file():
        pickles = pickles_in(path.parent) if path.parent.is_dir() else []
        same = [pickle for pickle in pickles if pickle.stem == path.stem]
        if same:
            raise pickle_refused(same[0])
        raise ComponentMissing(
            "E-PRI-08",
            f"The weights {file!r} of the prior {folder} are missing.",
            why="The card names them; a folder is copied as a whole, with the siblings that its card refers to.",
            fix="Copy the file to its place.",
        )
    if not path.resolve().is_relative_to(root.parent):
        raise ComponentMissing(
            "E-PRI-09",
            f"The weights {file!r} of the prior {folder} are a link that leads out of the folder of priors.",
            why="A card must not make medldm read files elsewhere on this computer.",
            fix="Copy the file itself to its place: cp -L.",
        )
    return path


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes by the header, which is proven to describe the file from its first to its last byte.

    Raises:
        ComponentMissing: ``E-PRI-11`` truncated or no safetensors, ``E-PRI-12`` implausible sizes, ``E-PRI-16`` a
            kind of number that is not taken.
    """
    total = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if total < 8 or (MAX_HEADER_BYTES >= length > total - 8):
            raise _broken(path, "it ends within its header")
        if length > MAX_HEADER_BYTES:
            raise ComponentMissing(
                "E-PRI-12",
                f"{path} claims a header of {length} bytes; {MAX_HEADER_BYTES} are allowed.",
                why="It is no safetensors file, or one made to exhaust the memory.",
                fix=_COPY_AGAIN,
            )
        text = stream.read(length)
    try:
        table = json.loads(text, object_pairs_hook=_without_duplicates)
        table.pop("__metadata__", None)
        rows = {str(name): (str(row["dtype"]), *_counted(row)) for name, row in table.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _broken(path, "its header cannot be understood") from error
    for name, (kind, shape, begin, end) in rows.items():
        if kind not in _BYTES:
            raise ComponentMissing(
                "E-PRI-16",
                f"The tensor {name!r} of {path} has the type {kind}, which is not taken.",
                fix="Write the weights as float16, bfloat16 or float32.",
            )
        if end - begin != math.prod(shape) * _BYTES[kind]:
            raise _broken(path, f"the tensor {name!r} has not the size that its shape asks for")
    position = 0
    for _, _, begin, end in sorted(rows.values(), key=lambda row: row[2:]):
        if begin != position:
            raise _broken(path, "its tensors overlap or leave gaps")
        position = end
    if 8 + length + position != total:
        found = "shorter" if total < 8 + length + position else "longer"
        raise _broken(path, f"it has {total} bytes and is {found} than its header says, {8 + length + position}")
    return {name: shape for name, (_, shape, _, _) in rows.items()}


def sha256(path: Path) -> str:
    """Of the file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def examine(path: Path, expected_sha256: str, expected: Shapes | None = None) -> Examined:
    """Read a file of weights and say all that is wrong with it.

    Args:
        path: from :func:`locate`.
        expected_sha256: of the card.
        expected: names and shapes of the networks; None compares with nothing.
    """
    try:
        found = shapes(path)
    except ComponentMissing as error:
        return Examined({}, (error,))
    errors = [] if sha256(path) == expected_sha256 else [_tampered(path)]
    if expected is not None:
        errors += _misfits(path, found, expected)
    if errors:
        return Examined({}, tuple(errors))

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except SafetensorError:
        return Examined({}, (_broken(path, "it cannot be read"),))
    bad = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        errors.append(
            ComponentMissing(
                "E-PRI-15",
                f"{path} holds NaN or infinite weights in {_some(bad)}.",
                why="Every image would become NaN.",
                fix="Train again from an earlier state, or ask its maker for sound weights.",
            )
        )
    return Examined(tensors, tuple(errors))


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("one name twice")
    return table


def _counted(row: Mapping[str, Any]) -> tuple[tuple[int, ...], int, int]:
    begin, end = row["data_offsets"]
    numbers = (*row["shape"], begin, end)
    if not all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers):
        raise ValueError("a size is no count")
    return tuple(row["shape"]), begin, end


def _broken(path: Path, reason: str) -> ComponentMissing:
    return ComponentMissing("E-PRI-11", f"{path} is truncated or is no safetensors file: {reason}.", fix=_COPY_AGAIN)


def _tampered(path: Path) -> ComponentMissing:
    return ComponentMissing(
        "E-PRI-10",
        f"{path} is not the file that the card was written for: its sha256 differs.",
        why="It was changed or damaged after its quality was measured.",
        fix=_COPY_AGAIN,
    )


def _misfits(path: Path, found: Shapes, expected: Shapes) -> Iterator[ComponentMissing]:
    missing, surplus = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or surplus:
        parts = [f"without {_some(missing)}"] if missing else []
        parts += [f"with {_some(surplus)} that have no place there"] if surplus else []
        yield ComponentMissing(
            "E-PRI-13",
            f"{path} does not hold the weights of the networks that the card describes: {', '.join(parts)}.",
            fix="Use the card that belongs to this file.",
        )
    wrong = [name for name in sorted(set(found) & set(expected)) if found[name] != expected[name]]
    if wrong:
        shown = [f"{name} is {list(found[name])}, the networks have {list(expected[name])}" for name in wrong[:3]]
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        yield ComponentMissing(
            "E-PRI-14",
            f"{path} has weights of other shapes than the networks that the card describes: {'; '.join(shown)}{more}.",
            fix="Use the card that belongs to this file.",
        )


def _some(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
