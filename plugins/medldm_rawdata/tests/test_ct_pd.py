"""Clinical projections written from known discs: where they lie, how dense they are, and what is refused."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pydicom
import pytest

import medldm
from medldm.data import Acquisition, ReadRequest
from medldm.errors import ComponentMissing, InputRefused
from medldm.host import load_host
from medldm.pipeline.reading import reader_for
from medldm.pipeline.recipe import load_recipe
from medldm_rawdata.projections.ct_pd import CtPdReader
from medldm_rawdata.projections.ct_pd_files import (
    DISCS,
    MU_WATER,
    PHOTONS,
    disc_integrals,
    place,
    write_fan,
    write_projection,
)
from medldm_rawdata.projections.turning import turning

READER = CtPdReader()


def read(path: Path, series: str | None = None, **more) -> Acquisition:
    return READER.read(path, ReadRequest(series=series, **more))[0]


def codes(acquisition: Acquisition) -> set[str]:
    return {problem.code for problem in acquisition.history.problems}


def refused(path: Path, code: str, **request) -> None:
    with pytest.raises(InputRefused) as caught:
        read(path, **request)
    assert caught.value.code == code
    assert caught.value.what and caught.value.fix


def hounsfield(acquisition: Acquisition) -> list[float]:
    """Means within the discs, and in air, of the filtered back-projection."""
    recipe = load_recipe("ct-measured-fan", ["solver={name: fbp, filter: hann}"])
    image = medldm.reconstruct(acquisition, recipe=recipe, device="cpu").image.data[0].numpy()
    middle = (image.shape[0] - 1) / 2
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] - middle
    spots = [(DISCS[0][0] - 8, DISCS[0][1] - 12, 4.0), *((dx, dy, 0.6 * r) for dx, dy, r, _ in DISCS[1:]), (33, 33, 6)]
    return [float(image[np.hypot(x - dx, y - dy) < r].mean()) for dx, dy, r in spots]


@pytest.mark.parametrize(
    "more", [{}, {"untyped": True}, {"shape": "FLAT", "transposed": False}], ids=["cylinder", "untyped", "flat"]
)
def test_discs_lie_where_they_are_in_hounsfield_units(tmp_path: Path, more: dict) -> None:
    acquisition = read(write_fan(tmp_path / "scan", 120, 96, **more))
    assert acquisition.settings["geometry"] == ("fan-flat" if "shape" in more else "fan-curved")
    assert acquisition.settings["weights"] == "full-turn"
    assert acquisition.settings["offset_mm"] == pytest.approx(0.75 * 2)
    assert codes(acquisition) == set()
    # 0.02, 0.03 and 0.005 per mm, and air.
    np.testing.assert_allclose(hounsfield(acquisition), [0, 500, -750, -1000], atol=60)


def test_views_are_ordered_by_their_number(tmp_path: Path) -> None:
    acquisition = read(write_fan(tmp_path / "scan", 40, 32))
    phi = 0.3 + np.arange(40) * 2 * np.pi / 40
    np.testing.assert_allclose(acquisition.tensors["angles"].numpy(), phi, atol=1e-6)
    exact = disc_integrals(phi, place(32, 17.25, 2.0) / 400, 200.0)[:, ::-1]
    np.testing.assert_allclose(acquisition.data[0].numpy(), exact, atol=6e-5)
    np.testing.assert_allclose(acquisition.tensors["counts"][0], PHOTONS * np.exp(-exact), rtol=2e-4)


def test_columns_that_run_the_other_way_are_found_out(tmp_path: Path) -> None:
    whole = write_fan(tmp_path / "whole", 120, 96)
    turned = tmp_path / "turned"
    turned.mkdir()
    for file in whole.iterdir():
        dataset = pydicom.dcmread(file)
        pixels = np.frombuffer(dataset.PixelData, "<u2").reshape(dataset.Rows, dataset.Columns)
        dataset.PixelData = pixels[::-1].tobytes()
        dataset[0x7031, 0x1033].value = [96 + 1 - 49.25, 1.0]
        dataset.save_as(turned / file.name)
    acquisition = read(turned)
    assert codes(acquisition) == {"E-PRJ-21"}
    np.testing.assert_array_equal(acquisition.data.numpy(), read(whole).data.numpy())
    assert acquisition.settings["offset_mm"] == read(whole).settings["offset_mm"]
    assert acquisition.history.events[0].settings["bins"] == "reversed"


def test_a_short_arc_does_not_tell_and_says_so(tmp_path: Path) -> None:
    folder = write_fan(tmp_path / "scan", 120, 96)
    for file in folder.iterdir():
        if int(file.stem.split("-")[1]) >= 40:
            file.unlink()
    acquisition = read(folder)
    assert codes(acquisition) == {"E-PRJ-21"}
    assert acquisition.settings["weights"] == "limited"
    assert acquisition.history.events[0].settings["bins"] == "assumed"


def test_the_turning_is_told_by_opposite_rays_unless_the_object_is_round() -> None:
    phi = np.arange(100) * 2 * np.pi / 100
    gamma = np.linspace(-0.2, 0.22, 61)
    values = disc_integrals(phi, gamma, 200.0)
    assert turning(values, phi, gamma)[0] == 1
    assert turning(values, -phi, gamma)[0] == -1
    noise = np.random.default_rng(0).normal(0, 0.02, values.shape)
    assert turning(values + noise, phi, gamma)[0] == 1
    round_ = np.repeat(2 * np.sqrt(np.maximum(30**2 - (200 * np.sin(gamma)) ** 2, 0))[None], 100, 0)
    assert turning(round_, phi, gamma) is None


def test_several_rows_are_a_cone_or_the_rows_beside_the_plane(tmp_path: Path) -> None:
    folder = write_fan(tmp_path / "scan", 40, 32, rows=4)
    rows = READER.inspect(folder)
    assert [row.shape for row in rows] == [(4, 32, 32), (1, 32, 32)]
    assert "needs the physics ct-cone" in rows[0].description
    refused(folder, "E-PRJ-24")
    refused(folder, "E-PRJ-24", series="#3")
    fan = read(folder, "#2")
    assert fan.physics == "ct-fan"
    assert fan.history.events[0].settings["rows"] == [2, 3]
    assert fan.grid.spacing[0] == pytest.approx(3.0)
    assert fan.settings["photons"] == 2 * PHOTONS
    cone = read(folder, "#1")
    assert cone.physics == "ct-cone"
    assert cone.axes == ("view", "row", "column")
    assert cone.settings["weights"] == "full-turn"
    np.testing.assert_array_equal(cone.data[:, 1].numpy(), fan.data[0].numpy())
    assert cone.settings["source_to_centre_mm"] == 200.0
    assert set(cone.tensors) == {"angles", "counts"}


def helix(folder: Path) -> Path:
    folder.mkdir()
    phi = np.arange(90) * 2 * np.pi / 36
    for view, angle in enumerate(phi):
        values = np.tile(np.arange(3.0)[:, None] / 10, (1, 8)) + np.arange(8) / 100
        shift = (-1) ** view
        write_projection(
            folder / f"{view:03d}.dcm", values, view + 1, angle=float(np.mod(angle, 2 * np.pi)), z=-50 + view * 0.25,
            focal_spot_mode="FFSXYZ", angle_shift=shift * 1e-3, z_shift=shift * 0.4, radius_shift=shift * 0.2,
            central=[5.0, 2.5],
        )  # fmt: skip
    return folder


def test_a_helix_is_read_as_it_was_measured_and_refused_without_its_physics(tmp_path: Path) -> None:
    folder = helix(tmp_path / "scan")
    (row,) = READER.inspect(folder)
    assert {problem.code for problem in row.problems} == {"E-PRJ-22"}
    assert "flying focal spot FFSXYZ" in row.description
    acquisition = read(folder)
    assert acquisition.physics == "ct-helical"
    assert tuple(acquisition.data.shape) == (90, 3, 8)
    # Rows grow towards the head, z of the format towards the feet; bins with the turning.
    np.testing.assert_allclose(acquisition.data[0, :, 0].numpy(), np.array([0.27, 0.17, 0.07]), atol=1e-4)
    # Heights are counted from the middle of the path, 22.25 mm long.
    angle, radius, z = 2 * np.pi / 36 - 1e-3, 200 - 0.2, 22.25 / 2 - 0.25 + 0.4
    expected = [radius * np.sin(angle), -radius * np.cos(angle), z]
    np.testing.assert_allclose(acquisition.tensors["source_mm"][1].numpy(), expected, atol=1e-4)
    settings = acquisition.settings
    assert settings["geometry"] == "cone-curved"
    assert (settings["column_offset_mm"], settings["row_offset_mm"]) == (0.5 * 2.0, 0.5 * 3.0)
    assert settings["mu_water_per_mm"] == MU_WATER
    assert acquisition.tensors["counts"].shape == acquisition.data.shape
    with pytest.raises(ComponentMissing, match=r"E-PLG-08.*ct-helical"):
        medldm.reconstruct(_of_unknown_physics(acquisition), recipe="ct-measured-fan", device="cpu")


def _of_unknown_physics(acquisition: Acquisition) -> Acquisition:
    """The same, of a physics that is certainly not installed."""
    from dataclasses import replace

    return replace(acquisition, physics="ct-helical-elsewhere")


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"angle_shift": None, "central": None}, "E-PRJ-03"),
        ({"source_to_detector": None}, "E-PRJ-03"),
        ({"radius": float("nan")}, "E-PRJ-03"),
        ({"shape": "SPHERICAL"}, "E-PRJ-17"),
        ({"projection_geometry": "PARALLEL"}, "E-PRJ-17"),
        ({"logarithm": "NO"}, "E-PRJ-17"),
        ({"radius": 500.0}, "E-PRJ-17"),
    ],
)
def test_a_geometry_that_is_not_understood_is_refused(tmp_path: Path, more: dict, code: str) -> None:
    refused(write_fan(tmp_path / "scan", 6, 8, **more), code)


def test_projections_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    folder = write_fan(tmp_path / "scan", 12, 8)
    values = np.zeros((1, 8))
    write_projection(folder / "more.dcm", values, 13, pitch=1.0)
    refused(folder, "E-PRJ-17")
    write_projection(folder / "more.dcm", values, 12, angle=1.0)
    refused(folder, "E-PRJ-20")
    write_projection(folder / "more.dcm", values, 20, angle=1.0)
    assert "E-PRJ-20" in codes(read(folder))
    (folder / "more.dcm").unlink()
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        dataset[0x7031, 0x1001].value = 0.5
        dataset.save_as(file)
    refused(folder, "E-PRJ-08")


def test_water_calibrates_hounsfield_units_or_is_said_to_be_missing(tmp_path: Path) -> None:
    for name, water in (("none", None), ("per-cm", 0.2)):
        acquisition = read(write_fan(tmp_path / name, 12, 8, water=water))
        assert "E-PRJ-23" in codes(acquisition)
        assert acquisition.output.target == "1/mm"


def test_damaged_files_are_refused_and_nothing_is_allocated_for_them(tmp_path: Path) -> None:
    folder = write_fan(tmp_path / "scan", 12, 8)
    file = sorted(folder.iterdir())[3]
    content = file.read_bytes()
    refused(folder, "E-PRJ-06", max_bytes=1000)
    file.write_bytes(content[:-4])
    refused(folder, "E-PRJ-02")
    file.write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"))
    refused(folder, "E-PRJ-04")
    random = np.random.default_rng(3)
    for _ in range(60):
        cut = bytearray(content)
        for at in random.integers(132, len(cut), 6):
            cut[at] = random.integers(256)
        file.write_bytes(cut)
        with suppress(InputRefused):
            read(folder)
        READER.accepts(folder)


def test_a_folder_of_projections_is_no_series_of_images(tmp_path: Path) -> None:
    folder = write_fan(tmp_path / "scan", 6, 8)
    host = load_host()
    assert isinstance(reader_for(host, folder), CtPdReader)
    (folder.with_name("scan.medldm.json")).write_text('{"image": {"pixels": [10, 12], "pixel_mm": 4.0}, "photons": 9}')
    acquisition = read(folder)
    assert acquisition.grid.shape == (1, 10, 12)
    assert acquisition.settings["photons"] == 9


def test_signed_values_are_read_as_such(tmp_path: Path) -> None:
    """Noise about zero makes air negative in some rays."""
    folder = write_fan(tmp_path / "scan", 36)
    plain = read(folder).data.numpy()
    noise = np.random.default_rng(4).integers(-30, 31, (36, 64))
    for file in folder.iterdir():
        projection = pydicom.dcmread(file)
        stored = np.frombuffer(projection.PixelData, "<i2") + noise[projection.InstanceNumber - 1]
        projection.PixelData, projection.PixelRepresentation = stored.astype("<i2").tobytes(), 1
        projection.save_as(file)
    found = read(folder).data.numpy()
    step = float(projection.RescaleSlope)
    assert found.min() < 0
    np.testing.assert_allclose(found, plain + step * noise[None, :, ::-1], atol=1e-5)
