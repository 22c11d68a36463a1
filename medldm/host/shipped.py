"""Files that come with medldm: recipes, suites and sample scans."""

from __future__ import annotations

from pathlib import Path

from medldm.errors import ComponentMissing


def shipped(folder: str) -> Path:
    """The folder ``configs``, ``sample_data`` or ``priors``, in an installed wheel or in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "shipped" / folder, package.parent / folder):
        if candidate.is_dir():
            return candidate
    raise ComponentMissing(
        "E-PKG-01",
        f"The folder {folder!r} that comes with medldm is missing.",
        why="The installation is incomplete.",
        fix="Install medldm again.",
    )
