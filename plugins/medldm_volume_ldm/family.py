"""The family of volume priors: builds the networks, loads and imports prior folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medldm.errors import UsageError
from medldm.host import options
from medldm.host.registry import quoted
from medldm.priors.family import Networks, card_name

if TYPE_CHECKING:
    from torch import nn

    from medldm.priors.card import PriorCard
    from medldm.priors.model import PriorModel

Maker = Callable[[Mapping[str, Any], str], "nn.Module"]


@dataclass(frozen=True)
class VolumeDiffusion:
    """A :class:`medldm.priors.family.PriorFamily`: MONAI's networks of volumes, ours and those of bundles."""

    def build(self, networks: Mapping[str, Mapping[str, Any]]) -> Networks:
        """See :class:`medldm.priors.family.PriorFamily`.

        The option ``kind`` of a ``denoiser`` is ``unet``, ``monai-unet`` or ``maisi-unet``, that of an ``autoencoder``
        ``kl``, ``monai-kl`` or ``maisi-kl``; the first is the default.

        Raises:
            UsageError: ``E-VLD-01`` unknown role or kind, ``E-VLD-02`` MONAI refuses, ``E-OPT-..`` options.
        """
        makers = {"denoiser": _DENOISERS, "autoencoder": _AUTOENCODERS}
        unknown = sorted(set(networks) - set(makers))
        if unknown:
            raise UsageError(
                "E-VLD-01",
                f"A volume prior has no network {unknown[0]!r}.",
                fix=f"Its networks are {quoted(makers)}.",
            )
        return Networks(**{role: _build(makers[role], role, given) for role, given in networks.items()})

    def load(self, folder: Path) -> PriorModel:
        """See :class:`medldm.priors.family.PriorFamily`."""
        from medldm.priors.folder import load_prior

        return load_prior(folder, self.build)

    def convert(self, source: Path, folder: Path) -> PriorCard:
        """See :class:`medldm.priors.family.PriorFamily`; the source is the folder of a MONAI bundle."""
        import torch

        from medldm.priors.folder import write_prior
        from medldm_volume_ldm.bundle import prior_of_bundle

        card, tensors = prior_of_bundle(source, card_name(folder), self.build)
        return write_prior(folder, card, tensors, dtype=torch.float32)


def _build(makers: Mapping[str, Maker], role: str, given: Mapping[str, Any]) -> nn.Module:
    kind = given.get("kind", next(iter(makers)))
    if kind not in makers:
        raise UsageError(
            "E-VLD-01", f"There is no {role} of the kind {kind!r}.", fix=f"The kinds are {quoted(makers)}."
        )
    rest = {name: value for name, value in given.items() if name != "kind"}
    return makers[kind](rest, f"{role} {kind!r}")


def _unet(given: Mapping[str, Any], subject: str) -> nn.Module:
    from medldm_volume_ldm.unet import VolumeUNet, VolumeUNetOptions

    return VolumeUNet(options.build(VolumeUNetOptions, given, subject=subject))


def _kl(given: Mapping[str, Any], subject: str) -> nn.Module:
    from medldm_volume_ldm.autoencoder import VolumeAutoencoder, VolumeAutoencoderOptions

    return VolumeAutoencoder(options.build(VolumeAutoencoderOptions, given, subject=subject))


def _monai_unet(given: Mapping[str, Any], subject: str) -> nn.Module:
    from medldm_volume_ldm.foreign import MonaiUNet, MonaiUNetOptions

    return MonaiUNet(options.build(MonaiUNetOptions, given, subject=subject))


def _maisi_unet(given: Mapping[str, Any], subject: str) -> nn.Module:
    from medldm_volume_ldm.foreign import MaisiUNet, MaisiUNetOptions

    return MaisiUNet(options.build(MaisiUNetOptions, given, subject=subject))


def _monai_kl(given: Mapping[str, Any], subject: str) -> nn.Module:
    from medldm_volume_ldm.foreign import ForeignAutoencoder, ForeignAutoencoderOptions

    return ForeignAutoencoder(options.build(ForeignAutoencoderOptions, given, subject=subject), maisi=False)


def _maisi_kl(given: Mapping[str, Any], subject: str) -> nn.Module:
    from medldm_volume_ldm.foreign import ForeignAutoencoder, ForeignAutoencoderOptions

    return ForeignAutoencoder(options.build(ForeignAutoencoderOptions, given, subject=subject), maisi=True)


_DENOISERS: Mapping[str, Maker] = {"unet": _unet, "monai-unet": _monai_unet, "maisi-unet": _maisi_unet}
_AUTOENCODERS: Mapping[str, Maker] = {"kl": _kl, "monai-kl": _monai_kl, "maisi-kl": _maisi_kl}
