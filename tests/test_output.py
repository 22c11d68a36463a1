"""The output folder: whole or not at all, and never at the expense of somebody's files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from medldm.aside import whole_file
from medldm.errors import MedldmError, UsageError
from medldm.pipeline.output import OutputFolder, finished_record


def _write_one(folder: Path) -> list[Path]:
    (folder / "image.txt").write_text("image")
    (folder / "run.json").write_text('{"files": {"image.txt": "a hash"}}')
    return [folder / "image.txt", folder / "run.json"]


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    files = OutputFolder.open(out, None).fill(_write_one)
    assert files == [out / "image.txt", out / "run.json"]
    assert finished_record(out) == {"files": {"image.txt": "a hash"}}
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_what_a_killed_run_left_is_in_nobodys_way(tmp_path: Path) -> None:
    out = tmp_path / "out"
    left = [tmp_path / f"out.{word}-{os.getpid()}" for word in ("part", "old")]
    for folder in left:
        (folder / "half").mkdir(parents=True)
    OutputFolder.open(out, None).fill(_write_one)
    OutputFolder.open(out, None, overwrite=True).fill(_write_one)
    assert sorted(tmp_path.iterdir()) == sorted([out, *left])


def test_a_file_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "page.npz"
    target.write_text("old")
    with pytest.raises(RuntimeError), whole_file(target) as aside:
        aside.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    with whole_file(target) as first, whole_file(target) as second:
        assert first != second and first.suffix == ".npz"
        first.write_text("first")
        second.write_text("second")
    assert target.read_text() == "first"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EIO, "I/O error")])
def test_a_full_disk_leaves_nothing(tmp_path: Path, error: OSError) -> None:
    def write(folder: Path) -> list[Path]:
        (folder / "half").write_text("half")
        raise error

    with pytest.raises(MedldmError, match="E-OUT-05") as refusal:
        OutputFolder.open(tmp_path / "out", None).fill(write)
    assert ("full" in refusal.value.what) == (error.errno == errno.ENOSPC)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_while_writing_keeps_the_old_result(tmp_path: Path) -> None:
    out = tmp_path / "out"
    OutputFolder.open(out, None).fill(_write_one)

    def write(folder: Path) -> list[Path]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        OutputFolder.open(out, None, overwrite=True).fill(write)
    assert (out / "image.txt").read_text() == "image"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_something_else_filled_meanwhile_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    folder = OutputFolder.open(out, None)
    OutputFolder.open(out, None).fill(_write_one)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(MedldmError, match=r"E-OUT-06.*out\.new-"):
        folder.fill(_write_one)
    assert (out / "notes.txt").read_text() == "mine"
    (rescued,) = tmp_path.glob("out.new-*")
    assert (rescued / "image.txt").read_text() == "image"


def test_overwrite_replaces_results_only(tmp_path: Path) -> None:
    out = tmp_path / "out"
    OutputFolder.open(out, None).fill(_write_one)
    with pytest.raises(UsageError, match="E-OUT-03"):
        OutputFolder.open(out, None)
    OutputFolder.open(out, None, overwrite=True).fill(_write_one)
    (out / "run.json").unlink()
    with pytest.raises(UsageError, match="never deleted"):
        OutputFolder.open(out, None, overwrite=True)


def test_what_medldm_did_not_write_is_never_deleted(tmp_path: Path) -> None:
    out = tmp_path / "out"
    OutputFolder.open(out, None).fill(_write_one)
    (out / "deep").mkdir()
    notes = out / "deep" / "notes.txt"
    notes.write_text("mine")
    with pytest.raises(UsageError, match=r"E-OUT-03.*deep/notes.txt.*never deleted"):
        OutputFolder.open(out, None, overwrite=True)
    notes.unlink()
    scan = out / "scan.json"
    scan.write_text("{}")
    with pytest.raises(UsageError, match=r"E-OUT-01.*lies inside the output"):
        OutputFolder.open(out, scan, overwrite=True)
    scan.unlink()
    OutputFolder.open(out, None, overwrite=True).fill(_write_one)
    assert sorted(path.name for path in out.iterdir()) == ["image.txt", "run.json"]


def test_results_go_where_a_link_leads(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "out").symlink_to(disk)
    OutputFolder.open(tmp_path / "out", None).fill(_write_one)
    assert (tmp_path / "out").is_symlink() and (disk / "run.json").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "out"]


def test_output_inside_input_is_refused(tmp_path: Path) -> None:
    scan = tmp_path / "scan"
    scan.mkdir()
    for out in (scan, scan / "out", tmp_path / "scan" / ".." / "scan" / "out"):
        with pytest.raises(UsageError, match="E-OUT-01"):
            OutputFolder.open(out, scan)
    OutputFolder.open(tmp_path / "out", scan)


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UsageError, match="E-OUT-02"):
        OutputFolder.open(tmp_path / "out", None)
    with pytest.raises(UsageError, match="E-OUT-04"):
        OutputFolder.open(tmp_path / "out" / "below", None)
