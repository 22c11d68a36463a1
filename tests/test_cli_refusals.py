"""What the command line refuses: with a code, a hint and the exit code that belongs to it, and nothing half-written."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from cli_scene import brain, recipe, run

from medldm.cli.failure import guarded

__all__ = ["brain", "recipe"]  # fixtures


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
        (("--set", "outputs.write=[nifti, nifti]"), 2, "E-RCP-08"),
        (("--set", "outputs.write=[nifti, nifti]", "--dry-run"), 2, "E-RCP-08"),
        (("--prior", "brain"), 4, "E-PRI-"),
        (("--slices", "40"), 2, "E-CLI-03"),
        (("--slices", "40:60"), 3, "E-GEO-23"),
        (("--device", "gpu"), 2, "E-RUN-05"),
        (("--modality", "PET"), 2, "E-CLI-02"),
        (("--allow-gaps", "yes"), 2, "E-CLI-01"),
        (("--assume-orientation", "XYZ"), 2, "E-CLI-07"),
        (("--assume-orientation", ""), 2, "E-CLI-07"),
        (("--series", "#2"), 3, "E-IN-07"),
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


@pytest.mark.parametrize(
    ("words", "code"), [(("--samples", "3"), "E-UNC-01"), (("--set", "outputs.maps=5"), "E-RCP-10")]
)
def test_a_dry_run_refuses_what_the_run_would(
    words: tuple[str, ...], code: str, brain: Path, recipe: Path, tmp_path: Path
) -> None:
    base = ("reconstruct", brain, "--simulate", "-r", recipe, "-o", tmp_path / "out", *words)
    told = [run(*base), run(*base, "--dry-run")]
    assert [(exit_code, f"error {code}" in text) for exit_code, _, text in told] == [(2, True)] * 2


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


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_measurement_without_noise_is_refused_before_anything_runs(
    brain: Path, recipe: Path, tmp_path: Path, dry: list[str]
) -> None:
    words = ("--simulate", "-r", recipe, "--modality", "MR", "-o", tmp_path / "out", "--set", "acquisition.noise.std=0")
    code, _, text = run("reconstruct", brain, *words, *dry)
    assert code == 2 and "E-LIK-01" in text and "acquisition.noise.std" in text
    assert not (tmp_path / "out").exists()


def test_the_remedy_for_noise_of_zero_can_be_followed(brain: Path, recipe: Path, tmp_path: Path) -> None:
    with recipe.open("a") as file:
        file.write("likelihood: {name: gaussian, std: acquisition}\n")
    words = (
        "reconstruct",
        brain,
        "--simulate",
        "-r",
        recipe,
        "-o",
        tmp_path / "out",
        "--set",
        "acquisition.noise.std=0",
    )
    code, _, text = run(*words)
    assert code == 2 and "E-LIK-01" in text
    assert "--set likelihood.std=" in text and "solver" not in text.partition("hint")[2]
    assert run(*words, "--set", "likelihood.std=12.5")[0] == 0


def test_what_exits_within_a_command_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    def leave() -> None:
        sys.exit(0)

    assert guarded(leave, as_json=False) == 1
    assert "SystemExit" in capsys.readouterr().err
