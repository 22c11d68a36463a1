"""Packed training scans: what is stored comes back, the size keeps its limit, and draws keep their shares."""

from __future__ import annotations

import json
import zipfile
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from training_scene import head, sampler_of, scan_of, tiny_config, write_scans

from medldm.errors import UsageError
from medldm.host import load_host
from medldm.priors.card import Intensity
from medldm.training import pack_file
from medldm.training.config import PatchOptions, PatchShape, TrainConfig
from medldm.training.pack import pack
from medldm.training.pack_file import picture, read_pack, require_place, values, write_pack
from medldm.training.scans import read_scans
from medldm.training.training_scan import TrainingScan

WINDOW = Intensity("window", low=-1000, high=1000)
PERCENTILE = Intensity("percentile")


def _silent(text: str) -> None:
    pass


def _scans() -> list[TrainingScan]:
    """Two MR, one of them held back and one drawn twice as often, and two CT."""
    shape = (20, 40, 36)
    one = [scan_of(torch.from_numpy(head(n, shape)), subject=f"t1w-{n}", weight=2.0) for n in (1, 2)]
    two = [scan_of(torch.from_numpy(head(n, shape)), subject="t1w-3", held_back=True) for n in (3,)]
    ct = [scan_of(torch.from_numpy(0.52 * head(n, shape)), mr=False, subject=f"ct-{n}", weight=0.5) for n in (4, 5)]
    return one + two + ct


def _pack(tmp_path: Path, config: TrainConfig, size: int = 200_000) -> list[TrainingScan]:
    path = tmp_path / "scans.pack"
    assert pack(_scans(), config, path, size, _silent) == path.stat().st_size <= size
    return read_pack(path, config.data, config.patches)


@pytest.mark.parametrize(
    ("low", "high", "rms"), [(-200, 300, 1.3), (-1000, -200, 4.9), (300, 1000, 3.4), (1000, 3000, 45)]
)
def test_ct_is_stored_finest_where_soft_tissue_lies(low: float, high: float, rms: float) -> None:
    """Even values between steps of d are d / sqrt(12) off: steps of 4, 16, 11 and 143 HU."""
    hu = torch.linspace(low, high, 24_000).reshape(2, 100, 120)
    back = values(picture((hu + 1000) / 2000, WINDOW, is_mr=False), hu.shape, WINDOW, is_mr=False).float() * 2000 - 1000
    error = float((back - hu).square().mean().sqrt())
    assert 0.8 * rms < error < rms


@pytest.mark.parametrize("to", [(0.0, 1.0), (-1.0, 1.0)])
def test_mr_is_stored_to_a_thousandth_and_keeps_its_zero(to: tuple[float, float]) -> None:
    intensity = Intensity("percentile", to=to)
    unit = torch.linspace(0, 1, 24_000).reshape(2, 100, 120)
    model = to[0] + (to[1] - to[0]) * unit
    back = values(picture(model, intensity, is_mr=True), unit.shape, intensity, is_mr=True).float()
    assert float((back - model).square().mean().sqrt()) / (to[1] - to[0]) < 0.0014
    assert float(back[0, 0, 0]) == to[0] and float(back[-1, -1, -1]) == to[1]
    bright = values(picture(torch.full((1, 8, 8), 2.0), PERCENTILE, is_mr=True), (1, 8, 8), PERCENTILE, is_mr=True)
    assert float(bright.max()) == pytest.approx(2.0, rel=0.025)


def test_noise_of_ct_survives() -> None:
    noise = torch.randn(1, 128, 128, generator=torch.Generator().manual_seed(0)) * 12 + 40
    back = values(picture((noise + 1000) / 2000, WINDOW, is_mr=False), noise.shape, WINDOW, is_mr=False).float()
    assert float((back * 2000 - 1000).std()) == pytest.approx(float(noise.std()), rel=0.01)


def test_pieces_are_parts_of_their_scans(tmp_path: Path) -> None:
    scans = {scan.subject: scan for scan in _scans()}
    pieces = _pack(tmp_path, tiny_config())
    assert {piece.subject for piece in pieces} == set(scans)
    for piece in pieces[:: len(pieces) // 12]:
        scan = scans[piece.subject]
        assert (piece.facts, piece.is_mr, piece.held_back) == (scan.facts, scan.is_mr, scan.held_back)
        assert piece.data.dtype == torch.float16 and len(piece.data) == 1
        axis = scan.planes.index(piece.planes[0])
        assert piece.planes[0] in ("axial", "coronal")
        whole = scan.data.movedim(axis, 0).float().unfold(1, piece.data.shape[1], 1).unfold(2, piece.data.shape[2], 1)
        off = (whole - piece.data[0].float()).abs().amax((-1, -2)).min()
        assert float(off) < 0.008, piece.subject


def test_draws_keep_their_shares(tmp_path: Path) -> None:
    config = tiny_config()
    pieces = _pack(tmp_path, config, 60_000)
    weight: dict[str, float] = defaultdict(float)
    planes: Counter[str] = Counter()
    for piece in pieces:
        weight[piece.subject] += piece.weight
        planes[piece.planes[0]] += piece.weight  # type: ignore[assignment]
    assert weight == pytest.approx({"t1w-1": 2, "t1w-2": 2, "t1w-3": 1, "ct-4": 0.5, "ct-5": 0.5}, rel=1e-4)
    assert planes["axial"] / planes["coronal"] == pytest.approx(1.5, rel=1e-4)
    # Heavier scans are given more room.
    count = Counter(piece.subject for piece in pieces)
    assert count["t1w-1"] > 1.5 * count["t1w-3"] and count["t1w-1"] > 2.5 * count["ct-4"]
    sampler = sampler_of(config, [piece for piece in pieces if not piece.held_back])
    assert torch.isfinite(sampler.batch(0).images).all()


def test_what_finds_no_room_leaves_its_share_to_its_like(tmp_path: Path) -> None:
    scans = [*_scans()[:3], *(replace(_scans()[3], subject=f"ct-{n}", weight=0.01) for n in range(40))]
    path = tmp_path / "scans.pack"
    pack(scans, tiny_config(), path, 25_000, _silent)
    pieces = read_pack(path, tiny_config().data, tiny_config().patches)
    ct = [piece for piece in pieces if not piece.is_mr]
    assert 0 < len({piece.subject for piece in ct}) < 40
    assert sum(piece.weight for piece in ct) == pytest.approx(0.4, rel=1e-3)


def test_slabs_stay_together_and_volumes_come_as_blocks(tmp_path: Path) -> None:
    slab = tiny_config(patches={"slab": 3})
    assert {len(piece.data) for piece in _pack(tmp_path, slab)} == {3}
    volume = replace(tiny_config(), patches=PatchOptions(dimensions=3, shapes=(PatchShape(12, 2),)))
    pieces = _pack(tmp_path, volume)
    assert {tuple(piece.data.shape) for piece in pieces} == {(17, 17, 17)}
    assert {piece.planes for piece in pieces} == {("axial", "coronal", "sagittal")}
    with pytest.raises(UsageError) as refusal:
        read_pack(tmp_path / "scans.pack", slab.data, slab.patches)
    assert refusal.value.code == "E-TRN-41" and "dimensions" in refusal.value.what


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"shapes": [{"size": 16, "batch": 4}, {"size": 24, "batch": 1}]}, "size 16"),
        ({"planes": {"axial": 1.0}}, "planes"),
        ({"planes": {"axial": 0.5, "coronal": 0.5}}, "planes"),
        ({"cube": 1.2}, "cube"),
        ({"slab": 3}, "slab"),
    ],
)
def test_pieces_serve_no_other_patches_than_they_were_cut_for(tmp_path: Path, change: Any, name: str) -> None:
    _pack(tmp_path, tiny_config())
    other = tiny_config(patches=change)
    with pytest.raises(UsageError, match=f"E-TRN-41.*packed with {name}"):
        read_pack(tmp_path / "scans.pack", other.data, other.patches)


def test_smaller_patches_are_cut_from_the_same_pieces(tmp_path: Path) -> None:
    pieces = _pack(tmp_path, tiny_config())
    less = tiny_config(patches={"shapes": [{"size": 12, "batch": 9}], "planes": {"axial": 0.6, "coronal": 0.4}})
    assert len(read_pack(tmp_path / "scans.pack", less.data, less.patches)) == len(pieces)


def test_blocks_of_volumes_have_no_planes(tmp_path: Path) -> None:
    volume = tiny_config(patches={"dimensions": 3, "shapes": [{"size": 12, "batch": 2}]})
    pieces = _pack(tmp_path, volume)
    other = replace(volume.patches, planes={"sagittal": 1.0})
    assert len(read_pack(tmp_path / "scans.pack", volume.data, other)) == len(pieces)


def test_only_a_packed_set_is_overwritten(tmp_path: Path) -> None:
    path, config = tmp_path / "scans.pack", tiny_config()
    for _ in range(2):
        pack(_scans(), config, path, 50_000, _silent)
    for content in (b"a scan", b""):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="E-TRN-44"):
            pack(_scans(), config, path, 50_000, _silent)
        assert path.read_bytes() == content
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", "[]")
    with pytest.raises(UsageError, match="E-TRN-44"):
        require_place(path)


def test_the_same_scans_give_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        pack(_scans(), tiny_config(), tmp_path / name, 50_000, _silent)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_size_without_room_for_both_sides_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refusal:
        pack(_scans(), tiny_config(), tmp_path / "scans.pack", 4_000, _silent)
    assert refusal.value.code == "E-TRN-43" and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["truncated", "text", "picture", "shape", "version", "missing"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    config, path = tiny_config(), tmp_path / "scans.pack"
    write_pack(path, _scans()[:1], [b"not a PNG" if damage == "picture" else _png()], config.data, config.patches)
    if damage in ("truncated", "text"):
        path.write_bytes(path.read_bytes()[:-50] if damage == "truncated" else b"what")
    elif damage != "picture":
        with zipfile.ZipFile(path) as archive:
            manifest = json.loads(archive.read("manifest.json"))
            first = archive.read("00000.png")
        manifest["pieces"][0]["shape"] = [1, 2, 3] if damage == "shape" else manifest["pieces"][0]["shape"]
        manifest["version"] = 99 if damage == "version" else manifest["version"]
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("manifest.json", json.dumps(manifest))
            if damage != "missing":
                archive.writestr("00000.png", first)
    with pytest.raises(UsageError) as refusal:
        read_pack(path, config.data, config.patches)
    assert refusal.value.code == "E-TRN-40"


def _png() -> bytes:
    return picture(_scans()[0].data, PERCENTILE, is_mr=True)


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pack_file.zipfile.ZipFile, "writestr", full)
    with pytest.raises(UsageError) as refusal:
        write_pack(tmp_path / "p", _scans()[:1], [_png()], tiny_config().data, tiny_config().patches)
    assert refusal.value.code == "E-TRN-42" and list(tmp_path.iterdir()) == []


def test_a_file_stands_in_the_place_of_a_folder(tmp_path: Path) -> None:
    host, config = load_host(), tiny_config()
    scans = read_scans(host, [write_scans(tmp_path / "scans")], config.data, _silent)
    pack(scans, config, tmp_path / "scans.pack", 100_000, _silent)
    told: list[str] = []
    pieces = read_scans(host, [tmp_path / "scans.pack"], config.data, told.append, config.patches)
    assert {piece.subject for piece in pieces} == {scan.subject for scan in scans}
    assert {piece.subject for piece in pieces if piece.held_back} == {"t1w-3", "ct-2"}
    assert told[-1].endswith("3 subjects to train on, 2 held back")
