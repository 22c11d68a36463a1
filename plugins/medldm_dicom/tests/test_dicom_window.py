"""The window that a viewer opens a derived series with."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest
import torch

from medldm.data import Grid, Provenance, Volume
from medldm.data.provenance import Role
from medldm_dicom.writer import DicomWriter


@pytest.fixture
def small() -> Volume:
    """Values from 0 to 25 HU, as a spread has them."""
    return Volume(torch.linspace(0, 25, 3 * 32 * 32).reshape(3, 32, 32), Grid.isotropic((3, 32, 32), 2.0), "HU", "CT")


def window(volume: Volume, folder: Path, role: Role) -> tuple[float, float]:
    made = Provenance(role, "tv", "0", "a" * 64, 7, datetime(2026, 1, 1, tzinfo=UTC), simulated=False)
    image = pydicom.dcmread(DicomWriter().write(volume, folder, role, made)[0])
    return float(image.WindowCenter), float(image.WindowWidth)


@pytest.mark.parametrize("role", ["reconstruction", "baseline", "sample", "interval-lower", "interval-upper"])
def test_images_in_hu_open_with_soft_tissue(small: Volume, tmp_path: Path, role: Role) -> None:
    assert window(small, tmp_path, role) == (40.0, 400.0)


@pytest.mark.parametrize("role", ["spread", "deviation"])
def test_widths_in_hu_open_with_the_range_of_their_values(small: Volume, tmp_path: Path, role: Role) -> None:
    assert window(small, tmp_path, role) == pytest.approx((12.5, 24.75), rel=1e-3)
    (tmp_path / "shown").mkdir()
    assert window(replace(small, display=(10.0, 20.0)), tmp_path / "shown", role) == (10.0, 20.0)
