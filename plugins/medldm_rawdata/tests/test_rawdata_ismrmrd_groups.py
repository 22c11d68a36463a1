"""ISMRMRD files with several measurements, a group each: none hides another."""

from __future__ import annotations

import numpy as np
import pytest

from medldm.data import ReadRequest
from medldm_rawdata.example_files import ismrmrd_line, write_ismrmrd
from medldm_rawdata.ismrmrd_lines import NOISE
from medldm_rawdata.ismrmrd_reader import IsmrmrdReader
from medldm_rawdata.tests.ismrmrd_scans import NC, XML, code_of, lines_of, one, path, truth

__all__ = ["path"]


def noise_lines():
    return [ismrmrd_line(np.random.default_rng(5).standard_normal((NC, 200)) + 0j, [NOISE])]


def write(path, **groups):
    path.unlink(missing_ok=True)
    for name, lines in groups.items():
        write_ismrmrd(path, XML, lines, group=name, mode="a")
    return path


def rows(path):
    return IsmrmrdReader().inspect(path)


def test_each_group_is_a_series(path):
    write(path, first=lines_of(truth()), second=lines_of(truth(seed=2)))
    assert [(row.index, row.identifier) for row in rows(path)] == [(1, "scan-first"), (2, "scan-second")]
    found = IsmrmrdReader().read(path, ReadRequest())
    assert [scan.name for scan in found] == ["scan-first", "scan-second"]
    np.testing.assert_array_equal(one(path, series="#2").data.numpy(), found[1].data.numpy())
    np.testing.assert_array_equal(one(path, series="first").data.numpy(), found[0].data.numpy())
    write(path, only=lines_of(truth(seed=2)))
    assert one(path).name == "scan"
    np.testing.assert_array_equal(one(path).data.numpy(), found[1].data.numpy())


def test_contrasts_of_a_group_keep_their_names_behind_its_own(path):
    echoes = lines_of(truth(), contrast=0) + lines_of(truth(seed=2), contrast=1)
    write(path, dataset=lines_of(truth()), other=echoes)
    assert [row.identifier for row in rows(path)] == ["scan-dataset", "scan-other-contrast-0", "scan-other-contrast-1"]


def test_a_group_of_noise_alone_is_left_out_and_named(path):
    write(path, dataset_1=noise_lines(), dataset_2=lines_of(truth()))
    (row,) = rows(path)
    (told,) = [problem for problem in row.problems if problem.code == "E-KSP-23"]
    assert "dataset_1" in told.sentence
    assert one(path).name == "scan-dataset_2"
    write(path, dataset_1=noise_lines(), dataset_2=noise_lines())
    assert code_of(path) == "E-KSP-18"


def broken():
    kspace = truth()
    kspace[0, 0, 3] = np.nan
    return lines_of(kspace)


@pytest.mark.parametrize(
    ("lines", "code"), [(broken(), "E-KSP-09"), (lines_of(truth(), kspace_encode_step_2=1), "E-KSP-07")]
)
def test_a_group_that_cannot_be_read_hides_no_other(path, lines, code):
    write(path, bad=lines, good=lines_of(truth()))
    bad, good = rows(path)
    assert [problem.code for problem in bad.problems] == [code]
    assert all(problem.severity != "error" for problem in good.problems)
    assert one(path, series="good").name == "scan-good"
    assert code_of(path, series="bad") == code
