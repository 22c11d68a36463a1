"""Weights of a MONAI bundle: safetensors only, with whatever prefix and of whatever age their names are."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from medldm.errors import ComponentMissing
from medldm.priors.pickles import SUFFIXES, pickle_refused


def read_weights(folder: Path, stem: str) -> dict[str, Tensor]:
    """The tensors of ``models/STEM.safetensors``.

    Raises:
        ComponentMissing: ``E-PRI-03`` there is only a pickle, ``E-VLD-07`` nothing, or no valid file.
    """
    file = folder / "models" / f"{stem}.safetensors"
    if not file.is_file():
        pickled = [file.with_suffix(suffix) for suffix in SUFFIXES if file.with_suffix(suffix).is_file()]
        raise (
            _pickle(pickled[0])
            if pickled
            else ComponentMissing(
                "E-VLD-07", f"The bundle has no weights {file}.", fix="Put them there; bundles load them separately."
            )
        )
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise ComponentMissing(
            "E-VLD-07", f"{file} is no valid safetensors file: {error}.", fix="Copy or convert it again."
        ) from error


def fill(network: nn.Module, tensors: Mapping[str, Tensor], stem: str) -> None:
    """Load the weights into MONAI's network.

    A prefix before all names (``module.``, ``unet_state_dict.``) is taken off; names of the time before MONAI took
    these networks from its package generative are translated by MONAI itself.

    Raises:
        ComponentMissing: ``E-VLD-07`` the weights are of another network, incomplete, or not finite.
    """
    try:
        own = _without_prefix(network, tensors)
        if set(own) == set(network.state_dict()):
            network.load_state_dict(own)
        else:
            _load_old(network, own)
    except (RuntimeError, KeyError) as error:
        raise _misfit(stem, str(error).strip().splitlines()[-1].strip()) from error
    if not all(bool(weight.isfinite().all()) for weight in network.state_dict().values()):
        raise _misfit(stem, "some values are not finite")


def _without_prefix(network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # The first layer has the same name in all ages.
    first = next(iter(network.state_dict()))
    found = [name for name in tensors if name == first or name.endswith(f".{first}")]
    if len(found) != 1:
        raise KeyError(f"{len(found)} tensors are called {first}, not one")
    prefix = found[0].removesuffix(first)
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _load_old(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    missing = sorted(set(network.state_dict()) - set(tensors))
    translate = getattr(network, "load_old_state_dict", None)
    if translate is None:
        raise KeyError(f"the tensor {missing[0]} is missing" if missing else "there are tensors without a place")
    # MONAI's translation keeps what it does not find; the mark shows it.
    with torch.no_grad():
        for weight in network.state_dict().values():
            weight.fill_(torch.nan)
    rest = dict(tensors)
    with contextlib.redirect_stdout(io.StringIO()):
        translate(rest)
    unfilled = [name for name, weight in network.state_dict().items() if bool(weight.isnan().all())]
    if unfilled:
        raise KeyError(f"the tensor {unfilled[0]} is missing or not finite")
    if rest:
        raise KeyError(f"the tensor {min(rest)} has no place in the network")


def _misfit(stem: str, why: str) -> ComponentMissing:
    return ComponentMissing(
        "E-VLD-07",
        f"The weights {stem}.safetensors do not fit the network of the bundle's configuration: {why}.",
        why="They are of another version, or incomplete.",
        fix="Take configuration and weights from the same release of the bundle.",
    )


def _pickle(file: Path) -> ComponentMissing:
    return pickle_refused(
        file,
        "  import torch, safetensors.torch\n"
        f"  w = torch.load('{file.name}', map_location='cpu', weights_only=True)\n"
        "  w = {**w, **w.get('unet_state_dict', w.get('state_dict', {}))}\n"
        "  w = {k: torch.as_tensor(v).clone().contiguous() for k, v in w.items() if torch.is_tensor(v) or "
        "isinstance(v, float)}\n"
        f"  safetensors.torch.save_file(w, '{file.stem}.safetensors')",
    )
