"""Bundles that cannot be taken are refused in a sentence, and nothing of a bundle is ever run."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import load_file, save_file

from medldm.errors import MedldmError
from medldm_volume_ldm.bundle_config import BundleConfig, read_bundle_config
from medldm_volume_ldm.family import VolumeDiffusion


def refused(folder: Path, tmp_path: Path) -> MedldmError:
    with pytest.raises(MedldmError) as caught:
        VolumeDiffusion().convert(folder, tmp_path / "prior")
    assert not (tmp_path / "prior").exists()
    return caught.value


def rewritten(file: Path, change: Any) -> None:
    state = load_file(file)
    change(state)
    file.unlink()
    save_file(state, file)


def test_pickles_are_refused_with_the_way_out(brain_bundle, tmp_path) -> None:
    file = brain_bundle.folder / "models" / "model.safetensors"
    file.rename(file.with_suffix(".pt"))
    error = refused(brain_bundle.folder, tmp_path)
    assert error.code == "E-PRI-03"
    assert "weights_only=True" in error.fix
    assert "model.safetensors" in error.fix


@pytest.mark.parametrize("nested", [True, False])
def test_the_way_out_works(maisi_flow_bundle, tmp_path, monkeypatch, nested: bool) -> None:
    models = maisi_flow_bundle.folder / "models"
    file = models / "diff_unet_ckpt_epoch19350.safetensors"
    state = {name.removeprefix("unet_state_dict."): tensor for name, tensor in load_file(file).items()}
    scale = state.pop("scale_factor")
    checkpoint = {"epoch": 3, "unet_state_dict": state, "scale_factor": scale} if nested else state
    torch.save(checkpoint, file.with_suffix(".pt"))
    file.unlink()
    fix = refused(maisi_flow_bundle.folder, tmp_path).fix
    monkeypatch.chdir(models)
    exec("\n".join(line.strip() for line in fix.splitlines()[1:]), {})
    if not nested:
        maisi_flow_bundle.edit(lambda config: config.update(scale_factor=float(scale)))
    card = VolumeDiffusion().convert(maisi_flow_bundle.folder, tmp_path / "prior")
    assert card.latent.scale == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda c: c.pop("diffusion_def"), "E-VLD-03", "no diffusion U-Net"),
        (lambda c: c.pop("scheduler"), "E-VLD-03", "no scheduler"),
        (lambda c: c["autoencoder_def"].update(latent_channels=2), "E-VLD-03", "do not belong"),
        (lambda c: c["diffusion_def"].update(channels="$[4] + [8]"), "E-VLD-04", "no program of a bundle is run"),
        (lambda c: c["diffusion_def"].update(out_channels="@nothing"), "E-VLD-04", "does not exist"),
        (lambda c: c.update(a="@b", b="@a", diffusion_def="@a"), "E-VLD-04", "refers to itself"),
        (lambda c: c["diffusion_def"].update(_target_="os.system"), "E-VLD-05", "os.system"),
        (lambda c: c["diffusion_def"].update(_target_="evil.DiffusionModelUNet"), "E-VLD-05", "no other code"),
        (lambda c: c["scheduler"].update(_target_="monai.networks.schedulers.Mine"), "E-VLD-05", "Mine"),
        (lambda c: c.update(conditioning="$@image"), "E-VLD-08", "4 values"),
        (lambda c: c["diffusion_def"].update(num_class_embeds=3), "E-VLD-08", "classes"),
        (lambda c: c["diffusion_def"].update(in_channels=4), "E-VLD-08", "another image"),
        (lambda c: c["scheduler"].update(prediction_type="score"), "E-VLD-09", "score"),
        (lambda c: c["scheduler"].update(gamma=3), "E-VLD-09", "gamma"),
        (lambda c: c["scheduler"].update(schedule="mine"), "E-VLD-09", "refused by MONAI"),
        (lambda c: c.update(scale_factor="$@checkpoint['scale_factor']"), "E-VLD-10", "scale_factor"),
        (lambda c: c["diffusion_def"].update(spatial_dims=2), "E-VLD-02", "spatial_dims"),
    ],
)
def test_configurations_that_cannot_be_taken(brain_bundle, tmp_path, change: Any, code: str, words: str) -> None:
    brain_bundle.edit(change)
    error = refused(brain_bundle.folder, tmp_path)
    assert error.code == code
    assert words in str(error)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update(image_classes="T1w head MRI"), "spacing"),
        (
            lambda m: [m.update(task="", description="", image_classes="1x1x1 mm"), m.pop("network_data_format")],
            "CT or MR",
        ),
    ],
)
def test_what_a_bundle_must_say(brain_bundle, tmp_path, change: Any, words: str) -> None:
    brain_bundle.edit(change, "metadata.json")
    error = refused(brain_bundle.folder, tmp_path)
    assert error.code == "E-VLD-11"
    assert words in error.what


def _nan(state: dict[str, torch.Tensor]) -> None:
    state["conv_in.conv.weight"][0] = torch.nan


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("out.2.conv.weight"),
        lambda state: state.update(extra=torch.zeros(1)),
        lambda state: state.update({"out.2.conv.bias": torch.zeros(5)}),
        lambda state: state.clear(),
        _nan,
    ],
)
def test_weights_of_another_network_are_refused(brain_bundle, tmp_path, change: Any) -> None:
    rewritten(brain_bundle.folder / "models" / "model.safetensors", change)
    assert refused(brain_bundle.folder, tmp_path).code == "E-VLD-07"


@pytest.mark.parametrize("change", [lambda state: state.popitem(), lambda state: state.update(extra=torch.zeros(1))])
def test_incomplete_weights_of_maisi_are_refused(maisi_flow_bundle, tmp_path, change: Any) -> None:
    rewritten(maisi_flow_bundle.folder / "models" / "autoencoder_epoch273.safetensors", change)
    assert refused(maisi_flow_bundle.folder, tmp_path).code == "E-VLD-07"


def test_missing_and_truncated_weights_are_refused(brain_bundle, tmp_path) -> None:
    file = brain_bundle.folder / "models" / "autoencoder.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    assert refused(brain_bundle.folder, tmp_path).code == "E-VLD-07"
    file.unlink()
    assert refused(brain_bundle.folder, tmp_path).code == "E-VLD-07"


def test_a_folder_that_is_no_bundle_is_refused(tmp_path) -> None:
    assert refused(tmp_path, tmp_path).code == "E-VLD-03"
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "inference.json").write_text("{")
    assert refused(tmp_path, tmp_path).code == "E-VLD-03"


def test_a_configuration_in_yaml_is_the_same(brain_bundle, tmp_path) -> None:
    expected = VolumeDiffusion().convert(brain_bundle.folder, tmp_path / "json" / "prior")
    file = brain_bundle.folder / "configs" / "inference.json"
    with (brain_bundle.folder / "configs" / "inference.yaml").open("w") as stream:
        YAML(typ="safe").dump(json.loads(file.read_text()), stream)
    file.unlink()
    assert VolumeDiffusion().convert(brain_bundle.folder, tmp_path / "yaml" / "prior") == expected


def test_expressions_are_never_run(brain_bundle, tmp_path) -> None:
    mark = tmp_path / "ran"
    touch = f"$__import__('pathlib').Path({str(mark)!r}).touch()"
    brain_bundle.edit(lambda c: c.update(imports=[touch], initialize=touch, run=touch))
    brain_bundle.edit(lambda c: c["scheduler"].update(_requires_=touch))
    VolumeDiffusion().convert(brain_bundle.folder, tmp_path / "prior")
    assert not mark.exists()


def test_references_reach_into_lists_and_tables() -> None:
    bundle = BundleConfig(Path(), {"a": {"b": [1, "@c"]}, "c": 2, "d": "@a#b#1", "e": ["$@a::b"]}, {})
    assert bundle.value("d") == 2
    assert bundle.value("e") == [[1, 2]]


def test_metadata_is_optional_for_reading(brain_bundle) -> None:
    (brain_bundle.folder / "configs" / "metadata.json").unlink()
    assert read_bundle_config(brain_bundle.folder).metadata == {}
