"""The family of slice networks: how they are built, loaded and taken over from diffusers' folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from medldm.errors import UsageError
from medldm.host.options import build
from medldm.priors.family import Networks
from medldm_slice_ldm.autoencoder import SliceAutoencoder, SliceAutoencoderOptions
from medldm_slice_ldm.diffusers_networks import (
    DiffusersKL,
    DiffusersKLOptions,
    DiffusersUNet2D,
    DiffusersUNet2DOptions,
    DiffusersVQ,
    DiffusersVQOptions,
)
from medldm_slice_ldm.unet import SliceUNet, SliceUNetOptions

if TYPE_CHECKING:
    from medldm.priors.card import PriorCard
    from medldm.priors.model import PriorModel

# The first kind of a role is the one that training makes, and stands where none is named.
_KINDS: Mapping[str, Mapping[str, tuple[type, Callable[[Any], nn.Module]]]] = {
    "denoiser": {
        "unet": (SliceUNetOptions, SliceUNet),
        "diffusers-unet2d": (DiffusersUNet2DOptions, DiffusersUNet2D),
    },
    "autoencoder": {
        "kl": (SliceAutoencoderOptions, SliceAutoencoder),
        "diffusers-kl": (DiffusersKLOptions, DiffusersKL),
        "diffusers-vq": (DiffusersVQOptions, DiffusersVQ),
    },
}


@dataclass(frozen=True)
class SliceDiffusion:
    """Priors of slices, pixel (a denoiser) or latent (a denoiser and an autoencoder); see :class:`PriorFamily`."""

    def build(self, networks: Mapping[str, Mapping[str, Any]]) -> Networks:
        """Networks with fresh weights.

        Args:
            networks: ``denoiser`` (``kind: unet`` or ``diffusers-unet2d``) and ``autoencoder`` (``kind: kl``,
                ``diffusers-kl`` or ``diffusers-vq``), or one of them, each with its kind's options.

        Raises:
            UsageError: ``E-SLD-01`` unknown role or kind, ``E-OPT-..`` an option is unknown or impossible.
        """
        for role in networks:
            if role not in _KINDS:
                raise _unknown("role", role, _KINDS)
        return Networks(**{role: _network(role, options) for role, options in networks.items()})

    def load(self, folder: Path) -> PriorModel:
        """The prior of a folder."""
        from medldm.priors.folder import load_prior

        return load_prior(folder, self.build)

    def convert(self, source: Path, folder: Path) -> PriorCard:
        """Turn a folder that diffusers saved into a prior folder; see :mod:`medldm_slice_ldm.convert`."""
        from medldm_slice_ldm.convert import convert

        return convert(source, folder, self.build)


def _network(role: str, options: Mapping[str, Any]) -> nn.Module:
    kinds = _KINDS[role]
    kind = str(options.get("kind", next(iter(kinds))))
    if kind not in kinds:
        raise _unknown(f"kind of {role}", kind, kinds)
    schema, network = kinds[kind]
    plain = {name: value for name, value in options.items() if name != "kind"}
    checked = build(schema, plain, where=f"networks.{role}", subject=f"{role} {kind!r}")
    try:
        return network(checked)
    except (ValueError, TypeError, RuntimeError, ZeroDivisionError) as error:
        # Combinations that only the library knows to be impossible, e.g. widths that attention heads do not divide.
        raise UsageError(
            "E-SLD-02", f"diffusers cannot build the {role} {kind!r}: {error}", fix=f"Correct 'networks.{role}'."
        ) from error


def _unknown(what: str, name: object, known: Mapping[str, Any]) -> UsageError:
    return UsageError(
        "E-SLD-01",
        f"The family 'slice-diffusion' knows no {what} {name!r}.",
        fix=f"There {'is' if len(known) == 1 else 'are'} {', '.join(known)}.",
    )
