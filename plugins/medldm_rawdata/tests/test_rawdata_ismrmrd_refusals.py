"""ISMRMRD files that cannot be used are refused under a code, before anything is allocated or opened elsewhere."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from medldm.data import ReadRequest
from medldm.errors import InputRefused
from medldm_rawdata.example_files import HEAD, ismrmrd_xml, write_ismrmrd
from medldm_rawdata.ismrmrd_reader import IsmrmrdReader
from medldm_rawdata.tests.ismrmrd_scans import (
    FIRST,
    NX,
    NY,
    NZ,
    SPACE,
    XML,
    X,
    Y,
    Z,
    code_of,
    lines_of,
    path,
    problems_of,
    truth,
)
from medldm_rawdata.tests.outside_files import opens_a_file_of

__all__ = ["path"]


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ({"position": FIRST}, "E-KSP-15"),
        ({"read_dir": Y}, "E-KSP-15"),
        ({"read_dir": 2 * X}, "E-KSP-15"),
        ({"slice_dir": np.full(3, np.nan)}, "E-KSP-15"),
        ({"position": np.full(3, np.inf)}, "E-KSP-15"),
        ({"kspace_encode_step_2": 1}, "E-KSP-07"),
        ({"center_sample": 0}, "E-KSP-13"),
        ({"discard_pre": NX}, "E-KSP-13"),
        ({"encoding_space_ref": 1}, "E-KSP-18"),
    ],
)
def test_heads_that_make_no_sense(entries, code, path):
    write_ismrmrd(path, XML, lines_of(truth(), **entries))
    assert code_of(path) == code
    (row,) = IsmrmrdReader().inspect(path)
    assert [problem.code for problem in row.problems] == [code]


def test_stacks_that_are_none(path):
    uneven = [line for k in range(NZ) for line in lines_of(truth()[k : k + 1], slice=k, position=FIRST + k**2 * Z)]
    write_ismrmrd(path, XML, uneven)
    assert code_of(path) == "E-KSP-15"
    moving = [line for ky in range(NY) for line in lines_of(truth(), [ky], position=FIRST + ky * X)]
    write_ismrmrd(path, XML, moving)
    assert code_of(path) == "E-KSP-15"
    turned = [*lines_of(truth()[:2]), *lines_of(truth()[2:], slice=2, position=FIRST + 10 * Z, read_dir=-X)]
    write_ismrmrd(path, XML, turned)
    assert code_of(path) == "E-KSP-15"


def test_lines_that_do_not_fit(path):
    write_ismrmrd(path, XML, [*lines_of(truth()), *lines_of(truth()[:, :3], [0], slice=1)])
    assert code_of(path) == "E-KSP-12"
    # Half the samples about the centre: coarser, or without oversampling? The header does not say.
    write_ismrmrd(path, XML, lines_of(truth(NX // 2)))
    assert code_of(path) == "E-KSP-13"
    write_ismrmrd(path, ismrmrd_xml(SPACE, SPACE, centre=3), lines_of(truth()))
    assert code_of(path) == "E-KSP-13"
    # A slice with other lines than the rest.
    write_ismrmrd(
        path, XML, [*lines_of(truth()[:2]), *lines_of(truth()[2:], range(8), slice=2, position=FIRST + 10 * Z)]
    )
    assert code_of(path) == "E-KSP-11"


def test_lines_with_nan(path):
    kspace = truth()
    kspace[1, 2, 3] = np.nan
    write_ismrmrd(path, XML, lines_of(kspace))
    assert code_of(path) == "E-KSP-09"


def test_a_line_shorter_than_its_head_says(path):
    lines = lines_of(truth())
    lines[5] = (lines[5][0], lines[5][1][:-2])
    write_ismrmrd(path, XML, lines)
    assert code_of(path) == "E-KSP-02"


def test_sizes_are_checked_before_anything_is_allocated(path):
    huge = ((60000, 60000, 1), (300.0, 300.0, 5.0))
    write_ismrmrd(path, ismrmrd_xml(huge, huge), lines_of(truth()))
    assert code_of(path) == "E-KSP-10"
    write_ismrmrd(path, XML, lines_of(truth()))
    assert code_of(path, max_bytes=1000) == "E-KSP-10"


@pytest.mark.parametrize(
    ("trajectory", "code"),
    [("epi", "E-KSP-07"), *((t, "E-KSP-41") for t in ("radial", "spiral", "goldenangle", "other"))],
)
def test_trajectories_that_the_lines_do_not_state_are_refused(trajectory, code, path):
    write_ismrmrd(path, ismrmrd_xml(SPACE, SPACE, trajectory=trajectory), lines_of(truth()))
    assert code_of(path) == code


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "<ismrmrdHeader",
        "<other/>",
        "<ismrmrdHeader/>",
        '<!DOCTYPE a [<!ENTITY b "c">]>' + XML.partition("?>")[2],
        XML.replace("<x>12</x>", "<x>0</x>", 1),
        XML.replace("<x>12</x>", "<x>1e9</x>", 1),
        XML.replace("<x>18.0</x>", "<x>nan</x>"),
        XML.replace("<x>18.0</x>", "<x>-5</x>"),
        XML.replace("<trajectory>cartesian</trajectory>", ""),
        XML.replace("reconSpace", "elsewhere"),
        XML + " " * (4 * 2**20),
    ],
    ids=[
        "empty",
        "cut",
        "root",
        "no-encoding",
        "entity",
        "zero",
        "huge",
        "nan",
        "negative",
        "no-way",
        "no-space",
        "long",
    ],
)
def test_headers_that_cannot_be_used(xml, path):
    write_ismrmrd(path, xml, lines_of(truth()))
    assert code_of(path) == "E-KSP-06"


def test_a_header_in_another_encoding_hides_no_document_type(path):
    text = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY b "c">]>' + XML.partition("?>")[2]
    with h5py.File(write_ismrmrd(path, XML, lines_of(truth())), "r+") as file:
        del file["dataset/xml"]
        file["dataset/xml"] = np.void(text.encode("utf-16"))
    assert code_of(path) == "E-KSP-06"


@pytest.mark.parametrize("member", ["xml", "data"])
@pytest.mark.parametrize("kind", ["soft", "external", "storage", "virtual"])
def test_nothing_outside_the_file_is_opened(member, kind, path, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    # A measurement that could be read, were it followed to, and bytes that could be loaded.
    other, raw = write_ismrmrd(outside / "other.h5", XML, lines_of(truth())), outside / "raw"
    raw.write_bytes(b"0123456789")
    with h5py.File(write_ismrmrd(path, XML, lines_of(truth())), "r+") as file:
        group = file["dataset"]
        group.move(member, "moved")
        if kind == "soft":
            group[member] = h5py.SoftLink("/dataset/moved")
        elif kind == "external":
            group[member] = h5py.ExternalLink(str(other), f"/dataset/{member}")
        elif kind == "storage":
            group.create_dataset(member, shape=(10,), dtype="u1", external=[(str(raw), 0, 10)])
        else:
            layout = h5py.VirtualLayout(shape=(10,), dtype="u1")
            layout[:] = h5py.VirtualSource(str(other), "none", shape=(10,))
            group.create_virtual_dataset(member, layout)

    def follow():
        with h5py.File(path) as file:
            return file[f"dataset/{member}"][()]

    def meet():
        # By the names alone it is one of ours; to know them nothing needs to be followed.
        assert IsmrmrdReader().accepts(path)
        assert problems_of(path) == {"E-KSP-03"}
        assert code_of(path) == "E-KSP-03"

    assert not opens_a_file_of(outside, meet)
    # A soft link stays within the file here, and is refused because it need not.
    assert opens_a_file_of(outside, follow) == (kind != "soft")


def test_damaged_files(path, tmp_path):
    content = write_ismrmrd(path, XML, lines_of(truth())).read_bytes()
    random = np.random.default_rng(5)
    for length in (0, 8, 100, len(content) // 2, len(content) - 10):
        path.write_bytes(content[:length])
        assert code_of(path) == "E-KSP-02", length
    for _ in range(60):
        broken = bytearray(content)
        for at in random.integers(8, len(content), 20):
            broken[at] = random.integers(256)
        path.write_bytes(bytes(broken))
        # It may be read, where only numbers changed, or refused: any other exception than a refusal fails the test.
        try:
            IsmrmrdReader().read(path, ReadRequest(max_bytes=2**24))
        except InputRefused as refusal:
            assert refusal.code.startswith("E-")
        IsmrmrdReader().inspect(path)
    assert code_of(tmp_path / "none.h5") == "E-KSP-01"
    assert code_of(tmp_path) == "E-KSP-01"


def test_a_table_that_is_no_table_of_lines(path):
    with h5py.File(path, "w") as file:
        file["dataset/xml"] = XML
        file["dataset/data"] = np.zeros(5)
    assert IsmrmrdReader().accepts(path)
    assert code_of(path) == "E-KSP-08"
    with h5py.File(path, "w") as file:
        file["dataset/xml"] = XML
        file["dataset/data"] = np.zeros(3, dtype=[("head", HEAD), ("data", "<f4")])
    assert code_of(path).startswith("E-KSP")
    with h5py.File(path, "w") as file:
        file["other"] = np.zeros(5)
    assert not IsmrmrdReader().accepts(path)
    assert code_of(path) == "E-KSP-08"
