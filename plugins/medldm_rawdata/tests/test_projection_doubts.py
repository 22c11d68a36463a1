"""Scans that can be read but cannot be right: too few views, files cut short, values and units that cannot be."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from medldm.data import Acquisition, ReadRequest
from medldm.errors import InputRefused
from medldm_rawdata.projections.cone_file import ConeBeamReader
from medldm_rawdata.projections.ct_pd import CtPdReader
from medldm_rawdata.projections.ct_pd_files import write_fan
from medldm_rawdata.projections.data_exchange import DataExchangeReader
from medldm_rawdata.projections.examples import discs, write_data_exchange
from medldm_rawdata.projections.saturation import plateau
from medldm_rawdata.projections.sinogram_file import SinogramReader
from medldm_rawdata.projections.views import Views

REQUEST = ReadRequest()


def codes(found: Acquisition | Views) -> list[str]:
    problems = found.problems if isinstance(found, Views) else found.history.problems
    return [problem.code for problem in problems]


def kind(degrees: np.ndarray, *, fan: bool = True) -> str:
    return Views.of(degrees, len(degrees), "f").weights(opening_deg=10.0, fan=fan, offset=0.0)[0]


def test_one_view_is_refused() -> None:
    with pytest.raises(InputRefused, match="a single view") as caught:
        Views.of(np.array([3.0]), 1, "f")
    assert caught.value.code == "E-PRJ-08"


@pytest.mark.parametrize(("views", "span"), [(2, 20.0), (3, 60.0), (4, 135.0), (3, 150.0), (10, 200.0)])
def test_an_arc_of_few_views_is_no_turn(views: int, span: float) -> None:
    assert kind(np.linspace(0, span, views)) in ("limited", "short-scan")


def test_turns_stay_turns() -> None:
    turn = np.arange(36) * 10.0
    for degrees in (turn, turn[:-1], turn - 100, turn[::-1], np.arange(361.0), np.mod(turn + 100, 360)):
        assert kind(degrees) == "full-turn"
    assert kind(np.arange(18) * 10.0, fan=False) == "half-turn"
    golden = np.mod(np.arange(89) * 137.50776, 360)
    assert kind(golden) == "full-turn"


def test_an_arc_across_360_degrees_is_in_order() -> None:
    arc = np.arange(300.0, 420.0, 2)
    for degrees in (np.mod(arc, 360), np.mod(arc, 360)[::-1], np.mod(np.arange(100.0, 460.0), 360)):
        assert codes(Views.of(degrees, len(degrees), "f")) == []
    assert codes(Views.of(np.mod(arc, 360)[[1, 0, *range(2, 60)]], 60, "f")) == ["E-PRJ-09"]


def test_angles_in_the_other_unit_are_doubted() -> None:
    radians = np.arange(45) * np.pi / 45
    assert codes(Views.of(radians, 45, "f")) == ["E-PRJ-25"]
    assert codes(Views.of(np.rad2deg(np.arange(45) * 4.0), 45, "f")) == ["E-PRJ-25"]
    assert codes(Views.of(np.arange(45) * 16.0, 45, "f")) == []


# Counts


@pytest.mark.parametrize(
    ("limit", "flats", "kind", "expected"),
    [
        (16380.0, 16380.0, np.uint16, True),
        (16380.0, 16380.0, np.float32, True),
        (16383.0, 30100.0, np.uint16, True),
        (21000.0, 30100.0, np.float32, True),
        (30100.0, 30100.0, np.uint16, False),
    ],
)
def test_a_camera_that_ends_below_its_type_is_found_out(
    tmp_path: Path, limit: float, flats: float, kind: type, expected: bool
) -> None:
    degrees = np.arange(45) * 4.0
    whole = discs(degrees, 48, 23.5)
    data = np.minimum(np.round(100 + 30000 * np.exp(-whole)), limit).astype(kind).transpose(1, 0, 2)
    path = write_data_exchange(tmp_path / "scan.h5", whole, degrees, data=data, data_white=np.full((3, 2, 48), flats))
    acquisition = DataExchangeReader().read(path, REQUEST)[0]
    assert ("E-PRJ-11" in codes(acquisition)) == expected
    # What is given no weight must not be most of the scan.
    gone = float((acquisition.tensors["counts"] == 0).double().mean())
    assert gone < 0.5 and (gone > 0) == (expected and bool((data == limit).mean() <= 0.5))


@pytest.mark.parametrize("beam", [32600.0, 40000.0])
def test_counts_beyond_a_signed_type_are_refused(tmp_path: Path, beam: float) -> None:
    degrees, random = np.arange(45) * 4.0, np.random.default_rng(8)
    whole = discs(degrees, 48, 23.5)
    counts = random.poisson(beam * np.exp(-whole)).transpose(1, 0, 2).astype(np.uint16)
    flats, darks = random.poisson(beam, (10, 2, 48)).astype(np.uint16), random.integers(-3, 4, (10, 2, 48))
    kept: dict[str, np.ndarray] = {"data": counts, "data_white": flats, "data_dark": darks.astype(np.int16)}
    path = write_data_exchange(tmp_path / "scan.h5", whole, degrees, **kept)
    assert codes(DataExchangeReader().read(path, REQUEST)[0]) == []
    for name in ("data", "data_white"):
        wrapped = kept | {name: kept[name].view(np.int16)}
        path = write_data_exchange(tmp_path / "scan.h5", whole, degrees, **wrapped)
        with pytest.raises(InputRefused, match=f"exchange/{name} .* signed type int16") as caught:
            DataExchangeReader().read(path, REQUEST)
        assert caught.value.code == "E-PRJ-04" and "uint16" in caught.value.fix


def test_the_largest_of_noisy_counts_is_no_limit() -> None:
    counts = np.random.default_rng(0).poisson(30.0, (90, 4, 64))
    assert plateau(counts, np.full((4, 64), 30.0)) is None
    assert plateau(np.minimum(counts, 35), np.full((4, 64), 30.0)) == 35


@pytest.mark.parametrize("level", [30100.0, 0.1, 1 / 3 + 1e4])
def test_flats_without_spread_tell_no_photons(tmp_path: Path, level: float) -> None:
    """Scaled to one mean, frames that are alike differ by rounding alone, which would make 1e31 photons."""
    degrees = np.arange(45) * 4.0
    whole = discs(degrees, 48, 23.5)
    flats = np.full((10, 2, 48), level) * np.linspace(1, 1.3, 48) * np.linspace(1, 1.1, 10)[:, None, None]
    data = (flats[0] * np.exp(-whole).transpose(1, 0, 2)).astype(np.float32)
    path = write_data_exchange(tmp_path / "scan.h5", whole, degrees, data=data, data_white=flats, data_dark=None)
    acquisition = DataExchangeReader().read(path, REQUEST)[0]
    assert "E-PRJ-15" in codes(acquisition)
    assert acquisition.settings["photons"] == 1e4


def test_flats_at_the_limit_of_a_camera_are_named(tmp_path: Path) -> None:
    degrees, random = np.arange(45) * 4.0, np.random.default_rng(6)
    whole = discs(degrees, 48, 23.5)
    data = np.minimum(random.poisson(5000 * np.exp(-whole)), 4095).astype(np.uint16).transpose(1, 0, 2)
    found = []
    for limit in (4095, 65535):
        flats = np.minimum(random.poisson(5000.0, (10, 2, 48)), limit).astype(np.uint16)
        path = write_data_exchange(tmp_path / "scan.h5", whole, degrees, data=data, data_white=flats, data_dark=None)
        found.append(DataExchangeReader().read(path, REQUEST)[0].history.problems)
    clipped, whole_flats = ([p.sentence for p in problems if p.code == "E-PRJ-10"] for problems in found)
    assert len(clipped) == 1 and "100%" in clipped[0] and "4095" in clipped[0]
    assert not whole_flats
    assert "E-PRJ-15" in {problem.code for problem in found[0]}


def counted(counts: np.ndarray, folder: Path, cone: bool) -> Acquisition:
    """Counts (row, view, bin) as a JSON of either format describes them."""
    header: dict[str, object] = {"version": 1, "data": "counts.npy", "content": "counts", "photons": 7e4}
    header["angles_deg"] = {"first_deg": 0, "step_deg": 4}
    if cone:
        counts = counts.transpose(1, 0, 2)
        header |= {"format": "medldm-cone-beam", "detector": "flat", "column_pitch_mm": 1.0, "row_pitch_mm": 1.0}
        header |= {"source_to_centre_mm": 200.0, "source_to_detector_mm": 400.0}
    else:
        header |= {"format": "medldm-sinogram", "geometry": "parallel", "pitch_mm": 1.0}
    np.save(folder / "counts.npy", counts)
    (folder / "counts.json").write_text(json.dumps(header))
    found = (ConeBeamReader() if cone else SinogramReader()).read(folder / "counts.json", REQUEST)[0]
    assert isinstance(found, Acquisition)
    return found


NOISY = np.random.default_rng(2).poisson(7e4 * np.exp(-discs(np.arange(90) * 4.0, 48, 23.5)))


@pytest.mark.parametrize("cone", [False, True], ids=["sinogram", "cone"])
def test_saturated_counts_of_a_json_are_noticed_as_those_of_a_beamline(tmp_path: Path, cone: bool) -> None:
    assert "E-PRJ-11" not in codes(counted(NOISY, tmp_path, cone))
    with pytest.raises(InputRefused, match="limit of 65535") as caught:
        counted(np.minimum(NOISY, 65535).astype(np.uint16), tmp_path, cone)
    assert caught.value.code == "E-PRJ-11"
    few = NOISY.clip(max=65000)
    few[0, 3, 20:24] = 65535
    found = counted(few.astype(np.uint16), tmp_path, cone)
    assert "E-PRJ-11" in codes(found)
    np.testing.assert_array_equal(found.tensors["counts"].numpy() == 0, (found.data == found.data.min()).numpy())
    assert int((found.tensors["counts"] == 0).sum()) == 4
    # Where the type has room for more, the camera's limit shows.
    clipped = np.minimum(NOISY, 50000)
    found = counted(clipped, tmp_path, cone)
    assert "E-PRJ-11" in codes(found)
    limit = (clipped == 50000).transpose(1, 0, 2) if cone else clipped == 50000
    np.testing.assert_array_equal(found.tensors["counts"].numpy() == 0, limit & (limit.mean() <= 0.5))


# Folders of projections


def scan(folder: Path, views: int = 36, **more: object) -> tuple[Path, list[Path]]:
    write_fan(folder, views, 96, **more)
    return folder, sorted(folder.iterdir(), key=lambda file: int(file.stem.split("-")[1]))


@pytest.mark.parametrize(("left", "said"), [(0, "0 bytes"), (100, "100 bytes"), (580, "within its header")])
@pytest.mark.parametrize("view", [11, 35])
def test_a_projection_cut_in_its_header_is_refused(tmp_path: Path, left: int, said: str, view: int) -> None:
    folder, files = scan(tmp_path / "scan")
    files[view].write_bytes(files[view].read_bytes()[:left])
    with pytest.raises(InputRefused, match=said) as caught:
        CtPdReader().read(folder, REQUEST)
    assert caught.value.code == "E-PRJ-02" and files[view].name in caught.value.what
    assert f"projection number {view + 1}" in caught.value.what
    assert [p.code for p in CtPdReader().inspect(folder)[0].problems] == ["E-PRJ-02"]


def test_other_files_beside_projections_are_passed_over(tmp_path: Path) -> None:
    folder, _ = scan(tmp_path / "scan")
    (folder / "notes.dcm").write_text("scanned twice\n")
    (folder / "list.txt").write_text("")
    assert codes(CtPdReader().read(folder, REQUEST)[0]) == []


def test_the_views_of_a_turn_are_held_against_those_that_are_there(tmp_path: Path) -> None:
    folder, files = scan(tmp_path / "scan")
    files[-1].unlink()
    acquisition = CtPdReader().read(folder, REQUEST)[0]
    assert codes(acquisition) == ["E-PRJ-20"]
    assert "36 views in a turn, and there are 35" in acquisition.history.problems[0].sentence
    for file in files[1:-1]:
        file.unlink()
    with pytest.raises(InputRefused, match="a single view"):
        CtPdReader().read(folder, REQUEST)
    assert [p.code for p in CtPdReader().inspect(folder)[0].problems if p.severity == "error"] == ["E-PRJ-08"]


def test_projections_whose_angles_are_degrees_are_doubted(tmp_path: Path) -> None:
    folder, _ = scan(tmp_path / "scan", 72, views_per_turn=int(72 * 57.3))
    assert "E-PRJ-25" in codes(CtPdReader().read(folder, REQUEST)[0])


# Values


def sinogram(folder: Path, values: np.ndarray, **more: object) -> Path:
    header = {
        "format": "medldm-sinogram",
        "version": 1,
        "data": "scan.npy",
        "content": "line-integrals",
        "axes": ["view", "bin"],
        "angles_deg": {"first_deg": 0, "step_deg": 4},
        "geometry": "parallel",
        "pitch_mm": 1.0,
        "photons": 1e5,
    }
    np.save(folder / "scan.npy", values.astype(np.float32))
    (folder / "scan.json").write_text(json.dumps(header | more))
    return folder / "scan.json"


GOOD = discs(np.arange(45) * 4.0, 48, 23.5)[0]


@pytest.mark.parametrize(
    ("values", "more", "expected"),
    [
        (GOOD, {}, []),
        (-GOOD, {}, ["E-PRJ-26"]),
        (30000 * np.exp(-GOOD), {}, ["E-PRJ-26"]),
        (3e5 * np.exp(-GOOD), {"content": "counts"}, ["E-PRJ-26"]),
        (GOOD[:, 20:30], {}, ["E-PRJ-27"]),
        (GOOD + np.random.default_rng(0).normal(0, 0.003, GOOD.shape), {}, []),
    ],
    ids=["good", "negative", "counts as integrals", "above photons", "cut off", "noise"],
)
def test_values_that_cannot_be_are_noticed(tmp_path: Path, values: np.ndarray, more: dict, expected: list) -> None:
    path = sinogram(tmp_path, values, **more)
    assert codes(SinogramReader().read(path, REQUEST)[0]) == expected
    assert [p.code for p in SinogramReader().inspect(path)[0].problems] == expected


@pytest.mark.parametrize("cone", [False, True], ids=["fan", "cone"])
def test_lengths_in_metres_are_doubted_where_water_is_known(tmp_path: Path, cone: bool) -> None:
    values = discs(np.arange(90) * 4.0, 48, 23.5)
    for unit, expected in ((1.0, []), (1e-3, ["E-PRJ-26"])):
        header = {"pitch_mm": 2.0 * unit, "source_to_centre_mm": 300 * unit, "source_to_detector_mm": 600 * unit}
        header |= {"mu_water_per_mm": 0.02}
        if not cone:
            path = sinogram(tmp_path, values[0], geometry="fan-flat", **header)
            assert codes(SinogramReader().read(path, REQUEST)[0]) == expected
            assert [p.code for p in SinogramReader().inspect(path)[0].problems] == expected
            continue
        header |= {"column_pitch_mm": header.pop("pitch_mm"), "row_pitch_mm": 2.0 * unit, "detector": "flat"}
        header |= {"format": "medldm-cone-beam", "version": 1, "data": "scan.npy", "content": "line-integrals"}
        header |= {"angles_deg": {"first_deg": 0, "step_deg": 4}, "axes": ["row", "view", "column"], "photons": 1e5}
        np.save(tmp_path / "scan.npy", values.astype(np.float32))
        (tmp_path / "scan.json").write_text(json.dumps(header))
        assert codes(ConeBeamReader().read(tmp_path / "scan.json", REQUEST)[0]) == expected


FAN = {"geometry": "fan-flat", "source_to_centre_mm": 300, "source_to_detector_mm": 600}


@pytest.mark.parametrize(
    ("step", "more", "said"),
    [
        (4, {"weights": "full-turn"}, "those of 360 degrees, the views cover 180"),
        (2, {"weights": "half-turn"}, "those of 180 degrees, the views cover 90"),
        (4, {"weights": "short-scan"}, "not those of parallel rays"),
        (4, {"weights": "short-scan", **FAN}, "short-scan"),
        (4, {"weights": "half-turn", **FAN}, "half-turn"),
        (4, {"weights": "displaced", **FAN}, "those of 360 degrees"),
        (8, {"weights": "displaced", "offset_mm": 30.0, **FAN}, "does not see the axis"),
        (8, {"offset_mm": 3000.0, **FAN}, "does not see the axis"),
    ],
)
def test_weights_that_do_not_fit_the_scan_are_a_fault_of_the_file(
    tmp_path: Path, step: float, more: dict, said: str
) -> None:
    path = sinogram(tmp_path, GOOD, angles_deg={"first_deg": 0, "step_deg": step}, **more)
    with pytest.raises(InputRefused, match=said) as caught:
        SinogramReader().read(path, REQUEST)
    assert caught.value.code == "E-PRJ-17"
    assert [p.code for p in SinogramReader().inspect(path)[0].problems] == ["E-PRJ-17"]


@pytest.mark.parametrize(
    ("step", "more"),
    [
        (4, {"weights": "half-turn"}),
        (4, {"weights": "limited"}),
        (8, {"weights": "full-turn", **FAN}),
        (8, {"weights": "short-scan", **FAN}),
        (8, {"weights": "displaced", "offset_mm": 20.0, **FAN}),
        (2, {"weights": "limited", "offset_mm": 30.0, **FAN}),
    ],
)
def test_weights_that_fit_the_scan_are_taken(tmp_path: Path, step: float, more: dict) -> None:
    path = sinogram(tmp_path, GOOD, angles_deg={"first_deg": 0, "step_deg": step}, **more)
    assert SinogramReader().read(path, REQUEST)[0].settings["weights"] == more["weights"]


def test_a_sinogram_of_zeros_is_refused(tmp_path: Path) -> None:
    path = sinogram(tmp_path, 0 * GOOD)
    with pytest.raises(InputRefused, match="are zero") as caught:
        SinogramReader().read(path, REQUEST)
    assert caught.value.code == "E-PRJ-26"
    assert [p.code for p in SinogramReader().inspect(path)[0].problems] == ["E-PRJ-26"]


def test_an_array_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, plain = sinogram(tmp_path, GOOD), Path.open

    def forbidden(file: Path, *more: object, **named: object) -> object:
        if file.suffix == ".npy":
            raise PermissionError(13, "Permission denied")
        return plain(file, *more, **named)

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(InputRefused, match="Permission denied") as caught:
        SinogramReader().read(path, REQUEST)
    assert caught.value.code == "E-PRJ-01"


# Helices


@pytest.mark.parametrize("turn", [math.inf, 360.0], ids=["on and on", "every turn anew"])
@pytest.mark.parametrize(("lost", "expected"), [(0.0, []), (90.0, ["E-PRJ-20"]), (2880.0, ["E-PRJ-20"])])
def test_a_helix_that_lost_views_is_noticed(tmp_path: Path, lost: float, expected: list[str], turn: float) -> None:
    view = np.arange(24)
    gone = np.where(view > 11, lost, 0.0)
    rays = np.sin(np.pi * np.arange(24) / 23) ** 2
    np.save(tmp_path / "scan.npy", np.broadcast_to(rays, (24, 6, 24)).astype(np.float32))
    header = {
        "format": "medldm-cone-beam",
        "version": 1,
        "data": "scan.npy",
        "content": "line-integrals",
        "angles_deg": [math.fmod(angle, turn) for angle in 30.0 * view + gone],
        "heights_mm": list(0.2 * view + 0.2 * gone / 30),
        "detector": "curved",
        "column_pitch_mm": 2.0,
        "row_pitch_mm": 2.0,
        "source_to_centre_mm": 150.0,
        "source_to_detector_mm": 300.0,
        "photons": 1e5,
    }
    (tmp_path / "scan.json").write_text(json.dumps(header))
    assert codes(ConeBeamReader().read(tmp_path / "scan.json", REQUEST)[0]) == expected
