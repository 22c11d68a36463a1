"""The prior card: all that a user, a scan and a solver must know of a prior before its weights are touched."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Contrast = str
Plane = Literal["axial", "coronal", "sagittal"]
# What the grid of a scan tells networks that understand it, see medldm.priors.told.
GRID_FACTS = ("plane", "spacing_mm", "slice_spacing_mm", "spacing_x_mm", "spacing_y_mm", "spacing_z_mm")


@dataclass(frozen=True)
class Intensity:
    """How physical values become model values: ``low`` becomes ``to[0]`` and ``high`` becomes ``to[1]``, affinely.

    Attributes:
        rule: ``window``, fixed values ``low`` and ``high`` in the card's quantity; or ``percentile``, low is 0 and
            high is that percentile of the start image (MR has no unit). Values beyond map beyond; nothing is clipped.
        low: of the window.
        high: of the window.
        percentile: of the start image's values above zero.
        to: model values of ``low`` and ``high``; ``(-1, 1)`` is the convention of diffusers.
    """

    rule: Literal["window", "percentile"]
    low: float = 0.0
    high: float = 1.0
    percentile: float = 99.9
    to: tuple[float, float] = (0.0, 1.0)

    @property
    def zero(self) -> float:
        """The model value of zero."""
        return self.affine()[1] if self.rule == "window" else self.to[0]

    def affine(self, scan_high: float | None = None) -> tuple[float, float]:
        """(scale, offset) of ``model = scale * value + offset``.

        Args:
            scan_high: by the rule ``percentile``, that percentile of the start image; it stands for ``high``.
        """
        low, high = (self.low, self.high) if self.rule == "window" else (0.0, scan_high)
        if high is None or not high > low:
            raise ValueError(f"values from {low} to {high} have no scale")
        scale = (self.to[1] - self.to[0]) / (high - low)
        return scale, self.to[0] - scale * low


@dataclass(frozen=True)
class Range:
    """From ``low`` to ``high``, both included."""

    low: float
    high: float


@dataclass(frozen=True)
class Size:
    """What sizes the networks take.

    Attributes:
        multiple: each axis is padded to a multiple of it.
        at_least: each axis is padded to it.
        at_most: larger images are tiled; None where any size is taken.
    """

    multiple: int = 1
    at_least: int = 1
    at_most: int | None = None


@dataclass(frozen=True)
class Prediction:
    """The row of the parametrization table, and its numbers.

    Attributes:
        kind: ``epsilon``, ``v``, ``x0`` (all three with ``alpha_bars``), ``flow`` or ``edm``; or ``regression``, a
            network without noise levels that turns a start image into the image.
        sigma_data: ``edm`` and ``regression`` only.
        alpha_bars: cumulative products of the discrete schedule, decreasing in (0, 1), first level first.
        levels: ``flow`` only, what the network is told of time 1.
    """

    kind: Literal["epsilon", "v", "x0", "flow", "edm", "regression"]
    sigma_data: float = 0.5
    alpha_bars: tuple[float, ...] = ()
    levels: float = 1.0


@dataclass(frozen=True)
class Regression:
    """The measurement whose start image a network of the kind ``regression`` was trained on; of no other is it of use.

    Attributes:
        recipe: that it was simulated by.
        physics: registered name.
        options: of the physics.
        start: ``solver`` and its options; empty for the start image of the physics.
    """

    recipe: str
    physics: str
    options: Mapping[str, Any] = field(default_factory=dict)
    start: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Latent:
    """The latent space of a latent prior, measured on images that the autoencoder was not trained on.

    Attributes:
        scale: latent state = scale * mean of the encoder.
        shift: subtracted from the mean before scaling.
        gain: ``g``, how much a unit change of the latent state changes the image, root mean square.
        error: ``r``, root mean square of ``decode(encode(x)) - x`` in model units.
    """

    scale: float
    shift: float = 0.0
    gain: float = 1.0
    error: float = 0.0


@dataclass(frozen=True)
class Weights:
    """One file of weights.

    Attributes:
        file: relative to the card's folder; a sibling folder is reached by ``../name/file``, nothing further up.
        sha256: of the file.
    """

    file: str
    sha256: str


@dataclass(frozen=True)
class Facts:
    """What the networks can be told, see :class:`medldm.inference.Conditioning`.

    Attributes:
        classes: name -> possible values.
        numbers: name -> [centre, scale].
        fixed: what this card always tells, e.g. ``{modality: ct}``.
    """

    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    numbers: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    fixed: Mapping[str, str | float] = field(default_factory=dict)


@dataclass(frozen=True)
class DataSource:
    """One set of training scans.

    Attributes:
        name: what, how many subjects.
        licence: SPDX name or the publisher's words.
        attribution: whom to cite.
    """

    name: str
    licence: str
    attribution: str


@dataclass(frozen=True)
class Training:
    """How the weights came about.

    Attributes:
        data: what they were trained on.
        commands: to make them again, in order.
        config: the resolved configuration.
        figures: steps, seconds, device, final losses.
    """

    data: tuple[DataSource, ...] = ()
    commands: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PriorCard:
    """The content of ``card.yaml``.

    Attributes:
        card: version of this form, 1.
        name: as recipes call it, kebab case.
        family: registered name of the family that knows the networks.
        summary: one sentence.
        modality: of the scans it was made for.
        quantity: of the values that ``intensity`` maps: ``HU``, ``1/mm`` or ``arbitrary``.
        intensity: physical to model values.
        anatomy: words for people, e.g. ``head``.
        dimensions: 2 for a prior of slices, 3 for one of volumes.
        slab: how many neighbouring slices a slice network takes as channels; 1 for one.
        complex: how the prior takes complex images: ``phase-frozen`` (a network of magnitudes), ``channels`` (a network
            of real and imaginary part).
        planes: which planes of the body a slice prior was trained on.
        spacing_mm: of samples within a slice (2-D) or along all axes (3-D).
        slice_spacing_mm: distance of slices that a slab or volume prior was trained on; None where it does not matter.
        size: what sizes the networks take.
        mirrored: the networks learnt from images mirrored along every axis too, so that they may be shown them so.
        cube: largest ratio of the edges of a voxel at which slice networks learnt slices of all ``planes``, not only
            of the scan's own, so that they may be shown others at every noise level; None where they did not.
        sigma: noise levels of use, model units (for a latent prior: of the latent state); None for a regression.
        prediction: the parametrization.
        regression: the measurement that a regression is for; None for all other kinds.
        facts: what the networks can be told.
        latent: of a latent prior; None for a pixel prior.
        networks: ``denoiser`` and, for latents, ``autoencoder`` -> options that the family builds them from.
        weights: the same names -> file.
        training: how the weights came about.
        licence: of the weights.
        intended_use: in words; research only.
        quality: measured figures, each with what it was measured on.
    """

    name: str
    family: str
    summary: str
    modality: Literal["CT", "MR", "OT"]
    quantity: Literal["HU", "1/mm", "arbitrary"]
    intensity: Intensity
    dimensions: Literal[2, 3]
    spacing_mm: Range
    prediction: Prediction
    networks: Mapping[str, Mapping[str, Any]]
    weights: Mapping[str, Weights]
    licence: str
    card: Literal[1] = 1
    sigma: Range | None = None
    regression: Regression | None = None
    anatomy: str = ""
    slab: int = 1
    complex: Literal["phase-frozen", "channels"] = "phase-frozen"
    planes: tuple[Plane, ...] = ("axial",)
    slice_spacing_mm: Range | None = None
    size: Size = field(default_factory=Size)
    mirrored: bool = False
    cube: float | None = None
    facts: Facts = field(default_factory=Facts)
    latent: Latent | None = None
    training: Training = field(default_factory=Training)
    intended_use: str = "Research use only. Not a medical device."
    quality: Mapping[str, Any] = field(default_factory=dict)

    @property
    def weights_hash(self) -> str:
        """One sha256 for all its weights."""
        lines = (f"{role} {weights.sha256}\n" for role, weights in sorted(self.weights.items()))
        return hashlib.sha256("".join(lines).encode()).hexdigest()
