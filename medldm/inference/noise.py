"""Random numbers that depend on what they are for, not on how the work was cut up.

The generator is counter-based (Philox, Salmon et al. 2011): a draw is addressed by (seed, case, child, stream, sample,
step, slice), so batching, device, worker and resumption do not change it. Complex noise has the given standard
deviation **per real component**; this is the only place in medldm that draws it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Noise:
    """A source of reproducible noise for one case of one run.

    Attributes:
        seed: of the recipe, ``run.seed``.
        case: identity of the case; the same scan gives the same draws in any batch.
        first_sample: number of the first sample that :meth:`like` draws for.
        branch: which child of which this is, see :meth:`child`; empty for the noise of the case itself.
    """

    seed: int
    case: str = ""
    first_sample: int = field(default=0, kw_only=True)
    branch: str = field(default="", kw_only=True)

    def from_sample(self, number: int) -> Self:
        """The draws of the samples from this number on, whatever else is drawn with them."""
        return replace(self, first_sample=number)

    def child(self, number: int) -> Self:
        """A source of its own for one of several runs within a solver (candidates, particles, restarts).

        Its draws are independent of this one's and of those of children with other numbers. Samples keep their
        numbers: sample ``s`` of child ``k`` is the same, whatever else is drawn with it. A child has children too.
        """
        return replace(self, branch=f"{self.branch}/{number}")

    def stream(self, purpose: str, *, step: int = 0, sample: int = 0, slice_: int = 0) -> np.random.Generator:
        """A generator for one purpose (``"measurement"``, ``"mask"``, ``"renoise"``, ...)."""
        # Of no branch, the text is what it was before there were children: its draws stay the same.
        text = f"{self.seed}/{self.case}/{purpose}{self.branch and chr(0) + self.branch}".encode()
        key = np.frombuffer(hashlib.sha256(text).digest()[:16], dtype=np.uint64)
        counter = np.array([0, slice_, step, sample], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=key, counter=counter))

    def normal(self, shape: tuple[int, ...], dtype: torch.dtype, purpose: str, *, std: float = 1.0) -> Tensor:
        """White noise of a shape whose first axis is slices; each slice has its own address."""
        real = torch.float64 if dtype in (torch.float64, torch.complex128) else torch.float32
        out = torch.empty((*shape, 2) if dtype.is_complex else shape, dtype=real)
        kind = np.float64 if real == torch.float64 else np.float32
        for z in range(shape[0]):
            drawn = self.stream(purpose, slice_=z).standard_normal(out.shape[1:], dtype=kind)
            out[z] = torch.from_numpy(drawn)
        out.mul_(std)
        return torch.view_as_complex(out) if dtype.is_complex else out

    def poisson(self, mean: Tensor, purpose: str) -> Tensor:
        """Independent Poisson counts with the given means, first axis slices; float32."""
        out = torch.empty(mean.shape, dtype=torch.float32)
        for z in range(mean.shape[0]):
            lam = mean[z].detach().cpu().numpy().astype(np.float64)
            out[z] = torch.from_numpy(self.stream(purpose, slice_=z).poisson(lam).astype(np.float32))
        return out.to(mean.device)

    def like(self, x: Tensor, purpose: str, *, step: int) -> Tensor:
        """White noise of the shape of ``x`` = (sample, z, ...), unit std per real component, on its device."""
        real = x.real.dtype if x.is_complex() else x.dtype
        out = torch.empty((*x.shape, 2) if x.is_complex() else x.shape, dtype=torch.float32)
        for s in range(x.shape[0]):
            for z in range(x.shape[1]):
                stream = self.stream(purpose, step=step, sample=self.first_sample + s, slice_=z)
                out[s, z] = torch.from_numpy(stream.standard_normal(out.shape[2:], dtype=np.float32))
        noise = torch.view_as_complex(out) if x.is_complex() else out
        return noise.to(device=x.device, dtype=x.dtype if x.is_complex() else real)
