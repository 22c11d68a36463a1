"""Where a batch keeps what: results, records, work in progress, and the index on a local disk."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from medldm.batch.output_name import RECORDS, STATE
from medldm.errors import UsageError

# SQLite's write-ahead log needs memory shared by all who read it, which file systems of a network do not have.
_NETWORK = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "afs", "9p", "fuse.sshfs")


@dataclass(frozen=True)
class Workplace:
    """The folders of a batch.

    Attributes:
        out: of the results, absolute.
        bids: whether they are laid out as BIDS derivatives.
        anonymous: whether nothing below ``out`` may name an input.
    """

    out: Path
    bids: bool = False
    anonymous: bool = False

    def record_folder(self, name: str) -> Path:
        """Where ``manifest.json`` and ``run.json`` of a result are."""
        return self.out / RECORDS / name if self.bids else self.out / name

    @property
    def state(self) -> Path:
        """Of the batch itself: lock, cancellation, work."""
        return self.out / STATE

    @property
    def lock_file(self) -> Path:
        """Held by the coordinator."""
        return self.state / "coordinator.lock"

    @property
    def cancel_file(self) -> Path:
        """Its presence asks coordinator and workers to stop."""
        return self.state / "cancel"

    def work(self, key: str) -> Path:
        """Where a row is worked on."""
        return self.state / "work" / key

    @property
    def index_file(self) -> Path:
        """The index: beside the results where that is a local disk and inputs may be named, else in a local folder."""
        return _index_folder(self.out, self.anonymous or (self.state / "anonymous").exists()) / "index.sqlite"

    def make(self) -> None:
        """Make the folders.

        Raises:
            UsageError: E-OUT-02 ``out`` is a file, E-OUT-04 it cannot be written.
        """
        if self.out.exists() and not self.out.is_dir():
            raise UsageError("E-OUT-02", f"{self.out} is a file.", fix="Choose another output folder.")
        try:
            (self.state / "work").mkdir(parents=True, exist_ok=True)
            if self.anonymous:
                (self.state / "anonymous").touch()
            if self.bids:
                (self.state / "bids").touch()
            self.index_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise UsageError(
                "E-OUT-04",
                f"The output folder {self.out} cannot be written: {error.strerror}.",
                fix="Choose a folder that you may write to.",
            ) from error


def _index_folder(out: Path, elsewhere: bool) -> Path:
    if not elsewhere and not on_network(out):
        return out / STATE
    name = hashlib.sha256(str(out.resolve()).encode(errors="surrogateescape")).hexdigest()[:16]
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    if on_network(home):
        home = Path(tempfile.gettempdir()) / f"state-{os.getuid()}"
    return home / "medldm" / "batch" / name


def on_network(path: Path) -> bool:
    """Whether a path lies on a file system of the network, as far as Linux tells."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    resolved = path.resolve()
    best, kind = -1, ""
    for line in lines:
        parts = line.split()
        if len(parts) < 3:
            continue
        point = Path(parts[1].replace("\\040", " "))
        if len(point.parts) > best and resolved.is_relative_to(point):
            best, kind = len(point.parts), parts[2]
    return kind.startswith(_NETWORK)


def opened(out: Path) -> Workplace:
    """The workplace of a batch that was begun.

    Raises:
        UsageError: E-BAT-12 there is none.
    """
    place = Workplace(out.absolute())
    if not place.state.is_dir():
        raise UsageError(
            "E-BAT-12",
            f"{out} is not the output folder of a batch.",
            fix="Give the folder that was the -o of medldm batch run.",
        )
    return Workplace(place.out, bids=(place.state / "bids").exists(), anonymous=(place.state / "anonymous").exists())
