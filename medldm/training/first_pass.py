"""One patch through fresh networks of a card, before anything is learnt: they take it, or the training is refused."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from medldm.errors import UsageError
from medldm.inference.networks import Autoencoder, DenoisingNetwork
from medldm.priors.card import PriorCard
from medldm.priors.family import Networks
from medldm.training.command import Prepared
from medldm.training.image_losses import PatchDiscriminator, structure_difference


@torch.no_grad()
def require_pass(prepared: Prepared, card: PriorCard, networks: Networks) -> None:
    """Refuse networks of other channels than the patches or latents have, and patches too small for them.

    Args:
        prepared: of the run.
        card: whose networks they are.
        networks: with any weights.

    Raises:
        UsageError: ``E-TRN-35``.
    """
    size = min(shape.size for shape in prepared.config.patches.shapes)
    patch, told = prepared.held_back.one(0, 0, size)
    for module in networks.named().values():
        module.eval()
    try:
        _pass(prepared, patch[None], prepared.held_back.conditioning.vectors([told]), networks)
    except (RuntimeError, ValueError, IndexError) as error:
        raise UsageError(
            "E-TRN-35",
            f"The networks of the card {card.name!r} cannot learn from patches of {tuple(patch.shape)}: "
            f"{str(error).strip().rstrip('.')}.",
            why="Channels, of patches 'patches.slab' and of latents those of the autoencoder, or sizes do not meet.",
            fix="Correct 'card.networks', 'patches.shapes' or 'patches.slab' of the configuration.",
        ) from error


def _pass(prepared: Prepared, images: Tensor, conditions: Tensor, networks: Networks) -> None:
    config, states = prepared.config, images
    if networks.autoencoder is not None:
        autoencoder = cast(Autoencoder, networks.autoencoder)
        states = autoencoder.moments(images)[0]
        back = autoencoder.decode(states)
        _require_shape(back, images)
        if networks.denoiser is None:
            structure_difference(back, images)
            if config.reconstruction.adversary > 0:
                PatchDiscriminator(config.patches.slab, config.patches.dimensions)(back)
    if networks.denoiser is not None:
        _require_shape(cast(DenoisingNetwork, networks.denoiser)(states, torch.zeros(1), conditions), states)


def _require_shape(made: Tensor, shown: Tensor) -> None:
    if made.shape != shown.shape:
        raise ValueError(f"what comes out is {tuple(made.shape[1:])}, what goes in {tuple(shown.shape[1:])}")
