import subprocess
import sys
from typing import Any

import pytest
import torch

from medldm.errors import MedldmError, UsageError
from medldm.inference.networks import Autoencoder, DenoisingNetwork
from medldm.priors.family import PriorFamily
from medldm_slice_ldm.autoencoder import SliceAutoencoder
from medldm_slice_ldm.diffusers_networks import DiffusersKL, DiffusersUNet2D, DiffusersVQ
from medldm_slice_ldm.family import SliceDiffusion
from medldm_slice_ldm.unet import SliceUNet

UNET = {
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [4, 8],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "attention_head_dim": 4,
}
AUTOENCODER = {
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [4, 8],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "norm_num_groups": 2,
    "latent_channels": 3,
}


def built(**networks: Any) -> Any:
    torch.manual_seed(0)
    return SliceDiffusion().build(networks)


def denoiser(config: dict[str, Any] = UNET, **options: Any) -> DiffusersUNet2D:
    network = built(denoiser={"kind": "diffusers-unet2d", "config": config, **options}).denoiser
    assert isinstance(network, DiffusersUNet2D)
    return network.eval()


def test_the_familys_own_networks() -> None:
    networks = built(
        denoiser={"kind": "unet", "channels": 4, "widths": [4, 8], "groups": 2, "fold": 1},
        autoencoder={"kind": "kl", "widths": [4, 4], "groups": 2},
    )
    assert isinstance(networks.denoiser, SliceUNet)
    assert isinstance(networks.autoencoder, SliceAutoencoder)
    assert isinstance(SliceDiffusion(), PriorFamily)
    assert set(built(autoencoder={"widths": [4], "groups": 2}).named()) == {"autoencoder"}


@pytest.mark.parametrize(
    ("networks", "code", "word"),
    [
        ({"denoiser": {"kind": "unet", "width": [8]}}, "E-OPT-01", "'networks.denoiser.width'"),
        ({"denoiser": {"kind": "transformer"}}, "E-SLD-01", "'transformer'"),
        ({"decoder": {}}, "E-SLD-01", "'decoder'"),
        ({"denoiser": {"widths": [8, 9], "groups": 4}}, "E-OPT-05", "4 groups"),
        ({"denoiser": {"kind": "diffusers-unet2d", "config": UNET | {"auto_map": "x.py"}}}, "E-OPT-01", "auto_map"),
        (
            {"denoiser": {"kind": "diffusers-unet2d", "config": UNET | {"down_block_types": ["os", "sys"]}}},
            "E-OPT-04",
            "down_block_types",
        ),
        ({"denoiser": {"kind": "diffusers-unet2d", "config": UNET | {"out_channels": 3}}}, "E-OPT-05", "3 go out"),
        ({"denoiser": {"kind": "diffusers-unet2d", "config": UNET | {"norm_num_groups": 3}}}, "E-SLD-02", "divisible"),
        ({"denoiser": {"kind": "diffusers-unet2d", "config": UNET, "null_class": 1}}, "E-OPT-05", "0 classes"),
        (
            {"autoencoder": {"kind": "diffusers-kl", "config": AUTOENCODER | {"latents_mean": [0.5]}}},
            "E-OPT-03",
            "latents_mean",
        ),
    ],
)
def test_impossible_networks_are_refused_by_name(networks: dict[str, Any], code: str, word: str) -> None:
    with pytest.raises(UsageError, match=word) as refusal:
        SliceDiffusion().build(networks)
    assert refusal.value.code == code


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"in_channels": 2, "out_channels": 4},
        {"resnet_time_scale_shift": "scale_shift", "downsample_type": "resnet", "upsample_type": "resnet"},
        {"time_embedding_type": "learned", "num_train_timesteps": 10},
        {"attention_head_dim": None, "add_attention": False},
        {"mid_block_type": None, "flip_sin_to_cos": False, "freq_shift": 1},
    ],
)
def test_any_unet2d_model_denoises(change: dict[str, Any]) -> None:
    network = denoiser(UNET | change)
    assert isinstance(network, DenoisingNetwork)
    assert network.multiple == 2
    channels = network.options.config.in_channels
    x, noise = torch.randn(2, channels, 6, 10), torch.tensor([1.0, 7.0])
    predicted = network(x, noise, torch.zeros(2, 0))
    expected = network.unet(x, noise.long()).sample[:, :channels]
    torch.testing.assert_close(predicted, expected, rtol=0, atol=0)


def test_a_class_is_told_by_its_place_in_the_vector() -> None:
    network = denoiser(UNET | {"num_class_embeds": 3}, null_class=2)
    x, noise = torch.randn(3, 1, 4, 4), torch.full((3,), 5.0)
    condition = torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 0]])
    expected = network.unet(x, noise, class_labels=torch.tensor([1, 0, 2])).sample
    torch.testing.assert_close(network(x, noise, condition), expected, rtol=0, atol=0)


def test_an_unknown_class_is_not_guessed() -> None:
    network = denoiser(UNET | {"num_class_embeds": 3})
    with pytest.raises(MedldmError, match="E-SLD-09"):
        network(torch.randn(1, 1, 4, 4), torch.ones(1), torch.zeros(1, 3))


def test_diffusers_autoencoders() -> None:
    kl = built(autoencoder={"kind": "diffusers-kl", "config": AUTOENCODER}).autoencoder.eval()
    vq_config = AUTOENCODER | {"num_vq_embeddings": 5, "vq_embed_dim": 2}
    vq = built(autoencoder={"kind": "diffusers-vq", "config": vq_config}).autoencoder.eval()
    assert isinstance(kl, DiffusersKL) and isinstance(vq, DiffusersVQ)
    x = torch.randn(2, 1, 6, 8)
    for network, channels in ((kl, 3), (vq, 2)):
        assert isinstance(network, Autoencoder)
        assert (network.downscale, network.multiple, network.latent_channels) == (2, 2, channels)
        mean, logvar = network.moments(x)
        assert mean.shape == logvar.shape == (2, channels, 3, 4)
        assert network.decode(mean).shape == x.shape
    torch.testing.assert_close(kl.moments(x)[0], kl.vae.encode(x).latent_dist.mode(), rtol=0, atol=0)
    torch.testing.assert_close(vq.moments(x)[0], vq.vq.encode(x).latents, rtol=0, atol=0)


def test_decoding_a_quantised_latent_quantises_and_passes_the_gradient() -> None:
    config = AUTOENCODER | {"num_vq_embeddings": 5, "vq_embed_dim": 2}
    network = built(autoencoder={"kind": "diffusers-vq", "config": config}).autoencoder.eval()
    codes = network.vq.quantize.embedding.weight.detach()
    z = codes[[0, 3, 1, 4]].T.reshape(1, 2, 2, 2)
    # Codes lie within 1 / 5 of each other; a step that is small against their distance changes nothing.
    near = z + 1e-4 * torch.randn_like(z)
    torch.testing.assert_close(network.decode(near), network.decode(z))
    near.requires_grad_()
    (slope,) = torch.autograd.grad(network.decode(near).sum(), near)
    assert bool((slope != 0).any())


def test_the_plugin_module_is_light() -> None:
    script = "import sys, medldm_slice_ldm.plugin; print(*{'torch', 'diffusers', 'pydantic'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""


def test_loading_diffusers_says_nothing() -> None:
    script = "import medldm_slice_ldm.family, medldm_slice_ldm.convert"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout + answer.stderr == ""
