"""The SENSE operator against the textbook transform, its adjoint, its Gram operator and its derivatives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medldm_mri.sense import Sense

SIZES = [(8, 12), (7, 12), (8, 9), (7, 9), (1, 6), (6, 10)]
MASKS = ["ky", "kx", "both"]


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _complex(*shape: int, dtype: torch.dtype = torch.complex128, seed: int = 0) -> Tensor:
    real = torch.float64 if dtype == torch.complex128 else torch.float32
    return torch.view_as_complex(torch.randn(*shape, 2, generator=_generator(seed), dtype=real))


def _mask(shape: tuple[int, int], kind: str) -> Tensor:
    size = {"ky": (shape[0], 1), "kx": (1, shape[1]), "both": shape}[kind]
    return (torch.rand(size, generator=_generator(3)) < 0.6).float().expand(shape).contiguous()


def _operator(
    size: tuple[int, int], kind: str, *, dtype: torch.dtype = torch.complex128, shared: bool = False, chunk: int = 1
) -> tuple[Sense, Tensor, Tensor]:
    maps, mask = _complex(1 if shared else 3, 4, *size, dtype=dtype, seed=1), _mask(size, kind)
    return Sense(maps, mask, slices=3, slices_at_once=chunk), maps, mask


def _textbook(x: Tensor, maps: Tensor, mask: Tensor) -> Tensor:
    d = (-2, -1)
    shifted = torch.fft.ifftshift(maps * x[..., None, :, :], dim=d)
    return mask * torch.fft.fftshift(torch.fft.fft2(shifted, norm="ortho"), dim=d)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("shared", [False, True])
def test_forward_is_the_textbook_transform(size: tuple[int, int], kind: str, shared: bool) -> None:
    operator, maps, mask = _operator(size, kind, shared=shared)
    x = _complex(2, 3, *size, seed=2)
    torch.testing.assert_close(operator(x), _textbook(x, maps, mask), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.complex64, 1e-6), (torch.complex128, 1e-12)])
def test_adjoint_is_exact_with_white_noise(
    size: tuple[int, int], kind: str, dtype: torch.dtype, tolerance: float
) -> None:
    operator, _, _ = _operator(size, kind, dtype=dtype)
    x = operator.domain.randn(2, generator=_generator(4))
    y = operator(x)
    left, right = operator.codomain.inner(y, y), operator.domain.inner(x, operator.H(y))
    assert operator.H(y).shape == x.shape
    assert ((left - right).abs() / left.abs()).max() < tolerance
    other = operator.codomain.randn(2, generator=_generator(5))
    left, right = operator.codomain.inner(y, other), operator.domain.inner(x, operator.H(other))
    scale = operator.codomain.norm(y) * operator.codomain.norm(other)
    assert ((left - right).abs() / scale).max() < tolerance


@pytest.mark.parametrize("size", [(8, 12), (7, 9)])
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_gram_is_adjoint_times_forward_for_any_chunk(size: tuple[int, int], kind: str, chunk: int) -> None:
    operator, _, _ = _operator(size, kind, chunk=chunk)
    x = operator.domain.randn(2, generator=_generator(6))
    torch.testing.assert_close(operator.gram(x), operator.H(operator(x)), rtol=1e-12, atol=1e-12)
    assert operator.gram.H.forward(x).equal(operator.gram.forward(x))


def test_weighted_mask_enters_the_gram_squared() -> None:
    mask = torch.rand(6, 5, generator=_generator(8))
    operator = Sense(_complex(2, 3, 6, 5), mask)
    x = operator.domain.randn(generator=_generator(6))
    torch.testing.assert_close(operator.gram(x), operator.H(operator(x)), rtol=1e-6, atol=1e-6)


def test_derivatives_of_first_and_second_order() -> None:
    operator = Sense(_complex(2, 2, 3, 4), _mask((3, 4), "both"))
    x = operator.domain.randn(generator=_generator(7)).requires_grad_()

    def energy(u: Tensor) -> Tensor:
        return operator(u).abs().pow(2).sum()

    assert torch.autograd.gradcheck(operator, x)
    assert torch.autograd.gradcheck(operator.gram, x)
    assert torch.autograd.gradgradcheck(energy, x)


def test_a_full_orthonormal_transform_keeps_the_norm() -> None:
    maps = _complex(3, 4, 8, 6)
    maps = maps / torch.linalg.vector_norm(maps, dim=1, keepdim=True)
    operator = Sense(maps, torch.ones(8, 6))
    x = operator.domain.randn(generator=_generator(9))
    torch.testing.assert_close(operator.gram(x), x)


def test_sizes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Sense(_complex(2, 3, 6, 5), torch.ones(6, 6))
    with pytest.raises(ValueError, match="do not fit"):
        Sense(_complex(2, 3, 6, 5), torch.ones(6, 5), slices=4)
