"""What there is to send of an output folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from medldm.aside import is_unfinished
from medldm.errors import InputRefused


def dicom_files(path: Path) -> list[Path]:
    """The DICOM files of an output folder, or of many below one, or the file named, in order.

    Folders that a run writes, or left half-written when it was killed, are passed by, and links are not followed.

    Raises:
        InputRefused: E-PACS-12 there are none.
    """
    files = [path] if path.is_file() else sorted(_below(path))
    files = [file for file in files if file.is_file() and not file.is_symlink()]
    if not files:
        raise InputRefused(
            "E-PACS-12",
            f"There are no DICOM files in {path}.",
            why="Archives take DICOM; medldm reconstruct writes it where the recipe says so.",
            fix="Reconstruct with --set outputs.write=[dicom].",
        )
    return files


def _below(path: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not is_unfinished(name)]
        yield from (Path(folder) / name for name in names if name.endswith(".dcm"))
