"""Small instances of the plugin's components for the conformance kit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from medldm.data import Acquisition, AffineMap, Grid, History, Volume
from medldm.testing import ReaderExample, WriterExample
from medldm_rawdata.acquisition_file import SUFFIX, save_acquisition
from medldm_rawdata.reader import AcquisitionReader
from medldm_rawdata.writer import AcquisitionWriter


def grid() -> Grid:
    """Oblique and anisotropic."""
    affine = np.array([[0.0, 0.8, 0.5, -10.0], [0.0, -0.6, 0.667, 4.0], [2.5, 0.0, 0.0, 1.5], [0.0, 0.0, 0.0, 1.0]])
    return Grid((3, 5, 4), affine)


def acquisition() -> Acquisition:
    """Two coils of imaginary k-space with a mask and maps."""
    generator = torch.Generator().manual_seed(11)
    shape = (3, 2, 5, 4)
    return Acquisition(
        physics="mri-cartesian",
        data=torch.randn(shape, generator=generator, dtype=torch.complex64),
        axes=("z", "coil", "ky", "kx"),
        grid=grid(),
        quantity="arbitrary",
        modality="MR",
        output=AffineMap.identity("arbitrary"),
        tensors={
            "mask": torch.tensor([True, False, True, True, False]),
            "maps": torch.randn(shape, generator=generator, dtype=torch.complex64),
        },
        settings={"calibration": 0.25, "lines": [0, 2, 3], "phase": "smooth", "centred": True},
        noise_std=0.125,
        simulated=True,
        name="phantom",
        history=History().then("simulate", coils=2),
    )


def _make(folder: Path) -> Path:
    return save_acquisition(acquisition(), folder / f"phantom{SUFFIX}")


def reader() -> ReaderExample:
    """A file with complex, boolean and real contents."""
    return ReaderExample(AcquisitionReader(), _make, acquisition())


def writer() -> WriterExample:
    """A volume that comes back as the identity measurement of itself."""
    generator = torch.Generator().manual_seed(12)
    volume = Volume(torch.randn(grid().shape, generator=generator), grid(), name="image")
    return WriterExample(AcquisitionWriter(), volume, AcquisitionReader(), tolerance=0.0)
