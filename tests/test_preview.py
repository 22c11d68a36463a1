"""The preview picture: every axis on its patient axis, whatever the order of storage."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import imread

from medldm.data import Grid, Volume
from medldm.pipeline import preview
from medldm.pipeline.maps import Map
from medldm.pipeline.pictures import pictures_of
from medldm.pipeline.preview import canonical, difference, planes_seen, save_preview, window

RECORD = {
    "simulated": True,
    "recipe": {"name": "mri-4x", "solver": {"name": "tv"}},
    "metrics": {"baseline": {"psnr": 20.0}, "reconstruction": {"psnr": 30.0}},
}


def _every_orientation() -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    return [
        (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
    ]


@pytest.mark.parametrize(("order", "signs"), _every_orientation())
def test_axes_are_turned_to_the_patient(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    upright = torch.arange(2 * 3 * 4, dtype=torch.float32).reshape(2, 3, 4)
    spacing = (5.0, 2.0, 1.0)
    flips = [axis for axis, sign in enumerate(signs) if sign < 0]
    stored = upright.permute(order).flip(flips)
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (upright_axis, sign) in enumerate(zip(order, signs, strict=True)):
        affine[2 - upright_axis, axis] = sign * spacing[upright_axis]  # z, y, x of the patient are rows 2, 1, 0
    picture, steps = canonical(Volume(stored.contiguous(), Grid(tuple(stored.shape), affine)))
    assert np.array_equal(picture, upright.numpy())
    assert steps == spacing


def test_axes_go_where_the_whole_grid_lies_nearest() -> None:
    # Axis 0 lies nearest to S, but then the others lie far from what is left to them.
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0.66, 0.75], [0.7, 0.1, 0.7], [0.8, 0.6, 0]]).T
    volume = Volume(torch.rand(4, 5, 6), Grid((4, 5, 6), affine), "arbitrary", "MR")
    assert volume.grid.patient_axes == (1, 2, 0)
    assert canonical(volume)[0].shape == (5, 4, 6)
    assert pictures_of(volume, volume, None, {}).images["baseline"].volume.shape == (5, 4, 6)


def test_the_window_is_fixed_for_ct_and_robust_for_mr() -> None:
    grid = Grid.isotropic((2, 30, 40))
    ct = Volume(torch.zeros(2, 30, 40), grid, "HU", "CT")
    assert window(ct) == (-1000, 600)
    assert window(Volume(ct.data, grid, "HU", "CT", display=(40, 400))) == (-160, 240)
    mr = torch.full((2, 30, 40), 10.0)
    mr[0, 0, 0] = 1e6
    assert window(Volume(mr, grid)) == pytest.approx((0, 10))
    assert window(Volume(mr.where(mr > 100, 0.0), grid)) == (0, 1e6), "few voxels in an empty scan"
    assert window(Volume(torch.zeros(2, 30, 40), grid)) == (0, 1), "nothing to see"


@pytest.mark.parametrize("with_truth", [True, False])
def test_the_picture_is_drawn_even_of_one_slice_of_nothing(tmp_path: Path, with_truth: bool) -> None:
    volume = Volume(torch.zeros(1, 12, 9), Grid.isotropic((1, 12, 9), (3, 1, 1)), "arbitrary", "MR")
    path = save_preview(tmp_path / "p.png", volume, volume, volume if with_truth else None, RECORD)
    pixels = imread(path)
    assert pixels.ndim == 3
    assert pixels[..., :3].max() > 0.5  # titles and letters, not an empty sheet


def test_few_slices_of_a_standing_plane_make_a_sheet_of_bounded_size(tmp_path: Path) -> None:
    affine = np.eye(4)[[2, 1, 0, 3]]  # slices across the patient's right-left axis
    volume = Volume(torch.rand(2, 64, 64), Grid((2, 64, 64), affine), "arbitrary", "MR")
    height, width = imread(save_preview(tmp_path / "p.png", volume, volume, None, RECORD)).shape[:2]
    assert height < 2.5 * width
    assert height < 2000


def test_padding_below_air_is_no_difference() -> None:
    grid = Grid.isotropic((1, 2, 2))
    scan = Volume(torch.tensor([[[-3024.0, -1000.0], [40.0, 1500.0]]]), grid, "HU", "CT")
    image = Volume(torch.tensor([[[-1000.0, -990.0], [50.0, 1500.0]]]), grid, "HU", "CT")
    assert difference(image, scan).data.tolist() == [[[0, 10], [10, 0]]]
    assert difference(scan, scan).data.abs().max() == 0, "an image may hold less than air too"
    phased = Volume(torch.polar(torch.ones(1, 2, 2), torch.rand(1, 2, 2)), grid, "arbitrary", "MR")
    assert difference(Volume(torch.ones(1, 2, 2), grid, "arbitrary", "MR"), phased).data.abs().max() < 1e-6
    assert difference(image, Volume(image.data - 5000, grid, "arbitrary", "MR")).data.min() == 5000


def test_planes_that_would_be_lines_are_left_out(tmp_path: Path) -> None:
    assert planes_seen((5, 6, 7)) == ("axial", "coronal", "sagittal")
    assert planes_seen((1, 6, 7)) == ("axial",)
    assert planes_seen((5, 1, 7)) == ("coronal",)
    assert planes_seen((1, 1, 7)) == ("axial",), "something is shown"
    one, two = (Volume(torch.rand(n, 64, 64), Grid.isotropic((n, 64, 64)), "arbitrary", "MR") for n in (1, 2))
    lower, higher = (imread(save_preview(tmp_path / "p.png", v, v, None, RECORD)).shape[0] for v in (one, two))
    assert lower < 0.95 * higher


def test_the_caption_names_images_as_their_columns_and_the_metric() -> None:
    recipe = {"name": "mri-4x", "solver": {"name": "zdds"}}
    metrics = {"baseline": {"psnr": 26.731}, "reconstruction": {"psnr": 31.0}}
    caption = preview._caption({"simulated": False, "recipe": recipe, "metrics": metrics})
    assert "start image PSNR 26.73 dB   |   reconstruction PSNR 31.00 dB" in caption


def test_maps_have_columns_and_a_failed_check_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid.isotropic((4, 12, 9), (3, 1, 1))
    image = Volume(torch.rand(4, 12, 9), grid, "HU", "CT")
    maps = {
        "spread": Map(Volume(torch.full((4, 12, 9), 3.0), grid, "HU"), "spread", ""),
        "prior-share": Map(Volume(torch.ones(4, 12, 9), grid), "prior-share", ""),
    }
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: drawn.append(self))
    save_preview(tmp_path / "p.png", image, image, None, RECORD | {"uncertainty": {"samples": 4}}, maps)
    save_preview(tmp_path / "q.png", image, image, None, RECORD | {"gates_failed": ["chi is 9"]}, {})
    titles = [[axes.get_title() for axes in figure.axes if axes.get_title()] for figure in drawn]
    assert titles[0] == [*titles[1], "spread of 4 samples", "what came from the prior"]
    labels = [axes.get_xlabel() for axes in drawn[0].axes if axes.get_xlabel()]
    assert labels == ["HU", "HU", "difference HU", "standard deviation HU", "share of the voxel's value"]
    # The images have one window, a share goes from 0 to 1.
    limits = [axes.images[0].get_clim() for axes in drawn[0].axes if axes.get_title()]
    assert limits[0] == limits[1] == (-1000, 600)
    assert limits[3][0] == 0
    assert limits[4] == (0, 1)
    assert "FAILED" in drawn[1]._suptitle.get_text()  # type: ignore[union-attr, attr-defined]
    assert "FAILED" not in drawn[0]._suptitle.get_text()  # type: ignore[union-attr, attr-defined]


def test_sides_that_no_file_states_are_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: drawn.append(self))
    known = Volume(torch.rand(4, 12, 9), Grid.isotropic((4, 12, 9)), "arbitrary", "MR")
    for image in (known, replace(known, history=known.history.orientation_assumed())):
        save_preview(tmp_path / "p.png", image, known, None, RECORD)
        assert pictures_of(image, known, None, {}).oriented == (image is known)
    letters = [{text.get_text() for axes in figure.axes for text in axes.texts} for figure in drawn]
    assert letters == [{"R", "L", "A", "P"}, set()]
    foot = [figure._supxlabel.get_text() for figure in drawn]  # type: ignore[attr-defined]
    assert "patient's right on the left" in foot[0] and "does not say which side" in foot[1]
