"""Where the scans of a batch come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medldm.batch.bids_dataset import is_dataset, scan_dataset
from medldm.batch.folder_scan import scan_folder
from medldm.batch.found import Found, LeftOut
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
        not_included: how many files and folders of scans no pattern of ``--include`` matches.
        bids: whether it is a BIDS data set.
    """

    path: Path
    rows: Sequence[Row]
    left_out: Sequence[LeftOut] = ()
    bids: bool = False
    not_included: int = 0

    @property
    def omitted(self) -> str:
        """How many are not among the scans and why, in words; empty where there are none."""
        left, others = len(self.left_out), self.not_included
        parts = [f"{left} left out"] if left else []
        return ", ".join((*parts, f"{others} not included")) if others else "".join(parts)


def find_source(
    host: Host, path: Path, *, include: Sequence[str] = (), skip_missing: bool = False, anonymous: bool = False
) -> Source:
    """The scans of a manifest, a folder or a BIDS data set.

    Raises:
        MedldmError: E-IN-01 there is nothing; ``E-BAT-..`` the manifest is not valid or no scan is there.
    """
    if not path.exists():
        raise InputRefused("E-IN-01", f"{path} does not exist.", fix="Check the path.")
    bids = False
    if path.is_file():
        found = Found(read_manifest(path, skip_missing=skip_missing))
    elif is_dataset(path):
        found, bids = scan_dataset(path, include), True
    else:
        found = scan_folder(host, path, include)
    source = Source(path, found.rows, found.left_out, bids, found.not_included)
    if not source.rows:
        raise UsageError(
            "E-BAT-06",
            f"There is no scan below {path} that could be reconstructed: {source.omitted or 'nothing is left out'}.",
            why="; ".join(f"{one.code} {one.path.name}" for one in source.left_out[:5]),
            fix="Check the patterns of --include: they match names and paths below the folder."
            if source.not_included
            else "medldm inspect shows what is there and what is wrong with it.",
        )
    if anonymous:
        if bids:
            raise UsageError(
                "E-BAT-20",
                "--anonymous-names and a BIDS data set do not go together.",
                why="BIDS names results after their subjects.",
                fix="Leave it out, or give the folder of images as a manifest.",
            )
        return replace(source, rows=[replace(row, output="") for row in source.rows])
    return source
