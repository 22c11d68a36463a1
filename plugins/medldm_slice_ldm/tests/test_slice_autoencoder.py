import pytest
import torch
from diffusers import AutoencoderKL

from medldm.errors import UsageError
from medldm.host.options import build
from medldm.inference.networks import Autoencoder
from medldm_slice_ldm.autoencoder import SliceAutoencoder, SliceAutoencoderOptions

SMALL = SliceAutoencoderOptions(channels=2, latent_channels=3, widths=(4, 4, 8), groups=2)


def small(options: SliceAutoencoderOptions = SMALL) -> SliceAutoencoder:
    torch.manual_seed(0)
    return SliceAutoencoder(options).eval()


def test_latents_are_smaller_by_the_downscale() -> None:
    network = small()
    assert isinstance(network, Autoencoder)
    assert (network.downscale, network.multiple, network.latent_channels) == (4, 4, 3)
    mean, logvar = network.moments(torch.randn(2, 2, 12, 20))
    assert mean.shape == logvar.shape == (2, 3, 3, 5)
    assert network.decode(mean).shape == (2, 2, 12, 20)


def test_moments_are_the_chunks_of_the_quantised_encoder() -> None:
    network, x = small(), torch.randn(1, 2, 8, 8)
    mean, logvar = network.vae.quant_conv(network.vae.encoder(x)).chunk(2, 1)
    torch.testing.assert_close(network.moments(x), (mean, logvar), rtol=0, atol=0)


def test_the_decoder_is_the_librarys() -> None:
    network = small()
    theirs = AutoencoderKL(
        in_channels=2,
        out_channels=2,
        latent_channels=3,
        block_out_channels=(4, 4, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=2,
        mid_block_add_attention=False,
    )
    theirs.load_state_dict(network.vae.state_dict())
    z = torch.randn(1, 3, 2, 3)
    torch.testing.assert_close(network.decode(z), theirs.decode(z).sample, rtol=0, atol=0)


def test_double_precision_and_gradients() -> None:
    network = small().double()
    x = torch.randn(1, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    mean, _ = network.moments(x)
    image = network.decode(mean)
    assert mean.dtype == image.dtype == torch.float64
    direction = torch.randn_like(x)
    (slope,) = torch.autograd.grad(image.square().sum(), x)
    step = 1e-6

    def energy(at: torch.Tensor) -> torch.Tensor:
        return network.decode(network.moments(at)[0]).square().sum()

    with torch.no_grad():
        finite = (energy(x + step * direction) - energy(x - step * direction)) / (2 * step)
    torch.testing.assert_close((slope * direction).sum(), finite, rtol=1e-6, atol=0)


def test_the_default_is_small() -> None:
    count = sum(p.numel() for p in SliceAutoencoder(SliceAutoencoderOptions()).parameters())
    assert 0.8e6 < count < 1.2e6


def test_attention_is_an_option() -> None:
    with_attention = small(SliceAutoencoderOptions(widths=(4, 4), groups=2, attention=True))
    names = set(with_attention.state_dict())
    assert any("attentions" in name for name in names)
    assert not any("attentions" in name for name in small().state_dict())


def test_widths_that_groups_do_not_divide_are_refused() -> None:
    with pytest.raises(UsageError, match="do not divide into 16 groups"):
        build(SliceAutoencoderOptions, {"widths": [32, 40]})
