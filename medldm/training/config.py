"""The configuration of a training run; every field is an option of the YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from medldm.priors.card import Intensity, PriorCard

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
# Of a change that goes both ways: as much as this, and as little as its inverse.
Factor = Annotated[float, Field(ge=1, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Moment = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class ScanRule:
    """Which scans are what. The first rule that matches a scan counts; a scan that none matches is refused.

    Attributes:
        match: glob on the path of the scan below the data folder.
        modality: of the scans, which those whose format says so are held to.
        facts: what the network is told of them.
        weight: how often they are drawn, per scan, against the others.
        subject: regular expression on the path; its first group names the subject, so that held-back subjects are
            held back whole. Where it is empty, or names none, the part ``sub-...`` of a path (BIDS), else the name of
            the file without its ending, or of the folder.
    """

    match: str
    modality: Literal["CT", "MR"]
    facts: Mapping[str, str | float] = field(default_factory=dict)
    weight: Positive = 1.0
    subject: str = ""


@dataclass(frozen=True)
class DataOptions:
    """The scans and their intensities.

    Attributes:
        rules: in order.
        intensity: modality -> physical to model values; the same as in the card.
        held_back: globs on subjects that are never trained on; they tell when it has learnt enough.
        held_back_share: of the subjects, held back besides: at least one, chosen by their names and nothing else.
        leave_out: globs on paths below the data folder that are not read at all.
        generic: share of computed images without anatomy, so that the denoiser stays a good one beyond its experience.
    """

    rules: tuple[ScanRule, ...]
    intensity: Mapping[Literal["CT", "MR"], Intensity]
    held_back: tuple[str, ...] = ()
    held_back_share: Probability = 0.0
    leave_out: tuple[str, ...] = ()
    generic: Probability = 0.1


@dataclass(frozen=True)
class PatchShape:
    """One size of training patches.

    Attributes:
        size: samples along each axis.
        batch: patches in a step.
        share: of the steps, against the other shapes.
    """

    size: Count
    batch: Count
    share: Positive = 1.0


@dataclass(frozen=True)
class PatchOptions:
    """What is cut from the scans.

    Attributes:
        dimensions: 2 for slices and slabs, 3 for volumes.
        shapes: of the patches.
        slab: neighbouring slices as channels, 1 for one.
        planes: plane -> share of the patches; planes other than the scan's own only where the voxels are nearly cubes.
        cube: largest ratio of spacings that counts as nearly a cube.
        keep: probability that each fact is told, so that the network learns to do without.
        told: probability that anything is told at all.
    """

    dimensions: Literal[2, 3] = 2
    shapes: Annotated[tuple[PatchShape, ...], Field(min_length=1)] = (PatchShape(96, 12),)
    slab: Count = 1
    planes: Mapping[Literal["axial", "coronal", "sagittal"], Share] = field(default_factory=lambda: {"axial": 1.0})
    cube: Positive = 1.6
    keep: Probability = 0.8
    told: Probability = 0.9


@dataclass(frozen=True)
class AugmentationOptions:
    """Probability of each change of a patch, and how strong it is. Mirrored always at random.

    Attributes:
        turn: by 90 degrees.
        resample: rotated by up to ``degrees`` and scaled by up to ``zoom``.
        degrees: largest rotation.
        zoom: largest scale factor, and smallest its inverse.
        blur: by a Gaussian of up to one and a half samples.
        gain: brighter or darker by up to ``gain_range``.
        gain_range: largest factor.
        gamma: a power between 0.6 and 1.6 (MR).
        curve: a random smooth curve of intensities, so that tissues change places (MR).
        invert: bright becomes dark within the object (MR).
        bias: a smooth sensitivity (MR).
        rim: a bright rim around a brain-extracted head, as a scalp is (MR).
        background: noise where there is no signal (MR).
    """

    turn: Probability = 0.1
    resample: Probability = 0.3
    degrees: Annotated[float, Field(ge=0, le=180)] = 15.0
    zoom: Factor = 1.4
    blur: Probability = 0.1
    gain: Probability = 0.5
    gain_range: Factor = 1.35
    gamma: Probability = 0.3
    curve: Probability = 0.15
    invert: Probability = 0.05
    bias: Probability = 0.25
    rim: Probability = 0.1
    background: Probability = 0.15


@dataclass(frozen=True)
class PairOptions:
    """The simulated measurements that a regressor learns from.

    Attributes:
        slices: of each scan, evenly spread; all of one that has fewer.
        together: of them in one measurement, which share its mask and noise level. The measurements of a scan differ.
    """

    slices: Count = 24
    together: Count = 4


@dataclass(frozen=True)
class ObjectiveOptions:
    """The noise levels of training and the weight of each.

    Attributes:
        mean: of the logarithm of sigma (Karras et al. 2022, table 1).
        std: of the logarithm of sigma.
        weighting: ``edm`` (ibid.) or ``min-snr`` (Hang et al. 2023).
        gamma: of ``min-snr``.
    """

    mean: float = -1.8
    std: Positive = 1.4
    weighting: Literal["edm", "min-snr"] = "edm"
    gamma: Positive = 5.0


@dataclass(frozen=True)
class OptimiserOptions:
    """AdamW (Loshchilov and Hutter 2019) and the average of the weights.

    Attributes:
        rate: learning rate after the warm-up.
        warm_up: steps.
        betas: of the two moments.
        decay: of the weights.
        clip: largest norm of the gradient.
        average: half-life of the exponential moving average of the weights, in steps.
    """

    rate: Positive = 5e-4
    warm_up: Annotated[int, Field(ge=0)] = 200
    betas: tuple[Moment, Moment] = (0.9, 0.99)
    decay: Annotated[float, Field(ge=0)] = 1e-2
    clip: Positive = 1.0
    average: Positive = 300.0


@dataclass(frozen=True)
class RunOptions:
    """How long, and what is looked at on the way. These alone may change when a run is resumed.

    Attributes:
        steps: in all.
        cool_down: share of the steps, at the end, over which the rate falls to zero.
        check_every: steps between looks at the held-back subjects, each with a sheet of pictures.
        patience: looks without a gain after which the training ends.
        check_patches: held-back patches per look; two or more, whose difference after denoising the card states.
        save_every: seconds between saves of the state.
        precision: ``bf16`` or ``no``.
        compile: the network by ``torch.compile``.
        workers: processes that draw patches; 0 draws them in between.
    """

    steps: Count = 10000
    cool_down: Probability = 0.25
    check_every: Count = 500
    patience: Count = 20
    check_patches: Annotated[int, Field(ge=2)] = 48
    save_every: Positive = 120.0
    precision: Literal["bf16", "no"] = "bf16"
    compile: bool = False
    workers: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class AutoencoderObjective:
    """The loss of an autoencoder.

    Attributes:
        gradient: weight of the difference of gradients, L1.
        structure: weight of 1 - SSIM over 7 x 7 windows.
        divergence: weight of the Kullback-Leibler divergence from the standard normal, per latent sample.
        adversary: weight of a patch discriminator; 0 for none.
        adversary_from: step at which it joins.
    """

    gradient: float = 0.5
    structure: float = 0.1
    divergence: float = 1e-6
    adversary: float = 0.0
    adversary_from: int = 2000


@dataclass(frozen=True)
class TrainConfig:
    """One file of ``configs/train/``.

    Attributes:
        card: what comes of it. The options of the networks stand in ``networks``; weights, latent figures and training
            are filled in.
        also: further cards of the same weights, each the fields in which it differs from ``card``.
        data: the scans.
        patches: what is cut from them.
        augmentation: how patches are changed; of a regressor the scans before they are measured.
        pairs: of a regressor.
        objective: of a denoiser.
        reconstruction: objective of an autoencoder.
        optimiser: how it learns.
        run: how long.
        seed: of all randomness.
        autoencoder: for a latent denoiser, the folder of the autoencoder (``medldm train autoencoder`` made it).
        begin_at: name or folder of a prior whose weights the training begins at; random ones where it is empty.
    """

    card: PriorCard
    data: DataOptions
    also: tuple[Mapping[str, Any], ...] = ()
    patches: PatchOptions = field(default_factory=PatchOptions)
    augmentation: AugmentationOptions = field(default_factory=AugmentationOptions)
    pairs: PairOptions = field(default_factory=PairOptions)
    objective: ObjectiveOptions = field(default_factory=ObjectiveOptions)
    reconstruction: AutoencoderObjective = field(default_factory=AutoencoderObjective)
    optimiser: OptimiserOptions = field(default_factory=OptimiserOptions)
    run: RunOptions = field(default_factory=RunOptions)
    seed: int = 0
    autoencoder: str = ""
    begin_at: str = ""

    def plain(self) -> dict[str, Any]:
        """As nested dictionaries, lists and numbers."""
        import pydantic

        plain: dict[str, Any] = pydantic.TypeAdapter(TrainConfig).dump_python(self, mode="json")
        return plain
