"""The way of a scan: same answers from Python and from disk, marked, recorded, resumed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

import medldm
from medldm.data import Acquisition, AffineMap, Grid, History, ReadRequest, Volume
from medldm.errors import GateFailed, InputRefused, MedldmError, Problem, UsageError
from medldm.host import Host
from medldm.inference import Noise
from medldm.pipeline.acquisition_output import save_acquisition
from medldm.pipeline.events import Event
from medldm.pipeline.output import finished_record
from medldm.pipeline.reading import case_hash
from medldm.pipeline.recipe import Recipe, from_mapping
from medldm.pipeline.resume import already_finished

RECIPE = {
    "acquisition": {"physics": "identity", "noise": {"std": 0.5, "of": "absolute"}},
    "solver": {"name": "cgls", "iterations": 3},
    "run": {"seed": 7},
}


def phantom(scale: float = 1.0) -> Volume:
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (6, 20, 17)), indexing="ij")
    data = 100.0 * (z**2 + (1.3 * y) ** 2 + (1.1 * x) ** 2 < 0.8) + 50.0 * (abs(x - 0.2) < 0.2) * (abs(y) < 0.3)
    grid = Grid.isotropic((6, 20, 17), (3, 1.1, 0.9))
    return Volume(torch.from_numpy(scale * data).float(), grid, "arbitrary", "MR", "phantom")


def recipe(**sections: object) -> Recipe:
    return from_mapping("test", RECIPE | sections)


def test_an_image_is_reconstructed_only_when_asked_to_be_measured(host: Host) -> None:
    with pytest.raises(UsageError, match="E-RUN-01"):
        medldm.reconstruct(phantom(), recipe=recipe(), host=host)


def test_a_run_tells_all_and_says_simulated(host: Host, tmp_path: Path) -> None:
    events: list[Event] = []
    out = tmp_path / "out"
    result = medldm.reconstruct(
        phantom(), out, recipe=recipe(), simulate=True, host=host, device="cpu", listeners=[events.append]
    )
    record = json.loads((out / "run.json").read_text())
    assert record["simulated"] is True
    assert record["acquisition"]["simulated"] is True
    assert "RESEARCH USE ONLY" in record["notice"]
    assert record["recipe"]["solver"] == RECIPE["solver"]
    assert record["seed"] == 7
    assert record["input"]["sha256"] == case_hash(phantom())
    assert set(record["files"]) == {str(path.relative_to(out)) for path in result.files if path.name != "run.json"}
    assert {"preview.png", "reconstruction.nii.gz"} <= set(record["files"])
    assert record["metrics"]["reconstruction"]["psnr"] == pytest.approx(
        result.record["metrics"]["reconstruction"]["psnr"]
    )
    assert events[0].stage == "read"
    assert [event.fields["index"] for event in events if event.stage == "step"] == [1, 2, 3]
    assert not list(tmp_path.glob("*.state*"))


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(host: Host, tmp_path: Path) -> None:
    def run(name: str, seed: int) -> bytes:
        changed = recipe(run={"seed": seed})
        medldm.reconstruct(phantom(), tmp_path / name, recipe=changed, simulate=True, host=host, device="cpu")
        return (tmp_path / name / "reconstruction.nii.gz").read_bytes()

    assert run("a", 1) == run("b", 1)
    assert run("c", 2) != run("a2", 1)


def test_the_truth_does_not_enter_the_reconstruction(host: Host) -> None:
    measured = medldm.simulate(phantom(), recipe=recipe(), host=host)
    plain = medldm.reconstruct(measured, recipe=recipe(), host=host)
    lying = medldm.reconstruct(measured, recipe=recipe(), host=host, truth=phantom(scale=3.0))
    assert plain.record["metrics"] == {}
    assert lying.record["metrics"]["reconstruction"]["nrmse"] > 0.5
    assert torch.equal(plain.image.data, lying.image.data)


def test_a_measurement_keeps_its_mark_through_a_file(host: Host, tmp_path: Path) -> None:
    from medldm.pipeline.acquisition_output import save_acquisition

    measured = medldm.simulate(phantom(), recipe=recipe(), host=host)
    path = save_acquisition(host, measured, tmp_path / "scan")
    assert path.name == "scan.acq.safetensors"
    result = medldm.reconstruct(path, tmp_path / "out", recipe=recipe(), host=host, device="cpu")
    assert result.record["simulated"] is True
    direct = medldm.reconstruct(measured, recipe=recipe(), host=host, device="cpu")
    assert torch.equal(result.image.data, direct.image.data)
    with pytest.raises(UsageError, match="E-OUT-03"):
        save_acquisition(host, measured, path)


def test_the_noise_has_the_stated_level(host: Host) -> None:
    measured = medldm.simulate(phantom(), recipe=recipe(), host=host)
    residual = measured.data - phantom().data
    count = residual.numel()
    assert float(residual.std()) == pytest.approx(0.5, abs=4 * 0.5 / (2 * count) ** 0.5)


def test_another_physics_is_refused(host: Host) -> None:
    measured = medldm.simulate(phantom(), recipe=recipe(), host=host)
    other = recipe(acquisition={"physics": "thick-slice"})
    with pytest.raises(UsageError, match="E-RUN-03"):
        medldm.reconstruct(measured, recipe=other, host=host)


def test_a_solver_that_does_not_fit_is_refused_in_a_sentence(host: Host) -> None:
    with pytest.raises(UsageError, match=r"E-RUN-04.*'sart'"):
        medldm.reconstruct(phantom(), recipe=recipe(solver={"name": "sart"}), simulate=True, host=host)


def test_a_failed_gate_leaves_the_files_and_says_so(host: Host, tmp_path: Path) -> None:
    strict = recipe(outputs={"gates": {"chi_max": 1e-9}}, solver={"name": "tv", "iterations": 3})
    with pytest.raises(GateFailed, match="E-GATE-02"):
        medldm.reconstruct(phantom(), tmp_path / "out", recipe=strict, simulate=True, host=host)
    record = finished_record(tmp_path / "out")
    assert record is not None
    assert record["gates_failed"]
    # Asked again it is the same result, and has not passed since.
    save_acquisition(host, medldm.simulate(phantom(), recipe=strict, host=host), tmp_path / "scan.acq.safetensors")
    words = (host, tmp_path / "scan.acq.safetensors", tmp_path / "again", strict, ReadRequest())
    with pytest.raises(GateFailed):
        medldm.reconstruct(words[1], words[2], recipe=strict, host=host)
    with pytest.raises(GateFailed, match="E-GATE-02"):
        already_finished(*words)
    (tmp_path / "again" / "reconstruction.nii.gz").unlink()
    assert already_finished(*words) is None
    # With no folder to look into, the image itself is what is left to look at.
    told: list[Event] = []
    kept = medldm.reconstruct(phantom(), recipe=strict, simulate=True, host=host, listeners=[told.append])
    assert kept.record["gates_failed"]
    assert kept.record["gates_failed"][0] in [event.message for event in told if event.stage == "warning"]


def test_too_little_memory_is_refused_before_the_work(host: Host) -> None:
    with pytest.raises(MedldmError, match="E-MEM-01") as refusal:
        medldm.reconstruct(phantom(), recipe=recipe(), simulate=True, host=host, max_memory=1000)
    assert refusal.value.exit_code == 5


@pytest.mark.parametrize(
    ("write", "change", "code"),
    [
        (["dicm"], {}, "E-PLG-08"),
        ([], {}, "E-RCP-08"),
        (["nifti", "dicom"], {"modality": "OT"}, "E-DCM-31"),
        (["nifti", "dicom"], {"modality": "CT", "quantity": "1/mm", "output": AffineMap.identity("1/mm")}, "E-DCM-31"),
    ],
)
def test_what_could_not_be_written_is_refused_before_the_work(
    host: Host, tmp_path: Path, write: list[str], change: dict[str, Any], code: str
) -> None:
    measured = replace(host.build("operators", "identity", {}).simulate(phantom(), Noise(1)), **change)
    events: list[Event] = []
    asked = recipe(outputs={"write": write})
    with pytest.raises(MedldmError, match=code):
        medldm.reconstruct(measured, tmp_path / "out", recipe=asked, host=host, device="cpu", listeners=[events.append])
    assert {event.stage for event in events} <= {"read", "warning"}
    assert not (tmp_path / "out").exists()


def test_what_a_reader_noticed_is_told_and_a_note_is_no_warning(host: Host) -> None:
    doubt = Problem("E-KSP-20", "warning", "There is no noise scan.", "Give it to the recipe.")
    note = Problem("E-NII-20", "note", "The file does not say what it is.")
    refused = Problem("E-X-01", "error", "Reading it would be refused.")
    scan = phantom()
    scan = replace(scan, history=scan.history.noticed([doubt, note, doubt, refused]).noticed([note]))
    assert scan.history.problems == (doubt, note)
    assert History.from_list(scan.history.as_list()).problems == (doubt, note)
    events: list[Event] = []
    result = medldm.reconstruct(
        scan, recipe=recipe(), simulate=True, host=host, device="cpu", listeners=[events.append]
    )
    told = [(event.stage, event.message) for event in events]
    assert ("warning", "There is no noise scan. Give it to the recipe. (E-KSP-20)") in told
    assert ("read", "The file does not say what it is. (E-NII-20)") in told
    assert result.record["warnings"] == ["There is no noise scan. Give it to the recipe. (E-KSP-20)"]


def test_an_interrupted_run_resumes_to_the_same_result(host: Host, tmp_path: Path) -> None:
    job = recipe(solver={"name": "tv", "iterations": 12})
    whole = medldm.reconstruct(phantom(), recipe=job, simulate=True, host=host, device="cpu")

    def interrupt(event: Event) -> None:
        if event.stage == "step" and event.fields["index"] == 5:
            import signal

            signal.raise_signal(signal.SIGINT)

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        medldm.reconstruct(phantom(), out, recipe=job, simulate=True, host=host, device="cpu", listeners=[interrupt])
    assert not out.exists()
    state = tmp_path / "out.state.safetensors"
    assert state.is_file()
    # as a run that was killed while it saved leaves it
    (tmp_path / "out.state.safetensors.part").write_bytes(b"half")
    steps: list[int] = []

    def watch(event: Event) -> None:
        if event.stage == "step":
            steps.append(int(event.fields["index"]))

    with pytest.raises(UsageError, match="E-RUN-08"):
        medldm.reconstruct(phantom(), out, recipe=job.changed(["run.seed=8"]), simulate=True, host=host, resume=True)
    resumed = medldm.reconstruct(
        phantom(), out, recipe=job, simulate=True, host=host, device="cpu", resume=True, listeners=[watch]
    )
    assert steps[0] == 6
    assert torch.equal(resumed.image.data, whole.image.data)
    assert resumed.record["resumed_after"] == 5 and "resumed_after" not in whole.record
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_state_that_cannot_be_saved_ends_no_run(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr("medldm.pipeline.progress.save_file", full)
    told: list[Event] = []
    medldm.reconstruct(
        phantom(), tmp_path / "out", recipe=recipe(), simulate=True, host=host, save_every=0, listeners=[told.append]
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert sum("cannot be saved" in event.message for event in told if event.stage == "warning") == 3


def test_case_identity_is_of_the_content() -> None:
    assert case_hash(phantom()) == case_hash(phantom())
    assert case_hash(phantom()) != case_hash(phantom(scale=1.01))


def test_slices_of_a_measurement_are_refused(host: Host) -> None:
    measured = medldm.simulate(phantom(), recipe=recipe(), host=host)
    assert isinstance(measured, Acquisition)
    with pytest.raises(UsageError, match="E-RUN-06"):
        medldm.reconstruct(measured, recipe=recipe(), host=host, slices=slice(1, 3))


def test_a_measurement_is_not_simulated_and_that_is_said(host: Host) -> None:
    measured = medldm.simulate(phantom(), recipe=recipe(), host=host)
    plain = medldm.reconstruct(measured, recipe=recipe(), host=host, device="cpu")
    asked = medldm.reconstruct(measured, recipe=recipe(), host=host, device="cpu", simulate=True)
    assert torch.equal(plain.image.data, asked.image.data)
    assert not plain.record["warnings"]
    assert "a measurement already" in asked.record["warnings"][0]


def test_a_truth_is_cut_to_the_slices_of_the_scan(host: Host) -> None:
    few = medldm.simulate(phantom().cropped(slice(1, 3)), recipe=recipe(), host=host)
    result = medldm.reconstruct(few, recipe=recipe(), host=host, device="cpu", truth=phantom())
    assert result.truth is not None and torch.equal(result.truth.data, phantom().data[1:3])
    assert "psnr" in result.record["metrics"]["reconstruction"]
    cut = medldm.reconstruct(
        phantom(), recipe=recipe(), host=host, device="cpu", truth=phantom(), simulate=True, slices=slice(1, 3)
    )
    assert cut.record["metrics"] == result.record["metrics"]


def test_a_truth_that_cannot_be_compared_is_refused_before_anything_runs(host: Host) -> None:
    measured = medldm.simulate(phantom(), recipe=recipe(), host=host)
    other = replace(phantom(), quantity="HU", modality="CT")
    for truth, code in ((phantom().cropped(slice(0, 2)), "E-EVAL-01"), (other, "E-MET-03")):
        told: list[Event] = []
        with pytest.raises(InputRefused, match=code):
            medldm.reconstruct(measured, recipe=recipe(), host=host, truth=truth, listeners=[told.append])
        assert not [event for event in told if event.stage == "step"]


@pytest.mark.parametrize("size", [1e30, 1e-30])
def test_values_that_single_precision_cannot_square_are_refused(host: Host, tmp_path: Path, size: float) -> None:
    measured = medldm.simulate(phantom(), recipe=recipe(), host=host)
    far = replace(measured, data=measured.data / measured.data.abs().max() * size)
    path = save_acquisition(host, far, tmp_path / "far")
    with pytest.raises(InputRefused, match="E-PIX-03"):
        medldm.reconstruct(path, recipe=recipe(), host=host)
