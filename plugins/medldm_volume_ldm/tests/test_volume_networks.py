"""The autoencoder and the U-Net keep the contracts of the prior layer."""

import itertools

import pytest
import torch
from torch.autograd import gradcheck

from medldm.inference.networks import Autoencoder, DenoisingNetwork
from medldm_volume_ldm.autoencoder import VolumeAutoencoder, VolumeAutoencoderOptions
from medldm_volume_ldm.unet import VolumeUNet, VolumeUNetOptions

SMALL_UNET = VolumeUNetOptions(channels=2, widths=(4, 8), groups=2, head_channels=4, facts=3)
SMALL_AUTOENCODER = VolumeAutoencoderOptions(latent_channels=2, widths=(4, 8), groups=2)


def stirred(network: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Weights that no initialisation left at zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
    return network.eval()


def noisy(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


@pytest.fixture(scope="module")
def unet() -> torch.nn.Module:
    return stirred(VolumeUNet(SMALL_UNET))


@pytest.fixture(scope="module")
def autoencoder() -> torch.nn.Module:
    return stirred(VolumeAutoencoder(SMALL_AUTOENCODER))


def size(network: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def test_defaults_are_small_enough_to_ship() -> None:
    coder, denoiser = VolumeAutoencoder(VolumeAutoencoderOptions()), VolumeUNet(VolumeUNetOptions(facts=8))
    assert size(coder) < 0.5e6
    assert size(denoiser) < 1e6
    assert 2 * (size(coder) + size(denoiser)) < 3e6
    assert coder.downscale == 4
    assert coder.latent_channels == 4


def test_networks_are_what_the_prior_layer_expects(unet: torch.nn.Module, autoencoder: torch.nn.Module) -> None:
    assert isinstance(unet, DenoisingNetwork)
    assert isinstance(autoencoder, Autoencoder)
    x = noisy((2, 2, 4, 6, 8))
    assert unet(x, torch.tensor([0.1, 0.7]), torch.zeros(2, 3)).shape == x.shape
    mean, log_variance = autoencoder.moments(noisy((2, 1, 4, 6, 8)))
    assert mean.shape == log_variance.shape == (2, 2, 2, 3, 4)
    assert autoencoder.decode(mean).shape == (2, 1, 4, 6, 8)


def test_facts_enter_linearly_and_zeros_leave_the_embedding_of_time_as_it_is(unet: torch.nn.Module) -> None:
    x, noise = noisy((1, 2, 4, 4, 4)), torch.tensor([0.3])
    unknown = unet(x, noise, torch.zeros(1, 3))
    assert not torch.allclose(unet(x, noise, torch.ones(1, 3)), unknown, atol=1e-3)
    blind = stirred(VolumeUNet(VolumeUNetOptions(channels=2, widths=(4, 8), groups=2, head_channels=4)))
    weights = unet.state_dict() | {"unet.class_embedding.weight": blind.unet.class_embedding.weight}
    blind.load_state_dict(weights)
    assert torch.equal(blind(x, noise, torch.ones(1, 0)), unknown)


def test_the_noise_level_is_told(unet: torch.nn.Module) -> None:
    x, nothing = noisy((1, 2, 4, 4, 4)), torch.zeros(1, 3)
    levels = [unet(x, torch.tensor([noise]), nothing) for noise in (-0.4, 0.0, 0.4)]
    assert all(not torch.allclose(a, b, atol=1e-3) for a, b in itertools.combinations(levels, 2))


def test_a_batch_is_a_loop(unet: torch.nn.Module, autoencoder: torch.nn.Module) -> None:
    x, noise, facts = noisy((3, 2, 4, 4, 6)), torch.tensor([-0.2, 0.1, 0.5]), noisy((3, 3))
    one_by_one = torch.cat([unet(x[i : i + 1], noise[i : i + 1], facts[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(unet(x, noise, facts), one_by_one, atol=1e-5, rtol=1e-5)
    images = noisy((3, 1, 4, 4, 6))
    means = torch.cat([autoencoder.moments(image[None])[0] for image in images])
    torch.testing.assert_close(autoencoder.moments(images)[0], means, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("middle_attention", [True, False])
def test_gradients_flow_through_image_and_facts_in_double_precision(middle_attention: bool) -> None:
    options = VolumeUNetOptions(
        channels=1, widths=(2, 4), groups=1, head_channels=2, facts=1, middle_attention=middle_attention
    )
    network = stirred(VolumeUNet(options)).double()
    x = noisy((1, 1, 2, 2, 2), torch.float64).requires_grad_()
    facts = torch.tensor([[0.4]], dtype=torch.float64, requires_grad=True)
    noise = torch.tensor([0.2], dtype=torch.float64)
    assert gradcheck(lambda a, b: network(a, noise, b), (x, facts))


def test_the_autoencoder_differentiates_in_double_precision() -> None:
    network = stirred(VolumeAutoencoder(VolumeAutoencoderOptions(latent_channels=1, widths=(2, 2), groups=1))).double()
    assert gradcheck(network.moments, noisy((1, 1, 2, 2, 2), torch.float64).requires_grad_())
    assert gradcheck(network.decode, noisy((1, 1, 1, 1, 2), torch.float64).requires_grad_())


def test_inputs_stay_as_they_are(unet: torch.nn.Module, autoencoder: torch.nn.Module) -> None:
    x, noise, facts = noisy((1, 2, 4, 4, 4)), torch.tensor([0.3]), noisy((1, 3))
    kept = [one.clone() for one in (x, noise, facts)]
    unet(x, noise, facts)
    autoencoder.decode(x)
    autoencoder.moments(x[:, :1])
    assert all(torch.equal(a, b) for a, b in zip((x, noise, facts), kept, strict=True))


@pytest.mark.parametrize(
    "options",
    [
        {"widths": (6, 8), "groups": 4},
        {"widths": (8, 12), "groups": 4, "head_channels": 8},
        {"widths": (8, 16), "groups": 4, "head_channels": 8, "attention": (True,)},
        {"widths": ()},
    ],
)
def test_impossible_options_are_refused_before_anything_is_built(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="width"):
        VolumeUNetOptions(**options)
