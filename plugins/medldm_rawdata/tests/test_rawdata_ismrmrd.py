"""ISMRMRD files made from a known k-space give it back; every trap of the format has a test."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch

from medldm.data import ReadRequest
from medldm.errors import InputRefused
from medldm_rawdata.example_files import HEAD, ismrmrd_line, ismrmrd_xml, write_ismrmrd
from medldm_rawdata.ismrmrd_lines import CALIBRATION, CALIBRATION_AND_IMAGE, NOISE, REVERSE
from medldm_rawdata.ismrmrd_reader import IsmrmrdReader
from medldm_rawdata.kspace_transform import to_frequency, to_image

NZ, NC, NY, NX = 3, 4, 16, 12
X, Y, Z = np.array([0.0, 0.6, 0.8]), np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.8, -0.6])
PLACE = {"read_dir": X, "phase_dir": Y, "slice_dir": Z}
FIRST = np.array([3.0, -20.0, 7.0])
SPACE = ((NX, NY, 1), (NX * 1.5, NY * 2.0, 4.0))
XML = ismrmrd_xml(SPACE, SPACE, centre=NY // 2)


def truth(nx: int = NX, seed: int = 1) -> np.ndarray:
    random = np.random.default_rng(seed)
    shape = (NZ, NC, NY, nx)
    return (random.standard_normal(shape) + 1j * random.standard_normal(shape)).astype(np.complex64)


def lines_of(kspace, rows=range(NY), flags=(), **entries):
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
    (found,) = IsmrmrdReader().read(path, ReadRequest(**request))
    return found


def code_of(path, **request):
    with pytest.raises(InputRefused) as refusal:
        IsmrmrdReader().read(path, ReadRequest(**request))
    assert refusal.value.what.endswith((".", "?"))
    return refusal.value.code


def problems_of(path):
    rows = IsmrmrdReader().inspect(path)
    return {problem.code for row in rows for problem in row.problems}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scan.h5"


def test_values_place_and_mask(path):
    kspace = truth()
    rows = [0, 2, 4, 6, 7, 8, 9, 10, 12]
    lines = lines_of(kspace, rows)
    np.random.default_rng(0).shuffle(lines)
    write_ismrmrd(path, XML, lines)
    found = one(path)
    kspace[:, :, [r for r in range(NY) if r not in rows]] = 0
    assert torch.equal(found.data, torch.from_numpy(kspace))
    assert found.tensor("mask").sum() == len(rows) * NX
    assert found.settings["full_centre"] == [4, NX]
    assert not found.simulated
    # Where the gradients are zero, voxel n // 2, is the position of the slice; each index steps along its direction.
    for k in range(NZ):
        np.testing.assert_allclose(found.grid.world((k, NY // 2, NX // 2)), FIRST + 5 * k * Z, atol=1e-5)
    step = found.grid.world((1, NY // 2 + 1, NX // 2 + 1)) - found.grid.world((0, NY // 2, NX // 2))
    np.testing.assert_allclose(step, 5 * Z + 2 * Y + 1.5 * X, atol=1e-5)
    (row,) = IsmrmrdReader().inspect(path)
    assert (row.shape, row.format) == ((NZ, NY, NX), "ismrmrd")
    for fact in ("coil 4", "acceleration 1.78", "full centre 4 x 12", "(estimated)"):
        assert fact in row.description


def test_slices_are_ordered_by_position_not_by_number(path):
    kspace = truth()
    order = [1, 2, 0]  # counters as acquired, of the slices from low to high
    lines = [
        line for k in range(NZ) for line in lines_of(kspace[k : k + 1], slice=order[k], position=FIRST + 5 * k * Z)
    ]
    write_ismrmrd(path, XML, lines)
    assert torch.equal(one(path).data, torch.from_numpy(kspace))


def test_oversampling_is_removed_and_the_image_kept(path):
    wide = truth(2 * NX)
    encoded = ((2 * NX, NY, 1), (2 * NX * 1.5, NY * 2.0, 4.0))
    write_ismrmrd(path, ismrmrd_xml(encoded, SPACE, centre=NY // 2), lines_of(wide))
    found = one(path)
    assert found.grid.shape == (NZ, NY, NX)
    assert found.grid.spacing == pytest.approx((5, 2, 1.5))
    image = to_image(to_image(found.data.numpy(), -1), -2)
    expected = to_image(to_image(wide, -1), -2)[..., NX // 2 : NX // 2 + NX]
    np.testing.assert_allclose(image, expected, atol=1e-5)
    np.testing.assert_allclose(found.grid.world((0, NY // 2, NX // 2)), FIRST, atol=1e-5)


@pytest.mark.parametrize("n", [12, 13])
def test_reversed_lines_are_turned_about_frequency_zero(n, path):
    kspace = truth(n)
    space = ((n, NY, 1), (n * 1.5, NY * 2.0, 4.0))
    lines = []
    for ky in range(NY):
        if ky % 2 == 0:
            lines += lines_of(kspace, [ky])
            continue
        # Sample i of a reversed line is frequency -(i - n // 2); -(-n/2) is the frequency -n/2 of the grid.
        back = kspace[..., (n // 2 - (np.arange(n) - n // 2)) % n]
        lines += lines_of(back, [ky], [REVERSE])
    write_ismrmrd(path, ismrmrd_xml(space, space, centre=NY // 2), lines)
    assert torch.equal(one(path).data, torch.from_numpy(kspace))


def test_partial_fourier_is_not_sampled(path):
    kspace = truth()
    # Lines are counted from the first one measured: frequency zero is their line 5.
    lines = lines_of(kspace[:, :, 3:], range(NY - 3))
    write_ismrmrd(path, ismrmrd_xml(SPACE, SPACE, centre=5), lines)
    found = one(path)
    kspace[:, :, :3] = 0
    assert torch.equal(found.data, torch.from_numpy(kspace))
    assert found.tensor("mask")[:, 0].tolist() == [0] * 3 + [1] * 13


def test_a_partial_echo_keeps_its_oversampling(path):
    wide = truth(2 * NX)
    encoded = ((2 * NX, NY, 1), (2 * NX * 1.5, NY * 2.0, 4.0))
    lines = lines_of(wide[..., 7:], center_sample=NX - 7, discard_pre=1)
    write_ismrmrd(path, ismrmrd_xml(encoded, SPACE, centre=NY // 2), lines)
    found = one(path)
    wide[..., :8] = 0
    assert torch.equal(found.data, torch.from_numpy(wide))
    assert found.tensor("mask")[0].tolist() == [0] * 8 + [1] * 16
    assert found.grid.spacing[2] == pytest.approx(1.5)
    assert "E-KSP-25" in problems_of(path)


def test_averages(path):
    a, b = truth(seed=1), truth(seed=2)
    write_ismrmrd(path, XML, [*lines_of(a), *lines_of(b, average=1)])
    found = one(path)
    np.testing.assert_allclose(found.data.numpy(), (a + b) / 2, atol=1e-6)
    assert found.settings["averages"] == 2
    write_ismrmrd(path, XML, [*lines_of(a), *lines_of(b, range(6), average=1)])
    assert code_of(path) == "E-KSP-14"
    write_ismrmrd(path, XML, [*lines_of(a), *lines_of(b, range(6))])
    assert code_of(path) == "E-KSP-13"


def correlated(random, count):
    mixing = random.standard_normal((NC, NC)) + 1j * random.standard_normal((NC, NC))
    return mixing @ (random.standard_normal((NC, count)) + 1j * random.standard_normal((NC, count)))


@pytest.mark.parametrize("averages", [1, 2])
def test_noise_is_white_after_whitening(averages, path):
    def noise(count):
        return correlated(np.random.default_rng(7), count)

    # One long draw: the first part is the noise scan, the rest is measured as k-space of nothing but noise, whose
    # dwell time is 4 times as long, so that its noise is half as strong.
    count = NZ * NY * NX
    draw = noise(20000 + averages * count)
    measured = (draw[:, 20000:] / 2).reshape(NC, averages, NZ, NY, NX).transpose(1, 2, 0, 3, 4)
    lines = [ismrmrd_line(draw[:, i : i + 200], [NOISE], sample_time_us=2.0) for i in range(0, 20000, 200)]
    for number, part in enumerate(measured):
        lines += lines_of(part, average=number, sample_time_us=8.0)
    write_ismrmrd(path, XML, lines)
    found = one(path)
    assert found.noise_std == pytest.approx(1 / averages**0.5)
    assert found.settings["noise"] == "noise scan"
    white = found.data.permute(1, 0, 2, 3).reshape(NC, -1).numpy() / found.noise_std
    covariance = white @ white.conj().T / (2 * count)
    # A mean of 576 samples is within 1 / sqrt(576) = 4 % of its expectation; five of these.
    np.testing.assert_allclose(covariance, np.eye(NC), atol=0.2)
    assert abs(np.trace(covariance).real / NC - 1) < 0.1
    # Exactly white where the covariance is measured.
    scan = np.linalg.inv(np.linalg.cholesky(draw[:, :20000] @ draw[:, :20000].conj().T / 40000 / 4))
    expected = np.einsum("cd,zdyx->zcyx", scan, measured.mean(axis=0))
    np.testing.assert_allclose(found.data.numpy(), expected, rtol=1e-3, atol=1e-3)


def test_the_noise_bandwidth_of_the_receiver_counts(path):
    draw = correlated(np.random.default_rng(3), 5000)
    scan = [ismrmrd_line(draw, [NOISE])]
    found = []
    for ratio in (None, 0.8):
        write_ismrmrd(path, ismrmrd_xml(SPACE, SPACE, noise_bandwidth=ratio), [*scan, *lines_of(truth())])
        found.append(one(path).data)
    # The scan's mean power is 0.8 of the power within the band of the image.
    np.testing.assert_allclose(found[1].numpy(), found[0].numpy() * 0.8**0.5, rtol=1e-4, atol=1e-5)


def test_an_unusable_noise_scan_is_refused(path):
    few = correlated(np.random.default_rng(3), 30)
    write_ismrmrd(path, XML, [ismrmrd_line(few, [NOISE]), *lines_of(truth())])
    assert code_of(path) == "E-KSP-16"
    many = correlated(np.random.default_rng(3), 300)
    many[2] = many[1]
    write_ismrmrd(path, XML, [ismrmrd_line(many, [NOISE]), *lines_of(truth())])
    assert code_of(path) == "E-KSP-16"
    write_ismrmrd(path, XML, [ismrmrd_line(many[:3], [NOISE]), *lines_of(truth())])
    assert code_of(path) == "E-KSP-12"


def test_a_silent_coil_is_left_out_of_image_and_noise(path):
    kspace, noise = truth(), correlated(np.random.default_rng(3), 500)
    kspace[:, 2], noise[2] = 0, 0
    write_ismrmrd(path, XML, [ismrmrd_line(noise, [NOISE], sample_time_us=0), *lines_of(kspace)])
    assert one(path).size("coil") == 3
    assert problems_of(path) == {"E-KSP-22"}


def test_calibration_lines(path):
    kspace = truth()
    both = lines_of(kspace, range(6, 11), [CALIBRATION_AND_IMAGE])
    only = lines_of(kspace, [5, 11], [CALIBRATION])
    image = lines_of(kspace, [0, 2, 4, 12, 14])
    header = {mode: ismrmrd_xml(SPACE, SPACE, centre=8, calibration=mode) for mode in ("embedded", "separate")}
    write_ismrmrd(path, header["embedded"], [*both, *only, *image])
    assert one(path).tensor("mask")[:, 0].nonzero().flatten().tolist() == [0, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14]
    write_ismrmrd(path, header["separate"], [*both, *only, *image])
    assert one(path).tensor("mask")[:, 0].nonzero().flatten().tolist() == [0, 2, 4, 6, 7, 8, 9, 10, 12, 14]
    assert "E-KSP-23" in problems_of(path)


@pytest.mark.parametrize("flag", [23, 24, 26, 27, 28, 29, 30, 31])
def test_other_lines_are_left_out(flag, path):
    write_ismrmrd(path, XML, [*lines_of(7 * truth(), range(3), [flag]), *lines_of(truth())])
    assert torch.equal(one(path).data, torch.from_numpy(truth()))
    assert "E-KSP-23" in problems_of(path)


def test_contrasts_and_repetitions_are_scans_of_their_own(path):
    lines = []
    for contrast in range(2):
        for repetition in (0, 3):
            lines += lines_of(truth(seed=10 * contrast + repetition), contrast=contrast, repetition=repetition)
    write_ismrmrd(path, XML, lines)
    rows = IsmrmrdReader().inspect(path)
    assert [row.index for row in rows] == [1, 2, 3, 4]
    assert rows[1].description.startswith("contrast 0 repetition 3;")
    assert len(IsmrmrdReader().read(path, ReadRequest())) == 4
    for series in ("#3", "contrast 1 repetition 0", "scan-contrast-1-repetition-0"):
        assert torch.equal(one(path, series=series).data, torch.from_numpy(truth(seed=10)))
    assert code_of(path, series="#5") == "E-KSP-17"


def test_a_file_without_directions_says_so(path):
    nowhere = dict.fromkeys((*PLACE, "position"), np.zeros(3))
    write_ismrmrd(path, XML, lines_of(truth(), **nowhere))
    found = one(path)
    assert found.grid.spacing == pytest.approx((4, 2, 1.5))
    assert [event.settings["code"] for event in found.history.events if event.name == "warning"] == [
        "E-KSP-21",
        "E-KSP-20",
    ]


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


@pytest.mark.parametrize("trajectory", ["radial", "spiral", "epi", "goldenangle", "other"])
def test_other_trajectories_are_refused(trajectory, path):
    write_ismrmrd(path, ismrmrd_xml(SPACE, SPACE, trajectory=trajectory), lines_of(truth()))
    assert code_of(path) == "E-KSP-07"


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
    other = write_ismrmrd(tmp_path / "other.h5", XML, lines_of(truth()))
    with h5py.File(write_ismrmrd(path, XML, lines_of(truth())), "r+") as file:
        group = file["dataset"]
        group.move(member, "moved")
        if kind == "soft":
            group[member] = h5py.SoftLink("/dataset/moved")
        elif kind == "external":
            group[member] = h5py.ExternalLink(str(other), f"/dataset/{member}")
        elif kind == "storage":
            group.create_dataset(member, shape=(10,), dtype="u1", external=[(str(tmp_path / "raw"), 0, 10)])
        else:
            layout = h5py.VirtualLayout(shape=(10,), dtype="u1")
            layout[:] = h5py.VirtualSource(str(other), "none", shape=(10,))
            group.create_virtual_dataset(member, layout)
    assert code_of(path) == "E-KSP-03"
    IsmrmrdReader().accepts(path)


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


def test_the_formats_own_library_agrees(path):
    ismrmrd = pytest.importorskip("ismrmrd", reason="the package ismrmrd is not installed; it is an oracle only")
    kspace = truth()
    dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
    dataset.write_xml_header(XML.encode())
    for ky in range(NY):
        for k in range(NZ):
            line = ismrmrd.Acquisition.from_array(kspace[k, :, ky], center_sample=NX // 2)
            line.idx.kspace_encode_step_1, line.idx.slice = ky, k
            line.position[:] = FIRST + 5 * k * Z
            line.read_dir[:], line.phase_dir[:], line.slice_dir[:] = X, Y, Z
            if ky % 2:
                line.set_flag(ismrmrd.ACQ_IS_REVERSE)
                line.data[:] = line.data[:, (NX // 2 - (np.arange(NX) - NX // 2)) % NX]
            dataset.append_acquisition(line)
    dataset.close()
    found = one(path)
    assert torch.equal(found.data, torch.from_numpy(kspace))
    np.testing.assert_allclose(found.grid.world((2, NY // 2, NX // 2)), FIRST + 10 * Z, atol=1e-5)


def test_transforms_are_inverse_and_orthonormal():
    for n in (12, 13):
        kspace = truth(n)
        np.testing.assert_allclose(to_frequency(to_image(kspace, -1), -1), kspace, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(to_image(kspace, -2)), np.linalg.norm(kspace), rtol=1e-5)
