"""The sample scans: what the generator makes, and that the stored files are what it makes."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

SAMPLES = Path(__file__).resolve().parents[1] / "sample_data"
sys.path.insert(0, str(SAMPLES))
brain = importlib.import_module("phantoms.brain").brain
chest = importlib.import_module("phantoms.chest").chest
contrasts = importlib.import_module("phantoms.contrasts")
cortex = importlib.import_module("phantoms.cortex")
fields = importlib.import_module("phantoms.fields")
subject = importlib.import_module("phantoms.subject")
airways = importlib.import_module("phantoms.airways")
write = importlib.import_module("phantoms.write")
make = importlib.import_module("make")

SMALL_BRAIN = {"shape": (11, 52, 43), "spacing": (9.0, 4.2, 4.2)}
SMALL_CHEST = {"shape": (7, 48, 61), "spacing": (20.0, 6.4, 6.2)}


def series() -> list[pydicom.Dataset]:
    return [pydicom.dcmread(p) for p in sorted((SAMPLES / "chest-ct").glob("*.dcm"))]


def truth() -> dict[str, dict[str, object]]:
    return json.loads((SAMPLES / "truth.json").read_text())


def test_seed_alone_decides() -> None:
    first, again, other = (brain(s, **SMALL_BRAIN) for s in (3, 3, 4))
    assert np.array_equal(first.fractions, again.fractions)
    assert np.array_equal(first.grain, again.grain)
    # Another person: other voxels at the borders of the tissues, not another texture alone.
    assert np.mean(np.abs(first.fractions - other.fractions).max(axis=0) > 0.5) > 0.1
    a, b, c = (chest(s, **SMALL_CHEST) for s in (3, 3, 4))
    assert np.array_equal(a.hu, b.hu) and a.nodules == b.nodules
    assert np.mean(np.abs(a.hu - c.hu) > 100) > 0.05


def test_brain_fractions_sum_to_one_and_hold_every_tissue() -> None:
    maps = brain(5, lesions=6, **SMALL_BRAIN)
    assert maps.fractions.min() >= -1e-6
    np.testing.assert_allclose(maps.fractions.sum(axis=0), 1, atol=1e-5)
    assert all(fraction.max() > 0 for fraction in maps.fractions)
    assert np.isclose(np.linalg.norm(maps.affine[:3, :3], axis=0), SMALL_BRAIN["spacing"][::-1]).all()


@pytest.mark.parametrize("seed", [2, 11])
def test_brain_volumes_are_those_of_an_adult(seed: int) -> None:
    maps = brain(seed, shape=(32, 74, 58), spacing=(5.0, 3.0, 3.0))
    ml = {t: float(maps[t].sum()) * 45 / 1000 for t in ("grey", "white", "csf")}
    # Adults: grey 550 to 850 ml, white 400 to 700 ml (Luders et al., J. Neurosci. 22, 2002).
    assert 450 < ml["grey"] < 950
    assert 350 < ml["white"] < 850
    assert 100 < ml["csf"] < 450


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("t1w", ["fat", "white", "grey", "csf"]),
        ("t2w", ["csf", "grey", "white", "bone"]),
        ("flair", ["lesion", "grey", "white", "csf"]),
        ("pd", ["csf", "grey", "white", "bone"]),
    ],
)
def test_contrasts_order_the_tissues(name: str, order: list[str]) -> None:
    maps = brain(2, lesions=8, shape=(14, 80, 64), spacing=(6.0, 2.6, 2.6))
    image = contrasts.contrast(maps, name) / maps.bias
    means = [float(np.average(image, weights=maps[t] ** 6)) for t in order]
    assert means == sorted(means, reverse=True)
    levels = [contrasts.signal(contrasts.TISSUES[t], name) for t in order]
    assert levels == sorted(levels, reverse=True)


def test_flair_nulls_fluid_and_signal_equations_have_their_limits() -> None:
    tissues = contrasts.TISSUES
    assert contrasts.signal(tissues["csf"], "flair") < 0.01 * contrasts.signal(tissues["grey"], "flair")
    assert contrasts.spin_echo(tissues["grey"], 1e9, 0) == pytest.approx(tissues["grey"].density)
    assert contrasts.spin_echo(tissues["white"], 1e9, 70) == pytest.approx(0.77 / np.e)
    assert contrasts.inversion_gradient_echo(tissues["white"], 1e9, 500 * np.log(2)) == pytest.approx(0, abs=1e-9)


def test_partial_volume_is_exact_for_a_plane() -> None:
    x = np.linspace(-4, 4, 81, dtype=np.float32)
    np.testing.assert_allclose(fields.occupancy(x - 0.3, 1.0), np.clip(0.8 - x, 0, 1), atol=1e-6)


def test_sheet_distance_is_exact_for_a_sine() -> None:
    x = np.broadcast_to(np.arange(-6, 6, 0.05, dtype=np.float32), (3, 3, 240))
    k = 2 * np.pi / 24
    distance = fields.sheet_distance(np.sin(np.float32(k) * x), k, (1, 1, 0.05))
    np.testing.assert_allclose(distance[1, 1, 2:-2], np.abs(x[1, 1, 2:-2]), atol=2e-3)


def test_waves_have_unit_variance() -> None:
    g = fields.stream(1, "test")
    at = fields.Points(*(g.uniform(-500, 500, (20, 20, 20)).astype(np.float32) for _ in range(3)))
    values = np.stack([fields.Waves.draw(g, 20.0)(at) for _ in range(4)])
    assert abs(values.mean()) < 0.03
    assert values.std() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("seed", [1, 6])
def test_cortex_is_a_ribbon_of_even_thickness(seed: int) -> None:
    head = subject.Head.draw(seed)
    spacing = (1.0, 1.0, 1.0)
    affine = subject.scan_affine((12, 190, 150), spacing, np.eye(3), (0.0, -17.0, 42.0))
    at = head.anatomical(subject.voxel_centres((12, 190, 150), affine))
    depth = cortex.pial_depth(at, head, spacing)
    volume = float(((depth > 0) & (depth < head.cortex)).sum())
    inside = fields.occupancy(head.cortex / 2 - depth, 2.0)
    area = float(np.sqrt(sum(d**2 for d in fields.gradient(inside, spacing))).sum())
    # Volume over the area of the middle surface (coarea formula); the adult mean is 2.5 mm, 1 to 4.5 mm
    # (Fischl and Dale, PNAS 97, 2000).
    assert 2.0 < volume / area < 3.6
    # Folded: the middle surface is much longer than the outline of two smooth hemispheres.
    outline = float(
        np.sqrt(sum(d**2 for d in fields.gradient(fields.occupancy(cortex.cerebrum(at), 2.0), spacing))).sum()
    )
    assert area > 2.0 * outline


def test_tree_reaches_its_targets_and_thins_by_the_law() -> None:
    g = fields.stream(1, "tree")
    targets = g.uniform(0, 50, (64, 3))
    tree = airways.grow(targets, (0.0, 0.0, 0.0), 5.0, smallest=0.0, inside=lambda p: np.ones(len(p), bool))
    ends = np.array([piece.end for piece in tree if piece.feeds == 1])
    gap = np.linalg.norm(targets[:, None] - ends[None], axis=-1).min(axis=1)
    assert gap.max() < 1e-9
    assert len(tree) == 2 * len(targets) - 1
    assert all(piece.radius == pytest.approx(5 * (piece.feeds / 64) ** 0.36) for piece in tree)


def test_files_are_small_enough_for_git() -> None:
    size = sum(p.stat().st_size for p in SAMPLES.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    assert size < 6e6


@pytest.mark.parametrize("name", ["t1w", "t2w", "flair"])
def test_nifti_headers_agree_and_are_oblique(name: str) -> None:
    image = nibabel.load(SAMPLES / f"brain-{name}.nii.gz")
    assert image.get_data_dtype() == np.uint8
    assert image.shape == (160, 192, 40)
    sform, qform = (get(coded=True) for get in (image.get_sform, image.get_qform))
    assert sform[1] == qform[1] == 1
    np.testing.assert_allclose(sform[0], qform[0], atol=1e-3)
    assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
    np.testing.assert_allclose(image.header.get_zooms(), (1.15, 1.15, 3.0), atol=1e-5)
    off_axis = np.abs(image.affine[:3, :3] / np.array([1.15, 1.15, 3.0]) - np.eye(3)).max()
    assert 0.01 < off_axis < 0.3


def test_series_is_regular_and_synthetic_by_its_header() -> None:
    slices = series()
    positions = np.array([s.ImagePositionPatient for s in slices], float)
    np.testing.assert_allclose(np.diff(positions, axis=0), [[0, 0, 4.0]] * (len(slices) - 1), atol=1e-4)
    assert len({s.SOPInstanceUID for s in slices}) == len(slices)
    assert {s.SeriesInstanceUID for s in slices} == {slices[0].SeriesInstanceUID}
    for s in slices:
        assert (s.Rows, s.Columns) == (192, 240)
        assert [float(v) for v in s.ImageOrientationPatient] == [1, 0, 0, 0, 1, 0]
        assert s.PatientName == "PHANTOM^CHEST" and s.PatientIdentityRemoved == "YES"


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian dicom3tools) is not installed")
def test_series_passes_dciodvfy() -> None:
    for path in sorted((SAMPLES / "chest-ct").glob("*.dcm"))[::7]:
        said = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
        assert "Error" not in said.stdout + said.stderr


def test_nodules_lie_where_the_truth_says() -> None:
    slices = series()
    hu = np.stack([s.pixel_array.astype(float) * float(s.RescaleSlope) + float(s.RescaleIntercept) for s in slices])
    origin = np.array(slices[0].ImagePositionPatient, float)
    step = np.array([*(float(v) for v in slices[0].PixelSpacing[::-1]), 4.0])
    nodules = truth()["chest"]["nodules"]
    assert isinstance(nodules, list) and len(nodules) == 5
    ball_ml = 0.0
    for nodule in nodules:
        i, j, k = np.rint((np.array(nodule["centre_lps_mm"]) - origin) / step).astype(int)
        expected = truth()["chest"]["hu"][nodule["tissue"]]
        # The box profile of a 4 mm slice lowers a ball of 3 mm radius; aerated lung is at -860.
        assert hu[k, j, i] == pytest.approx(expected, abs=150)
        around = hu[k, j - 12 : j + 13, i - 12 : i + 13]
        assert np.median(around) < -650
        if nodule["tissue"] == "nodule":
            ball_ml += 4 / 3 * np.pi * nodule["radius_mm"] ** 3 / 1000
    assert truth()["chest"]["volume_ml"]["nodule"] == pytest.approx(ball_ml, rel=0.05, abs=0.06)


def test_chest_tissues_have_their_hu() -> None:
    hu = np.stack([s.pixel_array.astype(float) - 1024 for s in series()])
    counts, edges = np.histogram(hu, bins=np.arange(-1024, 1400, 8))

    def peak(low: float, high: float) -> float:
        within = (edges[:-1] >= low) & (edges[:-1] < high)
        return float(edges[np.argmax(np.where(within, counts, 0))])

    assert peak(-1024, -950) == pytest.approx(-1000, abs=8)
    assert peak(-895, -700) == pytest.approx(-868, abs=25)
    assert peak(-200, -40) == pytest.approx(-102, abs=16)
    assert peak(20, 90) == pytest.approx(58, abs=20)
    assert hu.max() > 900


def test_writing_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    made = chest(9, shape=(2, 24, 31), spacing=(30.0, 13.0, 12.0))
    for folder in ("a", "b"):
        write.write_dicom_series(tmp_path / folder, made, 9)
        write.write_nifti(tmp_path / folder / "v.nii.gz", np.abs(made.hu) / 1000, made.affine, 100.0, "test")
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    stored = pydicom.dcmread(tmp_path / "a" / "slice-002.dcm")
    np.testing.assert_array_equal(stored.pixel_array - 1024.0, np.rint(np.clip(made.hu[1], -1024, 3071)))


@pytest.mark.slow
def test_stored_files_are_what_the_generator_makes(tmp_path: Path) -> None:
    make.main(["--out", str(tmp_path)])
    assert json.loads((tmp_path / "truth.json").read_text())["chest"]["nodules"] == truth()["chest"]["nodules"]
    pairs = [
        tuple(np.asarray(nibabel.load(folder / f"brain-{name}.nii.gz").dataobj, int) for folder in (tmp_path, SAMPLES))
        for name in ("t1w", "t2w", "flair")
    ]
    fresh = [pydicom.dcmread(p).pixel_array.astype(int) for p in sorted((tmp_path / "chest-ct").glob("*.dcm"))]
    pairs.append((np.stack(fresh), np.stack([s.pixel_array.astype(int) for s in series()])))
    for made, stored in pairs:
        # Processors differ in the last bit of a cosine, which a voxel at a rounding border can show.
        assert np.mean(made != stored) < 1e-3
        assert np.abs(made - stored).max() <= 2
