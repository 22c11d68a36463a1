"""Folders as diffusers writes them, taken over: the denoiser is the original pipeline's to rounding."""

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import AutoencoderKL, DDIMPipeline, DDIMScheduler, DDPMScheduler, UNet2DModel, VQModel
from safetensors.torch import load_file, save_file

from medldm.data import Grid
from medldm.errors import MedldmError
from medldm.inference.denoiser import Denoiser
from medldm.priors.card import PriorCard
from medldm.priors.card_file import read_card
from medldm.priors.folder import load_networks
from medldm.priors.prediction import parametrization_of
from medldm_slice_ldm.tests.diffusers_folders import FAMILY, autoencoder, ddpm, edit, unet


def taken_over(source: Path, folder: Path) -> tuple[PriorCard, Any, Denoiser]:
    card = FAMILY.convert(source, folder)
    assert read_card(folder) == card
    networks = load_networks(folder, card, FAMILY.build)
    return card, networks, Denoiser(networks.denoiser, parametrization_of(card.prediction, card.sigma))


def check_same_denoiser(denoiser: Denoiser, network: UNet2DModel, scheduler: Any, labels: Any = None) -> None:
    """Against ``pred_original_sample`` of the scheduler at several levels, in single precision."""
    channels = network.config.in_channels
    size = 0 if labels is None else network.config.num_class_embeds
    condition = torch.zeros(2, 0) if labels is None else torch.nn.functional.one_hot(labels, size).float()
    for level in (0, 3, 250, 700, 999):
        bar = scheduler.alphas_cumprod[level].double()
        sigma = ((1 - bar) / bar).sqrt()
        x = torch.randn(2, channels, 8, 12)
        noisy = (x + sigma * torch.randn(x.shape)).float()
        scaled = (noisy * bar.sqrt()).float()
        with torch.no_grad(), denoiser.in_full_precision():
            predicted = network(scaled, level, class_labels=labels).sample
            expected = scheduler.step(predicted, level, scaled).pred_original_sample
            found = denoiser(noisy, sigma.float().repeat(2), condition)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * max(1.0, float(sigma)))


def test_a_pixel_pipeline(tmp_path: Path) -> None:
    pipeline = ddpm(tmp_path / "ddpm")
    card, networks, denoiser = taken_over(tmp_path / "ddpm", tmp_path / "My Prior 2")
    check_same_denoiser(denoiser, pipeline.unet, pipeline.scheduler)
    assert (card.name, card.family, card.prediction.kind) == ("my-prior-2", "slice-diffusion", "epsilon")
    assert (card.latent, networks.autoencoder, card.slab, card.complex) == (None, None, 1, "phase-frozen")
    assert (card.size.multiple, card.size.at_most) == (2, 16)
    # What diffusers calls -1 and 1 are the ends of the range of values.
    assert card.intensity.to == (-1, 1)
    scale, offset = card.intensity.affine(200.0)
    assert (scale * 0 + offset, scale * 200 + offset) == (-1, 1)
    unstated = {"modality", "quantity", "intensity", "spacing_mm", "planes", "licence"}
    assert set(card.training.figures["assumed"]) == unstated
    assert not card.training.figures["notes"]


@pytest.mark.parametrize("prediction", ["sample", "v_prediction"])
def test_other_predictions(prediction: str, tmp_path: Path) -> None:
    scheduler = DDIMScheduler(prediction_type=prediction, clip_sample=False, beta_schedule="scaled_linear")
    scheduler.set_timesteps(1000)
    pipeline = DDIMPipeline(unet(add_attention=False, down_block_types=("DownBlock2D",) * 2), scheduler)
    pipeline.save_pretrained(tmp_path / "ddim", safe_serialization=True)
    _, _, denoiser = taken_over(tmp_path / "ddim", tmp_path / "prior")
    # DDIMPipeline sets the scheduler's own defaults aside; the saved one counts.
    check_same_denoiser(denoiser, pipeline.unet, scheduler)


def test_a_bare_network_with_its_scheduler_beside(tmp_path: Path) -> None:
    network, scheduler = unet(), DDPMScheduler(clip_sample=False)
    network.save_pretrained(tmp_path / "unet", safe_serialization=True)
    with pytest.raises(MedldmError, match="what the network predicts") as refusal:
        FAMILY.convert(tmp_path / "unet", tmp_path / "prior")
    assert refusal.value.code == "E-SLD-06"
    scheduler.save_pretrained(tmp_path / "unet")
    _, _, denoiser = taken_over(tmp_path / "unet", tmp_path / "prior")
    check_same_denoiser(denoiser, network, scheduler)


@pytest.mark.parametrize("kind", [AutoencoderKL, VQModel])
def test_a_latent_pipeline(kind: type, tmp_path: Path) -> None:
    torch.manual_seed(0)
    compressor = autoencoder(kind, scaling_factor=0.4)
    network = unet(in_channels=3, out_channels=3)
    scheduler = DDIMScheduler(clip_sample=False)
    scheduler.set_timesteps(1000)
    diffusers.LDMPipeline(compressor, network, scheduler).save_pretrained(tmp_path / "ldm", safe_serialization=True)
    card, networks, denoiser = taken_over(tmp_path / "ldm", tmp_path / "prior")
    check_same_denoiser(denoiser, network, scheduler)
    assert card.latent is not None and (card.latent.scale, card.latent.shift) == (0.4, 0)
    assert (card.size.multiple, card.size.at_most) == (4, 32)
    prior = FAMILY.load(tmp_path / "prior").on(Grid.isotropic((2, 7, 9), (3.0, 1.0, 1.0)))
    assert prior.latent and prior.space.shape == (2, 3, 4, 6)
    # A quantiser has no derivative, which solvers ask for.
    assert prior.decode_gradient is (kind is AutoencoderKL)
    image, latent = torch.randn(2, 1, 8, 12), torch.randn(2, 3, 4, 6)
    with torch.no_grad():
        mean = compressor.encode(image).latents if kind is VQModel else compressor.encode(image).latent_dist.mode()
        torch.testing.assert_close(networks.autoencoder.moments(image)[0], mean)
        torch.testing.assert_close(networks.autoencoder.decode(latent), compressor.decode(latent).sample)


def test_a_kl_autoencoder_beside_under_its_own_name(tmp_path: Path) -> None:
    """Pipelines of other authors call the autoencoder ``vae``; what counts are the parts."""
    source = tmp_path / "source"
    ddpm(source, unet(in_channels=3, out_channels=3))
    autoencoder(AutoencoderKL, shift_factor=0.1).save_pretrained(source / "vae", safe_serialization=True)
    index = json.loads((source / "model_index.json").read_text())
    index |= {"_class_name": "TheirPipeline", "vae": ["diffusers", "AutoencoderKL"], "safety_checker": [None, None]}
    (source / "model_index.json").write_text(json.dumps(index))
    card = FAMILY.convert(source, tmp_path / "prior")
    assert card.latent is not None and (card.latent.scale, card.latent.shift) == (0.18215, 0.1)


def test_an_autoencoder_of_colours_takes_gray_images(tmp_path: Path) -> None:
    compressor = autoencoder(VQModel, in_channels=3, out_channels=3)
    pipeline = diffusers.LDMPipeline(compressor, unet(in_channels=3, out_channels=3), DDIMScheduler())
    pipeline.save_pretrained(tmp_path / "ldm", safe_serialization=True)
    card, networks, _ = taken_over(tmp_path / "ldm", tmp_path / "prior")
    assert (card.slab, card.complex) == (1, "phase-frozen")
    image, latent = torch.randn(2, 1, 8, 12), torch.randn(2, 3, 4, 6)
    with torch.no_grad():
        mean = compressor.encode(image.repeat(1, 3, 1, 1)).latents
        decoded = compressor.decode(latent).sample.mean(1, keepdim=True)
        torch.testing.assert_close(networks.autoencoder.moments(image)[0], mean)
        torch.testing.assert_close(networks.autoencoder.decode(latent), decoded)


def test_a_scale_that_nobody_stated_is_told(tmp_path: Path) -> None:
    source = tmp_path / "source"
    network = unet(in_channels=3, out_channels=3)
    pipeline = diffusers.LDMPipeline(autoencoder(VQModel), network, DDIMScheduler())
    pipeline.save_pretrained(source, safe_serialization=True)
    edit(source / "vqvae" / "config.json", scaling_factor=...)
    assumed = FAMILY.convert(source, tmp_path / "prior").training.figures["assumed"]
    assert "no scaling_factor" in assumed["latent.scale"]
    assert {"latent.gain", "latent.error"} <= set(assumed)


def test_the_prior_of_a_scan_with_odd_sizes(tmp_path: Path) -> None:
    """Loaded and bound to a grid: model units of the card are those of the pipeline, slices are padded within."""
    pipeline = ddpm(tmp_path / "ddpm", unet(sample_size=None))
    FAMILY.convert(tmp_path / "ddpm", tmp_path / "prior")
    prior = FAMILY.load(tmp_path / "prior").on(Grid.isotropic((3, 7, 9), (3.0, 1.0, 1.0)))
    x, level = torch.randn(2, 3, 7, 9), 300
    bar = pipeline.scheduler.alphas_cumprod[level].double()
    sigma = ((1 - bar) / bar).sqrt()
    found = prior.denoise(x, sigma.float().repeat(2))
    assert found.shape == x.shape
    model = FAMILY.load(tmp_path / "prior")
    with model.denoiser.in_full_precision():
        even = model.on(Grid.isotropic((3, 6, 8), (3.0, 1.0, 1.0))).denoise(x[..., :6, :8], sigma.float().repeat(2))
    scaled = (x[..., :6, :8] * bar.sqrt()).float().reshape(6, 1, 6, 8)
    with torch.no_grad():
        expected = pipeline.scheduler.step(pipeline.unet(scaled, level).sample, level, scaled).pred_original_sample
    torch.testing.assert_close(even, expected.reshape(even.shape), rtol=1e-5, atol=1e-5)


def test_classes(tmp_path: Path) -> None:
    network = unet(num_class_embeds=3)
    pipeline = ddpm(tmp_path / "ddpm", network)
    card, _, denoiser = taken_over(tmp_path / "ddpm", tmp_path / "prior")
    assert card.facts.classes == {"class": ("0", "1", "2")}
    check_same_denoiser(denoiser, network, pipeline.scheduler, labels=torch.tensor([2, 0]))


def test_a_learned_variance_is_left_aside(tmp_path: Path) -> None:
    network = unet(out_channels=2)
    pipeline = ddpm(tmp_path / "ddpm", network, DDPMScheduler(variance_type="learned_range", clip_sample=False))
    _, _, denoiser = taken_over(tmp_path / "ddpm", tmp_path / "prior")
    check_same_denoiser(denoiser, network, pipeline.scheduler)


@pytest.mark.parametrize(("channels", "slab", "complex_"), [(2, 1, "channels"), (3, 3, "phase-frozen")])
def test_what_channels_mean(channels: int, slab: int, complex_: str, tmp_path: Path) -> None:
    ddpm(tmp_path / "ddpm", unet(in_channels=channels, out_channels=channels))
    card = FAMILY.convert(tmp_path / "ddpm", tmp_path / "prior")
    assert (card.slab, card.complex) == (slab, complex_)
    assert "channels are taken as" in card.training.figures["assumed"]["complex" if channels == 2 else "slab"]


def test_half_precision_stays_half(tmp_path: Path) -> None:
    ddpm(tmp_path / "ddpm", unet().half())
    FAMILY.convert(tmp_path / "ddpm", tmp_path / "prior")
    assert {t.dtype for t in load_file(tmp_path / "prior" / "denoiser.safetensors").values()} == {torch.float16}
    ddpm(tmp_path / "single")
    FAMILY.convert(tmp_path / "single", tmp_path / "prior32")
    assert {t.dtype for t in load_file(tmp_path / "prior32" / "denoiser.safetensors").values()} == {torch.float32}


def test_shards(tmp_path: Path) -> None:
    network = unet()
    network.save_pretrained(tmp_path / "unet", safe_serialization=True, max_shard_size="20KB")
    DDPMScheduler(clip_sample=False).save_pretrained(tmp_path / "unet")
    assert (tmp_path / "unet" / "diffusion_pytorch_model.safetensors.index.json").is_file()
    _, networks, _ = taken_over(tmp_path / "unet", tmp_path / "prior")
    torch.testing.assert_close(networks.denoiser.unet.state_dict(), network.state_dict(), rtol=0, atol=0)


def test_attention_under_its_former_names(tmp_path: Path) -> None:
    pipeline = ddpm(tmp_path / "ddpm")
    path = tmp_path / "ddpm" / "unet" / "diffusion_pytorch_model.safetensors"
    former = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(path)
    for new, old in former.items():
        tensors = {name.replace(f".{new}.", f".{old}."): tensor for name, tensor in tensors.items()}
    assert any(".query." in name for name in tensors)
    save_file(tensors, path)
    _, networks, _ = taken_over(tmp_path / "ddpm", tmp_path / "prior")
    torch.testing.assert_close(networks.denoiser.unet.state_dict(), pipeline.unet.state_dict(), rtol=0, atol=0)
