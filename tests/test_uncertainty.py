"""Samples through the pipeline: maps beside the result, their record, their calibration where it is known."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from prior_toys import DEVIATION, MEAN, Attenuation, card, mr_card, toy_host, write
from typer.testing import CliRunner

import medldm
from medldm.cli.app import app
from medldm.data import Acquisition, Grid, ReadRequest, Volume, attenuation_from_hu
from medldm.data.provenance import FAILED, RESEARCH_ONLY
from medldm.errors import GateFailed, InputRefused, OutOfMemory, UsageError
from medldm.host import Host
from medldm.inference.interval_width import half_width
from medldm.pipeline import progress
from medldm.pipeline.chosen_prior import choose_prior
from medldm.pipeline.evaluate import evaluate_spread
from medldm.pipeline.events import Event
from medldm.pipeline.memory import check_memory
from medldm.pipeline.reading import read_image
from medldm.pipeline.recipe import Recipe, from_mapping
from medldm.pipeline.results import provenance
from medldm.report.methods import methods_text
from medldm.report.page import covered_words

SHAPE = (2, 40, 60)
SMALL = (3, 10, 12)
GIBBS = {"name": "split-gibbs", "steps": 80, "hold": 0, "inner": 8, "sigma_max": 0.3, "sigma_min": 0.004}


@pytest.fixture(scope="module")
def host() -> Host:
    return toy_host()


@pytest.fixture
def priors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "priors"
    monkeypatch.setenv("MEDLDM_PRIORS", str(folder))
    write(folder, card())
    write(folder, mr_card())
    return folder


def ct(shape: tuple[int, int, int] = SMALL) -> Volume:
    """A draw from the prior."""
    model = MEAN + DEVIATION * torch.randn(shape, generator=torch.Generator().manual_seed(11))
    return Volume(-1000 + 2000 * model, Grid.isotropic(shape, (3, 1, 1)), "HU", "CT", "draw")


def recipe(samples: int, solver: dict[str, Any] | None = None, **sections: Any) -> Recipe:
    return from_mapping(
        "test",
        {
            "acquisition": {"physics": "toy-attenuation"},
            "prior": {"name": "toy-prior"},
            "solver": solver or GIBBS,
            "run": {"seed": 7, "samples": samples},
        }
        | sections,
    )


QUICK = GIBBS | {"steps": 3, "inner": 2}


def posterior_std(measured: Acquisition) -> torch.Tensor:
    """In HU."""
    to_attenuation = attenuation_from_hu()
    lengths = Attenuation().operator(measured, measured.grid).diagonal  # type: ignore[union-attr]
    precision = (lengths / 0.01) ** 2 + (to_attenuation.scale * 2000 * DEVIATION) ** -2
    return precision.rsqrt() / to_attenuation.scale


def test_exact_samples_cover_the_truth_as_they_say(host: Host, priors: Path) -> None:
    truth = ct(SHAPE)
    chosen = recipe(4)
    measured = medldm.simulate(truth, recipe=chosen, host=host)
    result = medldm.reconstruct(measured, recipe=chosen, truth=truth, host=host, device="cpu")
    # The spread of four samples is that of the posterior, on average over voxels of one law: 1.6 times as wide at one
    # side of the image as at the other.
    ratio = result.maps["spread"].data.square().mean((0, 1)) / posterior_std(measured)[0, 0].square()
    assert float(ratio.mean()) == pytest.approx(1, abs=0.1)
    # Four standard deviations of chance, and the few per cent by which the chain's variance is off.
    found = result.record["uncertainty"]["calibration"]
    chance = 4 * math.sqrt(0.16 / truth.data.numel())
    assert found["coverage"]["0.8"] == pytest.approx(0.8, abs=chance + 0.01)
    assert found["coverage"]["0.5"] == pytest.approx(0.5, abs=chance + 0.015)
    assert found["ratio"] == pytest.approx(1, abs=0.05)
    inside = (truth.data >= result.maps["lower"].data) & (truth.data <= result.maps["upper"].data)
    assert float(inside.float().mean()) == pytest.approx(found["coverage"]["0.8"], abs=0.002)
    width = (result.maps["upper"].data - result.maps["lower"].data) / 2
    torch.testing.assert_close(width, half_width(result.maps["spread"].data, 4, 0.8), rtol=1e-3, atol=1e-2)
    # A sample of the posterior fits with chi about 1, the mean better.
    assert all(0.9 < chi < 1.15 for chi in result.record["chi"])
    assert result.record["uncertainty"]["chi_of_mean"] < min(result.record["chi"])
    assert [len(curve) for curve in result.record["chi_slices"]] == [2] * 4


def test_the_files_say_what_they_are(host: Host, priors: Path, tmp_path: Path) -> None:
    chosen = recipe(3, QUICK, outputs={"write": ["nifti", "dicom"]})
    result = medldm.reconstruct(ct(), tmp_path / "out", recipe=chosen, simulate=True, host=host, device="cpu")
    assert set(result.maps) == {"spread", "lower", "upper", "prior-share"}
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["uncertainty"]["samples"] == 3
    assert record["uncertainty"]["exact"] is True
    assert len(record["uncertainty"]["unmeasured_energy"]) == 3
    assert "first sample" in record["metrics"]
    assert {"event": "mean", "samples": 3} in record["image"]["history"]
    for name, volume in result.maps.items():
        told = json.loads((tmp_path / "out" / f"reconstruction-{name}.json").read_text())
        assert RESEARCH_ONLY in told["Comment"]
        assert told["Simulated"] is True
        assert record["uncertainty"]["maps"][name] in told["Method"]
        assert f"reconstruction-{name}.nii.gz" in record["files"]
        read = read_image(host, tmp_path / "out" / f"reconstruction-{name}.nii.gz", ReadRequest(modality="CT"))
        torch.testing.assert_close(read.data, volume.data)
        assert read.grid == result.image.grid
        series = read_image(host, tmp_path / "out" / f"reconstruction-{name}", ReadRequest())
        torch.testing.assert_close(
            series.data, volume.data, atol=2e-3 if name in ("spread", "prior-share") else 0.02, rtol=0
        )
    assert "Student" in json.loads((tmp_path / "out" / "reconstruction-lower.json").read_text())["Method"]
    assert "n - 1" in json.loads((tmp_path / "out" / "reconstruction-spread.json").read_text())["Method"]


def test_a_solver_that_is_not_exact_has_no_interval(host: Host, priors: Path) -> None:
    chosen = recipe(3, {"name": "zdds", "steps": 3, "sigma_max": 0.5})
    result = medldm.reconstruct(ct(), recipe=chosen, simulate=True, host=host, device="cpu")
    assert set(result.maps) == {"spread", "prior-share"}
    assert "does not claim" in result.record["uncertainty"]["maps"]["spread"]
    assert "interval" not in result.record["uncertainty"]
    assert covered_words(result.record) == ""


def test_a_stated_model_error_widens_intervals_and_nothing_else(host: Host, priors: Path, tmp_path: Path) -> None:
    plain = medldm.reconstruct(ct(), recipe=recipe(3, QUICK), simulate=True, host=host, device="cpu")
    chosen = recipe(3, QUICK, outputs={"interval": {"model_error": 0.02}, "write": ["nifti"]})
    result = medldm.reconstruct(ct(), tmp_path / "out", recipe=chosen, simulate=True, host=host, device="cpu")
    spread = result.maps["spread"].data
    torch.testing.assert_close(spread, plain.maps["spread"].data)
    # 0.02 of the 2000 HU that are one in the prior's model values.
    width = (result.maps["upper"].data - result.maps["lower"].data) / 2
    torch.testing.assert_close(width, half_width(spread, 3, 0.8, 40.0), rtol=1e-3, atol=1e-2)
    told = result.record["uncertainty"]
    assert told["interval"]["model_error"] == pytest.approx(40)
    assert told["calibration"]["model_error"] == pytest.approx(40)
    (written,) = [event for event in result.maps["lower"].history.events if event.name == "interval-lower"]
    assert written.settings["model_error"] == pytest.approx(40)
    assert told["calibration"]["coverage"]["0.8"] > plain.record["uncertainty"]["calibration"]["coverage"]["0.8"]
    assert "all samples share" in told["maps"]["lower"]
    (interval,) = [method for method in result.record["methods"] if method["name"] == "interval"]
    assert "80%" in interval["summary"] and "JCGM 100" in interval["references"][0]
    assert "Beside the image stands the predictive 80% interval, mean -+ t" in methods_text(result.record)[0]
    (silent,) = [method for method in plain.record["methods"] if method["name"] == "interval"]
    assert silent["references"] == []
    shown = covered_words(result.record)
    assert shown.startswith("The 80% intervals hold the truth in ") and shown.endswith("of the voxels of the object.")
    # What was written knows it too.
    writer = host.build("writers", "nifti", {})
    writer.write(ct(), tmp_path, "truth", provenance(result.record, chosen))  # type: ignore[attr-defined]
    found = evaluate_spread(tmp_path / "out", tmp_path / "truth.nii.gz", read=ReadRequest(modality="CT"), host=host)
    assert found["coverage"] == pytest.approx(told["calibration"]["coverage"], abs=0.01)


def test_one_sample_has_only_a_share_of_the_prior(host: Host, priors: Path) -> None:
    result = medldm.reconstruct(ct(), recipe=recipe(1, QUICK), simulate=True, host=host, device="cpu")
    assert set(result.maps) == {"prior-share"}
    share = result.maps["prior-share"].data
    # Longer paths measure more: the share falls from one side to the other.
    assert float(share[..., 0].mean()) > 2 * float(share[..., -1].mean())
    none = recipe(2, QUICK, outputs={"maps": "none"})
    assert not medldm.reconstruct(ct(), recipe=none, simulate=True, host=host, device="cpu").maps
    with pytest.raises(UsageError, match="E-RCP-10"):
        wrong = recipe(2, QUICK, outputs={"maps": ["variance"]})
        medldm.reconstruct(ct(), recipe=wrong, simulate=True, host=host, device="cpu")


def test_a_method_without_samples_is_refused(host: Host) -> None:
    plain = recipe(2, {"name": "cgls", "iterations": 2}, prior={})
    with pytest.raises(UsageError, match="E-UNC-01"):
        medldm.reconstruct(ct(), recipe=plain, simulate=True, host=host, device="cpu")


def test_magnitudes_are_the_result_of_complex_samples(host: Host, priors: Path) -> None:
    image = Volume(torch.full(SMALL, 80.0), ct().grid, "arbitrary", "MR", "flat")
    chosen = recipe(4, QUICK, acquisition={"physics": "toy-complex"}, prior={"name": "toy-mr"})
    result = medldm.reconstruct(image, recipe=chosen, simulate=True, host=host, device="cpu")
    names = [event["event"] for event in result.record["image"]["history"]]
    assert names[-2:] == ["magnitude", "mean"]
    assert float(result.maps["spread"].data.min()) > 0
    assert float(result.maps["lower"].data.min()) >= 0
    assert not result.maps["spread"].data.is_complex()


def test_a_sample_that_does_not_fit_fails_and_is_marked(host: Host, priors: Path, tmp_path: Path) -> None:
    chosen = recipe(2, QUICK, outputs={"gates": {"chi_max": 1e-6}}, run={"seed": 7, "samples": 2})
    with pytest.raises(GateFailed, match="samples 0 to 1"):
        medldm.reconstruct(ct(), tmp_path / "out", recipe=chosen, simulate=True, host=host, device="cpu")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["gates_failed"]
    for name in ("reconstruction", "reconstruction-spread"):
        assert FAILED in json.loads((tmp_path / "out" / f"{name}.json").read_text())["Comment"]
    assert (tmp_path / "out" / "preview.png").is_file()


def test_memory_decides_how_many_are_drawn_together(host: Host, priors: Path) -> None:
    big = ct((40, 100, 100))
    chosen = recipe(4, QUICK)
    prior = choose_prior(host, chosen, big)
    one = check_memory(host, recipe(1, QUICK), big, None, prior)
    all_ = check_memory(host, chosen, big, None, prior)
    assert (one.samples_at_once, all_.samples_at_once) == (1, 4)
    assert all_.solver == 4 * one.solver
    some = check_memory(host, chosen, big, all_.total - 2 * one.solver, prior)
    assert some.samples_at_once == 2
    assert some.total <= all_.total - 2 * one.solver
    with pytest.raises(OutOfMemory):
        check_memory(host, chosen, big, one.total // 2, prior)


def test_the_first_samples_are_the_same_of_however_many(host: Host, priors: Path) -> None:
    two, four = (
        medldm.reconstruct(ct(), recipe=recipe(n, QUICK), simulate=True, host=host, device="cpu") for n in (2, 4)
    )
    assert two.record["chi"] == pytest.approx(four.record["chi"][:2], rel=1e-4)
    assert len({round(chi, 6) for chi in four.record["chi"]}) == 4


def test_an_interrupted_run_ends_where_it_would_have(
    host: Host, priors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = recipe(3, QUICK)
    measured = medldm.simulate(ct(), recipe=chosen, host=host)
    whole = medldm.reconstruct(measured, recipe=chosen, host=host, device="cpu")
    monkeypatch.setattr(progress, "SAVE_EVERY_SECONDS", 0.0)
    seen: list[int] = []

    def interrupt(event: Event) -> None:
        if event.stage == "save":
            seen.append(event.fields["index"])
            if len(seen) == 4:
                raise KeyboardInterrupt

    def run(**more: Any) -> Any:
        return medldm.reconstruct(measured, tmp_path / "out", recipe=chosen, host=host, device="cpu", **more)

    plan = dataclasses.replace(check_memory(host, chosen, measured, None, choose_prior(host, chosen, measured)))
    with monkeypatch.context() as one_at_once:
        one_at_once.setattr(
            "medldm.pipeline.reconstruct.check_memory", lambda *_: dataclasses.replace(plan, samples_at_once=1)
        )
        with pytest.raises(KeyboardInterrupt):
            run(listeners=[interrupt])
    assert seen == [1, 2, 3, 4]  # the first sample whole, the second begun
    resumed = run(resume=True)
    torch.testing.assert_close(resumed.maps["spread"].data, whole.maps["spread"].data, rtol=1e-3, atol=1e-2)
    assert resumed.record["chi"] == pytest.approx(whole.record["chi"], rel=1e-4)


def test_evaluate_finds_the_calibration_again(
    host: Host, priors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = ct()
    writer = host.build("writers", "nifti", {})
    result = medldm.reconstruct(
        truth, tmp_path / "out", recipe=recipe(4, QUICK), simulate=True, host=host, device="cpu"
    )
    writer.write(truth, tmp_path, "truth", provenance(result.record, recipe(4, QUICK)))  # type: ignore[attr-defined]
    read = ReadRequest(modality="CT")
    found = evaluate_spread(tmp_path / "out", tmp_path / "truth.nii.gz", read=read, host=host)
    assert found["coverage"] == pytest.approx(result.record["uncertainty"]["calibration"]["coverage"], abs=0.01)
    arguments = ["evaluate", str(tmp_path / "out"), "--truth", str(tmp_path / "truth.nii.gz"), "--modality", "CT"]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    assert "calibration ratio" in shown.output
    line = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert line["calibration"]["samples"] == 4
    assert "0.8" in line["calibration"]["coverage"]
    image = CliRunner().invoke(app, ["evaluate", str(tmp_path / "out" / "reconstruction.nii.gz"), *arguments[2:]])
    assert "calibration" not in image.output
    with pytest.raises(InputRefused, match="E-UNC-02"):
        evaluate_spread(tmp_path / "out", tmp_path / "truth.nii.gz", read=read, slices=slice(0, 2), host=host)
