"""A prior of a few neighbouring slices seen as a prior of volumes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medldm.inference.noise import Noise
from medldm.inference.padding import reflected
from medldm.inference.pixel_prior import check_state
from medldm.inference.prior import BoundPrior
from medldm.inference.slicewise import SlicewisePrior, in_part
from medldm.operators import Space


class SlabPrior(nn.Module):
    """Slabs of ``k`` slices, cut anew at each noise level: a :class:`medldm.inference.BoundPrior` of (z, *inner).

    The volume is partitioned into slabs with an offset drawn per noise level, so that over the steps no two neighbours
    stay separated (Song et al. 2024, DiffusionBlend). A slab that would reach beyond an end of the volume is shifted
    inside; of the slices that two slabs then share, each counts only those of its own part. Nothing is replicated,
    since a slice that comes twice with the same noise would be taken for a certain one. Only a volume thinner than a
    slab is reflected.

    Args:
        inner: pixel prior of a slab, (channel, y, x) with the slices as channels.
        slices: of the volume.
        slabs_at_once: how many the network sees at a time.
        seed: of the offsets, which depend on nothing else than the noise level to four digits: neither on batching nor
            on the step at which a run was resumed.
        recompute: see :class:`medldm.inference.SlicewisePrior`.
    """

    latent = False

    def __init__(
        self, inner: BoundPrior, slices: int, *, slabs_at_once: int = 8, seed: int = 0, recompute: bool = False
    ) -> None:
        super().__init__()
        if inner.latent or inner.space.axes[0] != "channel" or slabs_at_once < 1:
            raise ValueError(f"slabs are (channel, ...) images, one or more at once, not {inner.space}")
        self.inner = inner
        self.slabs_at_once = slabs_at_once
        self.seed = seed
        self.recompute = recompute
        self.thickness = inner.space.shape[0]
        self.space = Space(("z", *inner.space.axes[1:]), (slices, *inner.space.shape[1:]), inner.space.dtype)
        self.image = self.space
        self.sigma_min, self.sigma_max = inner.sigma_min, inner.sigma_max
        self.gain, self.error = inner.gain, inner.error
        self.decode_gradient = inner.decode_gradient

    def offset(self, sigma: float) -> int:
        """Slices of the first slab that lie before the volume, at a noise level."""
        return int(Noise(self.seed).stream(f"slab-offset/{sigma:.3e}").integers(self.thickness))

    def slabs(self, sigma: float) -> tuple[Tensor, Tensor]:
        """The partition at a noise level.

        Returns:
            (slab, k) the slices of each slab, and (z,) where among all of them the estimate of each slice is.
        """
        n, k = self.space.shape[0], self.thickness
        offset = self.offset(sigma)
        if n <= k:
            return reflected(torch.arange(k), n)[None], torch.arange(n)
        slab = torch.arange(-(-(n + offset) // k))
        first = (slab * k - offset).clamp(0, n - k)
        z = torch.arange(n)
        own = (z + offset) // k
        return first[:, None] + torch.arange(k), own * k + z - first[own]

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """See :class:`medldm.inference.DiffusionPrior`."""
        check_state(self.space, x, sigma)
        slices: list[Tensor] = []
        estimates: list[Tensor] = []
        counts: list[int] = []
        for sample, level in enumerate(sigma.tolist()):
            slab, where = self.slabs(level)
            slices.append(slab + sample * self.space.shape[0])
            estimates.append(where + sum(counts) * self.thickness)
            counts.append(len(slab))
        index = torch.cat(slices).to(x.device)
        levels = sigma.repeat_interleave(torch.tensor(counts, device=sigma.device))
        flat = x.flatten(0, 1)
        done = [
            in_part(self._slab, (flat, part, level), recompute=self.recompute)
            for part, level in zip(index.split(self.slabs_at_once), levels.split(self.slabs_at_once), strict=True)
        ]
        clean = torch.cat(done).flatten(0, 1)[torch.cat(estimates).to(x.device)]
        return clean.reshape(x.shape)

    def _slab(self, flat: Tensor, index: Tensor, sigma: Tensor) -> Tensor:
        return self.inner.denoise(flat[index], sigma)

    def encode(self, x: Tensor) -> Tensor:
        """``x``."""
        return x

    def decode(self, z: Tensor) -> Tensor:
        """``z``."""
        return z


def slabwise(
    inner: BoundPrior, slices: int, *, slices_at_once: int = 8, seed: int = 0, recompute: bool = False
) -> SlabPrior | SlicewisePrior:
    """A volume prior of slabs; of single slices where that is what the network takes.

    Args:
        inner: prior of a slab or of a slice.
        slices: of the volume.
        slices_at_once: how many slices the network sees at a time; a whole slab at least.
        seed: see :class:`SlabPrior`.
        recompute: see :class:`medldm.inference.SlicewisePrior`.
    """
    if inner.latent or inner.space.axes[0] != "channel":
        return SlicewisePrior(inner, slices, slices_at_once=slices_at_once, recompute=recompute)
    at_once = max(1, slices_at_once // inner.space.shape[0])
    return SlabPrior(inner, slices, slabs_at_once=at_once, seed=seed, recompute=recompute)
