"""What there is to send of an output folder."""

from __future__ import annotations

from pathlib import Path

from medldm.errors import InputRefused


def dicom_files(path: Path) -> list[Path]:
    """The DICOM files of an output folder, or the file named, in order.

    Raises:
        InputRefused: E-PACS-12 there are none.
    """
    files = [path] if path.is_file() else sorted(path.rglob("*.dcm")) if path.is_dir() else []
    files = [file for file in files if file.is_file() and not file.is_symlink()]
    if not files:
        raise InputRefused(
            "E-PACS-12",
            f"There are no DICOM files in {path}.",
            why="Archives take DICOM; medldm reconstruct writes it where the recipe says so.",
            fix="Reconstruct with --set outputs.write=[dicom].",
        )
    return files
