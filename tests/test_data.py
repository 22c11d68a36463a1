"""Grid, volume, acquisition, intensity maps, history."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medldm.data import Acquisition, AffineMap, Grid, History, Source, Volume, attenuation_from_hu
from medldm.data.intensity import attenuation_from
from medldm.errors import InputRefused


def oblique_grid() -> Grid:
    angle = np.radians(20)
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    # Columns in the order z, y, x: z to Superior, y to Posterior, x to Left, turned about z by 20 degrees.
    affine[:3, :3] = rotation @ np.array([[0, 0, 0.7], [0, 0.9, 0], [3.0, 0, 0]])
    affine[:3, 3] = (10, -20, 30)
    return Grid((4, 5, 6), affine)


def test_an_oblique_grid_has_three_different_patient_axes() -> None:
    # Axis y lies nearest to S as well, but z lies nearer.
    steps = np.array([[0.0, 0.2, 1.0], [-0.6, 0.68, 0.0], [0.8, 0.7, 0.0]])
    grid = Grid((4, 4, 4), np.vstack([np.column_stack([steps, np.zeros(3)]), [0, 0, 0, 1]]))
    assert grid.patient_axes == (2, 1, 0) and grid.orientation == "SPL"


def test_grid_tells_spacing_orientation_and_place() -> None:
    grid = oblique_grid()
    assert grid.spacing == pytest.approx((3.0, 0.9, 0.7))
    assert grid.orientation == "SPL"
    assert grid.shear_degrees == pytest.approx(0, abs=1e-6)
    assert grid.world((0, 0, 0)) == pytest.approx((10, -20, 30))
    assert grid.world((2, 0, 0)) == pytest.approx((10, -20, 36))
    assert grid.world((0, 0, 1)) == pytest.approx(
        (10 + 0.7 * np.cos(np.radians(20)), -20 + 0.7 * np.sin(np.radians(20)), 30)
    )


def test_grid_measures_tilt() -> None:
    affine = Grid.isotropic((4, 5, 6)).affine.copy()
    affine[:3, 0] = (0, np.tan(np.radians(18.5)), 1)
    assert Grid((4, 5, 6), affine).shear_degrees == pytest.approx(18.5)


def test_a_grid_as_nifti_has_it() -> None:
    grid = oblique_grid()
    assert grid.nifti_affine @ (5, 4, 3, 1) == pytest.approx([*(grid.world((3, 4, 5)) * [-1, -1, 1]), 1])
    assert Grid.from_nifti(grid.nifti_affine, (6, 5, 4)) == grid


def test_isotropic_grid_is_centred() -> None:
    grid = Grid.isotropic((4, 5, 7), (2, 1, 0.5))
    assert grid.world((1.5, 2, 3)) == pytest.approx((0, 0, 0))


@pytest.mark.parametrize("fault", ["nan", "zero", "parallel"])
def test_bad_geometry_is_refused(fault: str) -> None:
    affine = np.eye(4)
    if fault == "nan":
        affine[0, 3] = np.nan
    elif fault == "zero":
        affine[:3, 0] = 0
    else:
        affine[:3, 0] = affine[:3, 1]
    with pytest.raises(InputRefused) as refusal:
        Grid((2, 3, 4), affine)
    assert refusal.value.code == ("E-GEO-21" if fault == "nan" else "E-GEO-22")


def test_voxels_may_be_as_small_as_a_synchrotrons() -> None:
    assert Grid.isotropic((4, 5, 7), (6.5e-4, 6.5e-4, 6.5e-4)).spacing == pytest.approx((6.5e-4,) * 3)


@pytest.mark.parametrize("spacing", [3.0, 0.5, 6.5e-4, 5e-5])
def test_grids_are_compared_in_parts_of_a_voxel(spacing: float) -> None:
    shape = (4, 64, 640)
    grid = Grid.isotropic(shape, spacing)
    headers = Grid(shape, grid.affine.astype(np.float32).astype(np.float64))
    assert grid == headers and hash(grid) == hash(headers)
    wider, beside = grid.affine.copy(), grid.affine.copy()
    wider[:3, 2] *= 1.001  # 0.6 voxels at the end
    beside[:3, 3] += 0.2 * spacing
    finer = Grid.isotropic(shape, 0.9 * spacing)
    for other in (Grid(shape, wider), Grid(shape, beside), finer, Grid.isotropic((4, 64, 641), spacing)):
        assert grid != other and other != grid


@pytest.mark.parametrize("spacing", [0.7, 6.5e-4, 5e-5])
def test_a_grid_as_rows_keeps_every_voxel_in_its_place(spacing: float) -> None:
    grid = Grid.isotropic((2, 640, 640), spacing)
    rows = np.asarray(grid.as_rows())
    last = rows[:, :3] @ (1, 639, 639) + rows[:, 3]
    assert np.abs(last - grid.world((1, 639, 639))).max() < 0.01 * spacing


def test_cropping_keeps_every_voxel_in_its_place() -> None:
    grid = oblique_grid()
    data = torch.arange(120.0).reshape(4, 5, 6)
    source = Source("dicom", (), None)
    volume = Volume(data, grid, source=source).cropped(slice(1, 3))
    assert torch.equal(volume.data, data[1:3])
    assert volume.grid.world((0, 2, 3)) == pytest.approx(grid.world((1, 2, 3)))
    assert volume.history.as_list()[-1] == {"event": "slices", "start": 1, "stop": 3}
    with pytest.raises(InputRefused, match=r"E-GEO-23.*range 7:9 takes none of the volume.s 2 slices"):
        volume.cropped(slice(7, 9))


def test_values_that_are_not_finite_are_refused() -> None:
    data = torch.zeros(2, 3, 4)
    data[0, 0, 0] = torch.nan
    data[1, 2, 3] = torch.inf
    with pytest.raises(InputRefused, match="2 of 24"):
        Volume(data, Grid.isotropic((2, 3, 4))).require_finite()


def test_hu_and_attenuation_are_inverse_and_water_is_water() -> None:
    to_mu = attenuation_from_hu(0.02)
    assert float(to_mu(torch.tensor(0.0))) == pytest.approx(0.02)
    assert float(to_mu(torch.tensor(-1000.0))) == pytest.approx(0.0, abs=1e-9)
    values = torch.linspace(-1000, 3000, 7)
    assert torch.allclose(to_mu.inverse(to_mu(values)), values, atol=1e-2)
    with pytest.raises(ValueError, match="scale zero"):
        AffineMap("nothing", 0, 1, "a", "b")


def test_maps_follow_one_another() -> None:
    window = AffineMap("model -> HU", 2000.0, -1000.0, "model", "HU")
    both = window.then(attenuation_from_hu(0.02))
    assert (both.source, both.target) == ("model", "1/mm")
    values = torch.tensor([0.0, 0.5, 1.0])
    torch.testing.assert_close(both(values), torch.tensor([0.0, 0.02, 0.04]))
    assert both(0.5) == pytest.approx(0.02)
    with pytest.raises(ValueError, match="does not continue"):
        window.then(window)


def test_mapping_a_volume_checks_the_unit() -> None:
    volume = Volume(torch.zeros(2, 3, 4), Grid.isotropic((2, 3, 4)), "HU")
    mapped = volume.mapped(attenuation_from_hu(), "1/mm")
    assert mapped.quantity == "1/mm"
    with pytest.raises(ValueError, match="does not turn"):
        mapped.mapped(attenuation_from_hu(), "1/mm")


def test_history_survives_json() -> None:
    history = History().then("untilt", degrees=18.5).then("slices", start=1, stop=2)
    assert History.from_list(history.as_list()) == history


def _acquisition(**changes: object) -> Acquisition:
    settings = {
        "physics": "identity",
        "data": torch.zeros(2, 3, 4),
        "axes": ("z", "y", "x"),
        "grid": Grid.isotropic((2, 3, 4)),
        "quantity": "arbitrary",
        "modality": "MR",
        "output": AffineMap.identity("arbitrary"),
    }
    return Acquisition(**(settings | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"axes": ("z", "y")}, "E-ACQ-01"),
        ({"data": torch.zeros(2, 0, 4)}, "E-ACQ-02"),
        ({"noise_std": -1.0}, "E-ACQ-03"),
        ({"noise_std": float("nan")}, "E-ACQ-03"),
    ],
)
def test_impossible_measurements_are_refused(changes: dict[str, object], code: str) -> None:
    with pytest.raises(InputRefused, match=code):
        _acquisition(**changes)


def test_a_missing_array_is_named_with_those_there_are() -> None:
    with pytest.raises(InputRefused, match=r"'maps'; it has \['mask'\]"):
        _acquisition(tensors={"mask": torch.ones(1)}).tensor("maps")


def test_attenuation_follows_from_hu_and_from_itself() -> None:
    values = torch.tensor([-1000.0, 0.0, 350.0])
    assert torch.equal(attenuation_from("HU", 0.02)(values), attenuation_from_hu(0.02)(values))
    same = attenuation_from("1/mm")
    assert torch.equal(same(values), values) and same.inverse == same and str(same.inverse.offset) == "0.0"
    with pytest.raises(ValueError, match="arbitrary"):
        attenuation_from("arbitrary")
