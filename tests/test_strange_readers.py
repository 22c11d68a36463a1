"""Readers of strangers that fail or reach for what is not theirs: shipped ones go on reading."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medldm import hookimpl
from medldm.data import ReadRequest
from medldm.host import hookspecs
from medldm.host.discovery import Admission, Candidate, installed
from medldm.host.host import assemble
from medldm.pipeline.reading import inspect, read_case, reader_for


@dataclass(frozen=True)
class Raising:
    """Fails at every path, whose name must not get into logs."""

    def accepts(self, path: Path) -> bool:
        raise ValueError(f"no idea what {path} is")


@dataclass(frozen=True)
class Leaving:
    """Ends the program."""

    def accepts(self, path: Path) -> bool:
        sys.exit(0)


@dataclass(frozen=True)
class Demanding:
    """Needs an option that nobody gives readers."""

    option: int

    def accepts(self, path: Path) -> bool:
        return True


@dataclass(frozen=True)
class Grasping:
    """Takes all there is."""

    def accepts(self, path: Path) -> bool:
        return True


@hookimpl
def register_readers(register: hookspecs.Register) -> None:
    """Under names that sort before those of shipped readers."""
    targets = {"a-raising": "Raising", "a-leaving": "Leaving", "a-demanding": "Demanding", "a-absent": "NotThere"}
    for name, target in (targets | {"a-z-grasping": "Grasping"}).items():
        register(name, f"{__name__}:{target}", example=f"{__name__}:{target}", summary="For tests")


def test_shipped_readers_are_asked_first_and_no_stranger_keeps_them_from_reading(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    strangers = Candidate("strangers", "strangers", "1", __name__, lambda: sys.modules[__name__])
    host = assemble([*installed(), strangers], Admission.of(None, (), {}))
    assert host.plugins[-1].status == "ok"
    names = host.names("readers")
    assert names[-5:] == sorted(names[-5:]) and names[-1] == "a-z-grasping"
    scan = tmp_path / "doe-jane.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 6), np.float32), np.eye(4)), scan)
    assert type(reader_for(host, scan)).__name__ == "NiftiReader"
    assert read_case(host, scan, ReadRequest()).grid.shape == (6, 5, 4)
    (row,) = inspect(host, scan)
    assert row.shape == (6, 5, 4)
    # What no shipped reader takes is a stranger's, whatever others do.
    other = tmp_path / "doe-john.txt"
    other.write_text("scan")
    with caplog.at_level(logging.WARNING):
        assert isinstance(reader_for(host, other), Grasping)
        (tmp_path / "more.txt").write_text("scan")
        reader_for(host, tmp_path / "more.txt")
    told = [record.getMessage() for record in caplog.records]
    assert sum("a-demanding" in one and "strangers" in one for one in told) == 1
    assert sum("a-absent" in one for one in told) == 1


def test_a_reader_that_fails_is_told_once_and_without_the_path(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    strangers = Candidate("strangers", "strangers", "1", __name__, lambda: sys.modules[__name__])
    host = assemble([*installed(), strangers], Admission.of(None, (), {}))
    monkeypatch.setattr(Grasping, "accepts", lambda self, path: path.suffix == ".other")
    for name in ("doe-jane.txt", "doe-john.txt", "doe.other"):
        (tmp_path / name).write_text("scan")
    with caplog.at_level(logging.WARNING):
        for name in ("doe-jane.txt", "doe-john.txt"):
            with pytest.raises(Exception, match="E-IN-03"):
                reader_for(host, tmp_path / name)
        assert isinstance(reader_for(host, tmp_path / "doe.other"), Grasping)
    told = [record.getMessage() for record in caplog.records if "asked for its format" in record.getMessage()]
    assert not any("doe" in one for one in told)
    assert all(sum(kind in one for one in told) <= 1 for kind in ("Raising", "Leaving"))
