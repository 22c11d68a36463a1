"""A chosen prior with its weights: how the operator looks from its grid, and the prior bound to a problem."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from medldm.data import Grid
from medldm.errors import ComponentMissing
from medldm.host import Host
from medldm.inference import BoundPrior, HasObjectPhase, Physics
from medldm.inference.conditioning import Value
from medldm.operators import LinearOperator, NearlyShiftInvariant, Resample, ShiftInvariantComposition
from medldm.pipeline.chosen_prior import ChosenPrior
from medldm.priors.card import Plane
from medldm.priors.family import PriorFamily
from medldm.priors.model import PriorModel
from medldm.priors.planes import planes_of
from medldm.priors.stacks import stack_axes

# The prior that each host loaded last.
_LOADED: WeakKeyDictionary[Host, dict[tuple[Path, str, torch.device], PriorModel]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class LoadedPrior:
    """A prior whose weights are verified and on their device.

    Attributes:
        chosen: what the card says.
        model: the networks.
        native: grid of the measurement's image.
    """

    chosen: ChosenPrior
    model: PriorModel
    native: Grid

    def with_room(self, quadrature: float) -> LoadedPrior:
        """The same prior, of complex images that may leave the phase by so much; see :class:`PriorSection`."""
        section = replace(self.chosen.section, quadrature=quadrature)
        return replace(self, chosen=replace(self.chosen, section=section))

    @property
    def grid(self) -> Grid:
        """Of the image that the prior and its solver work on."""
        return self.chosen.plan.grid

    @property
    def resamples(self) -> bool:
        """Whether that is another grid than the scan's."""
        return self.chosen.plan.resample

    def seen_from_here(self, operator: LinearOperator) -> LinearOperator:
        """``A R`` with ``R`` from the prior's grid to the scan's, which is that of ``A``; ``A`` where they are one."""
        if not self.resamples:
            return operator
        resample = self.to_scan(operator.domain.dtype).to(_device(operator))
        alike = isinstance(operator, NearlyShiftInvariant)
        composed = ShiftInvariantComposition(operator, resample) if alike else operator @ resample
        composed.domain = replace(composed.domain, spacing=self.grid.spacing)
        return composed

    def to_scan(self, dtype: torch.dtype) -> LinearOperator:
        """``R``: an image on the prior's grid brought onto the scan's."""
        # Clamped at the border, so that a constant stays one and an offset of the intensity may be taken off before.
        return Resample(self.grid, self.native, dtype=dtype, border="clamp")

    def from_scan(self, image: Tensor) -> Tensor:
        """An image (z, y, x) of the scan's grid brought onto the prior's."""
        if not self.resamples:
            return image
        back = Resample(self.native, self.grid, dtype=image.dtype, border="clamp").to(image.device)
        return back(image)

    def require_phase(self, physics: Physics, operator: LinearOperator) -> None:
        """Refuse an operator of complex images whose phase a prior of magnitudes cannot get, and the reverse.

        Raises:
            ComponentMissing: E-RUN-14.
        """
        card, is_complex = self.chosen.card, operator.domain.is_complex
        if is_complex and card.complex == "phase-frozen" and not isinstance(physics, HasObjectPhase):
            raise ComponentMissing(
                "E-RUN-14",
                f"The prior {card.name!r} knows magnitudes, and the images of {operator.name} are complex.",
                why="The physics cannot tell their phase, which it would need to be frozen.",
                fix="Choose a prior of complex images (complex: channels in its card).",
            )
        if not is_complex and card.complex == "channels":
            raise ComponentMissing(
                "E-RUN-14",
                f"The prior {card.name!r} knows complex images, and those of {operator.name} are real.",
                fix="Choose a prior of magnitudes (complex: phase-frozen in its card).",
            )

    def told(self) -> dict[str, Value]:
        """All that the networks are told: by card, recipe, scan and grid. What is missing is unknown to them."""
        return self.model.told(self.grid, self.chosen.facts, self.chosen.section.plane)

    @property
    def stacks(self) -> tuple[int, ...]:
        """The axes of its grid across which the slices lie that it sees by turns; one, mostly."""
        return stack_axes(self.chosen.card, self.grid, self.chosen.section.plane)

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The planes of those slices."""
        return tuple(planes_of(self.grid)[axis] for axis in self.stacks)

    @property
    def mirrors(self) -> bool:
        """Whether the networks see images mirrored at random."""
        return self.model.mirrors(self.chosen.section.mirror)

    def bound(self, like: Tensor, phase: Tensor | None, seed: int) -> BoundPrior:
        """The prior on its grid.

        Args:
            like: an image, for dtype and device.
            phase: of complex images of a prior of magnitudes, on the prior's grid.
            seed: of what the prior draws (mirrorings, offsets of slabs).
        """
        section = self.chosen.section
        return self.model.on(
            self.grid,
            dtype=like.dtype,
            phase=phase,
            facts=self.chosen.facts,
            use=section.use,
            plane=section.plane,
            slices_at_once=section.slices_at_once,
            seed=seed,
            quadrature=section.quadrature or 0.0,
            mirror=section.mirror,
            device=like.device,
        )


def load_prior(host: Host, chosen: ChosenPrior | None, native: Grid, device: torch.device) -> LoadedPrior | None:
    """Load the weights of a prior; None where there is none.

    Raises:
        ComponentMissing: ``E-PRI-..`` the weights are missing, damaged or not those of the card.
    """
    if chosen is None:
        return None
    # Scan after scan of a batch uses the same prior: its weights are read and verified once.
    kept = _LOADED.setdefault(host, {})
    key = (chosen.folder.resolve(), chosen.weights_hash, device)
    if key not in kept:
        family = cast(PriorFamily, host.build("priors", chosen.card.family, {}, where="prior"))
        kept.clear()
        kept[key] = family.load(chosen.folder).to(device)
    return LoadedPrior(chosen, kept[key], native)


def _device(operator: LinearOperator) -> torch.device:
    tensors = [*operator.buffers(), *operator.parameters()]
    return tensors[0].device if tensors else torch.device("cpu")
