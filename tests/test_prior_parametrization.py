"""Five things that a network can predict, one denoiser: proven on a Gaussian, where it is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from medldm.errors import ComponentMissing
from medldm.inference.conditioning import Conditioning, for_batch
from medldm.inference.denoiser import Denoiser
from medldm.inference.parametrization import (
    Parametrization,
    SigmaTable,
    edm,
    epsilon,
    flow_matching,
    v_prediction,
    x0_prediction,
)
from medldm.inference.precision import processor_has_bfloat16
from medldm.priors.card import Prediction, Range
from medldm.priors.prediction import parametrization_of
from medldm.testing.closed_form import GaussianNetwork

MEAN, STD = 0.3, 0.7


def _linear() -> Tensor:
    return torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)


def _scaled_linear() -> Tensor:
    return torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2


def _squaredcos(limit: float = 0.999) -> Tensor:
    """Nichol and Dhariwal 2021, equation 17."""
    t = torch.arange(1001, dtype=torch.float64) / 1000
    bar = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - bar[1:] / bar[:-1]).clamp_max(limit)


def _zero_terminal_bars() -> Tensor:
    """Lin et al. 2024, algorithm 1: the square roots shifted and scaled so that the last one is exactly zero."""
    roots = torch.cumprod(1 - _scaled_linear(), 0).sqrt()
    return ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2


TABLES = {
    "linear": SigmaTable.of_betas(_linear()),
    "scaled-linear": SigmaTable.of_betas(_scaled_linear()),
    "squaredcos": SigmaTable.of_betas(_squaredcos()),
    "zero-terminal": SigmaTable.of_alpha_bars(_zero_terminal_bars()),
}


# What a perfect network predicts, written from each paper's definition of its target and not from the table under test.
# x_vp = alpha x0 + spread n with alpha = 1 / sqrt(1 + sigma^2), spread = sigma alpha; E[x0 | x] is the Gaussian's.
def _posterior(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    clean = (MEAN / STD**2 + x / sigma**2) / (1 / STD**2 + 1 / sigma**2)
    return clean, (x - clean) / sigma


def _targets(kind: str, x: Tensor, sigma: Tensor) -> Tensor:
    clean, noise = _posterior(x, sigma)
    alpha = 1 / (1 + sigma**2).sqrt()
    if kind == "epsilon":
        return noise
    if kind == "v":
        return alpha * noise - sigma * alpha * clean
    if kind == "x0":
        return clean
    if kind == "flow":
        return noise - clean
    # Karras et al. 2022, equation 8: the target is (x0 - skip x) / out.
    sd2 = 0.4**2
    return (clean - sd2 / (sigma**2 + sd2) * x) / (sigma * 0.4 / (sigma**2 + sd2).sqrt())


def _input_scale(kind: str, sigma: Tensor) -> Tensor:
    """From the noisy image to what the network is given, per paper."""
    if kind == "flow":
        return 1 - sigma / (1 + sigma)  # x_t = (1 - t) x0 + t n, t = sigma / (1 + sigma)
    if kind == "edm":
        return 1 / (0.4**2 + sigma**2).sqrt()
    return 1 / (1 + sigma**2).sqrt()


def _rows() -> list[tuple[str, str, Parametrization]]:
    rows = [("flow", "", flow_matching(1e-3, 200.0, 1000.0)), ("edm", "", edm(0.4, 1e-3, 200.0))]
    for name, table in TABLES.items():
        rows += [
            (kind, name, make(table))
            for kind, make in (("epsilon", epsilon), ("v", v_prediction), ("x0", x0_prediction))
        ]
    return rows


@pytest.mark.parametrize(("kind", "table", "row"), _rows(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_row_gives_the_posterior_mean(kind: str, table: str, row: Parametrization) -> None:
    low, high = row.sigma_min, min(row.sigma_max, 100.0)
    sigma = torch.logspace(math.log10(low), math.log10(high), 40, dtype=torch.float64)
    x = MEAN + (STD**2 + sigma[:, None] ** 2).sqrt() * torch.linspace(-3, 3, 9, dtype=torch.float64)
    told: list[Tensor] = []

    def network(scaled: Tensor, noise: Tensor) -> Tensor:
        told.append(noise)
        torch.testing.assert_close(scaled, _input_scale(kind, sigma[:, None]) * x, rtol=1e-12, atol=1e-12)
        return _targets(kind, x, sigma[:, None])

    result = row.denoised(network, x, sigma)
    assert result.dtype == torch.float64
    torch.testing.assert_close(result, _posterior(x, sigma[:, None])[0], rtol=0, atol=1e-6)
    assert bool((told[0].diff() > 0).all()), "more noise is told as more"


def test_the_five_agree_with_one_another() -> None:
    sigma = torch.tensor([0.05, 0.3, 1.0, 7.0], dtype=torch.float64)
    x = torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(4, 3)
    results = [
        row.denoised(lambda _scaled, _noise, kind=kind: _targets(kind, x, sigma[:, None]), x, sigma)
        for kind, _, row in _rows()
    ]
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_level_inverts_the_table(table: SigmaTable) -> None:
    levels = table.level(table.sigmas)
    torch.testing.assert_close(levels, torch.arange(len(table.sigmas), dtype=torch.float64), rtol=0, atol=1e-6)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_level_is_monotone_and_keeps_its_ends(table: SigmaTable) -> None:
    low, high = table.limits
    assert (low, high) == (float(table.sigmas[0]), float(table.sigmas[-1]))
    between = torch.logspace(math.log10(low), math.log10(high), 5001, dtype=torch.float64)
    assert bool((table.level(between).diff() > 0).all())
    beyond = torch.tensor([0.0, low / 7, high * 7, math.inf], dtype=torch.float64)
    torch.testing.assert_close(table.level(beyond), torch.tensor([0.0, 0.0, 1.0, 1.0]).double() * 999)


def test_level_between_two_entries_is_linear_in_the_logarithm() -> None:
    table = SigmaTable(torch.tensor([0.1, 1.0, 100.0]))
    level = table.level(torch.tensor([math.sqrt(0.1), 10.0]))
    torch.testing.assert_close(level, torch.tensor([0.5, 1.5]))
    assert level.dtype == torch.float32


def test_table_of_betas_has_the_levels_of_the_forward_process() -> None:
    # Two steps: alpha_bar = 0.9, 0.9 * 0.8.
    table = SigmaTable.of_betas(torch.tensor([0.1, 0.2], dtype=torch.float64))
    torch.testing.assert_close(table.sigmas, torch.tensor([math.sqrt(0.1 / 0.9), math.sqrt(0.28 / 0.72)]).double())


def test_zero_terminal_schedule_ends_in_a_finite_noise() -> None:
    assert float(_zero_terminal_bars()[-1]) == 0
    assert TABLES["zero-terminal"].limits[1] == pytest.approx(4096, rel=1e-6)


@pytest.mark.parametrize(
    "sigmas", [torch.tensor([1.0]), torch.tensor([2.0, 1.0]), torch.tensor([1.0, 1.0]), torch.ones(2, 2)]
)
def test_what_is_no_table_is_refused(sigmas: Tensor) -> None:
    with pytest.raises(ValueError, match="increases"):
        SigmaTable(sigmas)


@pytest.mark.parametrize(("kind", "table", "row"), _rows(), ids=lambda value: value if isinstance(value, str) else "")
def test_without_noise_the_result_is_finite_and_all_but_x0_keep_the_image(
    kind: str, table: str, row: Parametrization
) -> None:
    x = torch.tensor([[0.2, 0.9]])
    told: list[Tensor] = []

    def network(scaled: Tensor, noise: Tensor) -> Tensor:
        told.append(noise)
        return torch.full_like(scaled, 0.5)

    result = row.denoised(network, x, torch.zeros(1))
    torch.testing.assert_close(result, torch.full_like(x, 0.5) if kind == "x0" else x)
    expected = row.noise(torch.tensor([row.sigma_min], dtype=torch.float64)).float()
    torch.testing.assert_close(told[0], expected)


def test_the_denoiser_runs_in_the_precision_of_its_weights_and_answers_in_that_of_the_image() -> None:
    seen: list[torch.dtype] = []

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
            seen.extend((x.dtype, noise.dtype, condition.dtype))
            return self.weight * x

    denoiser = Denoiser(Network(), edm(0.5, 0.01, 10.0))
    x = torch.ones(1, 1, 3, dtype=torch.float64)
    assert denoiser(x, torch.ones(1, dtype=torch.float64), torch.zeros(1, 2)).dtype == torch.float64
    assert set(seen) == {torch.float32}
    seen.clear()
    assert denoiser.double()(x.float(), torch.ones(1), torch.zeros(1, 2)).dtype == torch.float32
    assert set(seen) == {torch.float64}


_NATIVE = [
    pytest.param(
        "cpu", marks=pytest.mark.skipif(not processor_has_bfloat16(), reason="this processor has no native bfloat16")
    ),
    pytest.param(
        "cuda",
        marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")],
    ),
]


@pytest.mark.parametrize("device", _NATIVE)
def test_convolutions_run_in_bfloat16_and_the_image_stays_in_single_precision(device: str) -> None:
    seen: list[torch.dtype] = []

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(1, 1, 3, padding=1).requires_grad_(False)

        def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
            result: Tensor = self.layer(x)
            seen.extend((noise.dtype, result.dtype))
            return result

    network = Network().to(device)
    x = torch.randn(1, 1, 8, 8, device=device)
    sigma, nothing = torch.full((1,), 0.01, device=device), torch.zeros(1, 0, device=device)
    low = Denoiser(network, edm(0.5, 0.01, 10.0))(x, sigma, nothing)
    full = Denoiser(network, edm(0.5, 0.01, 10.0), autocast=False)(x, sigma, nothing)
    assert seen == [torch.float32, torch.bfloat16, torch.float32, torch.float32]
    assert low.dtype == full.dtype == torch.float32
    # The rounding of the network, half a percent of values of order one, is scaled by sigma.
    torch.testing.assert_close(low, full, rtol=0, atol=0.01 * 0.02)


def test_double_precision_is_never_reduced() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1)).double().requires_grad_(False)

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
            result: Tensor = self.inner(x)
            assert result.dtype == torch.float64
            return result

    x = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    sigma, nothing = torch.full((1,), 0.01, dtype=torch.float64), torch.zeros(1, 0)
    reduced, full = (Denoiser(Plain(), edm(0.5, 0.01, 10.0), autocast=on)(x, sigma, nothing) for on in (True, False))
    torch.testing.assert_close(reduced, full, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["epsilon", "v", "x0"])
def test_a_card_gives_its_row_within_its_levels(kind: str) -> None:
    bars = torch.cumprod(1 - _linear(), 0)
    prediction = Prediction(kind=kind, alpha_bars=tuple(bars.tolist()))  # type: ignore[arg-type]
    row = parametrization_of(prediction, Range(0.02, 50.0))
    assert (row.sigma_min, row.sigma_max) == (0.02, 50.0)
    sigma = torch.tensor([0.02, 3.0, 50.0], dtype=torch.float64)
    expected = {"epsilon": epsilon, "v": v_prediction, "x0": x0_prediction}[kind](SigmaTable.of_alpha_bars(bars))
    for name in ("skip", "out", "scale", "noise"):
        torch.testing.assert_close(getattr(row, name)(sigma), getattr(expected, name)(sigma))
    kept_with_the_weights = parametrization_of(Prediction(kind=kind), Range(0.02, 50.0), bars.float())  # type: ignore[arg-type]
    torch.testing.assert_close(kept_with_the_weights.noise(sigma), row.noise(sigma), rtol=1e-3, atol=1e-3)


def test_a_card_of_continuous_levels_gives_its_row() -> None:
    sigma = torch.tensor([0.5], dtype=torch.float64)
    row = parametrization_of(Prediction("edm", sigma_data=0.25), Range(0.01, 20.0))
    torch.testing.assert_close(row.scale(sigma), 1 / (sigma**2 + 0.25**2).sqrt())
    row = parametrization_of(Prediction("flow", levels=1000.0), Range(0.01, 20.0))
    torch.testing.assert_close(row.noise(sigma), torch.tensor([1000 / 3]).double())
    assert (row.sigma_min, row.sigma_max) == (0.01, 20.0)


def test_a_limit_rounded_in_the_card_is_that_of_the_schedule() -> None:
    bars = torch.cumprod(1 - _linear(), 0)
    low, high = SigmaTable.of_alpha_bars(bars).limits
    row = parametrization_of(Prediction("epsilon"), Range(low * 0.995, high * 1.005), bars)
    assert (row.sigma_min, row.sigma_max) == (low, high)


@pytest.mark.parametrize(
    ("sigma", "bars", "code"),
    [
        (Range(0.02, 50.0), None, "E-PRM-01"),
        (Range(0.02, 50.0), torch.tensor([0.5, 0.9]), "E-PRM-01"),
        (Range(0.0001, 50.0), torch.cumprod(1 - _linear(), 0), "E-PRM-02"),
        (Range(0.02, 500.0), torch.cumprod(1 - _linear(), 0), "E-PRM-02"),
        (Range(2.0, 1.0), torch.cumprod(1 - _linear(), 0), "E-PRM-02"),
    ],
)
def test_impossible_cards_are_refused(sigma: Range, bars: Tensor | None, code: str) -> None:
    with pytest.raises(ComponentMissing) as caught:
        parametrization_of(Prediction("epsilon"), sigma, bars)
    assert caught.value.code == code


def test_the_gaussian_network_of_the_kit_is_perfect() -> None:
    network = GaussianNetwork.edm(MEAN, STD)
    denoiser = Denoiser(network, network.parametrization).double()
    sigma = torch.tensor([0.05, 2.0], dtype=torch.float64)
    x = torch.linspace(-1, 2, 12, dtype=torch.float64).reshape(2, 1, 6)
    expected = _posterior(x, sigma.reshape(2, 1, 1))[0]
    torch.testing.assert_close(denoiser(x, sigma, torch.zeros(2, 0)), expected, rtol=0, atol=1e-9)


def test_facts_become_a_vector_of_zeros_where_unknown() -> None:
    told = Conditioning({"contrast": ("t1w", "t2w")}, {"spacing_mm": (1.0, 0.5)})
    assert told.vector({}).tolist() == [0, 0, 0, 0]
    assert told.vector({"contrast": "t2w", "spacing_mm": None}).tolist() == [0, 1, 0, 0]
    assert told.vector({"spacing_mm": 2.0}).tolist() == [0, 0, 2, 1]
    assert told.vectors([{}, {"contrast": "t1w"}]).tolist() == [[0, 0, 0, 0], [1, 0, 0, 0]]
    for wrong in ({"contrast": "pd"}, {"kernel": "b"}, {"spacing_mm": math.nan}, {"spacing_mm": "1"}):
        with pytest.raises(ValueError, match=r"contrast|spacing_mm"):
            told.vector(wrong)


def test_one_vector_serves_a_batch_and_several_must_be_as_many() -> None:
    assert for_batch(torch.tensor([1.0, 2.0]), 3).tolist() == [[1, 2]] * 3
    assert for_batch(torch.eye(2), 2).tolist() == [[1, 0], [0, 1]]
    with pytest.raises(ValueError, match="2 images"):
        for_batch(torch.eye(2), 3)
