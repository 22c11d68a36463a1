"""A known k-space as lines of an ISMRMRD file, and what our reader finds in it or refuses."""

from __future__ import annotations

import numpy as np
import pytest

from medldm.data import ReadRequest
from medldm.errors import InputRefused
from medldm_rawdata.example_files import ismrmrd_line, ismrmrd_xml
from medldm_rawdata.ismrmrd_reader import IsmrmrdReader

NZ, NC, NY, NX = 3, 4, 16, 12
X, Y, Z = np.array([0.0, 0.6, 0.8]), np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.8, -0.6])
PLACE = {"read_dir": X, "phase_dir": Y, "slice_dir": Z}
FIRST = np.array([3.0, -20.0, 7.0])
SPACE = ((NX, NY, 1), (NX * 1.5, NY * 2.0, 4.0))
XML = ismrmrd_xml(SPACE, SPACE, centre=NY // 2)


def truth(nx: int = NX, seed: int = 1) -> np.ndarray:
    """k-space (slice, coil, line, sample)."""
    random = np.random.default_rng(seed)
    shape = (NZ, NC, NY, nx)
    return (random.standard_normal(shape) + 1j * random.standard_normal(shape)).astype(np.complex64)


def lines_of(kspace, rows=range(NY), flags=(), **entries):
    """The lines of a k-space, slice by slice for each row; ``entries`` go before what their heads would say."""
    return [
        ismrmrd_line(
            kspace[k, :, ky],
            flags,
            **{"kspace_encode_step_1": ky, "slice": k, "position": FIRST + 5 * k * Z, **PLACE, **entries},
        )
        for ky in rows
        for k in range(len(kspace))
    ]


def one(path, **request):
    """The only measurement in the file."""
    (found,) = IsmrmrdReader().read(path, ReadRequest(**request))
    return found


def code_of(path, **request):
    """Of the refusal to read it, whose sentence is whole."""
    with pytest.raises(InputRefused) as refusal:
        IsmrmrdReader().read(path, ReadRequest(**request))
    assert refusal.value.what.endswith((".", "?"))
    return refusal.value.code


def problems_of(path):
    """Codes of what inspection finds wrong."""
    rows = IsmrmrdReader().inspect(path)
    return {problem.code for row in rows for problem in row.problems}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scan.h5"
