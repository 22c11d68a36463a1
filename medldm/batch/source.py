"""Where the scans of a batch come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medldm.batch.bids_dataset import is_dataset, scan_dataset
from medldm.batch.folder_scan import LeftOut, scan_folder
from medldm.batch.manifest_file import read_manifest
from medldm.batch.row import Row
from medldm.errors import InputRefused, UsageError
from medldm.host import Host


@dataclass(frozen=True)
class Source:
    """What a batch is to reconstruct.

    Attributes:
        path: a manifest, a folder or a BIDS data set.
        rows: the scans.
        left_out: what was found and cannot be reconstructed as it is.
        bids: whether it is a BIDS data set.
    """

    path: Path
    rows: Sequence[Row]
    left_out: Sequence[LeftOut] = ()
    bids: bool = False


def find_source(
    host: Host, path: Path, *, include: Sequence[str] = (), skip_missing: bool = False, anonymous: bool = False
) -> Source:
    """The scans of a manifest, a folder or a BIDS data set.

    Raises:
        MedldmError: E-IN-01 there is nothing; ``E-BAT-..`` the manifest is not valid or no scan is there.
    """
    if not path.exists():
        raise InputRefused("E-IN-01", f"{path} does not exist.", fix="Check the path.")
    left: list[LeftOut] = []
    bids = False
    if path.is_file():
        rows = read_manifest(path, skip_missing=skip_missing)
    elif is_dataset(path):
        rows, bids = scan_dataset(path, include), True
    else:
        rows, left = scan_folder(host, path, include)
    if not rows:
        raise UsageError(
            "E-BAT-06",
            f"There is no scan below {path} that could be reconstructed; {len(left)} were left out.",
            why="; ".join(f"{one.code} {one.path.name}" for one in left[:5]),
            fix="medldm inspect shows what is there and what is wrong with it.",
        )
    if anonymous:
        if bids:
            raise UsageError(
                "E-BAT-20",
                "--anonymous-names and a BIDS data set do not go together.",
                why="BIDS names results after their subjects.",
                fix="Leave it out, or give the folder of images as a manifest.",
            )
        rows = [replace(row, output="") for row in rows]
    return Source(path, rows, left, bids)
