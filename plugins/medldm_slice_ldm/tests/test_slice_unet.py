import pytest
import torch

from medldm.errors import UsageError
from medldm.host.options import build
from medldm.inference.networks import DenoisingNetwork
from medldm_slice_ldm.unet import SliceUNet, SliceUNetOptions


def small(**options: object) -> SliceUNet:
    torch.manual_seed(0)
    settings = {"widths": (4, 8), "groups": 2, "facts": 3} | options
    return SliceUNet(SliceUNetOptions(**settings)).eval()  # type: ignore[arg-type]


def inputs(network: SliceUNet, batch: int = 3, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, network.options.channels, 12, 8, generator=generator, dtype=dtype)
    noise = torch.linspace(-1, 1, batch, dtype=dtype)
    return x, noise, torch.randn(batch, network.options.facts, generator=generator, dtype=dtype)


def test_shapes_and_multiple() -> None:
    network = small(channels=2, fold=2)
    assert isinstance(network, DenoisingNetwork)
    assert network.multiple == 4
    x, noise, facts = inputs(network)
    assert network(x, noise, facts).shape == x.shape


def test_no_facts_is_the_network_without_facts() -> None:
    told, untold = small(facts=3), small(facts=0)
    untold.unet.load_state_dict(told.unet.state_dict())
    x, noise, _ = inputs(told)
    expected = untold(x, noise, torch.zeros(3, 0))
    torch.testing.assert_close(told(x, noise, torch.zeros(3, 3)), expected, rtol=0, atol=0)
    assert not torch.allclose(told(x, noise, torch.ones(3, 3)), expected)


def test_a_batch_is_its_elements() -> None:
    network = small()
    x, noise, facts = inputs(network)
    each = torch.cat([network(x[i : i + 1], noise[i : i + 1], facts[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(network(x, noise, facts), each, rtol=1e-5, atol=1e-6)


def test_the_noise_level_reaches_the_network() -> None:
    network = small()
    x, noise, facts = inputs(network)
    assert not torch.allclose(network(x, noise, facts), network(x, noise + 0.5, facts))


def test_double_precision_and_gradient() -> None:
    network = small().double()
    x, noise, facts = inputs(network, dtype=torch.float64)
    x.requires_grad_()
    predicted = network(x, noise, facts)
    assert predicted.dtype == torch.float64
    (slope,) = torch.autograd.grad(predicted.square().sum(), x)
    direction, step = torch.randn_like(x), 1e-6
    with torch.no_grad():
        up, down = (network(x + sign * step * direction, noise, facts).square().sum() for sign in (1, -1))
    torch.testing.assert_close((slope * direction).sum(), (up - down) / (2 * step), rtol=1e-6, atol=0)


def test_folding_sees_every_pixel() -> None:
    """Folded, the first convolution still spans the image: what it does with one pixel depends on that pixel."""
    network = small(fold=2)
    x, noise, facts = inputs(network, batch=1)
    x.requires_grad_()
    (slope,) = torch.autograd.grad(network(x, noise, facts)[0, 0, 5, 3], x)
    assert bool((slope[0, 0, 2:9, 1:7] != 0).all())


def test_widths_that_groups_do_not_divide_are_refused() -> None:
    with pytest.raises(UsageError, match="do not divide into 16 groups"):
        build(SliceUNetOptions, {"widths": [32, 40]})
