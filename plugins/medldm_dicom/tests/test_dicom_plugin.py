"""The plugin's registrations resolve and its examples keep their promises."""

from __future__ import annotations

import importlib
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pydantic
import pytest
import torch

from medldm.data import Provenance, Reader, ReadRequest, Writer
from medldm_dicom import examples, plugin
from medldm_dicom.writer import DicomWriter


def _registered() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}

    def register(kind: str):  # type: ignore[no-untyped-def]
        def call(name: str, target: str, *, example: str, summary: str, needs: str = "") -> None:
            found[kind] = {"name": name, "target": target, "example": example, "summary": summary}

        return call

    plugin.register_readers(register("reader"))
    plugin.register_writers(register("writer"))
    return found


def _resolve(target: str) -> object:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("kind", ["reader", "writer"])
def test_targets_and_examples_resolve(kind: str) -> None:
    entry = _registered()[kind]
    assert entry["name"] == "dicom"
    component = _resolve(entry["target"])()  # type: ignore[operator]
    assert isinstance(component, Reader if kind == "reader" else Writer)
    assert _resolve(entry["example"])() is not None  # type: ignore[operator]


def test_plugin_module_imports_nothing_heavy() -> None:
    code = "import sys, medldm_dicom.plugin; sys.exit(any(m in sys.modules for m in ('torch', 'pydicom', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_reader_example(tmp_path: Path) -> None:
    example = examples.reader()
    path = example.make(tmp_path)
    assert example.reader.accepts(path)
    (volume,) = example.reader.read(path, example.request)
    assert torch.equal(volume.data, example.expected.data)  # type: ignore[union-attr]
    assert volume.grid == example.expected.grid
    (row,) = example.reader.inspect(path)
    assert row.problems == () and row.shape == volume.grid.shape and row.orientation == volume.grid.orientation


def test_writer_example(tmp_path: Path) -> None:
    example = examples.writer()
    made = Provenance("sample", "none", "0", "", 0, datetime(2026, 1, 1, tzinfo=UTC), simulated=False)
    files = example.writer.write(example.volume, tmp_path, "image", made)
    (volume,) = example.reader.read(files[0].parent, ReadRequest())
    assert float((volume.data - example.volume.data).abs().max()) <= example.tolerance  # type: ignore[union-attr]


def test_options_are_checked() -> None:
    adapter = pydantic.TypeAdapter(DicomWriter)
    assert adapter.validate_python({"series_number": 5}).series_number == 5
    with pytest.raises(pydantic.ValidationError):
        adapter.validate_python({"series_number": 0})
