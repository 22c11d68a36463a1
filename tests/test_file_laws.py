"""Each law of readers and writers fails for one broken in that way, and no other does but as a consequence."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from law_scene import GRID, VOLUME, failing, names

from medldm.data import Acquisition, Grid, Provenance, ReadRequest, SeriesRow, Source, Volume
from medldm.errors import InputRefused, UsageError
from medldm.testing import ReaderExample, WriterExample, contracts, reader_laws, writer_laws


@dataclass(frozen=True)
class RawReader:
    """60 float32 values after four letters."""

    broken: str = ""

    def accepts(self, path: Path) -> bool:
        if self.broken == "accepts":
            return True
        return path.is_file() and path.read_bytes()[:4] == b"RAW1" and self.broken != "declines"

    def inspect(self, path: Path) -> list[SeriesRow]:
        shape = (4, 3, 5) if self.broken == "inspect" else GRID.shape
        return [SeriesRow(1, "1", "raw", "CT", "", 1, shape, GRID.spacing, GRID.orientation)]

    def read(self, path: Path, request: ReadRequest) -> Sequence[Volume | Acquisition]:
        if self.broken != "deaf":
            request.require_only_series(path)
            request.require_only_volume(path)
        if self.broken == "bare":
            content = path.read_bytes()
        elif not path.is_file() or not path.read_bytes().startswith(b"RAW1"):
            raise InputRefused("E-RAW-01", "There is no raw image.")
        else:
            content = path.read_bytes()
        if self.broken == "unnamed" and not path.with_suffix(".unit").is_file():
            raise InputRefused("E-RAW-03", "The unit of the raw image is not known.")
        values = content[4:]
        if self.broken == "padded":
            values = values.ljust(240, b"\0")
        elif len(values) != 240:
            raise InputRefused("E-RAW-02", "The raw image ends early.")
        data = torch.frombuffer(bytearray(values), dtype=torch.float32).reshape(GRID.shape)
        grid = Grid.isotropic(GRID.shape) if self.broken == "grid" else GRID
        if self.broken == "litters":
            path.with_suffix(".index").write_text("seen")
        if self.broken == "values":
            data = data.flip(0)
        return [Volume(data, grid, "HU", "CT", source=Source("raw", (path,)))]


def raw(folder: Path) -> Path:
    (folder / "scan.unit").write_text("HU")
    path = folder / "scan.raw"
    path.write_bytes(b"RAW1" + VOLUME.data.numpy().tobytes())
    return path


class TestRawReader(contracts.ReaderContract):
    @pytest.fixture
    def example(self) -> ReaderExample:
        return ReaderExample(RawReader(), raw, VOLUME)


BROKEN_READERS: list[tuple[reader_laws.ReaderLaw, str]] = [
    (reader_laws.law_accepts_its_own, "declines"),
    (reader_laws.law_declines_what_is_not_its_own, "accepts"),
    (reader_laws.law_inspects, "inspect"),
    (reader_laws.law_reads_what_was_written, "grid"),
    (reader_laws.law_reads_what_was_written, "values"),
    (reader_laws.law_reading_is_repeatable, "litters"),
    (reader_laws.law_names_all_its_files, "unnamed"),
    (reader_laws.law_refuses_what_is_missing, "bare"),
    (reader_laws.law_refuses_another_scan, "deaf"),
    (reader_laws.law_refuses_truncated_files, "padded"),
]


@pytest.mark.parametrize(("law", "broken"), BROKEN_READERS)
def test_a_broken_reader_breaks_its_law_and_no_other(law: reader_laws.ReaderLaw, broken: str, tmp_path: Path) -> None:
    def given() -> tuple[ReaderExample, Path]:
        return ReaderExample(RawReader(broken), raw, VOLUME), empty(tmp_path)

    assert failing(reader_laws.READER_LAWS, given) == names(law)


@dataclass(frozen=True)
class RawWriter:
    """The inverse of :class:`RawReader`."""

    broken: str = ""

    def write(self, volume: Volume, folder: Path, stem: str, provenance: Provenance) -> list[Path]:
        path = folder / (f"{stem}.raw" if self.broken != "stem" else "out.raw")
        if path.exists() and self.broken != "overwrites":
            raise UsageError("E-RAW-03", "The file exists.")
        content = b"RAW1" + (volume.data * (1.01 if self.broken == "values" else 1.0)).numpy().tobytes()
        if self.broken == "direct":
            path.write_bytes(content)
            return [path]
        if self.broken == "changes":
            volume.data.mul_(2.0)
        written = [self._put(path, content)]
        if self.broken == "names":
            (folder / "image.log").write_text("written")
        if self.broken == "folder":
            written.append(folder / "image.log")
            written[-1].write_text(str(folder))
        return written

    def _put(self, path: Path, content: bytes) -> Path:
        aside = path.with_name(f".{path.name}.part")
        aside.write_bytes(content)
        try:
            aside.replace(path)
        finally:
            if self.broken != "remainder":
                aside.unlink(missing_ok=True)
        return path


def image() -> Volume:
    return replace(VOLUME, data=VOLUME.data.clone())


class TestRawWriter(contracts.WriterContract):
    @pytest.fixture
    def example(self) -> WriterExample:
        return WriterExample(RawWriter(), image(), RawReader(), tolerance=0.0)


BROKEN_WRITERS: list[tuple[writer_laws.WriterLaw, str, list[writer_laws.WriterLaw]]] = [
    (writer_laws.law_round_trip, "values", []),
    (writer_laws.law_tells_what_it_wrote, "names", []),
    (writer_laws.law_tells_what_it_wrote, "stem", []),
    (writer_laws.law_writing_is_repeatable, "folder", []),
    (writer_laws.law_overwrites_nothing, "overwrites", []),
    (writer_laws.law_leaves_nothing_half_written, "direct", []),
    (writer_laws.law_leaves_nothing_half_written, "remainder", []),
    # What was changed is no longer what was written, and is other bytes the second time.
    (
        writer_laws.law_inputs_unchanged,
        "changes",
        [writer_laws.law_round_trip, writer_laws.law_writing_is_repeatable],
    ),
]


@pytest.mark.parametrize(("law", "broken", "consequences"), BROKEN_WRITERS)
def test_a_broken_writer_breaks_its_law_and_no_other(
    law: writer_laws.WriterLaw, broken: str, consequences: list[writer_laws.WriterLaw], tmp_path: Path
) -> None:
    def given() -> tuple[WriterExample, Path]:
        return WriterExample(RawWriter(broken), image(), RawReader(), tolerance=0.0), empty(tmp_path)

    assert failing(writer_laws.WRITER_LAWS, given) == names(law, *consequences)


def empty(folder: Path) -> Path:
    """A new folder within another."""
    return Path(tempfile.mkdtemp(dir=folder))


def test_each_law_of_readers_and_writers_has_something_that_breaks_it() -> None:
    assert {law for law, _ in BROKEN_READERS} == set(reader_laws.READER_LAWS)
    assert {law for law, _, _ in BROKEN_WRITERS} == set(writer_laws.WRITER_LAWS)
