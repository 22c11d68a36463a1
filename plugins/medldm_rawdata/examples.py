"""Small instances of the plugin's components for the conformance kit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from medldm.data import Acquisition, AffineMap, Grid, History, Volume
from medldm.testing import ReaderExample, WriterExample
from medldm_rawdata.acquisition_file import SUFFIX, save_acquisition
from medldm_rawdata.array_reader import KSpaceArrayReader
from medldm_rawdata.bart_reader import BartReader
from medldm_rawdata.example_files import (
    described,
    ismrmrd_line,
    ismrmrd_xml,
    write_bart,
    write_fastmri,
    write_ismrmrd,
)
from medldm_rawdata.fastmri_reader import FastMriReader
from medldm_rawdata.ismrmrd_reader import IsmrmrdReader
from medldm_rawdata.kspace_scan import Origin, scan_of
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


def kspace() -> NDArray[np.complex64]:
    """Of 3 slices and 2 coils, (z, coil, ky, kx), every third line left out beyond the centre."""
    generator = np.random.default_rng(13)
    values = generator.standard_normal((3, 2, 12, 10)) + 1j * generator.standard_normal((3, 2, 12, 10))
    values[:, :, [0, 3, 9]] = 0
    return values.astype(np.complex64)


_SPACING = (4.0, 1.5, 1.25)
_DESCRIPTION = {"spacing_mm": _SPACING, "affine": None, "noise_std": 0.5}


def _measured(place: Grid, format_: str, noise: float | None = None) -> Acquisition:
    return scan_of(kspace(), place, Origin(format_, Path("phantom")), noise=noise).acquisition


def array_reader() -> ReaderExample:
    """An array whose axes are in another order."""

    def make(folder: Path) -> Path:
        path = folder / "phantom.npy"
        np.save(path, kspace().transpose(1, 0, 3, 2))
        return described(path, {"axes": ["coil", "z", "kx", "ky"], **_DESCRIPTION})

    expected = _measured(Grid.isotropic((3, 12, 10), _SPACING), "kspace-array", 0.5)
    return ReaderExample(KSpaceArrayReader(), make, expected)


def bart_reader() -> ReaderExample:
    """A pair with slices in BART's dimension 13."""

    def make(folder: Path) -> Path:
        array = kspace().transpose(3, 2, 1, 0).reshape(10, 12, 1, 2, *[1] * 9, 3)
        return write_bart(folder / "phantom", array, _DESCRIPTION)

    return ReaderExample(BartReader(), make, _measured(Grid.isotropic((3, 12, 10), _SPACING), "bart", 0.5))


def _xml(size: tuple[int, int, int], voxel: tuple[float, float, float]) -> str:
    space = (size, (size[0] * voxel[0], size[1] * voxel[1], size[2] * voxel[2]))
    return ismrmrd_xml(space, space, centre=size[1] // 2)


def fastmri_reader() -> ReaderExample:
    """A series without oversampling."""

    def make(folder: Path) -> Path:
        return write_fastmri(folder / "phantom.h5", kspace(), _xml((12, 10, 1), (1.5, 1.25, 4.0)))

    return ReaderExample(FastMriReader(), make, _measured(Grid.isotropic((3, 12, 10), _SPACING), "fastmri"))


def ismrmrd_reader() -> ReaderExample:
    """Lines of oblique slices, the last slice first."""
    z, y, x = np.array([0.0, 0.6, 0.8]), np.array([0.0, -0.8, 0.6]), np.array([1.0, 0.0, 0.0])
    first = np.array([5.0, -3.0, 20.0])

    def make(folder: Path) -> Path:
        lines = [
            ismrmrd_line(
                kspace()[k, :, ky],
                kspace_encode_step_1=ky,
                slice=2 - k,
                position=first + 5 * k * z,
                **{"read_dir": x, "phase_dir": y, "slice_dir": z},
            )
            for ky in (1, 2, 4, 5, 6, 7, 8, 10, 11)
            for k in range(3)
        ]
        return write_ismrmrd(folder / "phantom.h5", _xml((10, 12, 1), (1.25, 1.5, 4.0)), lines)

    affine = np.eye(4)
    affine[:3, :3] = np.stack([5 * z, 1.5 * y, 1.25 * x], axis=1)
    affine[:3, 3] = first - 6 * affine[:3, 1] - 5 * affine[:3, 2]
    return ReaderExample(IsmrmrdReader(), make, _measured(Grid((3, 12, 10), affine), "ismrmrd"))
