"""What a law is: a plain function that raises ``AssertionError`` with a sentence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class NotApplicable(Exception):
    """The law says nothing about this component, and why; a skip, never a failure."""


def require(holds: bool, sentence: str) -> None:
    """Raise ``AssertionError(sentence)`` unless ``holds``. An assert statement would vanish under ``python -O``."""
    if not holds:
        raise AssertionError(sentence)


def relative_difference(a: Tensor, b: Tensor) -> float:
    """``|a - b| / max(|a|, |b|)``, Euclidean, in double precision; 0 for two zeros."""
    a, b = wide(a), wide(b)
    scale = max(float(torch.linalg.vector_norm(a)), float(torch.linalg.vector_norm(b)))
    return float(torch.linalg.vector_norm(a - b)) / scale if scale else 0.0


def require_close(a: Tensor, b: Tensor, tolerance: float, sentence: str) -> None:
    """Raise unless two tensors have one shape and differ by at most ``tolerance``, relative."""
    require(a.shape == b.shape, f"{sentence}: shapes {tuple(a.shape)} and {tuple(b.shape)}")
    difference = relative_difference(a.detach(), b.detach())
    require(difference <= tolerance, f"{sentence}: relative difference {difference:.2e}, allowed {tolerance:.3g}")


def wide(x: Tensor) -> Tensor:
    """In double precision, so that the sum of an inner product adds no error of its own."""
    return x.to(torch.complex128 if x.is_complex() else torch.float64)


def is_double(dtype: torch.dtype) -> bool:
    """Whether numbers of this type have 53 bits."""
    return dtype in (torch.float64, torch.complex128)


def name_of(law: Any) -> str:
    """A law as a row of a table: its function's name in words."""
    return str(law.__name__).removeprefix("law_").replace("_", " ")
