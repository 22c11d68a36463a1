"""Where a network runs in half of single precision, because the device computes that natively and faster."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch


def bfloat16(device: torch.device, wanted: bool) -> AbstractContextManager[object]:
    """Autocast to bfloat16 on CUDA, and on processors with instructions for it; nothing elsewhere.

    On CUDA the caller's own autocast counts for nothing either way.

    Args:
        device: that the network runs on.
        wanted: off, it runs in the precision of its weights.
    """
    if device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16, enabled=wanted)
    if device.type == "cpu" and wanted and processor_has_bfloat16():
        return torch.autocast("cpu", torch.bfloat16)
    return nullcontext()


@cache
def processor_has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 natively (AVX-512 BF16, AMX): twice as fast as single precision.

    Others would emulate it, which takes longer than single precision.
    """
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name, lambda: False)()) for name in names)
