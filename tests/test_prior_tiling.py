"""Sizes that networks take, and images that are too large for one go."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medldm.inference import Denoiser, LatentPrior, PixelPrior, Tiling, tiled
from medldm.inference.live_memory import live_bytes
from medldm.inference.padding import Padding, reflected
from medldm.testing.closed_form import GaussianNetwork


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Down(nn.Module):
    """Halves the image; an output sample sees 3 samples to each side of its pair."""

    downscale = 2
    latent_channels = 3

    def __init__(self, dimensions: int = 2) -> None:
        super().__init__()
        torch.manual_seed(5)
        conv, up = (nn.Conv2d, nn.ConvTranspose2d) if dimensions == 2 else (nn.Conv3d, nn.ConvTranspose3d)
        self.encoder = nn.Sequential(conv(1, 2, 3, padding=1), nn.SiLU(), conv(2, 3, 4, stride=2, padding=1))
        # Wide at full size, as decoders are: what memory is spent on.
        rise = up(2, 16, 4, stride=2, padding=1)
        self.decoder = nn.Sequential(conv(3, 2, 3, padding=1), nn.SiLU(), rise, nn.SiLU(), conv(16, 1, 1))
        self.double().requires_grad_(False)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean: Tensor = self.encoder(x)
        return mean, torch.zeros_like(mean)

    def decode(self, z: Tensor) -> Tensor:
        image: Tensor = self.decoder(z)
        return image


# Padding.


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_reflection_is_that_of_numpy_however_far(n: int) -> None:
    numpy = pytest.importorskip("numpy")
    index = reflected(torch.arange(-11, n + 9), n)
    assert index.tolist() == numpy.pad(numpy.arange(n), (11, 9), mode="reflect").tolist()


@pytest.mark.parametrize(
    ("shape", "multiple", "at_least", "padded"),
    [
        ((8, 16), 8, 1, (8, 16)),
        ((7, 17), 8, 1, (8, 24)),
        ((1, 3), 16, 1, (16, 16)),
        ((5, 40), 8, 32, (32, 40)),
        ((5, 6, 7), 4, 6, (8, 8, 8)),
        ((10, 9), 1, 1, (10, 9)),
    ],
)
def test_padding_reaches_the_size_rule_and_is_taken_back(
    shape: tuple[int, ...], multiple: int, at_least: int, padded: tuple[int, ...]
) -> None:
    padding = Padding.to_fit(shape, multiple=multiple, at_least=at_least)
    x = _random(2, 3, *shape)
    there = padding.pad(x)
    assert padding.padded == tuple(there.shape[2:]) == padded
    assert torch.equal(padding.crop(there), x)
    assert all(0 <= after - before <= 1 for before, after in zip(padding.before, padding.after, strict=True))


def test_padded_noise_is_no_stripe() -> None:
    padding = Padding.to_fit((16,), multiple=32)
    noise = padding.pad(_random(1, 1, 4000, 16))
    neighbours = (noise[..., 1:] * noise[..., :-1]).mean(2)
    assert float(neighbours.abs().max()) < 0.1, "neighbours are independent, in the padding too"


# Tiling.


@pytest.mark.parametrize("sizes", [(40, 56), (41, 30), (64, 9)])
@pytest.mark.parametrize("blend", [0, 3])
def test_tiles_of_a_network_that_sees_no_further_than_the_halo_are_exact(sizes: tuple[int, int], blend: int) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(*(nn.Conv2d(2, 2, 3, padding=1) for _ in range(4))).double().requires_grad_(False)
    x = _random(2, 2, *sizes)
    tiling = Tiling((20, 16), halo=4, blend=blend)
    torch.testing.assert_close(tiled(network, x, tiling), network(x), rtol=0, atol=1e-12)
    narrow = Tiling((20, 16), halo=3, blend=blend)
    # With zero padding at the cuts, a halo too small by one shows.
    difference = (tiled(network, x, narrow) - network(x)).abs().max()
    assert float(difference) > 1e-9


@pytest.mark.parametrize("dimensions", [2, 3])
def test_tiled_encoding_and_decoding_are_exact(dimensions: int) -> None:
    network = Down(dimensions)
    image = _random(1, 1, *(24, 32, 22)[:dimensions])
    latent = _random(1, 3, *(13, 16, 11)[:dimensions])
    with torch.no_grad():
        mean = tiled(lambda x: network.moments(x)[0], image, Tiling((12,) * dimensions, halo=4, blend=2, multiple=2))
        torch.testing.assert_close(mean, network.moments(image)[0], rtol=0, atol=1e-12)
        decoded = tiled(network.decode, latent, Tiling((8,) * dimensions, halo=2, blend=1))
        torch.testing.assert_close(decoded, network.decode(latent), rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", range(12, 60))
def test_weights_of_all_tiles_add_up_to_one_and_cuts_are_never_used(n: int) -> None:
    tiling = Tiling((12,), halo=2, blend=3)
    ones = tiled(lambda x: x.clone(), torch.ones(1, 1, n, dtype=torch.float64), tiling)
    torch.testing.assert_close(ones, torch.ones_like(ones), rtol=0, atol=1e-14)
    starts = tiling.starts(0, n)
    assert starts[0] == 0 and starts[-1] + 12 == n

    def spoiled(x: Tensor) -> Tensor:
        first = int(x[0, 0, 0])
        x = x.clone()
        if first > 0:
            x[..., :2] = torch.nan if n > 12 else 0
        if first + 12 < n:
            x[..., -2:] = 1e9
        return x.nan_to_num(1e9)

    ramp = torch.arange(n, dtype=torch.float64)[None, None]
    torch.testing.assert_close(tiled(spoiled, ramp, tiling), ramp, rtol=0, atol=1e-9)


def test_tiles_that_differ_fade_into_one_another() -> None:
    """A network with statistics of its whole input gives each tile its own level; no step is left."""
    x = torch.linspace(0, 1, 64, dtype=torch.float64)[None, None]

    def level(part: Tensor) -> Tensor:
        return torch.full_like(part, float(part.mean()))

    hard = tiled(level, x, Tiling((24,), halo=4, blend=0)).diff().abs().max()
    soft = tiled(level, x, Tiling((24,), halo=4, blend=8)).diff().abs().max()
    assert float(soft) < float(hard) / 4


def test_gradients_flow_through_tiles() -> None:
    torch.manual_seed(0)
    network = nn.Conv1d(1, 1, 3, padding=1).double().requires_grad_(False)
    x = _random(1, 1, 30).requires_grad_()
    weights = _random(1, 1, 30, seed=1)
    (whole,) = torch.autograd.grad((network(x) * weights).sum(), x)
    (parts,) = torch.autograd.grad((tiled(network, x, Tiling((12,), halo=2, blend=3)) * weights).sum(), x)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("tile", "halo", "blend", "multiple"), [((8,), 4, 0, 1), ((8,), -1, 0, 1), ((10,), 1, 0, 4), ((8,), 1, 1, 8)]
)
def test_impossible_tilings_are_refused(tile: tuple[int, ...], halo: int, blend: int, multiple: int) -> None:
    with pytest.raises(ValueError, match="tiles"):
        Tiling(tile, halo, blend, multiple)


def test_sizes_that_do_not_fit_the_tiles_are_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        tiled(lambda x: x, torch.zeros(1, 1, 30), Tiling((16,), 2, multiple=4))
    with pytest.raises(ValueError, match="scale of 1/2"):
        tiled(lambda x: x[..., ::2], torch.zeros(1, 1, 30), Tiling((16,), 2, multiple=1))


@pytest.mark.parametrize(("at_most", "multiple"), [(16, 16), (32, 16), (100, 8), (3, 8)])
def test_tiles_within_a_size_exist(at_most: int, multiple: int) -> None:
    assert Tiling.within((at_most // 2, 1), at_most, multiple) is None
    assert Tiling.within((400, 400), None, multiple) is None
    tiling = Tiling.within((400, multiple), at_most, multiple)
    assert tiling is not None
    assert tiling.tile[0] <= max(at_most, multiple)
    ones = tiled(lambda x: x.clone(), torch.ones(1, 1, 400, multiple), tiling)
    torch.testing.assert_close(ones, torch.ones_like(ones))


# In the priors.


def test_a_large_image_is_denoised_in_tiles_that_agree_with_the_whole() -> None:
    sizes: list[int] = []

    class Network(nn.Module):
        def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
            sizes.append(max(x.shape[2:]))
            return x.roll(1, -1) * 0.25 + x  # neighbours wrap around within a tile: seen only at its cut

    denoiser = Denoiser(Network(), GaussianNetwork.edm().parametrization)
    x = _random(1, 90, 70)
    sigma = torch.ones(1, dtype=torch.float64)
    whole = PixelPrior(denoiser, (90, 70), multiple=4).denoise(x, sigma)
    sizes.clear()
    parts = PixelPrior(denoiser, (90, 70), multiple=4, at_most=40).denoise(x, sigma)
    assert max(sizes) <= 40 and len(sizes) > 1
    torch.testing.assert_close(parts[..., 1:], whole[..., 1:], rtol=0, atol=1e-12)


def test_a_large_volume_is_coded_in_tiles_within_its_memory() -> None:
    shape = (128, 24, 23)
    autoencoder = Down(3)
    network = GaussianNetwork.edm()
    denoiser = Denoiser(network, network.parametrization)

    def prior(tile: int | None, at_most: int | None = None) -> LatentPrior:
        return LatentPrior(denoiser, autoencoder, shape, scale=2.0, shift=0.3, tile=tile, at_most=at_most)

    x = _random(1, *shape)
    state = prior(None).encode(x)
    sigma = torch.ones(1, dtype=torch.float64)
    for other in (prior(40), prior(None, 40)):
        torch.testing.assert_close(other.encode(x), state, rtol=0, atol=1e-12)
        torch.testing.assert_close(other.decode(state), prior(None).decode(state), rtol=0, atol=1e-12)
        torch.testing.assert_close(other.denoise(state, sigma), prior(None).denoise(state, sigma), rtol=0, atol=1e-12)
    with torch.no_grad():
        peaks = [live_bytes(lambda p=p: p.decode(state)) for p in (prior(None), prior(40))]
    volume = x.numel() * 8
    assert peaks[0] > 30 * volume
    assert peaks[1] < peaks[0] / 2


def test_images_at_once_do_not_change_the_latents() -> None:
    network = GaussianNetwork.edm()
    denoiser = Denoiser(network, network.parametrization)
    few, all_ = (LatentPrior(denoiser, Down(), (9, 14), images_at_once=n) for n in (2, None))
    x = _random(5, 9, 14)
    state = all_.encode(x)
    torch.testing.assert_close(few.encode(x), state, rtol=0, atol=1e-12)
    torch.testing.assert_close(few.decode(state), all_.decode(state), rtol=0, atol=1e-12)
