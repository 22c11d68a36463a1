"""Ways of using a prior that its card rules out, refused in a sentence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medldm.errors import ComponentMissing, UsageError
from medldm.priors.card import PriorCard
from medldm.priors.family import Networks
from medldm.priors.fit import Use, uses_of


def require_networks(card: PriorCard, networks: Networks) -> nn.Module:
    """The denoiser, when card and networks go together.

    Raises:
        ComponentMissing: ``E-PRM-03`` a network is missing or one too many, ``E-PRM-04`` a slab of latents or volumes.
    """
    if networks.denoiser is None or (networks.autoencoder is None) != (card.latent is None):
        raise ComponentMissing(
            "E-PRM-03",
            f"The prior {card.name!r} has the networks {', '.join(networks.named()) or 'none'}, and its card "
            + ("has no 'latent'." if card.latent is None else "describes a latent."),
            why="A pixel prior is a denoiser; a latent prior is a denoiser, an autoencoder and 'latent' in the card.",
            fix="Correct the card, or use the folder that it belongs to.",
        )
    if card.slab > 1 and (card.latent is not None or card.dimensions != 2):
        raise ComponentMissing(
            "E-PRM-04",
            f"The prior {card.name!r} takes slabs of {'latents' if card.latent else 'volumes'}.",
            why="Only slabs of slices of pixels are supported.",
            fix="Choose another prior.",
        )
    return networks.denoiser


def check_use(card: PriorCard, use: Use | None) -> None:
    """Refuse networks of slices as ones of volumes, and the like.

    Raises:
        UsageError: ``E-PRM-08``.
    """
    possible = uses_of(card)
    if use is not None and use not in possible:
        raise UsageError(
            "E-PRM-08",
            f"The prior {card.name!r} cannot be used as {use!r}.",
            why=f"Its networks have {card.dimensions} dimensions and take {card.slab} slices.",
            fix=f"Use it as {possible[0]!r}.",
        )


def check_image(card: PriorCard, dtype: torch.dtype, phase: Tensor | None) -> None:
    """Refuse complex images without a phase for networks of magnitudes, and the like.

    Raises:
        UsageError: ``E-PRM-07``.
    """
    knows = "magnitudes" if card.complex == "phase-frozen" else "real and imaginary part"
    needs_phase = dtype.is_complex and card.complex == "phase-frozen"
    if (phase is None) == needs_phase:
        raise UsageError(
            "E-PRM-07",
            f"The prior {card.name!r} knows {knows}, the image is {'complex' if dtype.is_complex else 'real'}, and "
            f"{'no phase is' if phase is None else 'a phase is'} given.",
            why="A phase turns the magnitudes of a prior into a complex image, and serves nothing else.",
            fix="Give the phase that the calibration lines show." if needs_phase else "Leave the phase out.",
        )
    if not dtype.is_complex and card.complex == "channels":
        raise UsageError(
            "E-PRM-07",
            f"The prior {card.name!r} knows {knows}, and the image is real.",
            fix="Choose a prior of magnitudes.",
        )
