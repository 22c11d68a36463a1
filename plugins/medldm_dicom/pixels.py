"""Stored pixels to float32 values: decode, rescale each slice by its own slope, within a budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medldm.errors import InputRefused, MedldmError
from medldm_dicom.frame import Frame
from medldm_dicom.header import Header
from medldm_dicom.isolation import Decoder, DecoderStopped
from medldm_dicom.problems import error, refusal
from medldm_dicom.quiet import quiet

Stored = NDArray[Any]


def check_budget(frames: Sequence[Frame], voxels: int, max_bytes: int) -> None:
    """Refuse before anything is allocated.

    Args:
        frames: to be read.
        voxels: float32 values of all steps that are held together.
        max_bytes: what they and the decoded pixels of the largest file may take.

    Raises:
        InputRefused: ``E-DCM-09``.
    """
    rows, columns = frames[0].header.size
    need = 4 * voxels + max(frame.header.expected_bytes for frame in frames)
    if need > max_bytes:
        raise InputRefused(
            "E-DCM-09",
            f"The volume of {len(frames)} x {rows} x {columns} voxels needs {need / 2**30:.2f} GiB, "
            f"allowed are {max_bytes / 2**30:.2f} GiB.",
            why="Reading it could exhaust the memory.",
            fix="Raise --max-memory, or choose a smaller series.",
        )


def values(frames: Sequence[Frame]) -> tuple[torch.Tensor, int]:
    """Values of the planes in the given order.

    Returns:
        (n, rows, columns) float32, rescaled in float64 slice by slice, and how many warnings the decoders gave.

    Raises:
        InputRefused: ``E-DCM-03, -06, -08``: pixels missing, cut off or not decodable.
        ComponentMissing: ``E-DCM-20``: the decoder is not installed.
    """
    rows, columns = frames[0].header.size
    volume = torch.empty((len(frames), rows, columns), dtype=torch.float32)
    last: tuple[Header, Stored] | None = None
    with quiet() as oddities, Decoder() as decoder:
        for k, frame in enumerate(frames):
            # Frames of one multi-frame file come one after another, so that each file is decoded once.
            if last is None or last[0] is not frame.header:
                last = (frame.header, _whole(frame.header, decoder))
            volume[k] = torch.from_numpy(rescaled(frame, last[1][frame.index]))
    return volume, len(oddities) + decoder.oddities


def rescaled(frame: Frame, stored: Stored) -> NDArray[np.float32]:
    """``slope * stored + intercept`` in float64, then float32; overflow becomes infinity and is refused later."""
    exact = stored.astype(np.float64)
    exact *= 1.0 if frame.slope is None else frame.slope
    exact += 0.0 if frame.intercept is None else frame.intercept
    with np.errstate(over="ignore"):
        return exact.astype(np.float32)


def _whole(header: Header, decoder: Decoder) -> Stored:
    name = header.file.name
    try:
        stored = decoder(header)
    except MedldmError:
        raise
    except Exception as failure:  # damaged pixel data make decoders fail in any way
        reason = str(failure) if isinstance(failure, DecoderStopped) else type(failure).__name__
        raise refusal(
            error(
                "E-DCM-08",
                f"The pixels of {name!r} cannot be decoded as {header.syntax.name} ({reason}).",
                "Copy or export the file again.",
            )
        ) from failure
    expected = (header.frames, *header.size)
    if stored.size != int(np.prod(expected)):
        raise refusal(
            error(
                "E-DCM-08",
                f"{name!r} decodes to {stored.shape} where its header states {expected}.",
                "Export it again.",
            )
        )
    return stored.reshape(expected)
