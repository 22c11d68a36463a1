"""Sheets of a benchmark suite: what they are drawn from, and that a resumed run draws all of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from medldm.data import Grid, Volume
from medldm.pipeline.suite import Row
from medldm.pipeline.suite_pictures import SuitePictures

ROW = Row("ct-60-views", "a/b c", "tv", 7, metrics={"psnr": 30.0})


def _volume(value: float, shape: tuple[int, int, int] = (3, 40, 30)) -> Volume:
    return Volume(torch.full(shape, value), Grid.isotropic(shape, (5.0, 1.0, 1.0)), "HU", "CT")


def test_a_sheet_shows_what_each_method_made_even_by_two_runs(tmp_path: Path) -> None:
    SuitePictures(tmp_path).keep(ROW, _volume(100.0), _volume(0.0))
    second = replace(ROW, method="zdds")
    SuitePictures(tmp_path).keep(second, _volume(-600.0), _volume(0.0))  # of a resumed run
    failed = replace(ROW, method="psld", error="E-X: no")
    (sheet,) = SuitePictures(tmp_path).draw([ROW, second, failed])
    assert sheet.parent == tmp_path and "/" not in sheet.stem
    pixels = imread(sheet)[..., :3]
    # Grey of 0, 100 and -600 HU in a window of -1000 to 600.
    for value in (0.0, 100.0, -600.0):
        assert (np.abs(pixels - (value + 1000) / 1600).max(-1) < 0.01).mean() > 0.04, value
    # The difference is red above the truth and blue below.
    assert ((pixels[..., 0] - pixels[..., 2]) > 0.1).any() and ((pixels[..., 2] - pixels[..., 0]) > 0.1).any()


def test_many_methods_go_on_below_and_slices_of_an_earlier_run_are_forgotten(tmp_path: Path) -> None:
    pictures = SuitePictures(tmp_path)
    few = [replace(ROW, method=f"m{k}") for k in range(4)]
    many = [replace(ROW, method=f"m{k}") for k in range(9)]
    heights = []
    for rows in (few, many):
        for row in rows:
            pictures.keep(row, _volume(50.0), _volume(0.0))
        (sheet,) = pictures.draw(rows)
        heights.append(imread(sheet).shape[0])
    assert heights[1] > 1.7 * heights[0]
    # Others of the volume, another size: nothing of the first run fits beside them.
    pictures.keep(few[0], _volume(50.0, (3, 20, 30)), _volume(0.0, (3, 20, 30)))
    (sheet,) = pictures.draw(many)
    assert imread(sheet).shape[0] < heights[0]


@pytest.mark.parametrize("methods", [1, 2])
def test_the_words_of_a_narrow_sheet_are_whole(tmp_path: Path, methods: int) -> None:
    rows = [replace(ROW, method=f"m{k}") for k in range(methods)]
    for row in rows:
        SuitePictures(tmp_path).keep(row, _volume(50.0), _volume(0.0))
    (sheet,) = SuitePictures(tmp_path).draw(rows)
    assert imread(sheet)[:, [0, -1], :3].max() == 0  # nothing is cut off at the edge


def test_nothing_kept_is_nothing_drawn(tmp_path: Path) -> None:
    assert SuitePictures(tmp_path / "none").draw([ROW]) == []
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("shape", "plane"), [((1, 40, 30), "axial"), ((60, 4, 30), "coronal")])
def test_the_plane_that_shows_most_is_drawn(tmp_path: Path, shape: tuple[int, int, int], plane: str) -> None:
    SuitePictures(tmp_path).keep(ROW, _volume(50.0, shape), _volume(0.0, shape))
    (file,) = (tmp_path / "slices").iterdir()
    assert str(np.load(file)["plane"]) == plane
