"""The acceptance matrix: one oblique, non-square CT series and what may go wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from medldm.data import Grid, ReadRequest, Volume
from medldm.errors import InputRefused
from medldm_dicom import examples
from medldm_dicom.reader import DicomReader


@pytest.fixture
def slices() -> list[Dataset]:
    return examples.ct_slices(examples.oblique_grid(), examples.hounsfield())


def read(folder: Path, slices: list[Dataset], **request: object) -> Volume:
    examples.save(slices, folder)
    (volume,) = DicomReader().read(folder, ReadRequest(**request))  # type: ignore[arg-type]
    return volume


def refused(folder: Path, slices: list[Dataset], **request: object) -> InputRefused:
    with pytest.raises(InputRefused) as caught:
        read(folder, slices, **request)
    return caught.value


def codes(folder: Path) -> set[tuple[str, str]]:
    return {(p.code, p.severity) for row in DicomReader().inspect(folder) for p in row.problems}


def normal() -> np.ndarray:
    return examples.oblique_grid().directions[:, 0]


def move(image: Dataset, by: np.ndarray) -> None:
    image.ImagePositionPatient = [float(a + b) for a, b in zip(image.ImagePositionPatient, by, strict=True)]


def test_plain_series_shuffled_files_wrong_instance_numbers(tmp_path: Path, slices: list[Dataset]) -> None:
    volume = read(tmp_path, [slices[k] for k in (4, 1, 3, 0, 2)])
    assert volume.grid == examples.oblique_grid()
    assert volume.grid.spacing == pytest.approx((2.5, 0.7, 0.5))
    np.testing.assert_array_equal(volume.data.numpy(), examples.hounsfield())
    assert (volume.quantity, volume.modality, volume.display) == ("HU", "CT", (40.0, 400.0))
    assert volume.source is not None
    assert [file.name for file in volume.source.files] == ["3.dcm", "1.dcm", "4.dcm", "2.dcm", "0.dcm"]
    assert len(volume.source.header) == 5 and "PixelData" not in volume.source.header[0]


@pytest.mark.parametrize("rotation", range(6))
def test_every_axis_order_and_direction(tmp_path: Path, rotation: int) -> None:
    """Axial, coronal and sagittal stacks in both directions keep each voxel at its place in the patient."""
    base = examples.oblique_grid().affine
    turn = np.eye(3)[:, [(0, 1, 2), (1, 2, 0), (2, 0, 1)][rotation % 3]] * (1 if rotation < 3 else -1)
    affine = np.eye(4)
    affine[:3, :3] = turn @ base[:3, :3]
    affine[:3, 3] = base[:3, 3]
    grid = Grid(examples.SHAPE, affine)
    volume = read(tmp_path, examples.ct_slices(grid, examples.hounsfield()))
    for index in ((0, 0, 0), (4, 15, 11), (2, 3, 5)):
        place = grid.world(index)
        found = np.linalg.solve(volume.grid.affine, [*place, 1])[:3]
        k = tuple(int(v) for v in np.round(found))
        assert np.abs(found - k).max() < 1e-4
        assert float(volume.data[k]) == examples.hounsfield()[index]


def test_jitter_of_five_micrometres_is_noted(tmp_path: Path, slices: list[Dataset]) -> None:
    for image, sign in zip(slices, (1, -1, 1, -1, 1), strict=True):
        move(image, 0.005 * sign * normal())
    volume = read(tmp_path, slices)
    assert volume.grid.spacing[0] == pytest.approx(2.5, abs=1e-3)
    assert ("E-GEO-13", "note") in codes(tmp_path)


def test_slope_and_intercept_vary_by_slice(tmp_path: Path, slices: list[Dataset]) -> None:
    expected = np.empty(examples.SHAPE, dtype=np.float64)
    for k, image in enumerate(slices):
        image.RescaleSlope, image.RescaleIntercept = f"{0.1 + 0.01 * k:.4f}", f"{-3.3 - k:.2f}"
        stored = np.frombuffer(image.PixelData, "<i2").reshape(examples.SHAPE[1:])
        expected[k] = stored * (0.1 + 0.01 * k) + (-3.3 - k)
    volume = read(tmp_path, slices)
    np.testing.assert_array_equal(volume.data.numpy(), expected.astype(np.float32))


def test_duplicate_with_equal_pixels_is_dropped(tmp_path: Path, slices: list[Dataset]) -> None:
    volume = read(tmp_path, [*slices, slices[2]])
    np.testing.assert_array_equal(volume.data.numpy(), examples.hounsfield())
    assert [e.settings for e in volume.history.events if e.name == "drop-copies"] == [{"copies": 1}]
    assert ("E-GEO-05", "warning") in codes(tmp_path)


def test_duplicate_with_other_pixels_is_refused_naming_both(tmp_path: Path, slices: list[Dataset]) -> None:
    other = examples.ct_slices(examples.oblique_grid(), examples.hounsfield() + np.int16(1))[2]
    error = refused(tmp_path, [*slices, other])
    assert error.code == "E-GEO-05"
    assert "2.dcm" in error.what and "5.dcm" in error.what


def test_missing_slice_is_refused_naming_its_neighbours(tmp_path: Path, slices: list[Dataset]) -> None:
    error = refused(tmp_path, [slices[0], slices[1], slices[2], slices[4]])
    assert error.code == "E-GEO-01"
    assert "'2.dcm' and '3.dcm'" in error.what
    assert "--allow-gaps resample" in error.fix


def test_missing_slice_is_interpolated_on_request(tmp_path: Path, slices: list[Dataset]) -> None:
    volume = read(tmp_path, [slices[0], slices[1], slices[2], slices[4]], allow_gaps="resample")
    assert volume.grid == examples.oblique_grid()
    expected = examples.hounsfield().astype(np.float32)
    expected[3] = (expected[2] + expected[4]) / 2
    np.testing.assert_allclose(volume.data.numpy(), expected, atol=1e-3)
    (event,) = (e for e in volume.history.events if e.name == "resample-gaps")
    assert (event.settings["slices_read"], event.settings["slices"]) == (4, 5)


def test_variable_spacing_is_refused_and_resampled_linearly(tmp_path: Path, slices: list[Dataset]) -> None:
    """A ramp along z is reproduced exactly by linear interpolation at the regular positions."""
    places = np.array([0.0, 2.5, 5.0, 8.1, 11.2])
    ramp = np.broadcast_to(np.round(10 * places).astype(np.int16)[:, None, None], examples.SHAPE)
    images = examples.ct_slices(examples.oblique_grid(), np.ascontiguousarray(ramp))
    for image, place in zip(images, places, strict=True):
        image.ImagePositionPatient = [float(v) for v in examples.oblique_grid().affine[:3, 3] + place * normal()]
    (tmp_path / "a").mkdir()
    error = refused(tmp_path / "a", images)
    assert error.code == "E-GEO-02" and "3.100" in error.what
    (volume,) = DicomReader().read(tmp_path / "a", ReadRequest(allow_gaps="resample"))
    assert volume.grid.spacing[0] == pytest.approx(2.5)
    np.testing.assert_allclose(volume.data[:, 3, 4].numpy(), 25.0 * np.arange(volume.grid.shape[0]), atol=0.2)


def test_gaps_are_not_filled_beyond_reason(tmp_path: Path, slices: list[Dataset]) -> None:
    move(slices[4], 100 * normal())
    assert refused(tmp_path, slices, allow_gaps="resample").code == "E-GEO-16"


def tilt(slices: list[Dataset], degrees: float) -> None:
    """Shift each slice along its columns so that the stack leans by an angle."""
    down = examples.oblique_grid().directions[:, 1]
    for k, image in enumerate(slices):
        move(image, k * 2.5 * np.tan(np.radians(degrees)) * down)


def test_gantry_tilt_is_measured_from_positions_not_from_the_tag(tmp_path: Path, slices: list[Dataset]) -> None:
    for image in slices:
        image.GantryDetectorTilt = 25
    (tmp_path / "upright").mkdir()
    assert read(tmp_path / "upright", slices).grid.shear_degrees < 1e-6
    tilt(slices, 10)
    (tmp_path / "tilted").mkdir()
    error = refused(tmp_path / "tilted", slices)
    assert error.code == "E-GEO-03"
    assert "10.00 degrees" in error.what and "--untilt" in error.fix


def test_untilt_puts_a_quadratic_image_upright_exactly(tmp_path: Path) -> None:
    """Cubic convolution reproduces quadratic polynomials: the sheared phantom comes back at its world places."""
    grid = examples.oblique_grid()
    down = 2.5 * np.tan(np.radians(10.0)) / 0.7  # rows by which the next slice starts lower
    z, y, _ = np.indices(examples.SHAPE)
    row = y + down * z  # in rows of the upright grid
    values = 4 * row**2 - 37 * row + 11 * z
    slices = examples.ct_slices(grid, np.zeros(examples.SHAPE, dtype=np.int16))
    for k, image in enumerate(slices):
        image.RescaleSlope, image.RescaleIntercept = 0.05, 0
        image.PixelData = np.round(values[k] / 0.05).astype("<i2").tobytes()
    tilt(slices, 10)
    volume = read(tmp_path, slices, untilt=True)
    assert volume.grid.shear_degrees < 1e-6
    assert volume.grid.spacing == pytest.approx((2.5, 0.7, 0.5))
    np.testing.assert_allclose(volume.grid.affine[:3, 3], grid.affine[:3, 3], atol=1e-6)
    height = volume.grid.shape[1]
    assert height == 16 + int(np.ceil(4 * down))
    checked = 0
    for k in range(5):
        for r in range(height):
            if 2 <= r - down * k <= 13:  # away from the edge, where a row is repeated
                assert float(volume.data[k, r, 5]) == pytest.approx(4 * r**2 - 37 * r + 11 * k, abs=0.1)
                checked += 1
            elif not -1e-6 <= r - down * k <= 15 + 1e-6:
                assert float(volume.data[k, r, 5]) == -1000
    assert checked > 40
    (event,) = (e for e in volume.history.events if e.name == "untilt")
    assert event.settings["degrees"] == pytest.approx(10, abs=1e-3)


def test_mixed_series_are_listed_and_chosen(tmp_path: Path, slices: list[Dataset]) -> None:
    others = examples.ct_slices(examples.oblique_grid((3, 16, 12)), examples.hounsfield((3, 16, 12)))
    for k, image in enumerate(others):
        image.SeriesInstanceUID, image.SeriesNumber = "1.2.3.9", 7
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.9.{k}"
    error = refused(tmp_path, [*slices, *others])
    assert error.code == "E-DCM-10"
    assert "#1 CT 5 x 16 x 12" in error.fix and "#2 CT 3 x 16 x 12" in error.fix
    rows = DicomReader().inspect(tmp_path)
    assert [(row.index, row.identifier, row.files, row.shape) for row in rows] == [
        (1, "1.2.3.2", 5, (5, 16, 12)),
        (2, "1.2.3.9", 3, (3, 16, 12)),
    ]
    for choice in ("#2", "1.2.3.9"):
        (volume,) = DicomReader().read(tmp_path, ReadRequest(series=choice))
        assert volume.grid.shape[0] == 3
    with pytest.raises(InputRefused) as caught:
        DicomReader().read(tmp_path, ReadRequest(series="#3"))
    assert caught.value.code == "E-DCM-11"


def _other_size(slices: list[Dataset]) -> None:
    small = examples.ct_slices(examples.oblique_grid((5, 8, 12)), examples.hounsfield((5, 8, 12)))
    slices[3:] = small[3:]


def _other_orientation(slices: list[Dataset]) -> None:
    for image in slices[3:]:
        image.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]


def _no_position(slices: list[Dataset]) -> None:
    del slices[1].ImagePositionPatient


def _no_spacing(slices: list[Dataset]) -> None:
    for image in slices:
        image.PixelSpacing = [0.7, 0]


def _skewed(slices: list[Dataset]) -> None:
    for image in slices:
        image.ImageOrientationPatient = [1, 0, 0, 0.5, 0.8, 0]


def _sideways(slices: list[Dataset]) -> None:
    move(slices[2], 0.5 * examples.oblique_grid().directions[:, 2])


def _one_place(slices: list[Dataset]) -> None:
    for image in slices:
        image.ImagePositionPatient = [0, 0, 0]


def _localizer(slices: list[Dataset]) -> None:
    for image in slices:
        image.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def _mosaic(slices: list[Dataset]) -> None:
    for image in slices:
        image.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]


def _rotating(slices: list[Dataset]) -> None:
    for k, image in enumerate(slices):
        angle = np.radians(20.0 * k)
        image.ImageOrientationPatient = [float(np.cos(angle)), float(np.sin(angle)), 0, 0, 0, -1]


def _beside(slices: list[Dataset]) -> None:
    for image in examples.ct_slices(examples.oblique_grid(), examples.hounsfield()):
        move(image, 100 * examples.oblique_grid().directions[:, 2])
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{image.SOPInstanceUID}.9"
        slices.append(image)


def _colour(slices: list[Dataset]) -> None:
    for image in slices:
        image.SamplesPerPixel, image.PhotometricInterpretation, image.PlanarConfiguration = 3, "RGB", 0
        image.PixelData = image.PixelData * 3


def _no_pixels(slices: list[Dataset]) -> None:
    del slices[0].PixelData


def _cut_off(slices: list[Dataset]) -> None:
    slices[4].PixelData = slices[4].PixelData[:-40]


def _other_unit(slices: list[Dataset]) -> None:
    for image in slices:
        image.RescaleType = "Z_EFF"


def _zero_slope(slices: list[Dataset]) -> None:
    slices[1].RescaleSlope = 0


def _overflow(slices: list[Dataset]) -> None:
    slices[1].RescaleSlope = "1e36"


def _float_nan(slices: list[Dataset]) -> None:
    values = examples.hounsfield().astype("<f4")
    values[2, 3, 4] = np.nan
    for k, image in enumerate(slices):
        del image.PixelData
        image.BitsAllocated = 32
        del image.BitsStored, image.HighBit, image.PixelRepresentation
        image.FloatPixelData = values[k].tobytes()


@pytest.mark.parametrize(
    ("mutate", "code"),
    [
        (_other_size, "E-DCM-10"),
        (_other_orientation, "E-GEO-04"),
        (_no_position, "E-GEO-06"),
        (_no_spacing, "E-GEO-06"),
        (_skewed, "E-GEO-09"),
        (_sideways, "E-GEO-10"),
        (_beside, "E-GEO-10"),
        (_one_place, "E-GEO-07"),
        (_localizer, "E-GEO-08"),
        (_mosaic, "E-GEO-11"),
        (_rotating, "E-GEO-04"),
        (_colour, "E-DCM-04"),
        (_no_pixels, "E-DCM-03"),
        (_cut_off, "E-DCM-06"),
        (_other_unit, "E-DCM-14"),
        (_zero_slope, "E-DCM-13"),
        (_overflow, "E-DCM-13"),
        (_float_nan, "E-PIX-01"),
    ],
)
def test_refused(tmp_path: Path, slices: list[Dataset], mutate: Callable[[list[Dataset]], None], code: str) -> None:
    mutate(slices)
    error = refused(tmp_path, slices)
    assert error.code == code
    assert error.what and error.why
    for request in ({"untilt": True}, {"allow_gaps": "resample"}):
        with pytest.raises(InputRefused) as caught:
            DicomReader().read(tmp_path, ReadRequest(**request))  # type: ignore[arg-type]
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("ConvolutionKernel", "BONE"),
        ("KVP", "80"),
        ("EchoTime", "3"),
        ("ContrastBolusAgent", "IODINE"),
        ("AcquisitionNumber", 2),
    ],
)
def test_mixed_parameter_is_warned_of(tmp_path: Path, slices: list[Dataset], keyword: str, value: object) -> None:
    setattr(slices[3], keyword, value)
    volume = read(tmp_path, slices)
    (noticed,) = [problem for problem in volume.history.problems if problem.code == "E-DCM-15"]
    assert str(value) not in noticed.sentence  # it would repeat a header's words in every report
    assert ("E-DCM-15", "warning") in codes(tmp_path)


def test_two_slices_need_a_stated_spacing(tmp_path: Path, slices: list[Dataset]) -> None:
    (tmp_path / "stated").mkdir()
    assert read(tmp_path / "stated", slices[:2]).grid.spacing[0] == pytest.approx(2.5)
    for image in slices:
        image.SliceThickness = 1
    (tmp_path / "unstated").mkdir()
    assert refused(tmp_path / "unstated", slices[:2]).code == "E-GEO-12"


def test_time_series_asks_for_the_volume_and_gives_each(tmp_path: Path, slices: list[Dataset]) -> None:
    later = examples.ct_slices(examples.oblique_grid(), examples.hounsfield() + np.int16(50))
    for number, images in ((1, later), (2, slices)):
        for image in images:
            image.TemporalPositionIdentifier = number
            image.ContentTime = f"12000{number}"
    error = refused(tmp_path, [*slices, *later])
    assert error.code == "E-DCM-12" and "TemporalPositionIdentifier" in error.what
    for index, offset in ((0, 50), (1, 0)):
        (volume,) = DicomReader().read(tmp_path, ReadRequest(volume_index=index))
        np.testing.assert_array_equal(volume.data.numpy(), examples.hounsfield() + offset)
    with pytest.raises(InputRefused) as caught:
        DicomReader().read(tmp_path, ReadRequest(volume_index=2))
    assert caught.value.code == "E-DCM-12"


def test_localizer_beside_a_series_does_not_ask(tmp_path: Path, slices: list[Dataset]) -> None:
    scout = examples.ct_slices(examples.oblique_grid((1, 16, 12)), examples.hounsfield((1, 16, 12)))
    scout[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout[0].SeriesInstanceUID, scout[0].SOPInstanceUID = "1.2.3.8", "1.2.3.8.1"
    assert read(tmp_path, [*slices, *scout]).grid.shape == examples.SHAPE
