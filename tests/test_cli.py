"""The command line as a user meets it: exit codes, messages, and nothing half-written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from cli_scene import brain, recipe, run
from safetensors.torch import load_file

import medldm
from medldm.data import ReadRequest
from medldm.errors import Problem
from medldm.host import load_host
from medldm.pipeline.acquisition_output import save_acquisition
from medldm.pipeline.reading import read_image
from medldm.pipeline.recipe import shipped_recipes

__all__ = ["brain", "recipe"]  # fixtures


def test_the_usual_way(brain: Path, recipe: Path, tmp_path: Path) -> None:
    code, _, text = run("reconstruct", brain, "--simulate", "-r", recipe, "--modality", "MR", "-o", tmp_path / "out")
    assert code == 0, text
    assert "SIMULATED" in text
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"reconstruction.nii.gz", "preview.png", "run.json"} <= names
    code, stdout, _ = run("evaluate", tmp_path / "out", "--truth", brain, "--modality", "MR", "--json")
    assert code == 0
    assert json.loads(stdout)["psnr"] > 20


def test_json_events_are_one_object_a_line(brain: Path, recipe: Path, tmp_path: Path) -> None:
    code, stdout, stderr = run("reconstruct", brain, "--simulate", "-r", recipe, "-o", tmp_path / "out", "--json")
    assert code == 0
    assert stderr == ""
    events = [json.loads(line)["event"] for line in stdout.splitlines()]
    assert events[0] == "read"
    assert events[-1] == "done"
    assert events.count("step") == 3


def test_a_dry_run_plans_and_writes_nothing(brain: Path, recipe: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    code, stdout, _ = run("reconstruct", brain, "--simulate", "-r", recipe, "--dry-run", "--json")
    assert code == 0
    plan = json.loads(stdout)
    assert plan["spacing_mm"] == [3.0, 1.1, 0.9]
    assert plan["memory_bytes"]["total"] > 0
    assert plan["seconds"] >= 0
    assert sorted(tmp_path.iterdir()) == before
    for words, refused in (((), "E-RUN-01"), (("--simulate", "-o", brain), "E-OUT-02")):
        code, _, text = run("reconstruct", brain, *words, "-r", recipe, "--dry-run")
        assert code == 2 and refused in text
    assert sorted(tmp_path.iterdir()) == before


def test_a_dry_run_of_a_measurement_warns_like_the_run_and_shows_its_own_settings(brain: Path, tmp_path: Path) -> None:
    host = load_host()
    image = read_image(host, brain, ReadRequest(modality="MR"))
    mask = ["acquisition.mask.acceleration=2", "acquisition.mask.calibration=0.4"]
    measured = medldm.simulate(image, recipe="mri-4x", set_=mask, host=host)
    doubt = Problem("E-KSP-20", "warning", "The noise was guessed.", "State it.")
    scan = save_acquisition(host, replace(measured, history=measured.history.noticed([doubt])), tmp_path / "scan")
    dry = ("reconstruct", scan, "-r", "mri-4x", "--classical", "--simulate", "--dry-run")
    code, _, stderr = run(*dry)
    assert code == 0, stderr
    assert "this is a measurement already" in " ".join(stderr.split())
    assert "The noise was guessed. State it. (E-KSP-20)" in " ".join(stderr.split())
    plan = json.loads(run(*dry, "--json")[1])
    assert plan["acquisition"] == {"physics": "mri-cartesian", **measured.settings}
    assert plan["acquisition"]["calibration"] == 0.4
    assert len(plan["warnings"]) == 2 and "(E-KSP-20)" in plan["warnings"][0]


def test_a_dry_run_tells_spacings_of_nanometres(brain: Path, recipe: Path) -> None:
    image = nib.load(brain)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), np.diag([6.5e-4, 6.5e-4, 5e-5, 1])), brain)
    code, stdout, _ = run("reconstruct", brain, "--simulate", "-r", recipe, "--dry-run", "--json")
    assert code == 0
    assert json.loads(stdout)["spacing_mm"] == [5e-5, 6.5e-4, 6.5e-4]


def test_a_corrected_geometry_is_another_job(brain: Path, recipe: Path, tmp_path: Path) -> None:
    words = ("reconstruct", brain, "--simulate", "-r", recipe, "-o", tmp_path / "out")
    assert run(*words)[0] == 0
    image = nib.load(brain)
    affine = image.affine.copy()
    affine[:3, :3] *= 0.5
    nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32), affine), brain)
    code, _, text = run(*words, "--resume")
    assert code == 2 and "E-OUT-03" in text and "already finished" not in text


def test_without_a_prior_the_solver_is_the_classical_one(brain: Path, recipe: Path, tmp_path: Path) -> None:
    with recipe.open("a") as file:
        file.write("classical: {name: l1-wavelet, lam: 20, iterations: 100}\n")
    words = ("reconstruct", brain, "--simulate", "-r", recipe, "--classical", "-o", tmp_path / "[mri]")
    code, _, text = run(*words, "--set", "solver.bogus=4")
    assert code == 2 and "E-OPT-01" in text and "bogus" in text
    code, _, text = run(*words, "--set", "solver.iterations=2", "--set", "classical.lam=7")
    assert code == 0
    assert str(tmp_path / "[mri]" / "report.html") in text
    solver = json.loads((tmp_path / "[mri]" / "run.json").read_text())["recipe"]["solver"]
    assert (solver["name"], solver["iterations"], solver["lam"]) == ("l1-wavelet", 2, 7)


def test_resume_of_a_finished_job_does_nothing(brain: Path, recipe: Path, tmp_path: Path) -> None:
    words = ("reconstruct", brain, "--simulate", "-r", recipe, "-o", tmp_path / "out")
    assert run(*words)[0] == 0
    made = (tmp_path / "out" / "run.json").stat().st_mtime_ns
    assert run(*words)[0] == 2
    code, _, text = run(*words, "--resume")
    assert code == 0
    assert "already finished" in text
    code, stdout, stderr = run(*words, "--resume", "--json")
    assert (code, stderr) == (0, "")
    (told,) = [json.loads(line) for line in stdout.splitlines()]
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (told["event"], told["message"], told["path"]) == ("done", "already finished", str(tmp_path / "out"))
    assert told["chi"] == record["chi"] and told["psnr"] == record["metrics"]["reconstruction"]["psnr"]
    assert (tmp_path / "out" / "run.json").stat().st_mtime_ns == made


def test_ctrl_c_saves_and_resume_finishes_the_same(brain: Path, recipe: Path, tmp_path: Path) -> None:
    words = [
        *(sys.executable, "-m", "medldm", "reconstruct", str(brain), "--simulate", "-r", str(recipe)),
        *("--set", "solver.name=tv", "--set", "solver.iterations=4000", "--device", "cpu", "--json"),
    ]
    whole = subprocess.run([*words, "-o", str(tmp_path / "whole")], capture_output=True, text=True, check=False)
    assert whole.returncode == 0, whole.stdout[-500:] + whole.stderr

    out = tmp_path / "out"
    process = subprocess.Popen([*words, "-o", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == "step":
            break
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    told = json.loads(rest.splitlines()[-1])
    assert told["code"] == "E-INT-01" and "the state is saved" in told["what"] and "--resume" in told["what"]
    assert not out.exists()
    state = tmp_path / "out.state.safetensors"
    assert load_file(state)
    begun = time.perf_counter()
    resumed = subprocess.run([*words, "-o", str(out), "--resume"], capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stdout[-500:] + resumed.stderr
    assert time.perf_counter() - begun < 120
    same = [(tmp_path / name / "reconstruction.nii.gz").read_bytes() for name in ("whole", "out")]
    assert same[0] == same[1]
    assert not state.exists()


@pytest.mark.parametrize(
    ("stage", "words", "sentence"),
    [
        ("pose", (), "Interrupted before a state was saved. The same command begins anew."),
        ("trial_of", (), "Interrupted before a state was saved. The same command begins anew."),
        ("trial_of", ("--resume",), "Interrupted before this run saved a state."),
        ("uncertainty_of", (), "Interrupted; the state is saved. The same command with --resume goes on from it."),
    ],
)
def test_ctrl_c_says_whether_a_state_was_saved(
    stage: str,
    words: tuple[str, ...],
    sentence: str,
    brain: Path,
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"medldm.pipeline.reconstruct.{stage}", interrupted)
    monkeypatch.setattr("medldm.pipeline.progress.SAVE_EVERY_SECONDS", 0.0)
    base = ("reconstruct", brain, "--simulate", "-r", recipe, "--modality", "MR", "-o", tmp_path / "out")
    code, _, text = run(*base, "--set", "solver.name=tv", *words)
    assert code == 130
    assert sentence in " ".join(text.split())
    assert bool(list(tmp_path.glob("out*"))) is ("is saved" in sentence)


def test_ctrl_c_elsewhere_promises_nothing(brain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("medldm.pipeline.evaluate.evaluate", interrupted)
    code, _, text = run("evaluate", brain, "--truth", brain)
    assert code == 130
    assert text == "error E-INT-01: Interrupted.\n"


@pytest.mark.parametrize("command", ["demo", "inspect", "reconstruct", "simulate", "evaluate", "benchmark", "doctor"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    code, text, _ = run(command, "--help")
    assert code == 0
    assert f"medldm {command}" in text


def test_help_answers_at_once_and_without_torch() -> None:
    script = "import sys; sys.argv = ['medldm', '--help']\nfrom medldm.cli.app import main\n"
    script += "try:\n    main()\nexcept SystemExit:\n    pass\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_recipes_and_doctor_speak_json() -> None:
    code, text, _ = run("recipes", "list", "--json")
    assert code == 0
    assert {row["name"] for row in json.loads(text)["rows"]} == {file.stem for file in shipped_recipes()}
    code, text, _ = run("recipes", "show", "mri-4x", "--set", "run.seed=3", "--json")
    assert code == 0
    assert json.loads(text)["run"]["seed"] == 3
    code, text, _ = run("doctor", "--json")
    assert code == 0
    assert {row["check"] for row in json.loads(text)["rows"]} >= {"medldm", "torch", "disk"}


def test_what_is_said_of_torchvision_holds_for_the_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    from medldm.pipeline import diagnosis

    monkeypatch.setattr(diagnosis, "find_spec", lambda name: name)
    (found,) = [one for one in diagnosis._packages() if one.check == "torchvision"]
    needing = [file.parent.name for file in (Path(__file__).parents[1] / "plugins").glob("*/plugin.py")
               if "torchvision" in file.read_text()]  # fmt: skip
    assert needing == ["medldm_deepinv"]
    assert found.finding == "installed; of medldm only the plugin deepinv needs it"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is one of Linux")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_standard_output_ends_with_an_error_and_no_traceback(brain: Path, unbuffered: str) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        for words, code, told in ((["inspect", str(brain)], 1, "E-OUT-05"), (["inspect", "nothing"], 3, "E-IN-01")):
            command = [sys.executable, "-m", "medldm", *words, "--json"]
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment)
            assert f"error {told}" in done.stderr and "Traceback" not in done.stderr
            assert done.returncode == code


def test_simulate_refuses_a_file_that_exists_before_it_measures(
    brain: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "scan.acq.safetensors"
    there.write_text("mine")
    monkeypatch.setattr("medldm.pipeline.simulate.measure", None)
    for name in (there, tmp_path / "scan"):
        code, _, text = run("simulate", brain, "-r", recipe, "-o", name)
        assert code == 2 and "E-OUT-03" in text
    assert there.read_text() == "mine"


def test_inspect_lists_a_scan(brain: Path) -> None:
    code, text, _ = run("inspect", brain, "--json")
    assert code == 0
    row = json.loads(text)["rows"][0]
    assert row["shape"] == [6, 20, 17]
    assert row["spacing"] == pytest.approx([3.0, 1.1, 0.9])


def test_paragraphs_of_help_flow_and_examples_keep_their_lines() -> None:
    from medldm.cli.help_text import flowing

    text = (
        "First line.\n\n    Two lines of\n    one paragraph.\n\n    Examples:\n        medldm a\n\n        medldm b\n"
    )
    assert flowing(text) == "First line.\n\nTwo lines of one paragraph.\n\nExamples:\n    medldm a\n\n    medldm b"
