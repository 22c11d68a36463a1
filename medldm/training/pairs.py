"""Start images of simulated measurements beside the truth: what a regressor learns from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medldm.data import AffineMap, Grid, Volume
from medldm.errors import MedldmError, UsageError
from medldm.host import Host
from medldm.inference import Noise
from medldm.inference.conditioning import Conditioning, Value
from medldm.inference.image_edge import ImageEdge
from medldm.pipeline.chosen_prior import ChosenPrior
from medldm.pipeline.classical import start_image
from medldm.pipeline.events import Teller
from medldm.pipeline.loaded_prior import LoadedPrior
from medldm.pipeline.posing import pose
from medldm.pipeline.prior_section import PriorSection
from medldm.pipeline.problem import problem_of
from medldm.pipeline.reading import case_hash
from medldm.pipeline.recipe import Recipe
from medldm.pipeline.simulate import measure
from medldm.priors.fit import Plan
from medldm.priors.model import PriorModel
from medldm.training import augmentation
from medldm.training.config import TrainConfig
from medldm.training.patches import ABOVE, FILLED, TRIES, padded, slice_axis
from medldm.training.sampler import Sampler
from medldm.training.training_scan import TrainingScan
from medldm.training.unit_range import UnitRange, range_of


@dataclass(frozen=True, eq=False)
class Pairs:
    """The slices of one simulated measurement.

    Attributes:
        start: (slice, y, x) float16, the start image as the network sees it, in model values.
        truth: of that shape, the image that was measured, by the same map of intensities.
        facts: what the network is told of them.
        is_mr: whether they may be made brighter.
        weight: how often they are drawn.
        held_back: never trained on.
    """

    start: Tensor
    truth: Tensor
    facts: Mapping[str, str | float]
    is_mr: bool
    weight: float
    held_back: bool


def simulated(
    host: Host,
    recipe: Recipe,
    model: PriorModel,
    scans: Sequence[TrainingScan],
    config: TrainConfig,
    tell: Callable[[str], None],
) -> list[Pairs]:
    """Measure slices of all scans of the model's modality and make their start images, as a reconstruction does.

    Args:
        host: plugins.
        recipe: whose physics measures, and whose start is the network's input.
        model: the regressor, trained or not: its card says how images come before the network.
        scans: in model values.
        config: of the run.
        tell: receives a line now and then, and one for each scan that the physics refuses.

    Raises:
        UsageError: ``E-TRN-52`` nothing is left to train on, or to look at.
    """
    is_mr = model.card.modality == "MR"
    found: list[Pairs] = []
    for index, scan in enumerate(scans):
        if scan.is_mr is not is_mr:
            continue
        try:
            found += _of_a_scan(host, recipe, model, scan, config, Noise(config.seed, f"pairs/{index}"))
        except UsageError:
            raise
        except MedldmError as error:
            tell(f"left out {scan.subject}: {error.code} {error.what}")
        if index % 10 == 9:
            tell(f"{index + 1} of {len(scans)} scans measured")
    sides = {pairs.held_back for pairs in found}
    if sides != {False, True}:
        raise UsageError(
            "E-TRN-52",
            f"No scan {'' if not found else 'held back ' if False in sides else 'to train on '}could be measured by "
            f"the recipe {recipe.name!r}.",
            why=f"The network is for {model.card.modality}, and learns from simulated measurements.",
            fix="Choose a recipe of the configuration's modality, or scans of it.",
        )
    tell(f"{sum(len(pairs.start) for pairs in found)} pairs of slices from {len(found)} simulated measurements")
    return found


def _of_a_scan(
    host: Host, recipe: Recipe, model: PriorModel, scan: TrainingScan, config: TrainConfig, noise: Noise
) -> Iterator[Pairs]:
    axis, values = slice_axis(scan, config.patches, noise.stream("axis")), range_of(config, is_mr=scan.is_mr)
    depth = scan.data.shape[axis]
    many = min(config.pairs.slices, depth)
    places = [int((k + 0.5) * depth / many) for k in range(many)]
    groups = math.ceil(many / config.pairs.together)
    rest = [a for a in range(3) if a != axis]
    within = math.sqrt(scan.spacing[rest[0]] * scan.spacing[rest[1]])
    for group in range(groups):
        generator = noise.stream("measurement", sample=group)
        seed = int(generator.integers(2**31))
        chosen = places[group::groups]
        images = values.unit(scan.data.movedim(axis, 0)[chosen].float())
        facts = {**scan.facts, "plane": scan.planes[axis], "spacing_mm": within}
        if scan.is_mr and not scan.held_back:
            images, changed = augmentation.with_other_contrast(images, config.augmentation, generator)
            if changed:
                facts.pop("contrast", None)
            if generator.uniform() < config.augmentation.bias:
                images = augmentation.with_bias_field(images, generator)
        images = values.model(images)
        apart = (chosen[-1] - chosen[0]) / (len(chosen) - 1) if len(chosen) > 1 else 1.0
        grid = Grid.isotropic(images.shape, (apart * scan.spacing[axis], *(scan.spacing[a] for a in rest)))
        start, truth = start_and_truth(host, replace(recipe, run={"seed": seed}), model, _physical(images, grid, model))
        weight = scan.weight * len(chosen) / many
        yield Pairs(start.half(), truth.half(), facts, scan.is_mr, weight, scan.held_back)


def _physical(images: Tensor, grid: Grid, model: PriorModel) -> Volume:
    """Model values as a scan of the card's quantity; where that has no unit, one is as good as another."""
    card = model.card
    scale, offset = card.intensity.affine(1.0)
    return Volume((images - offset) / scale, grid, card.quantity, card.modality)


def start_and_truth(host: Host, recipe: Recipe, model: PriorModel, volume: Volume) -> tuple[Tensor, Tensor]:
    """Start image and truth (z, y, x) as the network of the model sees them."""
    acquisition = measure(host, recipe, volume, Teller())
    posed = pose(host, recipe, acquisition, case_hash(volume), model.device)
    start = start_image(host, recipe, posed)
    plan = Plan(volume.grid, False, AffineMap.identity(model.card.quantity), ())
    chosen = ChosenPrior(Path(), model.card, PriorSection(), {}, plan)
    # Nobody asks of this prior what the solver of the recipe may need.
    entry = replace(posed.solver_entry, needs=())
    problem = problem_of(replace(posed, prior=LoadedPrior(chosen, model, volume.grid), solver_entry=entry), start)
    prior = problem.prior
    seen = prior.inward(problem.start) if isinstance(prior, ImageEdge) else problem.start
    truth = volume.data
    if volume.quantity != acquisition.quantity:
        truth = acquisition.output.inverse(truth)
    intensity = problem.record["intensity"]
    return seen[0].cpu(), intensity["scale"] * truth + intensity["offset"]


def measuring(recipe: Recipe) -> Recipe:
    """A recipe as far as its start image; what follows takes no part in the training."""
    name = {"name": recipe.start["solver"]} if recipe.start else dict(recipe.classical or recipe.solver)
    return replace(recipe, solver=name, prior={}, classical={}, coherence={}, outputs={})


class PairSampler(Sampler):
    """Draws patches of start images with their truths: (2, y, x), mirrored, and of MR brighter or darker together.

    Args:
        pairs: of one side, trained on or held back.
        config: of the run.
        conditioning: what the network can be told.
        augment: False for the held-back side.
    """

    def __init__(
        self, pairs: Sequence[Pairs], config: TrainConfig, conditioning: Conditioning, *, augment: bool
    ) -> None:
        super().__init__(pairs, config, conditioning, augment=augment)
        self.pairs = list(pairs)

    def one(self, step: int, item: int, size: int) -> tuple[Tensor, Mapping[str, Value]]:
        """See :class:`Sampler`; the channels are start and truth."""
        generator = self._noise.stream("pair", step=step, sample=item)
        pairs = self.pairs[self.drawn_source(generator)]
        values = range_of(self.config, is_mr=pairs.is_mr)
        patch = _filled_patch(pairs, values, size, generator)
        if not self.augment:
            return patch, self.known(pairs.facts)
        patch = patch.flip([axis for axis in (1, 2) if generator.uniform() < 0.5])
        change = self.config.augmentation
        if pairs.is_mr and generator.uniform() < change.gain:
            gain = math.exp(generator.uniform(-1, 1) * math.log(change.gain_range))
            patch = values.model(gain * values.unit(patch))
        return patch, self.told(pairs.facts, generator)


def _filled_patch(pairs: Pairs, values: UnitRange, size: int, generator: np.random.Generator) -> Tensor:
    """(2, size, size) from a random place, tried again while the truth holds little but air."""
    best, most = torch.zeros(0), -1.0
    for _ in range(TRIES):
        number = int(generator.integers(len(pairs.truth)))
        top, left = (int(generator.integers(0, max(1, n - size + 1))) for n in pairs.truth.shape[1:])
        window = (number, slice(top, top + size), slice(left, left + size))
        patch = torch.stack((pairs.start[window], pairs.truth[window])).float()
        filled = float((values.unit(patch[1]) > ABOVE).float().mean())
        if filled > most:
            best, most = patch, filled
        if filled > FILLED:
            break
    return padded(best, (2, size, size))
