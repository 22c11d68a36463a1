"""A converted bundle denoises as MONAI's network and scheduler do, and encodes as MONAI's autoencoder does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.schedulers.ddim import DDIMScheduler
from monai.networks.schedulers.ddpm import DDPMScheduler
from monai.networks.schedulers.rectified_flow import RFlowScheduler
from safetensors.torch import load_file, save_file

from medldm.data import Grid
from medldm.inference.conditioning import Conditioning
from medldm.inference.denoiser import Denoiser
from medldm.priors.card import PriorCard
from medldm.priors.family import Networks
from medldm.priors.folder import load_networks
from medldm.priors.model import PriorModel
from medldm.priors.prediction import parametrization_of
from medldm_volume_ldm.family import VolumeDiffusion

LATENT = (8, 4, 6)  # x, y, z


def converted(folder: Path, tmp_path: Path) -> tuple[PriorCard, Networks]:
    family = VolumeDiffusion()
    card = family.convert(folder, tmp_path / "prior")
    return card, load_networks(tmp_path / "prior", card, family.build)


def in_our_axes(volume: torch.Tensor) -> torch.Tensor:
    """(x to the right, y to the front, z up) -> (z up, y to the back, x to the left), one axis at a time."""
    turned = torch.stack([volume[:, :, :, :, k].transpose(2, 3) for k in range(volume.shape[4])], 2)
    return torch.flip(torch.flip(turned, [3]), [4])


def noisy(channels: int) -> torch.Tensor:
    return torch.randn((1, channels, *LATENT), generator=torch.Generator().manual_seed(3))


def denoised(card: PriorCard, networks: Networks, x: torch.Tensor, sigma: float, facts: dict[str, Any]) -> torch.Tensor:
    denoiser = Denoiser(networks.denoiser, parametrization_of(card.prediction, card.sigma))
    told = Conditioning(card.facts.classes, card.facts.numbers).vector({**card.facts.fixed, **facts})
    with denoiser.in_full_precision():
        return denoiser(in_our_axes(x), torch.tensor([sigma]), told[None])


def close(ours: torch.Tensor, theirs: torch.Tensor, sigma: float) -> None:
    # The noise is subtracted from an input sigma times larger than the image.
    torch.testing.assert_close(ours, in_our_axes(theirs), atol=1e-5 * (1 + sigma), rtol=1e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_brain_bundle_denoises_as_its_own_network_and_scheduler(brain_bundle, tmp_path, prediction: str) -> None:
    brain_bundle.edit(lambda config: config["scheduler"].update(prediction_type=prediction))
    card, networks = converted(brain_bundle.folder, tmp_path)
    scheduler = DDIMScheduler(
        1000,
        "scaled_linear_beta",
        clip_sample=False,
        prediction_type=prediction,
        beta_start=0.0015,
        beta_end=0.0205,
    )
    facts = {"gender": 1.0, "age": 0.7, "ventricular_vol": 0.3, "brain_vol": 0.6}
    values = torch.tensor([[list(facts.values())]])
    constant = values[:, 0, :, None, None, None].expand(1, 4, *LATENT)
    for t in (0, 50, 400, 800, 999):
        x = noisy(3)
        with torch.no_grad():
            output = brain_bundle.unet(torch.cat((x, constant), 1), torch.tensor([t]), context=values)
        theirs = scheduler.step(output, t, x)[1]
        bar = float(scheduler.alphas_cumprod[t])
        sigma = ((1 - bar) / bar) ** 0.5
        close(denoised(card, networks, x / bar**0.5, sigma, facts), theirs, sigma)


def test_the_card_of_the_brain_bundle_says_what_the_bundle_says(brain_bundle, tmp_path) -> None:
    card, _ = converted(brain_bundle.folder, tmp_path)
    assert (card.name, card.family, card.modality, card.quantity) == (
        *("prior", "volume-diffusion"),
        *("MR", "arbitrary"),
    )
    assert card.facts.numbers == dict.fromkeys(("gender", "age", "ventricular_vol", "brain_vol"), (0.5, 1.0))
    assert (card.intensity.rule, card.intensity.to) == ("percentile", (0.0, 1.0))
    assert (card.spacing_mm.low, card.spacing_mm.high) == (1.0, 1.0)
    assert card.latent.scale == 1.0
    assert card.size.multiple == 4 * 2
    assert card.quality == {"fid": 0.0076}
    assert set(card.training.figures["assumed"]) == {
        *("intensity", "networks.denoiser.axes", "networks.autoencoder.axes"),
        *("latent.gain", "latent.error"),
    }
    # sqrt(1 / prod(1 - beta) - 1) of the scaled linear schedule, by hand at its ends.
    betas = torch.linspace(0.0015**0.5, 0.0205**0.5, 1000, dtype=torch.float64) ** 2
    bars = torch.cumprod(1 - betas, 0)
    ends = ((1 - bars) / bars).sqrt()[[0, -1]].tolist()
    assert [card.sigma.low, card.sigma.high] == pytest.approx(ends, rel=1e-4)


def test_what_is_not_told_is_told_as_the_centre(brain_bundle, tmp_path) -> None:
    card, networks = converted(brain_bundle.folder, tmp_path)
    centre = dict.fromkeys(("gender", "age", "ventricular_vol", "brain_vol"), 0.5)
    nothing, middle, other = (
        denoised(card, networks, noisy(3), 1.0, facts) for facts in ({}, centre, {**centre, "age": 0.9})
    )
    assert torch.equal(nothing, middle)
    assert not torch.allclose(middle, other, atol=1e-4)


def test_autoencoders_encode_and_decode_as_their_originals(brain_bundle, maisi_flow_bundle, tmp_path) -> None:
    for bundle, scale in ((brain_bundle, 1.0), (maisi_flow_bundle, 0.8)):
        card, networks = converted(bundle.folder, tmp_path / bundle.folder.name)
        assert card.latent.scale == pytest.approx(scale)
        image = torch.randn((1, 1, 16, 32, 12), generator=torch.Generator().manual_seed(5))
        mean, std = bundle.autoencoder.encode(image)
        ours, log_variance = networks.autoencoder.moments(in_our_axes(image))
        torch.testing.assert_close(ours, in_our_axes(mean), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close((log_variance / 2).exp(), in_our_axes(std), atol=1e-5, rtol=1e-5)
        decoded = in_our_axes(bundle.autoencoder.decode(mean))
        torch.testing.assert_close(networks.autoencoder.decode(ours), decoded, atol=1e-5, rtol=1e-5)


def test_maisi_with_rectified_flow_denoises_as_the_original(maisi_flow_bundle, tmp_path) -> None:
    card, networks = converted(maisi_flow_bundle.folder, tmp_path)
    assert (card.modality, card.quantity) == ("CT", "HU")
    assert (card.intensity.low, card.intensity.high) == (-1000.0, 1000.0)
    assert card.facts.fixed == {"modality": "ct"}
    scheduler = RFlowScheduler(1000, use_discrete_timesteps=False)
    scheduler.set_timesteps(30)
    facts = {"spacing_x_mm": 0.75, "spacing_y_mm": 1.25, "spacing_z_mm": 3.0}
    spacing = 100 * torch.tensor([list(facts.values())])
    for t in (1.0, 100.0, 512.5, 900.0):
        x = noisy(4)
        with torch.no_grad():
            output = maisi_flow_bundle.unet(
                x, torch.tensor([t]), class_labels=torch.tensor([1]), spacing_tensor=spacing
            )
        theirs = scheduler.step(output, t, x)[1]
        time = t / 1000
        sigma = time / (1 - time)
        close(denoised(card, networks, x / (1 - time), sigma, facts), theirs, sigma)


@pytest.mark.parametrize("stored", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_a_scan_however_stored_reaches_maisi_as_monai_loads_it(maisi_flow_bundle, tmp_path, stored) -> None:
    card, networks = converted(maisi_flow_bundle.folder, tmp_path)
    # As MONAI holds it: x to the right, y to the front, z up.
    loaded = torch.randn((1, 16, 32, 24), generator=torch.Generator().manual_seed(7))
    steps = np.diag([-0.75, -1.25, 3.0])
    affine = np.eye(4)
    affine[:3, :3] = steps[:, stored]
    image = loaded.permute(0, *(1 + axis for axis in stored))
    model = PriorModel(card, networks)
    prior = model.on(Grid(tuple(image.shape[1:]), affine))

    mean, _ = maisi_flow_bundle.autoencoder.encode(loaded[None])
    state = prior.encode(image)
    torch.testing.assert_close(state, card.latent.scale * in_our_axes(mean), atol=1e-5, rtol=1e-5)
    decoded = maisi_flow_bundle.autoencoder.decode(mean)[0, 0].permute(stored)
    torch.testing.assert_close(prior.decode(state)[0], decoded, atol=1e-5, rtol=1e-5)
    # Told of 0.75, 1.25 and 3 mm along x, y and z, as the scan is; flow: x_t = (1 - t) x0 + t n at sigma = t / (1 - t).
    x_t = torch.randn(mean.shape, generator=torch.Generator().manual_seed(8))
    spacing = torch.tensor([[75.0, 125.0, 300.0]])
    velocity = maisi_flow_bundle.unet(
        x_t, torch.tensor([500.0]), class_labels=torch.tensor([1]), spacing_tensor=spacing
    )
    with model.denoiser.in_full_precision():
        denoised_ = prior.denoise(in_our_axes(x_t) / 0.5, torch.tensor([1.0]))
    close(denoised_, x_t + 0.5 * velocity, 1.0)


def test_maisi_with_regions_denoises_as_the_original(maisi_regions_bundle, tmp_path) -> None:
    card, networks = converted(maisi_regions_bundle.folder, tmp_path)
    scheduler = DDPMScheduler(1000, "scaled_linear_beta", clip_sample=False, beta_start=0.0015, beta_end=0.0195)
    facts = {"top_region": "chest", "bottom_region": "lower", "spacing_x_mm": 1.0, "spacing_y_mm": 1.0}
    told = {
        "top_region_index_tensor": torch.tensor([[0.0, 100.0, 0.0, 0.0]]),
        "bottom_region_index_tensor": torch.tensor([[0.0, 0.0, 0.0, 100.0]]),
        "spacing_tensor": torch.tensor([[100.0, 100.0, 150.0]]),
    }
    for t in (10, 300, 700):
        x = noisy(4)
        with torch.no_grad():
            output = maisi_regions_bundle.unet(x, torch.tensor([t]), **told)
        theirs = scheduler.step(output, t, x)[1]
        bar = float(scheduler.alphas_cumprod[t])
        sigma = ((1 - bar) / bar) ** 0.5
        close(denoised(card, networks, x / bar**0.5, sigma, facts), theirs, sigma)


def test_an_untold_modality_is_the_row_of_the_unknown(maisi_flow_bundle, tmp_path) -> None:
    _, networks = converted(maisi_flow_bundle.folder, tmp_path)
    unknown, ct = torch.zeros(1, 7), torch.eye(1, 7)
    x, noise, spacing = noisy(4), torch.tensor([300.0]), torch.tensor([[150.0, 150.0, 150.0]])
    for condition, row in ((unknown, 0), (ct, 1)):
        ours = networks.denoiser(in_our_axes(x), noise, condition)
        theirs = maisi_flow_bundle.unet(x, noise, class_labels=torch.tensor([row]), spacing_tensor=spacing)
        torch.testing.assert_close(ours, -in_our_axes(theirs), atol=1e-5, rtol=1e-5)


def test_weights_of_the_time_before_monai_are_translated(brain_bundle, tmp_path) -> None:
    expected, _ = converted(brain_bundle.folder, tmp_path / "new")
    for stem in ("model", "autoencoder"):
        file = brain_bundle.folder / "models" / f"{stem}.safetensors"
        state = load_file(file)
        old = {
            "module."
            + name.replace(".attn.to_", ".to_")
            .replace(".attn.out_proj.", ".proj_attn.")
            .replace("1.out_proj.", "1.to_out.0.")
            .replace("2.out_proj.", "2.to_out.0.")
            .replace("postconv", "conv"): tensor
            for name, tensor in state.items()
        }
        assert {name.removeprefix("module.") for name in old} != set(state)
        file.unlink()
        save_file(old, file)
    again, _ = converted(brain_bundle.folder, tmp_path / "old")
    assert again.weights == expected.weights


def test_converted_networks_work_in_double_precision_and_differentiate(maisi_flow_bundle, tmp_path) -> None:
    _, networks = converted(maisi_flow_bundle.folder, tmp_path)
    x = torch.randn((1, 1, 16, 8, 8), dtype=torch.float64, requires_grad=True)
    mean, _ = networks.autoencoder.double().moments(x)
    out = networks.denoiser.double()(mean, torch.tensor([100.0]), torch.zeros(1, 7))
    (gradient,) = torch.autograd.grad(networks.autoencoder.decode(out).sum(), x)
    assert gradient.dtype == torch.float64
    assert bool((gradient != 0).any())
