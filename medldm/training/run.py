"""``train_denoiser``, ``train_autoencoder`` and ``train_regressor``: from folders of scans to prior folders."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor

from medldm.errors import UsageError
from medldm.host import Host
from medldm.inference.networks import Autoencoder
from medldm.pipeline.recipe import Recipe
from medldm.pipeline.regression import measurement_of
from medldm.priors.card import Latent, PriorCard, Regression
from medldm.priors.family import card_name
from medldm.priors.model import PriorModel
from medldm.priors.prediction import parametrization_of
from medldm.training.autoencoder import AutoencoderTrainee, measure_latent
from medldm.training.averaging import averaged
from medldm.training.beginning import network_of
from medldm.training.command import Prepared
from medldm.training.denoiser import DenoiserTrainee
from medldm.training.finish import require_cards, write_priors
from medldm.training.loop import Agree, Tell, require_resume, train
from medldm.training.pair_file import pairs_job, read_pairs, write_pairs
from medldm.training.pairs import Pairs, PairSampler, measuring, simulated
from medldm.training.regressor import RegressorTrainee
from medldm.training.sampler import held_back_patches
from medldm.training.state import Progress, TrainingState
from medldm.training.state_space import StateSpace
from medldm.training.unit_range import UnitRange

# Patches on which the latent's mean and spread are measured.
_MEASURED_STEPS = 24
# A card's figure bounds what is measured on other images than those of the training, in dB.
_PSNR_ROOM = 1.0


def train_autoencoder(
    prepared: Prepared, out: Path, tell: Tell, *, resume: bool = False, stop_after: float | None = None
) -> list[Path]:
    """Train an autoencoder.

    Args:
        prepared: scans, configuration, device.
        out: for the prior folder and, below ``training/``, state, sheets and curves.
        tell: receives ``(stage, message, fields)``.
        resume: go on from the state in ``out``.
        stop_after: seconds after which to save and leave.

    Returns:
        The folder of the autoencoder; empty when it was left early.
    """
    card = prepared.config.card
    autoencoder = network_of(prepared.family, "autoencoder", _options(card, "autoencoder"), prepared.config)
    trainee = AutoencoderTrainee(
        autoencoder, prepared.config, prepared.trained, prepared.held_back, prepared.accelerator
    )
    options = {"autoencoder": _options(card, "autoencoder")}
    require_cards(prepared, replace(card, latent=Latent(1.0), networks=options), out)
    state = TrainingState(
        {
            "autoencoder": (trainee.network, trainee.optimiser, trainee.average),
            "discriminator": (trainee.discriminator, trainee.judge, None),
        },
        prepared.job(),
    )
    progress = _trained(trainee, state, prepared, out, tell, resume=resume, stop_after=stop_after)
    if progress is None or not prepared.accelerator.is_main_process:
        return []
    with averaged(trainee.network, trainee.average):
        device = prepared.accelerator.device
        size = prepared.config.patches.shapes[0].size
        drawn = [prepared.trained.one(step, item, size) for step in range(_MEASURED_STEPS) for item in range(2)]
        seen = torch.stack([image for image, _ in drawn])
        unseen, _ = held_back_patches(prepared.held_back, prepared.config, device)
        figures = measure_latent(cast(Autoencoder, trainee.network), seen.to(device), unseen)
    latent = Latent(figures.scale, figures.shift, figures.gain, figures.error)
    psnr = -20 * math.log10(max(figures.error / UnitRange.of(card.intensity).span, 1e-6))
    quality = {
        "held_back": dict(trainee.look()),
        "psnr": {"bound": psnr - _PSNR_ROOM, "on": f"held-back patches, less {_PSNR_ROOM:g} dB"},
    }
    finished = replace(card, latent=latent, networks=options)
    return write_priors(prepared, finished, {"autoencoder": trainee.average.weights}, progress, quality, out)


def train_denoiser(
    prepared: Prepared, out: Path, tell: Tell, *, resume: bool = False, stop_after: float | None = None
) -> list[Path]:
    """Train a denoiser, of images or, where the configuration names an autoencoder, of its latents.

    Args:
        prepared: scans, configuration, device.
        out: for the prior folders and, below ``training/``, state, sheets and curves.
        tell: receives ``(stage, message, fields)``.
        resume: go on from the state in ``out``.
        stop_after: seconds after which to save and leave.

    Returns:
        The prior folders; empty when it was left early.
    """
    _require_regression(prepared.config.card, wanted=False)
    space = StateSpace.of(prepared)
    card = space.card
    options = {"facts": prepared.trained.conditioning.size, **_options(card, "denoiser")}
    network = network_of(prepared.family, "denoiser", options, prepared.config)
    trainee = DenoiserTrainee(
        network,
        parametrization_of(card.prediction, card.sigma),
        card.prediction.sigma_data if card.prediction.kind == "edm" else 1.0,
        prepared.config,
        prepared.trained,
        prepared.held_back,
        prepared.accelerator,
        space.encode,
        space.decode,
    )
    finished = replace(card, networks={**card.networks, "denoiser": options})
    require_cards(prepared, finished, out)
    state = TrainingState({"denoiser": (trainee.network, trainee.optimiser, trainee.average)}, prepared.job())
    progress = _trained(trainee, state, prepared, out, tell, resume=resume, stop_after=stop_after)
    if progress is None or not prepared.accelerator.is_main_process:
        return []
    tensors: dict[str, Mapping[str, Tensor]] = {"denoiser": trainee.average.weights}
    if space.autoencoder is not None:
        tensors["autoencoder"] = space.autoencoder.state_dict()
    quality = {"held_back": dict(trainee.look()), **trainee.ends()}
    return write_priors(prepared, finished, tensors, progress, quality, out)


def train_regressor(
    host: Host,
    prepared: Prepared,
    recipe: Recipe,
    out: Path,
    tell: Tell,
    *,
    resume: bool = False,
    stop_after: float | None = None,
) -> list[Path]:
    """Train a network to turn the start image of a recipe into the image.

    Args:
        host: plugins, which measure.
        prepared: scans, configuration, device.
        recipe: whose measurements are simulated; the network is for no other.
        out: for the prior folder and, below ``training/``, the simulated pairs, state, sheets and curves.
        tell: receives ``(stage, message, fields)``.
        resume: go on from the state in ``out``.
        stop_after: seconds of training after which to save and leave; simulating does not count.

    Returns:
        The prior folder; empty when it was left early.

    Raises:
        UsageError: ``E-TRN-51`` the card is not that of a regressor of slices, ``E-TRN-52`` nothing can be measured.
    """
    config, place = prepared.config, prepared.accelerator
    recipe = measuring(recipe)
    card = _regressor_card(config.card, measurement_of(host, recipe))
    options = {"facts": prepared.trained.conditioning.size, **_options(card, "denoiser")}
    card = replace(card, networks={"denoiser": options})
    require_cards(prepared, card, out)
    job = hashlib.sha256(f"{prepared.job()} {pairs_job(prepared, card)}".encode()).hexdigest()
    # Another training's pairs are not overwritten before its state is seen to be another's.
    require_resume(out / "training", resume=resume, job=job)
    with place.main_process_first():
        pairs = _pairs(host, recipe, card, prepared, out / "training" / "pairs.safetensors", tell)
    trained, held_back = (
        PairSampler([p for p in pairs if p.held_back is held], config, prepared.trained.conditioning, augment=not held)
        for held in (False, True)
    )
    network = network_of(prepared.family, "denoiser", options, config)
    row = parametrization_of(card.prediction, card.sigma)
    trainee = RegressorTrainee(network, row, config, trained, held_back, place)
    state = TrainingState({"denoiser": (trainee.network, trainee.optimiser, trainee.average)}, job)
    progress = _trained(trainee, state, prepared, out, tell, resume=resume, stop_after=stop_after)
    if progress is None or not place.is_main_process:
        return []
    figures = {**card.training.figures, "slices": sum(len(one.start) for one in pairs)}
    card = replace(card, training=replace(card.training, figures=figures))
    quality = {"held_back": dict(trainee.look())}
    return write_priors(prepared, card, {"denoiser": trainee.average.weights}, progress, quality, out)


def _regressor_card(card: PriorCard, measurement: Regression) -> PriorCard:
    _require_regression(card, wanted=True)
    if card.dimensions != 2 or card.slab != 1 or card.complex != "phase-frozen":
        raise UsageError(
            "E-TRN-51",
            f"The configuration's card {card.name!r} is not one of a regressor.",
            why="A regressor sees single slices of magnitudes.",
            fix="Set card.dimensions to 2, and leave out card.slab and card.complex.",
        )
    name = f"{card.name}-{card_name(Path(measurement.recipe))}"
    return replace(card, name=name, summary=f"{card.summary}, for {measurement.recipe}", regression=measurement)


def _require_regression(card: PriorCard, *, wanted: bool) -> None:
    if (card.prediction.kind == "regression") is not wanted:
        raise UsageError(
            "E-TRN-51",
            f"The configuration's card predicts {card.prediction.kind!r}.",
            why="A regressor predicts 'regression', a denoiser anything else.",
            fix=f"medldm train {'denoiser' if wanted else 'regressor'} takes this configuration.",
        )


def _pairs(host: Host, recipe: Recipe, card: PriorCard, prepared: Prepared, path: Path, tell: Tell) -> list[Pairs]:
    job = pairs_job(prepared, card)
    pairs = read_pairs(path, job)
    if pairs is None:
        model = PriorModel(card, prepared.family.build(card.networks)).to(prepared.accelerator.device)
        pairs = simulated(host, recipe, model, prepared.scans, prepared.config, lambda text: tell("pairs", text, {}))
        if prepared.accelerator.is_main_process:
            write_pairs(path, pairs, job)
    return pairs


def _options(card: PriorCard, role: str) -> dict[str, Any]:
    if role not in card.networks:
        raise UsageError(
            "E-TRN-31",
            f"The configuration's card has no networks.{role}.",
            why=f"It says what the {role} that is trained looks like.",
            fix=f"Add card.networks.{role}; medldm plugins show {card.family} lists its options.",
        )
    return dict(card.networks[role])


def _trained(
    trainee: AutoencoderTrainee | DenoiserTrainee | RegressorTrainee,
    state: TrainingState,
    prepared: Prepared,
    out: Path,
    tell: Tell,
    *,
    resume: bool,
    stop_after: float | None,
) -> Progress | None:
    count = sum(parameter.numel() for parameter in trainee.network.parameters())
    tell("network", f"{count / 1e6:.2f} million parameters on {prepared.accelerator.device}", {"parameters": count})
    progress = train(
        trainee,
        state,
        prepared.config,
        out / "training",
        tell,
        resume=resume,
        stop_after=stop_after,
        leader=prepared.accelerator.is_main_process,
        agree=_agreement(prepared.accelerator),
    )
    if progress is not None and prepared.config.begin_at:
        before, after = progress.history[0]["error"], progress.history[-1]["error"]
        tell(
            "train" if after < before else "warning",
            f"held-back error {after:.4g}; of {prepared.config.begin_at}, where it began, {before:.4g}"
            + ("" if after < before else ": nothing was gained, on these subjects the prior as it was serves better"),
            {"before": before, "after": after},
        )
    return progress


def _agreement(accelerator: Accelerator) -> Agree:
    """Several processes end together, or the first to end would leave the others waiting for it forever."""
    if accelerator.num_processes == 1:
        return tuple

    def agree(flags: Sequence[bool]) -> Sequence[bool]:
        counts = torch.tensor([float(flag) for flag in flags], device=accelerator.device)
        return [count > 0 for count in accelerator.reduce(counts, "sum").tolist()]

    return agree
