"""A small family obeys the laws of priors, and each law fails for a family broken in that way only."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor, nn

from medldm.errors import ComponentMissing, UsageError
from medldm.host.options import build as build_options
from medldm.priors.card import Facts, Intensity, Latent, Prediction, PriorCard, Range, Size
from medldm.priors.card_file import read_card
from medldm.priors.family import Networks
from medldm.priors.folder import load_networks, load_prior, write_prior
from medldm.priors.model import PriorModel
from medldm.testing import PriorExample, contracts, prior_family_laws, prior_laws
from medldm.testing.law import NotApplicable
from medldm.testing.prior_laws import Trial


@dataclass(frozen=True)
class Options:
    """Of both networks.

    Attributes:
        channels: of the input.
        width: of the hidden layer.
        facts: length of the vector of facts.
        broken: in which way.
    """

    channels: Annotated[int, Field(ge=1)] = 1
    width: Annotated[int, Field(ge=1)] = 4
    facts: int = 0
    broken: str = ""


class Denoising(nn.Module):
    """Two layers; told noise and facts by a bias."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.broken = options.broken
        self.first = nn.Conv2d(options.channels, options.width, 3, padding=1)
        self.last = nn.Conv2d(options.width, options.channels, 3, padding=1)
        self.told = nn.Linear(1 + options.facts, options.width, bias=False)
        self.calls = 0

    def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
        assert x.shape[-1] % 4 == 0, "the prior layer pads to the size rule"
        self.calls += 1
        told = self.told(torch.cat((noise[:, None].to(x.dtype), condition), 1))[..., None, None]
        result: Tensor = self.last(torch.tanh(self.first(x) + 0.01 * told))
        match self.broken:
            case "batch":
                result = result * (1 + 0.1 * x.mean())
            case "random":
                result = result + 0.1 * torch.randn_like(result)
            case "counts":
                result = result * (1 + 0.01 * self.calls)
            case "loud":
                result = 1000 * result + 50
            case "nan":
                result = result / 0.0
            case "detached":
                result = result.detach()
            case "wrong gradient":
                result = result + 0.5 * (x.detach() - x)
            case "rigid":
                if x.shape[-2:] != (12, 12):
                    raise RuntimeError("sizes of tensors must match")
        return result


class Coding(nn.Module):
    """Invertible: pixels in blocks of 2 x 2 become channels."""

    downscale = 2
    latent_channels = 4

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.broken = options.broken
        self.size = nn.Parameter(torch.ones(1))

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.broken == "in place":
            x.mul_(2.0)
        mean = self.size * nn.functional.pixel_unshuffle(x, 2)
        if self.broken == "sampled":
            mean = mean + 0.1 * torch.randn_like(mean)
        if self.broken == "lossy":
            mean = mean + 0.1 * torch.sin(40 * mean)
        return mean, torch.full_like(mean, -20.0)

    def decode(self, z: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(z / self.size, 2)


@dataclass(frozen=True)
class Toys:
    """A :class:`medldm.priors.family.PriorFamily` of two-layer networks."""

    broken: str = ""

    def build(self, networks: Mapping[str, Mapping[str, Any]]) -> Networks:
        kinds: dict[str, type[nn.Module]] = {"denoiser": Denoising, "autoencoder": Coding}
        made = {}
        for role, options in networks.items():
            if role not in kinds and self.broken != "any role":
                raise UsageError("E-TOY-01", f"There is no {role}.")
            known = dict(options)
            if self.broken == "any option":
                known = {name: value for name, value in options.items() if name in Options.__dataclass_fields__}
            if role in kinds:
                made[role] = kinds[role](build_options(Options, known, subject=role))
        return Networks(**made)

    def load(self, folder: Path) -> PriorModel:
        if self.broken == "trusting":
            card = read_card(folder)
            networks = self.build(card.networks)
            for role, module in networks.named().items():
                path = folder / card.weights[role].file
                module.load_state_dict(load_file(path) if path.exists() else {}, strict=False)
            return PriorModel(card, networks)
        if self.broken == "forgetful":
            return PriorModel(read_card(folder), self.build(read_card(folder).networks))
        if self.broken == "tidy":
            (folder / "loaded").touch()
        if self.broken == "renamed":
            model = load_prior(folder, self.build)
            return PriorModel(replace(model.card, summary="mine"), model.networks)
        return load_prior(folder, self.build)

    def convert(self, source: Path, folder: Path) -> PriorCard:
        if self.broken == "anything":
            return write_prior(folder, PIXEL, states(PIXEL))
        if self.broken == "half":
            folder.mkdir()
        try:
            networks = {"denoiser": json.loads((source / "toy.json").read_text())}
        except OSError as error:
            raise ComponentMissing("E-TOY-02", "That is no toy.") from error
        card = replace(PIXEL, name="converted", networks=networks)
        if self.broken == "blind":
            return write_prior(folder, card, states(card))
        there = replace(card, weights=read_card(source).weights)
        taken = load_networks(source, there, self.build).named()
        if self.broken == "consumes":
            (source / "toy.json").unlink()
        written = write_prior(folder, card, {role: module.state_dict() for role, module in taken.items()})
        return PIXEL if self.broken == "other card" else written


PIXEL = PriorCard(
    name="toy-pixel",
    family="toys",
    summary="A toy.",
    modality="CT",
    quantity="HU",
    intensity=Intensity("window", -1000.0, 1000.0, to=(-1.0, 1.0)),
    dimensions=2,
    spacing_mm=Range(0.5, 2.0),
    sigma=Range(0.02, 10.0),
    prediction=Prediction("edm"),
    networks={"denoiser": {"facts": 2}},
    weights={},
    licence="CC0-1.0",
    size=Size(4),
    facts=Facts({"modality": ("ct", "mr")}, fixed={"modality": "ct"}),
)
LATENT = replace(
    PIXEL,
    name="toy-latent",
    networks={"denoiser": {"channels": 4, "facts": 2}, "autoencoder": {}},
    latent=Latent(scale=0.5, shift=0.1),
    size=Size(8),
    quality={"autoencoder_psnr": {"bound": 60.0, "on": "smooth images"}},
)
SLAB = replace(PIXEL, name="toy-slab", slab=3, networks={"denoiser": {"channels": 3, "facts": 2}})
COMPLEX = replace(PIXEL, name="toy-complex", complex="channels", networks={"denoiser": {"channels": 2, "facts": 2}})


def states(card: PriorCard) -> dict[str, dict[str, Tensor]]:
    torch.manual_seed(1)
    return {role: module.state_dict() for role, module in Toys().build(card.networks).named().items()}


def maker(card: PriorCard) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write_prior(folder / card.name, card, states(card), dtype=torch.float32)
        return folder / card.name

    return make


def foreign(folder: Path) -> Path:
    write_prior(folder / "source", PIXEL, states(PIXEL))
    (folder / "source" / "toy.json").write_text(json.dumps(PIXEL.networks["denoiser"]))
    return folder / "source"


EXAMPLE = PriorExample(Toys(), maker(PIXEL), (maker(LATENT), maker(SLAB), maker(COMPLEX)), foreign)


class TestToys(contracts.PriorContract):
    @pytest.fixture
    def example(self) -> PriorExample:
        return EXAMPLE


def trial(card: PriorCard, denoiser: str = "", autoencoder: str = "") -> Trial:
    broken = {"denoiser": denoiser, "autoencoder": autoencoder}
    options = {role: {**given, "broken": broken[role]} for role, given in card.networks.items()}
    networks = Toys().build(options)
    for role, module in networks.named().items():
        module.load_state_dict(states(card)[role])
    return Trial.of(PriorModel(replace(card, networks=options), networks))


@pytest.mark.parametrize(
    ("law", "denoiser", "autoencoder"),
    [
        (prior_laws.law_shapes_and_dtypes, "nan", ""),
        (prior_laws.law_any_size, "nan", ""),
        (prior_laws.law_reproducible, "random", ""),
        (prior_laws.law_reproducible, "counts", ""),
        (prior_laws.law_reproducible, "", "sampled"),
        (prior_laws.law_batch_is_loop, "batch", ""),
        (prior_laws.law_parts_do_not_matter, "batch", ""),
        (prior_laws.law_inputs_unchanged, "", "in place"),
        (prior_laws.law_nearly_the_identity_at_sigma_min, "loud", ""),
        (prior_laws.law_round_trip, "", "lossy"),
        (prior_laws.law_gradient, "detached", ""),
        (prior_laws.law_gradient, "wrong gradient", ""),
    ],
)
def test_a_broken_prior_is_found(law: prior_laws.PriorLaw, denoiser: str, autoencoder: str) -> None:
    law(trial(LATENT))
    with pytest.raises(AssertionError):
        law(trial(LATENT, denoiser, autoencoder))


def test_a_network_of_one_size_is_found() -> None:
    prior_laws.law_shapes_and_dtypes(trial(PIXEL, "rigid"))
    with pytest.raises(RuntimeError):
        prior_laws.law_any_size(trial(PIXEL, "rigid"))


class Edge:
    """A bound prior that breaks something the networks cannot."""

    def __init__(self, prior: Any, broken: str) -> None:
        self.prior = prior
        self.broken = broken

    def __getattr__(self, name: str) -> Any:
        return getattr(self.prior, name)

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        if self.broken == "in place":
            sigma.clamp_(max=0.1)
        result: Tensor = self.prior.denoise(x, sigma)
        if self.broken == "flat":
            return result.flatten(1)
        return result.float() if self.broken == "single" else result

    def encode(self, x: Tensor) -> Tensor:
        return 1.001 * self.prior.encode(x) if self.broken == "scaled" else self.prior.encode(x)


class Edged:
    def __init__(self, card: PriorCard, broken: str) -> None:
        self.card = card
        self.model = PriorModel(card, Toys().build(card.networks))
        self.broken = broken

    def on(self, *arguments: Any, **options: Any) -> Edge:
        return Edge(self.model.on(*arguments, **options), self.broken)


@pytest.mark.parametrize(
    ("law", "broken"),
    [
        (prior_laws.law_shapes_and_dtypes, "flat"),
        (prior_laws.law_inputs_unchanged, "in place"),
        (prior_laws.law_precision, "single"),
        (prior_laws.law_round_trip, "scaled"),
    ],
)
def test_a_broken_binding_is_found(law: prior_laws.PriorLaw, broken: str) -> None:
    law(Trial.of(Edged(PIXEL, "")))
    with pytest.raises(AssertionError):
        law(Trial.of(Edged(PIXEL, broken)))


@pytest.mark.parametrize(
    ("law", "broken"),
    [
        (prior_family_laws.law_folders_are_sound, "tidy"),
        (prior_family_laws.law_folders_are_sound, "renamed"),
        (prior_family_laws.law_written_weights_denoise_alike, "forgetful"),
        (prior_family_laws.law_refuses_damaged_weights, "trusting"),
        (prior_family_laws.law_refuses_other_weights, "trusting"),
        (prior_family_laws.law_refuses_unknown_options, "any option"),
        (prior_family_laws.law_refuses_unknown_options, "any role"),
        (prior_family_laws.law_converts, "consumes"),
        (prior_family_laws.law_converts, "other card"),
        (prior_family_laws.law_declines_what_is_not_its_own, "anything"),
        (prior_family_laws.law_declines_what_is_not_its_own, "half"),
        (prior_family_laws.law_declines_a_source_without_weights, "blind"),
    ],
)
def test_a_broken_family_is_found(law: prior_family_laws.PriorFamilyLaw, broken: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        law(replace(EXAMPLE, family=Toys(broken)), tmp_path)


def test_makers_whose_folder_is_not_sound_are_found(tmp_path: Path) -> None:
    def make(folder: Path) -> Path:
        path = maker(PIXEL)(folder)
        (path / "denoiser.safetensors").write_bytes(b"")
        return path

    with pytest.raises(AssertionError):
        prior_family_laws.law_folders_are_sound(replace(EXAMPLE, make=make), tmp_path)


def test_without_a_foreign_source_nothing_is_converted(tmp_path: Path) -> None:
    for law in (prior_family_laws.law_converts, prior_family_laws.law_declines_a_source_without_weights):
        with pytest.raises(NotApplicable):
            law(replace(EXAMPLE, foreign=None), tmp_path)


def test_the_bounds_of_the_card_decide() -> None:
    quality = {"identity_error": 1e-6, "mean_error": {"bound": 1e-6, "on": "nothing"}}
    strict, loose = (
        replace(PIXEL, quality=one) for one in (quality, {"identity_error": {"bound": 10.0}, "mean_error": 10.0})
    )
    for law in (prior_laws.law_nearly_the_identity_at_sigma_min, prior_laws.law_nearly_the_mean_at_sigma_max):
        law(trial(loose))
        with pytest.raises(AssertionError):
            law(trial(strict))


def test_an_untrained_network_that_predicts_the_image_is_not_judged() -> None:
    card = replace(PIXEL, prediction=Prediction("x0", alpha_bars=(0.9999, 0.5, 0.005)))
    with pytest.raises(NotApplicable):
        prior_laws.law_nearly_the_identity_at_sigma_min(trial(card))


@pytest.mark.parametrize("kind", ["epsilon", "v", "flow", "edm"])
def test_untrained_networks_are_near_the_identity_by_their_parametrization(kind: Any) -> None:
    bars = (0.9999, 0.5, 0.005) if kind in ("epsilon", "v") else ()
    prior_laws.law_nearly_the_identity_at_sigma_min(trial(replace(PIXEL, prediction=Prediction(kind, alpha_bars=bars))))
