"""Regressors: pairs as the solver will see them, what is learnt from them, and the folders that come of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from ruamel.yaml import YAML
from safetensors.torch import load_file
from torch import Tensor, nn
from training_scene import (
    DENOISER,
    conditioning_of,
    head,
    prepare_training,
    silent,
    tiny_config,
    tiny_mapping,
)
from typer.testing import CliRunner

import medldm
from medldm.cli.app import app
from medldm.data import Grid, Volume
from medldm.errors import ComponentMissing, UsageError
from medldm.host import Host
from medldm.inference.parametrization import regression
from medldm.pipeline.chosen_prior import choose_prior
from medldm.pipeline.events import Event
from medldm.pipeline.recipe import Recipe, from_mapping
from medldm.priors.card_file import read_card
from medldm.priors.catalogue import open_prior
from medldm.testing.checks import check_prior
from medldm.training import run
from medldm.training.averaging import averaged
from medldm.training.config import OptimiserOptions, PatchOptions, PatchShape, RunOptions, TrainConfig
from medldm.training.pair_file import read_pairs, write_pairs
from medldm.training.pairs import Pairs, PairSampler, measuring, start_and_truth
from medldm.training.regressor import RegressorTrainee
from medldm.training.run import train_denoiser, train_regressor
from medldm.training.schedule import learning_rate
from medldm_slice_ldm.family import SliceDiffusion

pytestmark = pytest.mark.usefixtures("own_accelerator")

MR: dict[str, Any] = {
    "acquisition": {
        "physics": "mri-cartesian",
        "coils": 2,
        "mask": {"kind": "variable-density-1d", "acceleration": 2, "calibration": 0.3},
        "noise": {"std": 0.02, "of": "object-mean"},
    },
    "start": {"solver": "cg-sense", "iterations": 4},
    "solver": {"name": "zdds", "steps": 2},
    "prior": {"name": "somewhere"},
    "run": {"seed": 5},
}
CT: dict[str, Any] = {
    "acquisition": {"physics": "ct-parallel", "views": 12, "noise": {"model": "poisson", "photons": 1e5}},
    "start": {"solver": "fbp"},
    "solver": {"name": "zdds"},
    "prior": {"name": "somewhere"},
    "run": {"seed": 5},
}
WINDOW = {"rule": "window", "low": -1000, "high": 1000}


@pytest.fixture(scope="module")
def trained(host: Host, scans: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A regressor of each modality, hardly trained."""
    folder = tmp_path_factory.mktemp("trained")
    return {name: _train(host, scans, folder / name, name)[0] for name in ("mr", "ct")}


def _recipe(name: str, **sections: Any) -> Recipe:
    return from_mapping(f"toy_{name}", {**(MR if name == "mr" else CT), **sections})


def _mapping(name: str, **sections: Any) -> dict[str, Any]:
    plain = tiny_mapping(**{"patches": {"planes": {"axial": 1}}, "pairs": {"slices": 6, "together": 3}, **sections})
    card = plain["card"]
    del card["sigma"]
    card |= {"name": "toy", "prediction": {"kind": "regression", "sigma_data": 0.3}, "planes": ["axial"]}
    card["facts"] = {"classes": {"contrast": ["t1w", "t2w"]}, "numbers": {"spacing_mm": [1.0, 0.5]}}
    if name == "ct":
        card |= {"modality": "CT", "quantity": "HU", "intensity": WINDOW, "facts": {}}
    return plain


def _train(host: Host, scans: Path, folder: Path, name: str, content: Any = None, **rest: Any) -> list[Path]:
    recipe = rest.pop("recipe", _recipe(name))
    prepared = prepare_training(host, scans, folder, content or _mapping(name))
    return train_regressor(host, prepared, recipe, folder / "out", rest.pop("tell", silent), **rest)


def _image(name: str, seed: int = 31) -> Volume:
    grid = Grid.isotropic((4, 24, 22), (1.5, 1.2, 1.2))
    data = torch.from_numpy(head(seed, (4, 24, 22)))
    return Volume(700 * data, grid, "arbitrary", "MR") if name == "mr" else Volume(1100 * data - 1000, grid, "HU", "CT")


def _toy_config(steps: int, rate: float, batch: int, size: int) -> TrainConfig:
    return replace(
        tiny_config(),
        patches=PatchOptions(shapes=(PatchShape(size, batch),)),
        augmentation=replace(tiny_config().augmentation, gain=0.0),
        optimiser=OptimiserOptions(rate=rate, warm_up=5, average=steps / 20, decay=0.0, clip=10.0),
        run=RunOptions(steps=steps, check_patches=4, precision="no"),
    )


def _learnt(network: nn.Module, pairs: Pairs, config: TrainConfig) -> RegressorTrainee:
    AcceleratorState._reset_state(True)
    samplers = [PairSampler([pairs], config, conditioning_of(config), augment=augment) for augment in (True, False)]
    accelerator = Accelerator(cpu=True, mixed_precision="no")
    trainee = RegressorTrainee(network, regression(0.25), config, samplers[0], samplers[1], accelerator)
    for step in range(config.run.steps):
        trainee.learn(step, learning_rate(step, config.optimiser, config.run))
    return trainee


def _pairs(start: Tensor, truth: Tensor, *, is_mr: bool = False) -> Pairs:
    return Pairs(start.half(), truth.half(), {}, is_mr, 1.0, False)


class _Affine(nn.Module):
    """``F(x) = a x + b``: the regressors ``(1 + a) x + s b``."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 1)

    def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
        made: Tensor = self.layer(x)
        return made


def test_the_best_affine_regressor_is_found() -> None:
    """Of ``truth = 0.6 start + 0.1`` and an error symmetric about 0 that no pixel foretells, it is just that."""
    generator = torch.Generator().manual_seed(0)
    start = torch.rand((4, 40, 40), generator=generator)
    truth = 0.6 * start + 0.1 + 0.05 * torch.randn(start.shape, generator=generator)
    trainee = _learnt(_Affine(), _pairs(start, truth), _toy_config(300, 0.02, 4, 32))
    with averaged(trainee.network, trainee.average):
        slope, offset = (parameter.item() for parameter in trainee.network.parameters())
    assert 1 + slope == pytest.approx(0.6, abs=0.01) and 0.25 * offset == pytest.approx(0.1, abs=0.01)
    figures = trainee.look()
    # Of the error 0.05 nothing can be learnt.
    assert figures["dB"] == pytest.approx(26.0, abs=0.3) and figures["dB of the start"] < 19
    assert figures["error"] == pytest.approx(0.05 * (2 / torch.pi) ** 0.5, rel=0.05)


def test_two_pairs_are_learnt_by_heart() -> None:
    truth = torch.from_numpy(head(1, (2, 24, 24)))
    start = truth + 0.3 * torch.sin(torch.arange(24) * 1.3)
    torch.manual_seed(0)
    network = SliceDiffusion().build({"denoiser": {**DENOISER, "widths": [16, 16], "facts": 9}}).denoiser
    assert network is not None
    trainee = _learnt(network, _pairs(start, truth), _toy_config(200, 0.01, 4, 24))
    figures = trainee.look()
    assert figures["dB"] > 26 and figures["dB of the start"] < 15


def test_patches_of_start_and_truth_stay_together() -> None:
    config = _toy_config(1, 0.1, 4, 16)
    config = replace(config, augmentation=replace(config.augmentation, gain=1.0))
    start = torch.rand((3, 20, 9), generator=torch.Generator().manual_seed(1))
    sampler = PairSampler([_pairs(start, 2 * start, is_mr=True)], config, conditioning_of(config), augment=True)
    drawn = [sampler.one(0, item, 16)[0] for item in range(20)]
    assert all(patch.shape == (2, 16, 16) and torch.allclose(patch[1], 2 * patch[0], rtol=1e-2) for patch in drawn)
    assert len({float(patch[0].max()) for patch in drawn}) > 10
    plain = PairSampler([_pairs(start, 2 * start, is_mr=True)], config, conditioning_of(config), augment=False)
    assert torch.equal(plain.one(0, 3, 16)[0], plain.one(0, 3, 16)[0])


@pytest.mark.parametrize("name", ["mr", "ct"])
def test_the_solver_sees_what_was_trained_on(host: Host, trained: dict[str, Path], name: str) -> None:
    """The network on the start image of a pair is, where anything is measured, what the pipeline reconstructs."""
    volume, recipe = _image(name), _recipe(name, solver={"name": "supervised"}, prior={"name": str(trained[name])})
    model = open_prior(trained[name], host)
    start, truth = start_and_truth(host, measuring(recipe), model, volume)
    with torch.no_grad():
        made = model.on(volume.grid).denoise(start[None], torch.zeros(1))[0]
    image = medldm.reconstruct(volume, recipe=recipe, simulate=True, host=host, device="cpu").image.data
    bright = volume.data > 0.3 * volume.data.max() if name == "mr" else volume.data > -500
    scale = float((truth[bright] / volume.data[bright]).mean()) if name == "mr" else 1 / 2000
    seen = (image * scale if name == "mr" else (image + 1000) / 2000)[bright]
    torch.testing.assert_close(seen, made[bright].clamp(min=0) if name == "mr" else made[bright], rtol=2e-3, atol=2e-3)
    assert float((start - truth).abs()[bright].mean()) < 0.3  # near each other: one map of intensities for both


@pytest.mark.parametrize("name", ["mr", "ct"])
def test_the_folder_is_sound_and_says_what_it_is_for(host: Host, trained: dict[str, Path], name: str) -> None:
    rows = check_prior(trained[name], host)
    assert [row.law for row in rows if row.status == "failed"] == []
    assert sum(row.message == "a regressor knows no noise levels" for row in rows) == 2
    card = read_card(trained[name])
    assert card.name == trained[name].name == f"toy-toy-{name}" and card.sigma is None
    measured = card.regression
    assert measured is not None and (measured.recipe, measured.start["solver"]) == (
        f"toy_{name}",
        {"mr": "cg-sense", "ct": "fbp"}[name],
    )
    assert measured.options["coils" if name == "mr" else "views"] == {"mr": 2, "ct": 12}[name]
    assert {"error", "dB", "dB of the start"} == set(card.quality["held_back"])
    shown = CliRunner().invoke(app, ["priors", "show", str(trained[name])])
    assert shown.exit_code == 0 and "no diffusion prior" in " ".join(shown.output.split())


def test_left_and_resumed_gives_the_same_weights_and_simulates_once(
    host: Host, scans: Path, tmp_path: Path, trained: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _train(host, scans, tmp_path, "ct", stop_after=1e-9) == []
    monkeypatch.setattr(run, "simulated", lambda *_: pytest.fail("simulated again"))
    with pytest.raises(UsageError, match="E-TRN-12"):
        _train(host, scans, tmp_path, "ct")
    (resumed,) = _train(host, scans, tmp_path, "ct", resume=True)
    ours, whole = (load_file(folder / "denoiser.safetensors") for folder in (resumed, trained["ct"]))
    assert all(torch.equal(ours[name], tensor) for name, tensor in whole.items())


def test_another_measurement_is_another_training(host: Host, scans: Path, tmp_path: Path) -> None:
    assert _train(host, scans, tmp_path, "ct", stop_after=1e-9) == []
    kept = tmp_path / "out" / "training" / "pairs.safetensors"
    before = kept.read_bytes()
    fewer = {**CT["acquisition"], "views": 10}
    with pytest.raises(UsageError, match="E-TRN-11"):
        _train(host, scans, tmp_path, "ct", resume=True, recipe=_recipe("ct", acquisition=fewer))
    assert kept.read_bytes() == before


def test_measurements_of_one_scan_differ_and_slices_are_spread(host: Host, scans: Path, tmp_path: Path) -> None:
    prepared = prepare_training(host, scans, tmp_path, _mapping("mr"))
    train_regressor(host, prepared, _recipe("mr"), tmp_path / "out", silent, stop_after=1e-9)
    path = tmp_path / "out" / "training" / "pairs.safetensors"
    stored = load_file(path)
    assert len(stored) == 2 * 2 * 3  # start and truth of two measurements of three scans; CT is left alone
    assert all(tensor.shape == (3, 24, 22) and tensor.dtype == torch.float16 for tensor in stored.values())
    spectra = [
        torch.fft.fft2(stored[f"{n}/start"].float() - stored[f"{n}/truth"].float()).abs().mean(0) for n in (4, 5)
    ]
    # Of the held-back scan, whose contrast stays: aliases of two masks lie elsewhere.
    correlation = torch.corrcoef(torch.stack([spectrum.mean(0) for spectrum in spectra]))[0, 1]
    assert correlation < 0.97
    own = next(scan for scan in prepared.scans if scan.subject == "t1w-3").data.float()
    for measurement, places in ((4, [1, 8, 15]), (5, [5, 11, 18])):
        both = torch.stack((stored[f"{measurement}/truth"].float().flatten(), own[places].flatten()))
        assert torch.corrcoef(both)[0, 1] > 0.9999


def test_a_pair_file_of_another_job_or_torn_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "training" / "pairs.safetensors"
    assert read_pairs(path, "job") is None
    pairs = Pairs(torch.ones(2, 3, 4).half(), torch.zeros(2, 3, 4).half(), {"contrast": "t1w"}, True, 0.5, False)
    write_pairs(path, [pairs], "job")
    (found,) = read_pairs(path, "job") or []
    assert torch.equal(found.start, pairs.start) and found.facts == {"contrast": "t1w"} and found.weight == 0.5
    assert read_pairs(path, "another") is None
    path.write_bytes(path.read_bytes()[:40])
    assert read_pairs(path, "job") is None


_CARDS: dict[str, dict[str, Any]] = {
    "a denoiser's card": {"prediction": {"kind": "edm"}, "sigma": {"low": 0.01, "high": 1}},
    "slabs": {"slab": 3, "networks": {"denoiser": {**DENOISER, "channels": 3}}},
    "real and imaginary part": {"complex": "channels", "networks": {"denoiser": {**DENOISER, "channels": 2}}},
}


@pytest.mark.parametrize("case", _CARDS)
def test_cards_that_are_not_of_a_regressor_are_refused(host: Host, scans: Path, tmp_path: Path, case: str) -> None:
    content = _mapping("mr")
    content["card"] |= _CARDS[case]
    with pytest.raises(UsageError, match="E-TRN-51"):
        _train(host, scans, tmp_path, "mr", content)
    assert not (tmp_path / "out").exists()


def test_a_denoiser_is_not_trained_with_the_card_of_a_regressor(host: Host, scans: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"E-TRN-51.*train regressor"):
        train_denoiser(prepare_training(host, scans, tmp_path, _mapping("mr")), tmp_path / "out", silent)


def test_a_recipe_of_another_modality_measures_nothing(host: Host, scans: Path, tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(UsageError, match="E-TRN-52"):
        _train(
            host, scans, tmp_path, "mr", recipe=_recipe("ct"), tell=lambda stage, message, fields: told.append(message)
        )
    assert sum("left out t1w-" in line and "E-CT-21" in line for line in told) == 3


def test_a_regressor_is_no_prior_of_a_diffusion_solver_and_the_reverse(host: Host, trained: dict[str, Path]) -> None:
    own = {"name": str(trained["mr"])}
    with pytest.raises(ComponentMissing, match=r"E-RUN-17.*is a regressor"):
        choose_prior(host, _recipe("mr", prior=own), _image("mr"))
    diffusion = _recipe("mr", solver={"name": "supervised"}, prior={"name": "brain-mr-2d-pixel"})
    with pytest.raises(ComponentMissing, match=r"E-RUN-17.*is a diffusion prior"):
        choose_prior(host, diffusion, _image("mr"))
    with pytest.raises(UsageError, match=r"E-RUN-12.*needs a regressor"):
        choose_prior(host, _recipe("mr", solver={"name": "supervised"}, prior={}), _image("mr"))


def test_another_start_is_refused_and_another_acceleration_is_said(host: Host, trained: dict[str, Path]) -> None:
    sections: dict[str, Any] = {"solver": {"name": "supervised"}, "prior": {"name": str(trained["mr"])}}
    with pytest.raises(ComponentMissing, match=r"E-RUN-18.*start.iterations 8 in place of 4"):
        choose_prior(host, _recipe("mr", start={"solver": "cg-sense", "iterations": 8}, **sections), _image("mr"))
    with pytest.raises(ComponentMissing, match=r"E-RUN-18.*physics ct-parallel in place of mri-cartesian"):
        choose_prior(host, _recipe("ct", **sections), _image("ct"))
    same = choose_prior(host, _recipe("mr", likelihood={"std": 0.5}, **sections), _image("mr"))
    assert same is not None and same.doubts == ()

    mask = {**MR["acquisition"]["mask"], "acceleration": 3}
    faster = _recipe("mr", acquisition={**MR["acquisition"], "mask": mask}, **sections)
    events: list[Event] = []
    medldm.reconstruct(_image("mr"), recipe=faster, simulate=True, host=host, device="cpu", listeners=[events.append])
    warnings = [event.message for event in events if event.stage == "warning"]
    assert any("mask.acceleration 3.0 in place of 2.0" in message for message in warnings)


def test_several_samples_of_a_regressor_are_refused(host: Host, trained: dict[str, Path]) -> None:
    recipe = _recipe("ct", solver={"name": "supervised"}, prior={"name": str(trained["ct"])}, run={"samples": 2})
    with pytest.raises(UsageError, match="E-UNC-01"):
        medldm.reconstruct(_image("ct"), recipe=recipe, simulate=True, host=host, device="cpu")


def test_the_command_line_from_scans_to_a_regressor(scans: Path, tmp_path: Path) -> None:
    config, recipe = tmp_path / "tiny.yaml", tmp_path / "toy.yaml"
    for path, content in ((config, _mapping("ct")), (recipe, CT)):
        with path.open("w", encoding="utf-8") as file:
            YAML().dump(json.loads(json.dumps(content)), file)
    words = ["train", "regressor", scans, "-o", tmp_path / "out", "--config", config, "--recipe", recipe]
    words += ["--set", "run.steps=2", "--json", "--device", "cpu"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["event"] for event in events] == ["scans", "pairs", "network", "train", "step", "look", "prior"]
    assert read_card(tmp_path / "out" / "toy-toy").regression is not None
