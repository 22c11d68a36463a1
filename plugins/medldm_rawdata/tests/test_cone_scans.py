"""Whole detectors on circles and helices, written from known balls, read and reconstructed: each ball where it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import medldm
from medldm.data import Acquisition, AffineMap, ReadRequest
from medldm.errors import InputRefused
from medldm.host import load_host
from medldm.pipeline.reading import reader_for
from medldm.pipeline.recipe import load_recipe
from medldm_rawdata.projections.cone_file import ConeBeamReader
from medldm_rawdata.projections.ct_pd import CtPdReader
from medldm_rawdata.projections.ct_pd_files import write_projection
from medldm_rawdata.projections.examples import cone_beam, cone_header

Array = NDArray[np.float64]
# x, y, z and radius in mm, attenuation in 1/mm: none has a twin on the other side of any plane.
BALLS = ((0.0, 0.0, 0.0, 15.0, 0.02), (5.0, -6.0, 4.0, 4.0, 0.01), (-6.0, 3.0, -5.0, 4.0, -0.01))
NEAR, FAR, ROWS, COLUMNS, ROW, COLUMN = 200.0, 400.0, 20, 44, 3.0, 2.0


def projections(
    angles: Array, heights: Array, *, curved: bool = True, shifts: Array | None = None, column_offset: float = 0.0
) -> Array:
    """(view, row, column) of :data:`BALLS`; the focal spot is shifted (angle, height, radius), the cells are not."""
    shifts = np.zeros((len(angles), 3)) if shifts is None else shifts
    spot_angle, radius = angles + shifts[:, 0], NEAR + shifts[:, 2]
    spot = np.stack((radius * np.sin(spot_angle), -radius * np.cos(spot_angle), heights + shifts[:, 1]), 1)
    focus = np.stack((NEAR * np.sin(angles), -NEAR * np.cos(angles), heights), 1)
    along = (np.arange(COLUMNS) - (COLUMNS - 1) / 2) * COLUMN + column_offset
    up = (np.arange(ROWS) - (ROWS - 1) / 2) * ROW
    u = np.stack((np.cos(angles), np.sin(angles), 0 * angles), 1)[:, None, None]
    away = np.stack((-np.sin(angles), np.cos(angles), 0 * angles), 1)[:, None, None]
    side = (FAR * np.sin(along / FAR) if curved else along)[None, None, :, None]
    depth = (FAR * np.cos(along / FAR) if curved else FAR + 0 * along)[None, None, :, None]
    cell = focus[:, None, None] + side * u + depth * away + up[None, :, None, None] * np.array([0.0, 0.0, 1.0])
    ray = cell - spot[:, None, None]
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    total = np.zeros(ray.shape[:3])
    for x, y, z, size, value in BALLS:
        line = np.array([x, y, z]) - spot[:, None, None]
        distance = np.linalg.norm(line - (line * ray).sum(-1, keepdims=True) * ray, axis=-1)
        total += 2 * value * np.sqrt(np.maximum(size**2 - distance**2, 0))
    return total


def helix(views_per_turn: int = 48, feed: float = 20.0) -> tuple[Array, Array]:
    """Angles and heights that see the balls from all sides."""
    views = int(2.6 * views_per_turn)
    angles = 0.4 + np.arange(views) * 2 * np.pi / views_per_turn
    return angles, (np.arange(views) - (views - 1) / 2) * feed / views_per_turn


def written(folder: Path, values: Array, angles: Array, heights: Array, shifts: Array, **more: object) -> Path:
    """The same as DICOM-CT-PD has it: z towards the feet, rows and columns the other way."""
    folder.mkdir()
    for view, angle in enumerate(angles):
        write_projection(
            folder / f"{view:04d}.dcm", np.maximum(values[view, ::-1, ::-1], 0), view + 1,
            angle=float(np.mod(angle, 2 * np.pi)), z=-float(heights[view]), central=[(COLUMNS + 1) / 2, (ROWS + 1) / 2],
            angle_shift=float(shifts[view, 0]), z_shift=-float(shifts[view, 1]), radius_shift=float(shifts[view, 2]),
            **more,
        )  # fmt: skip
    folder.with_name(f"{folder.name}.medldm.json").write_text('{"image": {"pixels": [36, 36], "pixel_mm": 1.0}}')
    return folder


def means(acquisition: Acquisition, recipe: str, iterations: int = 12) -> list[float]:
    """Of the three balls and of air, in 1/mm."""
    chosen = load_recipe(recipe, [f"solver={{name: cgls, iterations: {iterations}}}", "outputs={write: [nifti]}"])
    image = medldm.reconstruct(
        replace(acquisition, output=AffineMap.identity("1/mm")), recipe=chosen, device="cpu"
    ).image
    grid, values = image.grid, image.data.numpy()
    z, y, x = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * s for n, s in zip(grid.shape, grid.spacing, strict=True)), indexing="ij"
    )
    spots = [(0.0, 0.0, 11.0, 2.0), *((bx, by, bz, 0.6 * r) for bx, by, bz, r, _ in BALLS[1:]), (12.5, 12.5, 0.0, 2.0)]
    return [float(values[(x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2 < r**2].mean()) for a, b, c, r in spots]


EXPECTED = [0.02, 0.03, 0.01, 0.0]


def test_a_clinical_helix_is_reconstructed(tmp_path: Path) -> None:
    angles, heights = helix()
    folder = written(tmp_path / "scan", projections(angles, heights), angles, heights, np.zeros((len(angles), 3)))
    (acquisition,) = CtPdReader().read(folder, ReadRequest())
    assert acquisition.physics == "ct-helical"
    assert set(acquisition.tensors) == {"angles", "heights_mm", "counts"}
    np.testing.assert_allclose(means(acquisition, "ct-helical"), EXPECTED, atol=1.5e-3)


def test_a_flying_focal_spot_is_followed(tmp_path: Path) -> None:
    """Two spots along the angle and along z by turns; believed at rest, they blur the balls and shift the rows."""
    angles, heights = helix()
    turns = np.arange(len(angles)) % 4
    shifts = np.stack((np.where(turns % 2, 8e-3, -8e-3), np.where(turns // 2, 2.0, -2.0), 0 * angles), 1)
    values = projections(angles, heights, shifts=shifts)
    folder = written(tmp_path / "scan", values, angles, heights, shifts, focal_spot_mode="FFSXYZ")
    (acquisition,) = CtPdReader().read(folder, ReadRequest())
    assert {"source_mm", "detector_mm", "columns_along", "rows_along"} < set(acquisition.tensors)
    found = means(acquisition, "ct-helical")
    np.testing.assert_allclose(found, EXPECTED, atol=2e-3)
    resting = {name: value for name, value in acquisition.tensors.items() if name in ("angles", "heights_mm", "counts")}
    blurred = means(replace(acquisition, tensors=resting), "ct-helical")
    assert np.abs(np.subtract(blurred, EXPECTED)).max() > 2 * np.abs(np.subtract(found, EXPECTED)).max()


@pytest.mark.parametrize("detector", ["flat", "curved"])
def test_a_circle_of_a_laboratory_is_reconstructed(tmp_path: Path, detector: str) -> None:
    """Stored as photons, the detector off centre by what is to be found, axes in another order."""
    angles = np.arange(60) * 2 * np.pi / 60
    values = projections(angles, 0 * angles, curved=detector == "curved", column_offset=3.0)
    np.save(tmp_path / "ball.npy", (1e5 * np.exp(-values)).transpose(1, 0, 2))
    header = cone_header(
        data="ball.npy", content="counts", photons=1e5, detector=detector, axes=["row", "view", "column"],
        angles_deg={"first_deg": 0.0, "step_deg": 6.0}, heights_mm=None, column_pitch_mm=COLUMN, row_pitch_mm=ROW,
        column_offset_mm="find", source_to_centre_mm=NEAR, source_to_detector_mm=FAR,
        image={"voxels": [30, 36, 36], "voxel_mm": [1.0, 1.0, 1.0]},
    )  # fmt: skip
    (tmp_path / "ball.json").write_text(json.dumps(header))
    assert isinstance(reader_for(load_host(), tmp_path / "ball.json"), ConeBeamReader)
    (acquisition,) = ConeBeamReader().read(tmp_path / "ball.npy", ReadRequest())
    assert acquisition.physics == "ct-cone"
    assert acquisition.settings["weights"] == "full-turn"
    assert acquisition.settings["column_offset_mm"] == pytest.approx(3.0, abs=0.2 * COLUMN)
    np.testing.assert_allclose(means(acquisition, "ct-cone"), EXPECTED, atol=1.5e-3)
    (row,) = ConeBeamReader().inspect(tmp_path / "ball.json")
    assert "needs the physics ct-cone" in row.description


HALF_TURN = {
    "column_offset_mm": "find",
    "heights_mm": None,
    "angles_deg": {"first_deg": 0.0, "step_deg": 8.0},
}


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"heights_mm": [0.0, 1.0]}, "E-PRJ-08"),
        ({"angles_deg": [0.0, 1.0]}, "E-PRJ-08"),
        ({"source_to_detector_mm": 400.0}, "E-PRJ-16"),
        ({"weights": "full-turn"}, "E-PRJ-16"),
        ({"column_offset_mm": "find"}, "E-PRJ-16"),
        (HALF_TURN, "E-PRJ-14"),
        ({"column_offset_mm": "find", "heights_mm": None, "row_offset_mm": 100.0}, "E-PRJ-14"),
        ({"content": "counts", "photons": None}, "E-PRJ-16"),
        ({"axes": ["view", "row", "row"]}, "E-PRJ-16"),
        ({"data": "../helix.npy"}, "E-PRJ-16"),
        ({"data": "absent.npy"}, "E-PRJ-01"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, more: dict[str, object], code: str) -> None:
    path = cone_beam().make(tmp_path)
    path.write_text(json.dumps(cone_header(**more)))
    with pytest.raises(InputRefused) as caught:
        ConeBeamReader().read(path, ReadRequest())
    assert caught.value.code == code
    (problem,) = (problem for row in ConeBeamReader().inspect(path) for problem in row.problems)
    assert problem.code == code and problem.remedy


@pytest.mark.parametrize(("values", "code"), [(np.ones((4, 5)), "E-PRJ-04"), (np.full((2, 3, 4), np.nan), "E-PRJ-07")])
def test_arrays_that_cannot_be_projections_are_refused(tmp_path: Path, values: Array, code: str) -> None:
    path = cone_beam().make(tmp_path)
    np.save(tmp_path / "helix.npy", values)
    with pytest.raises(InputRefused) as caught:
        ConeBeamReader().read(path, ReadRequest())
    assert caught.value.code == code


def test_angles_that_begin_again_with_every_turn_are_refused(tmp_path: Path) -> None:
    """The file can be read; that its angles and heights are those of no helix is seen by the physics."""
    path = cone_beam().make(tmp_path)
    degrees = [float(d) for d in (30.0 * np.arange(23)) % 360]
    path.write_text(json.dumps(cone_header(angles_deg=degrees)))
    (acquisition,) = ConeBeamReader().read(path, ReadRequest())
    with pytest.raises(InputRefused, match="E-CT-27"):
        medldm.reconstruct(acquisition, recipe="ct-helical", device="cpu")


def test_photons_are_seen_in_the_noise_of_air(tmp_path: Path) -> None:
    path = cone_beam().make(tmp_path)
    noise = 0.01 * torch.randn(40, 6, 40, generator=torch.Generator().manual_seed(1)).numpy()
    body = np.zeros((40, 6, 40))
    body[:, :, 10:30] = 4.0
    np.save(tmp_path / "helix.npy", body + noise)
    header = cone_header(photons=None, heights_mm={"first_mm": 0.0, "step_mm": 1.0})
    path.write_text(json.dumps(header))
    (acquisition,) = ConeBeamReader().read(path, ReadRequest())
    assert acquisition.settings["photons"] == pytest.approx(1e4, rel=0.1)
