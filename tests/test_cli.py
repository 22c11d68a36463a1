"""The command line as a user meets it: exit codes, messages, and nothing half-written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from medldm.cli.app import app
from medldm.pipeline.recipe import shipped_recipes

RECIPE = """
acquisition: {physics: identity, noise: {std: 0.5, of: absolute}}
solver: {name: cgls, iterations: 3}
run: {seed: 7}
"""


def run(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(RECIPE)
    return file


@pytest.fixture
def brain(tmp_path: Path) -> Path:
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (6, 20, 17)), indexing="ij")
    data = (100 * (z**2 + (1.3 * y) ** 2 + (1.1 * x) ** 2 < 0.8)).astype(np.float32).T
    path = tmp_path / "brain.nii.gz"
    nib.save(nib.Nifti1Image(data, np.diag([0.9, 1.1, 3.0, 1.0])), path)
    return path


def simulated(brain: Path, recipe: Path, out: Path) -> Path:
    code, _, text = run("simulate", brain, "-r", recipe, "--modality", "MR", "-o", out)
    assert code == 0, text
    return out


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
    assert plan["memory_bytes"]["total"] > 0
    assert plan["seconds"] >= 0
    assert sorted(tmp_path.iterdir()) == before
    for words, refused in (((), "E-RUN-01"), (("--simulate", "-o", brain), "E-OUT-02")):
        code, _, text = run("reconstruct", brain, *words, "-r", recipe, "--dry-run")
        assert code == 2 and refused in text
    assert sorted(tmp_path.iterdir()) == before


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
    assert (tmp_path / "out" / "run.json").stat().st_mtime_ns == made


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _empty_file(path: Path) -> Path:
    path.touch()
    return path


def _text_as(path: Path) -> Path:
    path.write_text("This is no scan.")
    return path


def _nan(path: Path) -> Path:
    data = np.zeros((5, 6, 7), np.float32)
    data[2, 2, 2] = np.nan
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    return path


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda folder: folder / "nothing.nii.gz", "E-IN-01"),
        (lambda folder: _empty(folder / "empty"), "E-IN-02"),
        (lambda folder: _empty_file(folder / "scan.h5"), "E-IN-02"),
        (lambda folder: _empty_file(folder / "scan.npy"), "E-IN-02"),
        (lambda folder: _empty_file(folder / "scan.json"), "E-IN-02"),
        (lambda folder: _empty_file(folder / "scan.nii.gz"), "E-IN-02"),
        (lambda folder: _text_as(folder / "notes.txt"), "E-IN-03"),
        (lambda folder: _text_as(folder / "scan.dcm"), "E-DCM-"),
        (lambda folder: _text_as(folder / "scan.nii.gz"), "E-NII-"),
        (lambda folder: _nan(folder / "nan.nii.gz"), "E-PIX-01"),
    ],
    ids=[
        "missing",
        "empty folder",
        "empty h5",
        "empty npy",
        "empty json",
        "empty nii",
        "text",
        "text named dcm",
        "text named nii",
        "nan",
    ],
)
def test_bad_input_is_refused_and_nothing_written(make, code: str, recipe: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    scan = make(tmp_path)
    exit_code, _, text = run("reconstruct", scan, "--simulate", "-r", recipe, "-o", tmp_path / "out")
    assert exit_code == 3
    assert f"error {code}" in text
    assert "hint:" in text
    assert not list(tmp_path.glob("out*"))


def test_a_folder_may_be_inspected_from_within(brain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "scans"
    (folder / "inside").mkdir(parents=True)
    for name in ("one.nii.gz", "two.nii.gz"):
        (folder / name).write_bytes(brain.read_bytes())
    for place, path in ((folder, "."), (folder / "inside", "..")):
        monkeypatch.chdir(place)
        assert run("inspect", path)[0] == 0
        code, _, text = run("reconstruct", path, "-o", tmp_path / "out")
        assert code == 3
        assert "scans holds 2 NIfTI files" in text


@pytest.mark.parametrize(
    ("words", "exit_code", "code"),
    [
        (("-r", "mri-4"), 2, "E-RCP-01"),
        (("--set", "solver.iteration=3"), 2, "E-OPT-"),
        (("--set", "solver.iterations=0"), 2, "E-OPT-"),
        (("--set", "solver.iterations=many"), 2, "E-OPT-"),
        (("--set", "solvr.iterations=3"), 2, "E-RCP-02"),
        (("--set", "acquisition.noise.std=-1"), 2, "E-OPT-"),
        (("--set", "solver.name=tw"), 4, "E-PLG-"),
        (("--set", "acquisition.physics=mir"), 4, "E-PLG-"),
        (("--prior", "brain"), 4, "E-PRI-"),
        (("--slices", "40"), 2, "E-CLI-03"),
        (("--slices", "40:60"), 3, "E-GEO-23"),
        (("--device", "gpu"), 2, "E-RUN-05"),
        (("--modality", "PET"), 2, "E-CLI-02"),
        (("--allow-gaps", "yes"), 2, "E-CLI-01"),
        (("--max-memory", "much"), 2, "E-RUN-10"),
        (("--max-memory", "1M"), 5, "E-MEM-01"),
        (("-r", "ct-60-views", "--classical", "--set", "acquisition.views=0"), 2, "E-OPT-"),
    ],
)
def test_wrong_words_are_named(
    words: tuple[str, ...], exit_code: int, code: str, brain: Path, recipe: Path, tmp_path: Path
) -> None:
    base = ["reconstruct", brain, "--simulate", "-o", tmp_path / "out"]
    if "-r" not in words:
        base += ["-r", recipe]
    got, _, text = run(*base, *words)
    assert f"error {code}" in text
    assert got == exit_code
    assert not list(tmp_path.glob("out*"))


def test_no_output_folder_is_named(brain: Path, recipe: Path) -> None:
    code, _, text = run("reconstruct", brain, "--simulate", "-r", recipe)
    assert code == 2
    assert "E-CLI-04" in text


def test_an_image_needs_simulate(brain: Path, recipe: Path, tmp_path: Path) -> None:
    code, _, text = run("reconstruct", brain, "-r", recipe, "-o", tmp_path / "out")
    assert code == 2
    assert "--simulate" in text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(brain: Path, recipe: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    code, _, text = run("reconstruct", brain, "--simulate", "-r", recipe, "-o", locked / "out")
    assert code == 2
    assert "E-OUT-04" in text


def test_kspace_and_mask_of_different_size(tmp_path: Path, brain: Path) -> None:
    from dataclasses import replace

    import medldm
    from medldm.host import load_host
    from medldm.pipeline.acquisition_output import save_acquisition
    from medldm.pipeline.reading import read_image

    host = load_host()
    measured = medldm.simulate(
        read_image(host, brain), recipe="mri-4x", set_=["acquisition.mask.calibration=0.2"], host=host
    )
    broken = replace(measured, tensors={**measured.tensors, "mask": measured.tensor("mask")[:-1]})
    path = save_acquisition(host, broken, tmp_path / "broken")
    code, _, text = run("reconstruct", path, "-r", "mri-4x", "-o", tmp_path / "out")
    assert code == 3
    assert "error E-MRI-" in text
    assert not (tmp_path / "out").exists()


def test_projections_without_an_angle_unit(tmp_path: Path) -> None:
    from dataclasses import replace

    import medldm
    from medldm.data import Grid, Volume
    from medldm.host import load_host
    from medldm.pipeline.acquisition_output import save_acquisition

    host = load_host()
    water = Volume(torch.zeros(2, 16, 18), Grid.isotropic((2, 16, 18)), "HU", "CT")
    measured = medldm.simulate(water, recipe="ct-20-views", host=host)
    settings = {name: value for name, value in measured.settings.items() if name != "angle_unit"}
    path = save_acquisition(host, replace(measured, settings=settings), tmp_path / "no-unit")
    code, _, text = run("reconstruct", path, "-r", "ct-20-views", "-o", tmp_path / "out")
    assert code == 3
    assert "error E-CT-" in text


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


@pytest.mark.parametrize("command", [("inspect",), ("reconstruct", "--simulate", "-o", "out")])
def test_a_path_that_may_not_be_read_is_refused_by_its_name(
    brain: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read anything, so the system is asked in its place."""
    monkeypatch.setattr(os, "access", lambda path, mode, **_: Path(path) != brain)
    code, _, text = run(*command, brain)
    assert code == 3
    assert "E-IN-06" in text


@pytest.mark.parametrize(
    ("name", "way_out"),
    [("meas_MID00042.dat", "siemens_to_ismrmrd"), ("brain.mgz", "mri_convert"), ("notes.txt", "medldm plugins list")],
)
def test_a_format_that_nobody_reads_comes_with_a_way_out(tmp_path: Path, name: str, way_out: str) -> None:
    (tmp_path / name).write_bytes(b"nothing that a reader knows")
    code, _, text = run("inspect", tmp_path / name)
    assert code == 3
    assert "E-IN-03" in text and way_out in text
