"""Small instances of the plugin's components for the conformance kit."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import nibabel
import numpy as np
import torch

from medldm.data import Grid, Provenance, Volume
from medldm.testing import ReaderExample, WriterExample
from medldm_nifti.reader import NiftiReader
from medldm_nifti.writer import NiftiWriter

# Oblique, anisotropic, left-handed in storage: nothing that a hard-coded flip would survive. float32 values.
_AFFINE = np.array([[0.0, 0.0, -2.5, 31.25], [-0.75, 0.25, 0.0, 12.5], [0.25, 0.75, 0.0, -40.0], [0.0, 0.0, 0.0, 1.0]])


def provenance() -> Provenance:
    """Of an imaginary run, with a fixed time."""
    return Provenance(
        role="reconstruction",
        method="example",
        version="0.1.0",
        recipe_hash="0" * 64,
        seed=7,
        created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        simulated=True,
    )


def volume(dtype: torch.dtype = torch.float32) -> Volume:
    """Five by six by seven voxels of white noise on an oblique grid."""
    grid: Grid = Grid.from_nifti(_AFFINE, (7, 6, 5))
    generator = torch.Generator().manual_seed(3)
    return Volume(torch.randn(grid.shape, generator=generator, dtype=dtype), grid, name="scan")


def _make(folder: Path) -> Path:
    path = folder / "scan.nii.gz"
    expected = volume()
    image = nibabel.Nifti1Image(expected.data.numpy().transpose(2, 1, 0), expected.grid.nifti_affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


def reader() -> ReaderExample:
    """A file written by nibabel."""
    return ReaderExample(NiftiReader(), _make, volume())


def writer() -> WriterExample:
    """A volume that must come back without any difference."""
    return WriterExample(NiftiWriter(), volume(), NiftiReader(), tolerance=0.0)
