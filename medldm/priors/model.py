"""A loaded prior, and how it is bound to a scan's grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor

from medldm.data import Grid
from medldm.inference.alternating import AlternatingPlanes
from medldm.inference.complex_image import ComplexAsChannels, PhaseFrozen
from medldm.inference.conditioning import Value
from medldm.inference.denoiser import Denoiser
from medldm.inference.latent_prior import LatentPrior
from medldm.inference.mirrored import Mirrored
from medldm.inference.pixel_prior import PixelPrior
from medldm.inference.prior import BoundPrior
from medldm.inference.slab import slabwise
from medldm.inference.slicewise import SLICES_ON_CPU, slices_within
from medldm.inference.turned import Turned, stacked_along
from medldm.priors.card import PriorCard
from medldm.priors.family import Networks
from medldm.priors.fit import Use
from medldm.priors.planes import pose_of
from medldm.priors.prediction import parametrization_of
from medldm.priors.stacks import PlaneChoice, stack_axes
from medldm.priors.told import conditioning_of, facts_told
from medldm.priors.use import check_image, check_use, require_networks


class PriorModel:
    """A prior card and its networks. The networks are taken over: set to evaluation, their weights without gradient.

    Gradients with respect to an image still flow through them where a solver asks.

    Args:
        card: what stands in the prior's folder.
        networks: a denoiser, and an autoencoder if the card has a latent.

    Raises:
        ComponentMissing: ``E-PRM-01``, ``E-PRM-02`` the card's schedule or noise levels are impossible, ``E-PRM-03`` a
            network is missing or one too many, ``E-PRM-04`` a slab of latents.
    """

    def __init__(self, card: PriorCard, networks: Networks) -> None:
        denoiser = require_networks(card, networks)
        for module in networks.named().values():
            module.eval().requires_grad_(False)
        self.card = card
        self.networks = networks
        bars = dict(denoiser.named_buffers()).get("alpha_bars")
        self.denoiser = Denoiser(denoiser, parametrization_of(card.prediction, card.sigma, bars))

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(iter(self.denoiser.parameters()), torch.empty(0)).device

    def to(self, device: torch.device | str) -> Self:
        """Move the networks. Priors that are bound already share them, and move as a whole by their own ``to``."""
        for module in self.networks.named().values():
            module.to(device)
        return self

    def channels_last(self) -> Self:
        """Lay the weights out with the channels last, which convolutions on recent GPUs and CPUs prefer."""
        layout = torch.channels_last if self.card.dimensions == 2 else torch.channels_last_3d
        for module in self.networks.named().values():
            # Layouts are for weights of one rank; those of other ranks are left as they are.
            for parameter in module.parameters():
                if parameter.ndim == self.card.dimensions + 2:
                    parameter.data = parameter.data.contiguous(memory_format=layout)
        return self

    def compile(self, *, backend: str = "inductor", mode: str | None = None) -> Self:
        """Compile the denoiser with ``torch.compile`` at its first use, once per shape.

        Pays on a GPU over many steps; the first step takes a minute.

        Args:
            backend: of ``torch.compile``.
            mode: of ``torch.compile``.
        """
        self.denoiser.network.compile(backend=backend, mode=mode)
        return self

    def told(
        self, grid: Grid, facts: Mapping[str, Value] | None = None, plane: PlaneChoice | None = None
    ) -> dict[str, Value]:
        """What the networks are told: what the card always tells, what is given, and what the grid knows.

        The grid tells ``plane`` and spacings, see :func:`medldm.priors.told.facts_told`, where the network understands
        them and ``facts`` do not mention them. A fact given as None is left unknown.

        Args:
            grid: of the image.
            facts: given.
            plane: of the slices that the network sees; None for those across z. Where it alternates, that of the
                first is told.

        Raises:
            UsageError: ``E-PRM-05`` a fact or value is not known to the network, ``E-PRM-06`` one contradicts the card.
        """
        return facts_told(self.card, grid, facts or {}, stack_axes(self.card, grid, plane)[0])

    def mirrors(self, wanted: bool | None = None) -> bool:
        """Whether its networks are shown images mirrored at random; None asks the card, and codes never are."""
        return self.card.mirrored and self.card.latent is None if wanted is None else wanted

    def on(
        self,
        grid: Grid,
        *,
        dtype: torch.dtype = torch.float32,
        phase: Tensor | None = None,
        facts: Mapping[str, Value] | None = None,
        use: Use | None = None,
        plane: PlaneChoice | None = None,
        slices_at_once: int | None = None,
        memory: int | None = None,
        tile: int | None = None,
        recompute: bool = False,
        seed: int = 0,
        quadrature: float = 0.0,
        mirror: bool | None = None,
        device: torch.device | str | None = None,
    ) -> BoundPrior:
        """Bind the prior to a volume (z, y, x); images and states are in the card's model units.

        Networks of volumes see them with z up (S), y to the back (P) and x to the patient's left (L): a scan that lies
        otherwise is turned to the nearest of these directions and back, by its grid. So does the state of a latent
        prior of volumes lie, whatever the scan; that of a pixel prior lies as the scan does.

        Args:
            grid: of the image.
            dtype: of the image. Complex images need a ``phase``, or networks of real and imaginary part.
            phase: (z, y, x) unit complex numbers, for a complex image and networks of magnitudes.
            facts: what the networks are told besides, see :meth:`told`.
            use: ``slicewise`` or ``slab`` (single slices where the network takes no more) for networks of slices,
                ``volume`` for those of volumes; None takes what the networks are.
            plane: of the slices that a network of slices sees, or ``alternating``; None takes those across z, or of all
                planes by turns where the card says so, see :func:`medldm.priors.stacks.stack_axes`.
            slices_at_once: how many slices the networks see at a time; None asks ``memory``.
            memory: bytes for the networks' activations; None takes half of a GPU's free memory, and few slices on a
                CPU.
            tile: largest size, in image samples, that an autoencoder takes as a whole.
            recompute: see :class:`medldm.inference.SlicewisePrior`.
            seed: of the offsets of slabs, and of mirrorings.
            quadrature: how far images leave their ``phase``, see :class:`medldm.inference.PhaseFrozen`.
            mirror: show the networks images mirrored at random, see :class:`medldm.inference.Mirrored`; None does what
                the card says they learnt.
            device: to move the networks to; None leaves them.

        Returns:
            A module that is a :class:`medldm.inference.BoundPrior`; its tensors are on the networks' device.

        Raises:
            UsageError: ``E-PRM-05`` to ``E-PRM-09``: facts, phase, use or plane do not go with the prior.
        """
        check_use(self.card, use)
        check_image(self.card, dtype, phase)
        if device is not None:
            self.to(device)
        if self.card.dimensions == 2 and self.device.type == "cpu":
            # A tenth less time for slices of 160 x 160, measured on one core for the slice networks that ship.
            self.channels_last()
        planes: list[BoundPrior] = []
        for stack in stack_axes(self.card, grid, plane):
            told = facts_told(self.card, grid, facts or {}, stack)
            condition = conditioning_of(self.card).vector(told).to(self.device)
            if self.card.dimensions == 3:
                bound, mirrored = self._of_volumes(grid, condition, tile), [-3, -2, -1]
            else:
                bound = self._of_slices(
                    grid, stack, condition, tile, at_once=slices_at_once, memory=memory, seed=seed, recompute=recompute
                )
                mirrored = [axis for axis in (-3, -2, -1) if axis != stack - 3]
            planes.append(Mirrored(bound, mirrored, seed=seed) if self.mirrors(mirror) else bound)
        bound = planes[0] if len(planes) == 1 else AlternatingPlanes(planes, seed=seed)
        if phase is not None:
            edge = PhaseFrozen(bound, phase, zero=self.card.intensity.zero, quadrature=quadrature)
            bound = edge.to(self.device)
        return bound

    def _of_volumes(self, grid: Grid, condition: Tensor, tile: int | None) -> BoundPrior:
        """Networks of volumes, which see them upright."""
        pose = pose_of(grid)
        z, y, x = (grid.shape[axis] for axis in pose.order)
        bound = self._network_prior((z, y, x), condition, tile)
        return bound if pose.canonical else Turned(bound, pose.order, pose.mirrored)

    def _of_slices(
        self,
        grid: Grid,
        stack: int,
        condition: Tensor,
        tile: int | None,
        *,
        at_once: int | None,
        memory: int | None,
        seed: int,
        recompute: bool,
    ) -> BoundPrior:
        """Networks of slices or slabs, over those that lie across an axis of the grid."""
        seen, slices = tuple(n for axis, n in enumerate(grid.shape) if axis != stack), grid.shape[stack]
        inner = self._network_prior(seen, condition, tile)
        at_once = at_once or self._slices_at_once(inner, slices, memory)
        bound = slabwise(inner, slices, slices_at_once=at_once, seed=seed, recompute=recompute)
        return bound if stack == 0 else Turned(bound, stacked_along(stack))

    def _network_prior(self, shape: tuple[int, ...], condition: Tensor, tile: int | None) -> BoundPrior:
        """The prior of what the networks see: a slice, a slab or a volume."""
        card, size = self.card, self.card.size
        parts = 2 if card.complex == "channels" else 1
        inner: BoundPrior
        if card.latent is None or self.networks.autoencoder is None:
            inner = PixelPrior(
                self.denoiser,
                shape,
                channels=card.slab * parts,
                condition=condition,
                multiple=size.multiple,
                at_least=size.at_least,
                at_most=size.at_most,
            )
        else:
            latent = card.latent
            inner = LatentPrior(
                self.denoiser,
                self.networks.autoencoder,
                shape,
                image_channels=parts,
                scale=latent.scale,
                shift=latent.shift,
                gain=latent.gain,
                error=latent.error,
                condition=condition,
                multiple=size.multiple,
                at_least=size.at_least,
                at_most=size.at_most,
                tile=tile,
            )
        return ComplexAsChannels(inner) if parts == 2 else inner

    def _slices_at_once(self, inner: BoundPrior, slices: int, memory: int | None) -> int:
        device = self.device
        if memory is None and device.type == "cuda":
            memory = torch.cuda.mem_get_info(device)[0] // 2
        if memory is None:
            return SLICES_ON_CPU * self.card.slab
        return slices_within(memory, inner, slices, device) * self.card.slab
