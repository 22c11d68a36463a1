"""Folders of diffusers that cannot be taken are refused in a sentence, and nothing is left or fetched."""

import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from medldm.errors import MedldmError
from medldm_slice_ldm.tests.diffusers_folders import FAMILY, autoencoder, ddpm, edit, unet

WEIGHTS = "diffusion_pytorch_model.safetensors"


def _pickle_only(source: Path) -> None:
    (source / "unet" / WEIGHTS).unlink()
    (source / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x02")


def _onnx_only(source: Path) -> None:
    (source / "unet" / WEIGHTS).rename(source / "unet" / "model.onnx")


def _no_weights(source: Path) -> None:
    (source / "unet" / WEIGHTS).unlink()


def _truncated(source: Path) -> None:
    path = source / "unet" / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])


def _not_finite(source: Path) -> None:
    path = source / "unet" / WEIGHTS
    tensors = load_file(path)
    tensors["conv_in.weight"][0] = float("nan")
    save_file(tensors, path)


def _other_shapes(source: Path) -> None:
    edit(source / "unet" / "config.json", block_out_channels=[8, 8])


def _enormous(source: Path) -> None:
    edit(source / "unet" / "config.json", block_out_channels=[16384, 16384])


def _text_model(source: Path) -> None:
    edit(source / "unet" / "config.json", _class_name="UNet2DConditionModel")


def _text_encoder(source: Path) -> None:
    edit(source / "model_index.json", text_encoder=["transformers", "CLIPTextModel"])


def _own_code(source: Path) -> None:
    edit(source / "model_index.json", unet=["their_module", "TheirUNet"])


def _options_with_code(source: Path) -> None:
    edit(source / "unet" / "config.json", auto_map={"AutoModel": "their_module.TheirUNet"})


def _quantised(source: Path) -> None:
    edit(source / "unet" / "config.json", quantization_config={"quant_method": "bitsandbytes"})


def _super_resolution(source: Path) -> None:
    edit(source / "unet" / "config.json", in_channels=2)


def _shard_elsewhere(source: Path) -> None:
    (source / "unet" / f"{WEIGHTS}.index.json").write_text('{"weight_map": {"a": "../../secret.safetensors"}}')


def _not_json(source: Path) -> None:
    (source / "unet" / "config.json").write_text("[" * 100000)


def _no_scheduler(source: Path) -> None:
    shutil.rmtree(source / "scheduler")


def _four_colours(source: Path) -> None:
    shutil.rmtree(source)
    ddpm(source, unet(in_channels=4, out_channels=4))


def _latents_of_slabs(source: Path) -> None:
    shutil.rmtree(source)
    ddpm(source, unet(in_channels=3, out_channels=3))
    slabs = autoencoder(AutoencoderKL, in_channels=5, out_channels=5)
    slabs.save_pretrained(source / "vae", safe_serialization=True)
    edit(source / "model_index.json", vae=["diffusers", "AutoencoderKL"])


def _latents_that_do_not_fit(source: Path) -> None:
    autoencoder(AutoencoderKL).save_pretrained(source / "vae", safe_serialization=True)
    edit(source / "model_index.json", vae=["diffusers", "AutoencoderKL"])


def _single_file(source: Path) -> None:
    shutil.rmtree(source)
    source.write_bytes(b"\x80\x02")


def _nothing(source: Path) -> None:
    shutil.rmtree(source)


def _another_folder(source: Path) -> None:
    (source / "model_index.json").unlink()


@pytest.mark.parametrize(
    ("damage", "code", "word"),
    [
        (_pickle_only, "E-PRI-03", "safe_serialization=True"),
        (_onnx_only, "E-SLD-05", "model.onnx"),
        (_no_weights, "E-SLD-05", "no safetensors file"),
        (_truncated, "E-PRI-11", "truncated"),
        (_not_finite, "E-PRI-20", "conv_in.weight"),
        (_other_shapes, "E-SLD-08", "by the configuration"),
        (_enormous, "E-SLD-08", "by the configuration"),
        (_text_model, "E-SLD-04", "UNet2DConditionModel"),
        (_text_encoder, "E-SLD-04", "'text_encoder' of class CLIPTextModel"),
        (_own_code, "E-SLD-04", "TheirUNet"),
        (_options_with_code, "E-OPT-01", "auto_map"),
        (_quantised, "E-OPT-01", "quantization_config"),
        (_super_resolution, "E-OPT-05", "2 channels come in"),
        (_shard_elsewhere, "E-SLD-05", "no file of this folder"),
        (_not_json, "E-SLD-03", "cannot be read"),
        (_no_scheduler, "E-SLD-06", "scheduler_config.json"),
        (_four_colours, "E-SLD-07", "4 channels"),
        (_latents_of_slabs, "E-SLD-07", "5 channels"),
        (_latents_that_do_not_fit, "E-SLD-07", "the latent has 3"),
        (_single_file, "E-SLD-03", "single file"),
        (_nothing, "E-SLD-03", "does not exist"),
        (_another_folder, "E-SLD-03", "neither model_index.json"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_cannot_be_taken_is_refused_and_leaves_nothing(damage: Any, code: str, word: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    ddpm(source)
    damage(source)
    with pytest.raises(MedldmError) as refusal:
        FAMILY.convert(source, tmp_path / "priors" / "prior")
    assert refusal.value.code == code
    assert word in str(refusal.value)
    assert not (tmp_path / "priors" / "prior").exists()


def test_nothing_is_asked_of_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ddpm(tmp_path / "ddpm")
    edit(tmp_path / "ddpm" / "unet" / "config.json", _name_or_path="someone/on-the-hub")

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    FAMILY.convert(tmp_path / "ddpm", tmp_path / "prior")
