"""A prior folder: ``card.yaml`` and safetensors. Written whole or not at all, and verified before it is used."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save
from torch import Tensor

from medldm.errors import ComponentMissing, MedldmError, Problem, UsageError
from medldm.host.registry import sentence
from medldm.priors.card import PriorCard, Weights
from medldm.priors.card_file import read_card, require_denoiser, write_card
from medldm.priors.family import Networks
from medldm.priors.weight_file import Examined, examine, locate, sha256
from medldm.priors.whole_folder import whole_folder, writing

if TYPE_CHECKING:
    from medldm.priors.model import PriorModel

Build = Callable[[Mapping[str, Mapping[str, Any]]], Networks]


def write_prior(
    folder: Path,
    card: PriorCard,
    tensors: Mapping[str, Mapping[str, Tensor]],
    *,
    dtype: torch.dtype = torch.float16,
    overwrite: bool = False,
) -> PriorCard:
    """Write a prior folder; it appears whole or not at all.

    Args:
        folder: to make; its parent is made where it does not exist.
        card: ``weights`` is filled in here. A network without ``tensors`` keeps its entry, which names the file of a
            sibling folder (``../NAME/FILE``); its hash is taken from the file.
        tensors: name of the network, as in ``card.networks`` -> its state dict, on any device.
        dtype: of floating-point tensors in the file; integers stay what they are.
        overwrite: replace an existing prior folder.

    Returns:
        The card as it stands in the folder.

    Raises:
        UsageError: ``E-PRI-18`` the folder exists, ``E-PRI-19`` it cannot be written, ``E-PRI-20`` a weight is NaN,
            infinite or too large for ``dtype``, ``E-PRI-22`` networks and weights do not go together.
        ComponentMissing: ``E-PRI-06``, ``E-PRI-07`` the card is not valid, ``E-PRI-08`` a sibling's file is missing.
    """
    folder = folder.absolute()
    unknown = sorted(set(tensors) - set(card.networks))
    if unknown:
        raise UsageError(
            "E-PRI-22",
            f"There are weights of {', '.join(unknown)}, but the card has no such network.",
            fix="Add it to 'networks' of the card.",
        )
    files = {role: _bytes_of(role, state, dtype) for role, state in tensors.items()}
    weights = {role: Weights(f"{role}.safetensors", hashlib.sha256(file).hexdigest()) for role, file in files.items()}
    for role in card.networks:
        if role not in weights:
            weights[role] = _of_a_sibling(folder, card, role)
    complete = replace(card, weights=weights)
    with whole_folder(folder, overwrite=overwrite) as part, writing(folder):
        part.mkdir()
        for role, file in files.items():
            (part / weights[role].file).write_bytes(file)
        write_card(part, complete)
    return read_card(folder)


def load_networks(folder: Path, card: PriorCard, build: Build) -> Networks:
    """The networks of a card with their weights, in single precision, on the CPU, in evaluation mode.

    Args:
        folder: of the card.
        card: from :func:`medldm.priors.card_file.read_card`.
        build: of the family.

    Raises:
        ComponentMissing: ``E-PRI-03`` and ``E-PRI-08`` to ``E-PRI-17``: the first thing that is wrong.
    """
    networks = _built(card, build)
    for role, module in networks.named().items():
        examined = _examine(folder, card, role, networks)
        if examined.errors:
            raise examined.errors[0]
        module.load_state_dict(dict(examined.tensors))
        module.float().eval().requires_grad_(False)
    return networks


def load_prior(folder: Path, build: Build) -> PriorModel:
    """The prior of a folder.

    Args:
        folder: a prior folder.
        build: of the family that the card names.

    Raises:
        ComponentMissing: ``E-PRI-..``, as :func:`read_card` and :func:`load_networks`; ``E-PRI-23`` the folder holds
            an autoencoder only.
    """
    card = read_card(folder)
    require_denoiser(card, folder)
    networks = load_networks(folder, card, build)
    # A folder can be verified and listed without all that denoising needs.
    from medldm.priors.model import PriorModel

    return PriorModel(card, networks)


def verify(folder: Path, build: Build | None = None) -> list[Problem]:
    """All that is wrong with a prior folder; empty for a sound one.

    Args:
        folder: a prior folder.
        build: of the family, to compare the names and shapes of weights with its networks; without it this is left out.
    """
    try:
        card = read_card(folder)
    except ComponentMissing as error:
        return [_problem(error)]
    errors: list[MedldmError] = []
    networks = None
    if build is not None:
        try:
            networks = _built(card, build)
        except MedldmError as error:
            errors.append(error)
    for role in card.networks:
        try:
            errors += _examine(folder, card, role, networks).errors
        except ComponentMissing as error:
            errors.append(error)
    return [_problem(error) for error in errors]


def _problem(error: MedldmError) -> Problem:
    return Problem(error.code, "error", " ".join(part for part in (error.what, error.why) if part), error.fix)


def _built(card: PriorCard, build: Build) -> Networks:
    try:
        networks = build(card.networks)
    except (UsageError, TypeError, ValueError, RuntimeError) as error:
        # A family may leave it to the library beneath to refuse combinations of options.
        raise ComponentMissing(
            "E-PRI-17",
            f"The networks of the prior {card.name!r} cannot be built: "
            + (error.what if isinstance(error, UsageError) else sentence(error)),
            why=error.why if isinstance(error, UsageError) else "",
            fix="Correct 'networks' in the card, or use the plugin's version that it was written for.",
        ) from error
    if set(networks.named()) != set(card.networks):
        raise ComponentMissing(
            "E-PRI-17",
            f"The family {card.family!r} builds {sorted(networks.named())}, the card has {sorted(card.networks)}.",
            fix="Correct 'networks' in the card, or use the plugin's version that it was written for.",
        )
    return networks


def _examine(folder: Path, card: PriorCard, role: str, networks: Networks | None) -> Examined:
    path = locate(folder, card.weights[role].file)
    state = None if networks is None else networks.named()[role].state_dict()
    expected = None if state is None else {name: tuple(tensor.shape) for name, tensor in state.items()}
    return examine(path, card.weights[role].sha256, expected)


def _bytes_of(role: str, state: Mapping[str, Tensor], dtype: torch.dtype) -> bytes:
    stored = {}
    for name, tensor in state.items():
        value = tensor.detach().cpu()
        cast = value.to(dtype) if value.is_floating_point() else value
        if not bool(torch.isfinite(cast).all()):
            finite = bool(torch.isfinite(value).all())
            reason = f"too large for {dtype}" if finite else "NaN or infinite"
            raise UsageError(
                "E-PRI-20",
                f"The weight {name!r} of the {role} is {reason}.",
                why="A network with such weights gives no image.",
                fix="Write them with dtype=torch.float32." if finite else "Train again from an earlier state.",
            )
        stored[name] = cast.contiguous().clone()
    return save(stored)


def _of_a_sibling(folder: Path, card: PriorCard, role: str) -> Weights:
    weights = card.weights.get(role)
    if weights is None or not weights.file.startswith("../"):
        raise UsageError(
            "E-PRI-22",
            f"The card has the network {role!r}, but neither its weights nor the file of a sibling folder are given.",
            fix="Give its state dict, or name ../FOLDER/FILE.safetensors in the card.",
        )
    return replace(weights, sha256=sha256(locate(folder, weights.file)))
