"""What is stored comes back; a file that was tampered with does not."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from medldm.data import AffineMap, Provenance, ReadRequest, Volume
from medldm.errors import InputRefused, MedldmError, UsageError
from medldm_rawdata.acquisition_file import SUFFIX, load_acquisition, save_acquisition
from medldm_rawdata.examples import acquisition, grid
from medldm_rawdata.header import METADATA_KEY
from medldm_rawdata.reader import AcquisitionReader
from medldm_rawdata.writer import AcquisitionWriter


def same(a, b) -> None:
    assert torch.equal(a.data, b.data) and a.data.dtype == b.data.dtype
    assert a.tensors.keys() == b.tensors.keys()
    for key in a.tensors:
        assert torch.equal(a.tensors[key], b.tensors[key]) and a.tensors[key].dtype == b.tensors[key].dtype
    np.testing.assert_array_equal(a.grid.affine, b.grid.affine)
    for name in (
        "physics",
        "axes",
        "grid",
        "quantity",
        "modality",
        "output",
        "settings",
        "noise_std",
        "simulated",
        "history",
    ):
        assert getattr(a, name) == getattr(b, name), name


@pytest.fixture
def path(tmp_path):
    return save_acquisition(acquisition(), tmp_path / f"scan{SUFFIX}")


def split(path) -> tuple[dict, bytes]:
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def join(path, head: dict, body: bytes) -> None:
    text = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def code_of(path, **request) -> str:
    with pytest.raises(MedldmError) as refusal:
        AcquisitionReader().read(path, ReadRequest(**request))
    assert refusal.value.what.endswith(".")
    return refusal.value.code


def test_everything_comes_back(path):
    (found,) = AcquisitionReader().read(path, ReadRequest())
    same(found, acquisition())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
def test_sample_types(dtype, tmp_path):
    data = torch.randn(3, 5, 4, dtype=dtype, generator=torch.Generator().manual_seed(1))
    before = replace(acquisition(), data=data, axes=("z", "view", "bin"), tensors={"other": data * 2}, noise_std=None)
    same(load_acquisition(save_acquisition(before, tmp_path / f"a{SUFFIX}")), before)


def test_views_of_one_tensor_and_lazy_conjugates_are_stored_as_their_values(tmp_path):
    data = acquisition().data
    before = replace(acquisition(), data=data.conj(), tensors={"first": data[:, :1], "turned": data.transpose(2, 3)})
    found = load_acquisition(save_acquisition(before, tmp_path / f"a{SUFFIX}"))
    assert torch.equal(found.data, data.conj().resolve_conj())
    assert torch.equal(found.tensors["turned"], data.transpose(2, 3))


def test_ct_settings_and_numpy_numbers(tmp_path):
    settings = {"pitch_mm": np.float64(0.5), "photons": np.int64(100000), "views": (1, 2), "arc": None}
    before = replace(
        acquisition(),
        settings=settings,
        quantity="1/mm",
        modality="CT",
        output=AffineMap("a", 50.0, -1e3, "1/mm", "HU"),
    )
    found = load_acquisition(save_acquisition(before, tmp_path / f"a{SUFFIX}"))
    assert found.settings == {"pitch_mm": 0.5, "photons": 100000, "views": [1, 2], "arc": None}
    assert found.output(torch.tensor(2.0)) == -900


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), torch.ones(2), {"deep": [1j]}])
def test_settings_that_are_no_plain_values_are_refused(value, tmp_path):
    with pytest.raises(UsageError) as refusal:
        save_acquisition(replace(acquisition(), settings={"odd": value}), tmp_path / f"a{SUFFIX}")
    assert refusal.value.code == "E-RAW-09"
    assert list(tmp_path.iterdir()) == []


def test_the_same_measurement_has_the_same_bytes_and_no_source(path, tmp_path):
    from_file = load_acquisition(path)
    again = save_acquisition(from_file, tmp_path / f"again{SUFFIX}")
    assert again.read_bytes() == path.read_bytes()
    assert str(tmp_path).encode() not in path.read_bytes()


def test_the_name_of_the_scan_is_not_stored(tmp_path):
    scan = replace(acquisition(), name="DOE_JANE_19600101")
    path = save_acquisition(scan, tmp_path / f"case7{SUFFIX}")
    assert b"DOE" not in path.read_bytes()
    assert path.read_bytes() == save_acquisition(acquisition(), tmp_path / f"other{SUFFIX}").read_bytes()
    assert load_acquisition(path).name == "case7"


def test_a_name_in_an_older_file_is_not_taken_over(path):
    head, body = split(path)
    content = json.loads(head["__metadata__"][METADATA_KEY])
    assert "name" not in content
    head["__metadata__"][METADATA_KEY] = json.dumps(content | {"name": "DOE_JANE_19600101"})
    join(path, head, body)
    found = load_acquisition(path)
    same(found, acquisition())
    assert found.name == "scan"


def test_a_file_is_replaced_as_a_whole_or_not_at_all(path, monkeypatch):
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medldm_rawdata.acquisition_file.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_acquisition(replace(acquisition(), name="other"), path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_permissions_are_those_of_any_new_file(path, tmp_path):
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_missing_folder_is_a_system_error(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        save_acquisition(acquisition(), tmp_path / "none" / f"a{SUFFIX}")


def test_inspection_reads_the_header_only(path, monkeypatch):
    monkeypatch.setattr("medldm_rawdata.acquisition_file.torch.isfinite", lambda *_: pytest.fail("tensors were read"))
    (row,) = AcquisitionReader().inspect(path)
    assert row.shape == (3, 5, 4)
    assert row.description == "mri-cartesian: z 3, coil 2, ky 5, kx 4 SIMULATED"
    assert row.problems == ()


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("version", 2, "E-RAW-04"),
        ("version", "1.0", "E-RAW-05"),
        ("format", "other", "E-RAW-05"),
        ("physics", None, "E-RAW-05"),
        ("physics", "", "E-RAW-05"),
        ("axes", ["z", "coil", "ky"], "E-RAW-06"),
        ("grid", {"shape": [3, 0, 4], "axes": ["z", "y", "x"], "affine": np.eye(4).tolist()}, "E-RAW-05"),
        ("grid", {"shape": [3, 5, 4], "axes": ["z", "y", "x"], "affine": np.eye(3).tolist()}, "E-RAW-05"),
        ("grid", {"shape": [3, 5, 4], "axes": ["z", "y", "x"], "affine": np.zeros((4, 4)).tolist()}, "E-GEO-22"),
        ("quantity", "counts", "E-RAW-05"),
        ("modality", "PT", "E-RAW-05"),
        ("output", {"name": "a", "scale": 0, "offset": 0, "source": "1/mm", "target": "HU"}, "E-RAW-05"),
        ("noise_std", -1.0, "E-RAW-05"),
        ("noise_std", float("nan"), "E-RAW-05"),
        ("settings", {"pitch": float("inf")}, "E-RAW-05"),
        ("settings", [1], "E-RAW-05"),
        ("simulated", "no", "E-RAW-05"),
        ("simulated", 0, "E-RAW-05"),
        ("history", [{"name": "x"}], "E-RAW-05"),
        ("complex_pairs", ["data"], "E-RAW-06"),
        ("complex_pairs", ["tensors/none"], "E-RAW-06"),
        ("surplus", 1, "E-RAW-05"),
    ],
)
def test_tampered_headers(key, value, code, path):
    head, body = split(path)
    content = json.loads(head["__metadata__"][METADATA_KEY])
    content[key] = value
    head["__metadata__"][METADATA_KEY] = json.dumps(content)
    join(path, head, body)
    assert code_of(path) == code
    (row,) = AcquisitionReader().inspect(path)
    assert code in [p.code for p in row.problems]


@pytest.mark.parametrize("key", ["physics", "grid", "simulated", "output", "version", "noise_std"])
def test_missing_entries(key, path):
    head, body = split(path)
    content = json.loads(head["__metadata__"][METADATA_KEY])
    del content[key]
    head["__metadata__"][METADATA_KEY] = json.dumps(content)
    join(path, head, body)
    assert code_of(path) == "E-RAW-05"


def test_messages_quote_no_values(path):
    head, body = split(path)
    content = json.loads(head["__metadata__"][METADATA_KEY])
    content["quantity"] = "DOE^JOHN"
    head["__metadata__"][METADATA_KEY] = json.dumps(content)
    join(path, head, body)
    with pytest.raises(InputRefused) as refusal:
        load_acquisition(path)
    assert "DOE" not in str(refusal.value)
    assert "quantity" in str(refusal.value)


def test_damaged_and_foreign_files(path, tmp_path):
    content = path.read_bytes()
    for name, damaged in {
        "empty": b"",
        "short": content[:5],
        "header": content[:200],
        "truncated": content[:-100],
        "longer": content + b"x",
        "text": b"Dear colleague,\n" * 50,
        "size": struct.pack("<Q", 2**60) + content[8:],
    }.items():
        file = tmp_path / f"{name}{SUFFIX}"
        file.write_bytes(damaged)
        assert AcquisitionReader().accepts(file)
        assert code_of(file) == "E-RAW-02", name
    save_file({"weight": torch.ones(2)}, tmp_path / f"weights{SUFFIX}")
    assert code_of(tmp_path / f"weights{SUFFIX}") == "E-RAW-03"
    assert code_of(tmp_path / f"none{SUFFIX}") == "E-RAW-01"
    not_json = {METADATA_KEY: "{"}
    save_file({"data": torch.ones(2)}, tmp_path / f"json{SUFFIX}", metadata=not_json)
    assert code_of(tmp_path / f"json{SUFFIX}") == "E-RAW-05"


def test_tensors_that_do_not_belong(path):
    head, _ = split(path)
    metadata = {METADATA_KEY: head["__metadata__"][METADATA_KEY]}
    for tensors in ({"other": torch.ones(2)}, {"data": acquisition().data, "stray": torch.ones(2)}):
        save_file(tensors, path, metadata=metadata)
        assert code_of(path) == "E-RAW-06"
    save_file({"data": torch.ones(3, 2, 5, 4, dtype=torch.int32)}, path, metadata=metadata)
    assert code_of(path) == "E-RAW-10"


@pytest.mark.parametrize("where", ["data", "maps"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(where, value, tmp_path):
    before = acquisition()
    broken = (before.data if where == "data" else before.tensors["maps"]).clone()
    broken[1, 0, 2, 3] = value
    before = replace(before, data=broken) if where == "data" else replace(before, tensors={"maps": broken})
    path = save_acquisition(before, tmp_path / f"a{SUFFIX}")
    assert code_of(path) == "E-RAW-07"


def test_the_memory_limit_holds(path):
    assert code_of(path, max_bytes=path.stat().st_size - 1) == "E-RAW-08"


def test_other_names_are_not_accepted(path, tmp_path):
    assert not AcquisitionReader().accepts(tmp_path)
    assert not AcquisitionReader().accepts(path.rename(tmp_path / "a.safetensors"))


def test_the_writer_stores_measurements_and_volumes(tmp_path):
    writer = AcquisitionWriter()
    path = writer.write_acquisition(acquisition(), tmp_path, "scan")
    assert path == tmp_path / "scan.acq.safetensors"
    same(load_acquisition(path), acquisition())

    provenance = Provenance("reconstruction", "tv", "0.1.0", "0", 7, datetime(2026, 1, 2, tzinfo=UTC), simulated=True)
    volume = Volume(torch.randn(grid().shape, dtype=torch.complex64), grid(), modality="MR", name="image")
    (written,) = writer.write(volume, tmp_path, "image", provenance)
    found = load_acquisition(written)
    assert torch.equal(found.data, volume.data)
    assert (found.physics, found.simulated, found.grid) == ("identity", True, volume.grid)
    with pytest.raises(UsageError) as refusal:
        writer.write(volume, tmp_path, "image", provenance)
    assert refusal.value.code == "E-RAW-11"
    with pytest.raises(ValueError, match="plain file name"):
        writer.write_acquisition(acquisition(), tmp_path, "../scan")
