"""Projections written from a known truth come back as it; what is wrong with a file is said under a code."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import scipy.io

from medldm.data import ReadRequest
from medldm.errors import InputRefused
from medldm_rawdata.projections import examples
from medldm_rawdata.projections.data_exchange import DataExchangeReader
from medldm_rawdata.projections.examples import discs, htc_members, sinogram_header, write_data_exchange, write_matlab
from medldm_rawdata.projections.htc import HtcReader
from medldm_rawdata.projections.measured import photons_from_air
from medldm_rawdata.projections.rotation_centre import find_centre
from medldm_rawdata.projections.sinogram_file import SinogramReader
from medldm_rawdata.projections.views import Views

DEGREES = np.arange(45) * 4.0
BINS = 48
REQUEST = ReadRequest()
DATA = Path(os.environ.get("MEDLDM_TEST_DATA", "../shared/data")) / "raw"


def codes(acquisition) -> set[str]:
    return {problem.code for problem in acquisition.history.problems}


def exchange(folder: Path, **more) -> Path:
    return write_data_exchange(folder / "scan.h5", discs(DEGREES, BINS, 24.7), DEGREES, **more)


def refused(reader, path: Path, code: str, request: ReadRequest = REQUEST) -> InputRefused:
    with pytest.raises(InputRefused) as caught:
        reader.read(path, request)
    assert caught.value.code == code
    assert caught.value.what and caught.value.fix
    row = reader.inspect(path)[0]
    if request is REQUEST:
        assert [p.code for p in row.problems if p.severity == "error"] == [code]
    return caught.value


# The centre of rotation


@pytest.mark.parametrize("centre", [29.0, 31.5, 33.73, 36.21, 25.4])
@pytest.mark.parametrize(("arc", "views"), [(180, 90), (360, 120)])
def test_the_centre_is_found_to_a_tenth_of_a_bin(centre: float, arc: int, views: int) -> None:
    degrees = np.arange(views) * arc / views
    noise = np.random.default_rng(3).normal(0, 0.01, (2, views, 64))
    found = find_centre(discs(degrees, 64, centre) + noise, degrees)
    assert found is not None
    assert abs(found.bin - centre) < 0.1
    shuffled = np.random.default_rng(4).permutation(views)
    again = find_centre((discs(degrees, 64, centre) + noise)[:, shuffled], degrees[shuffled])
    assert again == found


def test_the_centre_is_not_found_where_nothing_tells_it() -> None:
    degrees = np.arange(60) * 2.0
    assert find_centre(discs(degrees, 64, 30.0), degrees) is None
    assert find_centre(np.zeros((1, 90, 64)), np.arange(90) * 2.0) is None


# Data Exchange


def test_line_integrals_and_the_offset_of_a_data_exchange_file(tmp_path: Path) -> None:
    acquisition = DataExchangeReader().read(exchange(tmp_path), REQUEST)[0]
    np.testing.assert_allclose(acquisition.data.numpy(), discs(DEGREES, BINS, 24.7), atol=2e-6)
    # The axis at bin 24.7 of pixels of 0.5 mm whose middle is 23.5.
    assert abs(acquisition.settings["offset_mm"] - (23.5 - 24.7) * 0.5) < 0.05
    assert acquisition.settings["weights"] == "half-turn"
    assert acquisition.grid.spacing == pytest.approx((0.5, 0.5, 0.5))
    assert codes(acquisition) == {"E-PRJ-15"}
    event = acquisition.history.events[0].settings
    assert abs(event["centre_bin"] - 24.7) < 0.1
    assert "seam" in event["centre_from"]
    assert "centre of rotation at bin 24." in DataExchangeReader().inspect(tmp_path / "scan.h5")[0].description


def test_photons_come_from_the_spread_of_the_flats(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    drift = 1 + 0.05 * np.arange(10)[:, None, None]
    flats = 100 + 3.0 * random.poisson(8000 * drift, (10, 2, BINS))
    acquisition = DataExchangeReader().read(exchange(tmp_path, data_white=flats), REQUEST)[0]
    assert acquisition.settings["photons"] == pytest.approx(8000 * 1.225, rel=0.2)
    assert "E-PRJ-15" not in codes(acquisition)


def test_dead_starved_and_saturated_bins_have_no_weight(tmp_path: Path) -> None:
    whole = discs(DEGREES, BINS, 24.7)
    data = np.round(100 + 30000 * np.exp(-whole)).astype(np.uint16).transpose(1, 0, 2)
    flats = np.full((3, 2, BINS), 30100, dtype=np.uint16)
    flats[:, 0, 20], data[:, 0, 20] = 100, 100
    data[5, 1, 30] = 65535
    data[6, 1, 31] = 0
    acquisition = DataExchangeReader().read(exchange(tmp_path, data=data, data_white=flats), REQUEST)[0]
    assert {"E-PRJ-10", "E-PRJ-11", "E-PRJ-12"} <= codes(acquisition)
    counts = acquisition.tensors["counts"]
    assert counts[0, :, 20].max() == 0 == counts[1, 5, 30]
    assert counts[1, 6, 31] == 0
    assert np.abs(acquisition.data[0, :, 20].numpy() - whole[0, :, 20]).max() < 0.1
    assert acquisition.data.isfinite().all()


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"data_white": None}, "E-PRJ-03"),
        ({"theta": None}, "E-PRJ-03"),
        ({"theta": DEGREES[:-1]}, "E-PRJ-08"),
        ({"theta": DEGREES * 0}, "E-PRJ-08"),
        ({"theta": np.where(DEGREES == 8, np.nan, DEGREES)}, "E-PRJ-08"),
        ({"data_white": np.zeros((3, 2, BINS))}, "E-PRJ-10"),
        ({"data_white": np.full((3, 2, BINS), 65535, np.uint16)}, "E-PRJ-10"),
        ({"data_white": np.ones((3, 1, BINS))}, "E-PRJ-04"),
        ({"data": np.full((45, 2, BINS), np.nan)}, "E-PRJ-07"),
        ({"data": np.zeros((45, 2, BINS))}, "E-PRJ-12"),
        ({"data": [b"words"] * 45}, "E-PRJ-04"),
        ({"data": h5py.ExternalLink("/etc/passwd", "/x")}, "E-PRJ-05"),
        ({"data": h5py.SoftLink("/padding")}, "E-PRJ-05"),
    ],
)
def test_a_data_exchange_file_is_refused(tmp_path: Path, more: dict, code: str) -> None:
    refused(DataExchangeReader(), exchange(tmp_path, **more), code)


def test_saturation_all_over_is_refused(tmp_path: Path) -> None:
    data, flats = np.full((45, 2, BINS), 65535, np.uint16), np.full((3, 2, BINS), 40000, np.uint16)
    refused(DataExchangeReader(), exchange(tmp_path, data=data, data_white=flats), "E-PRJ-11")


def test_hdf5_reads_no_other_file_and_stays_in_memory(tmp_path: Path) -> None:
    path = exchange(tmp_path)
    with h5py.File(path, "a") as file:
        del file["exchange/data"]
        file.create_dataset("exchange/data", (45, 2, BINS), "f4", external=[(str(tmp_path / "other"), 0, 17280)])
    refused(DataExchangeReader(), path, "E-PRJ-05")
    with h5py.File(path, "a") as file:
        del file["exchange/data"]
        file.create_dataset("exchange/data", (10**6, 10**4, BINS), "f4", chunks=(1, 1, BINS))
        del file["exchange/data_white"]
        file.create_dataset("exchange/data_white", (3, 10**4, BINS), "f4", chunks=(1, 1, BINS))
        del file["exchange/data_dark"]
    refused(DataExchangeReader(), path, "E-PRJ-06")


def test_units_are_asked_for_and_beside_stands_what_the_file_lacks(tmp_path: Path) -> None:
    path = exchange(tmp_path)
    with h5py.File(path, "a") as file:
        del file["measurement"]
    assert "E-PRJ-13" in codes(DataExchangeReader().read(path, REQUEST)[0])
    beside = tmp_path / "scan.medldm.json"
    beside.write_text('{"pitch_mm": 0.25, "offset_mm": -0.3, "image": {"pixels": [20, 24], "pixel_mm": 0.5}}')
    acquisition = DataExchangeReader().read(path, REQUEST)[0]
    assert acquisition.settings["pitch_mm"] == 0.25
    assert acquisition.settings["offset_mm"] == -0.3
    assert acquisition.grid.shape == (2, 20, 24)
    beside.write_text('{"pitch": 0.25}')
    refused(DataExchangeReader(), path, "E-PRJ-16")
    beside.unlink()
    with h5py.File(path, "a") as file:
        file["exchange/theta"].attrs["units"] = "steps"
    refused(DataExchangeReader(), path, "E-PRJ-18")


# Angles


def test_angles_are_unwrapped_and_the_weights_follow_from_the_arc() -> None:
    over_zero = Views.of(np.mod(np.arange(330, 392, 2.0), 360), 31, "f")
    assert np.ptp(over_zero.degrees) == 60
    kinds = {
        (180, False): "half-turn",
        (360, False): "full-turn",
        (120, False): "limited",
        (360, True): "full-turn",
        (180, True): "limited",
        (220, True): "short-scan",
    }
    for (arc, fan), kind in kinds.items():
        views = Views.of(np.arange(0, arc, 2.0), arc // 2, "f")
        assert views.weights(opening_deg=15, fan=fan, offset=0)[0] == kind
    assert Views.of(np.arange(181.0), 181, "f").weights(opening_deg=0, fan=False, offset=0)[:2] == ("half-turn", 180.0)
    golden = Views.of(np.arange(200) * 137.508, 200, "f")
    assert np.ptp(golden.degrees) <= 360
    assert golden.weights(opening_deg=15, fan=True, offset=0.2)[0] == "displaced"
    over = Views.of(np.arange(0, 240, 2.0), 120, "f")
    assert over.weights(opening_deg=0, fan=False, offset=0)[2][0].code == "E-PRJ-19"
    assert [p.code for p in Views.of(np.array([0.0, 4, 2, 2]), 4, "f").problems] == ["E-PRJ-09"]


# HTC


def test_our_matlab_files_are_those_of_scipy_and_the_other_way_round(tmp_path: Path) -> None:
    members = htc_members()
    ours = write_matlab(tmp_path / "ours.mat", members)
    known = scipy.io.loadmat(ours, squeeze_me=True, struct_as_record=False)["CtDataLimited"]
    np.testing.assert_array_equal(known.sinogram, members["sinogram"])
    assert known.parameters.distanceUnit == "mm"
    for packed in (False, True):
        theirs = tmp_path / f"theirs-{packed}.mat"
        scipy.io.savemat(theirs, {"CtDataFull": members}, do_compression=packed)
        assert HtcReader().accepts(theirs)
        acquisition = HtcReader().read(theirs, REQUEST)[0]
        np.testing.assert_array_equal(acquisition.data[0].numpy(), np.float32(members["sinogram"]))
        assert acquisition.settings["source_to_centre_mm"] == 400.0
        assert acquisition.settings["weights"] == "limited"
        assert "E-PRJ-15" in codes(acquisition)


def test_photons_come_from_the_noise_in_air() -> None:
    noise = np.random.default_rng(2).normal(0, 0.005, (1, 60, 40)).astype(np.float32)
    noise[:, :, 15:25] += 1.5
    assert photons_from_air(noise) == pytest.approx(1 / 0.005**2, rel=0.1)


@pytest.mark.parametrize(
    ("entry", "value", "code"),
    [
        ("distanceSourceOrigin", None, "E-PRJ-03"),
        ("distanceSourceOrigin", np.inf, "E-PRJ-03"),
        ("distanceSourceOrigin", 600.0, "E-PRJ-17"),
        ("geometricMagnification", 1.5, "E-PRJ-17"),
        ("geometryType", "Helical", "E-PRJ-17"),
        ("numDetectorsPost", 18.0, "E-PRJ-17"),
        ("distanceUnit", "inch", "E-PRJ-18"),
        ("angles", np.arange(10.0), "E-PRJ-08"),
    ],
)
def test_a_geometry_that_is_not_understood_is_refused(tmp_path: Path, entry: str, value: object, code: str) -> None:
    members = htc_members()
    parameters = {**members["parameters"], entry: value}
    members["parameters"] = {key: v for key, v in parameters.items() if v is not None}
    refused(HtcReader(), write_matlab(tmp_path / "x.mat", members), code)


def test_hostile_matlab_files_are_refused(tmp_path: Path) -> None:
    members = htc_members()
    refused(HtcReader(), write_matlab(tmp_path / "a.mat", {**members, "type": "3d"}), "E-PRJ-17")
    refused(
        HtcReader(), write_matlab(tmp_path / "b.mat", {**members, "sinogram": np.full((11, 17), np.nan)}), "E-PRJ-07"
    )
    scipy.io.savemat(tmp_path / "c.mat", {"truth": np.zeros((4, 4), np.uint8)})
    assert not HtcReader().accepts(tmp_path / "c.mat")
    refused(HtcReader(), tmp_path / "c.mat", "E-PRJ-03")
    bomb = write_matlab(tmp_path / "d.mat", {**members, "sinogram": np.zeros((1000, 1000))})
    refused(HtcReader(), bomb, "E-PRJ-02", ReadRequest(max_bytes=10**6))
    scipy.io.savemat(tmp_path / "e.mat", {"CtDataFull": members})
    content = (tmp_path / "e.mat").read_bytes()
    random = np.random.default_rng(5)
    for _ in range(200):
        cut = bytearray(content[: int(random.integers(0, len(content) + 1))])
        for place in random.integers(0, max(1, len(cut)), 5):
            cut[place : place + 1] = random.bytes(1)
        (tmp_path / "f.mat").write_bytes(cut)
        with suppress(InputRefused):
            HtcReader().read(tmp_path / "f.mat", REQUEST)
        HtcReader().accepts(tmp_path / "f.mat")


# Sinograms with a JSON


def described(folder: Path, **more) -> Path:
    path = folder / "discs.json"
    path.write_text(json.dumps(sinogram_header(**more)))
    return path


def test_every_container_and_order_of_axes_gives_the_same_sinogram(tmp_path: Path) -> None:
    values = discs(np.arange(15) * 24.0, 19, 9.0).astype(np.float32)
    np.save(tmp_path / "a.npy", values)
    np.save(tmp_path / "b.npy", values.transpose(2, 0, 1))
    np.savez_compressed(tmp_path / "c.npz", sino=values, other=np.zeros(3))
    nibabel.save(nibabel.Nifti1Image(values.transpose(), np.eye(4)), tmp_path / "d.nii.gz")
    np.save(tmp_path / "e.npy", np.exp(-values.astype(np.float64)))
    np.save(tmp_path / "f.npy", 1e4 * np.exp(-values.astype(np.float64)))
    for more in (
        {"data": "a.npy"},
        {"data": "b.npy", "axes": ["bin", "z", "view"]},
        {"data": "c.npz", "array": "sino"},
        {"data": "d.nii.gz"},
        {"data": "e.npy", "content": "transmission"},
        {"data": "f.npy", "content": "counts"},
        {"data": "a.npy", "angles_deg": (np.arange(15) * 24.0).tolist()},
    ):
        acquisition = SinogramReader().read(described(tmp_path, **more), REQUEST)[0]
        np.testing.assert_allclose(acquisition.data.numpy(), values, atol=1e-5)
        assert acquisition.settings["weights"] == "full-turn"
        assert ("counts" in acquisition.tensors) == (more["data"] == "f.npy")


def test_the_numpy_file_beside_its_json_and_a_centre_to_find(tmp_path: Path) -> None:
    np.save(tmp_path / "discs.npy", discs(DEGREES, BINS, 24.7)[0])
    described(
        tmp_path, geometry="parallel", source_to_centre_mm=None, source_to_detector_mm=None, axes=["view", "bin"],
        angles_deg={"first_deg": 0, "step_deg": 4}, offset_mm="find", mu_water_per_mm=0.02, simulated=True,
    )  # fmt: skip
    assert SinogramReader().accepts(tmp_path / "discs.npy")
    acquisition = SinogramReader().read(tmp_path / "discs.npy", REQUEST)[0]
    assert abs(acquisition.settings["offset_mm"] - (23.5 - 24.7) * 2) < 0.2
    assert acquisition.simulated
    assert acquisition.output.target == "HU"
    assert not acquisition.history.orientation_known
    assert "SIMULATED" in SinogramReader().inspect(tmp_path / "discs.npy")[0].description


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"pitch_mm": -1}, "E-PRJ-16"),
        ({"pitsch_mm": 1}, "E-PRJ-16"),
        ({"data": "../discs.npy"}, "E-PRJ-16"),
        ({"source_to_centre_mm": None}, "E-PRJ-16"),
        ({"axes": ["view", "view"]}, "E-PRJ-16"),
        ({"angles_deg": [0, 1]}, "E-PRJ-08"),
        ({"data": "none.npy"}, "E-PRJ-01"),
        ({"axes": ["view", "bin"]}, "E-PRJ-04"),
        ({"data": "objects.npy"}, "E-PRJ-04"),
        ({"data": "nan.npy"}, "E-PRJ-07"),
        ({"data": "huge.npy"}, "E-PRJ-06"),
        ({"data": "cut.npy"}, "E-PRJ-02"),
        ({"data": "two.npz"}, "E-PRJ-03"),
        ({"data": "cut.npz"}, "E-PRJ-02"),
        ({"data": "cut.nii.gz"}, "E-PRJ-02"),
        ({"data": "discs.txt"}, "E-PRJ-04"),
    ],
)
def test_a_sinogram_is_refused(tmp_path: Path, more: dict, code: str) -> None:
    values = np.ones((2, 15, 19), np.float32)
    np.save(tmp_path / "discs.npy", values)
    np.save(tmp_path / "nan.npy", values * np.nan)
    np.save(tmp_path / "objects.npy", np.array([[[{}]]]), allow_pickle=True)
    np.savez(tmp_path / "two.npz", a=values, b=values)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "cut.nii.gz")
    for source, target in (("discs.npy", "cut.npy"), ("two.npz", "cut.npz"), ("cut.nii.gz", "cut.nii.gz")):
        content = (tmp_path / source).read_bytes()
        (tmp_path / target).write_bytes(content[: len(content) // 2])
    header = (tmp_path / "discs.npy").read_bytes()[:128].replace(b"(2, 15, 19)", b"(2, 9999999999, 19)"[:19])
    (tmp_path / "huge.npy").write_bytes(header[:127].replace(b"       \n", b"\n").ljust(127) + b"\n")
    refused(SinogramReader(), described(tmp_path, **more), code)


# Real scans


def real(name: str) -> Path:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{path} is not there; MEDLDM_TEST_DATA names the folder")
    return path


def test_the_real_tooth() -> None:
    acquisition = DataExchangeReader().read(real("ct-parallel-tooth/tooth.h5"), REQUEST)[0]
    assert tuple(acquisition.data.shape) == (2, 181, 640)
    assert abs(acquisition.history.events[0].settings["centre_bin"] - 296.0) < 0.3
    assert 3e4 < acquisition.settings["photons"] < 6e4


def test_the_real_disc() -> None:
    acquisition = HtcReader().read(real("ct-fan-disc/tb_subsample_90.mat"), REQUEST)[0]
    assert tuple(acquisition.data.shape) == (1, 181, 560)
    assert acquisition.settings["source_to_detector_mm"] == 553.74
    assert acquisition.settings["pitch_mm"] == 0.2


def test_the_examples_are_small() -> None:
    for example in (examples.data_exchange(), examples.htc(), examples.sinogram()):
        assert example.expected.data.numel() < 5000
