"""Laws of linear operators. White noise is drawn from a generator with a fixed seed of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from medldm.inference import HasPreconditioner
from medldm.operators import LinearOperator, Space
from medldm.testing.law import NotApplicable, is_double, relative_difference, require, require_close, wide

OperatorLaw = Callable[[LinearOperator], None]

ADJOINT_SINGLE = 1e-6
ADJOINT_DOUBLE = 1e-12


def tolerance(operator: LinearOperator) -> float:
    """Relative rounding allowed where two orders of summation meet."""
    return 1e-11 if is_double(operator.domain.dtype) else 2e-5


def draw(space: Space, *batch: int, seed: int = 0) -> Tensor:
    """White noise of a space, the same at each call."""
    return space.randn(*batch, generator=torch.Generator().manual_seed(seed))


def adjoint_mismatch(operator: LinearOperator, x: Tensor, y: Tensor) -> float:
    """``|<A x, y> - <x, A^H y>| / (|A x| |y|)`` with inner products in double precision."""
    forward, back = wide(operator.forward(x)), wide(operator.adjoint(y))
    x, y = wide(x), wide(y)
    left, right = (forward.conj() * y).sum(), (x.conj() * back).sum()
    if not (operator.domain.is_complex and operator.codomain.is_complex):
        # Between a real and a complex space the adjoint is that of the real inner product, Re <a, b>.
        left, right = left.real, right.real
    scale = float(torch.linalg.vector_norm(forward) * torch.linalg.vector_norm(y))
    return float((left - right).abs()) / scale if scale else float((left - right).abs())


def law_shapes(operator: LinearOperator) -> None:
    """Results have the shape of their space, batch axes in front; a wrong shape is refused by ``__call__``."""
    for batch in ((), (1,), (2, 3)):
        forward = operator(draw(operator.domain, *batch))
        back = operator.H(draw(operator.codomain, *batch))
        for result, space, side in ((forward, operator.codomain, "A x"), (back, operator.domain, "A^H y")):
            require(
                tuple(result.shape) == (*batch, *space.shape),
                f"{side} of a batch {batch} has shape {tuple(result.shape)}, expected {(*batch, *space.shape)}",
            )
    wrong = torch.zeros([n + 1 for n in operator.domain.shape], dtype=operator.domain.dtype)
    try:
        operator(wrong)
    except ValueError:
        return
    raise AssertionError(f"an image of shape {tuple(wrong.shape)} was accepted, {operator.domain} expected")


def law_spaces(operator: LinearOperator) -> None:
    """Axes are named once each."""
    for space in (operator.domain, operator.codomain):
        require(len(set(space.axes)) == len(space.axes) and all(space.axes), f"axes of {space} are not named once")
        require(space.size > 0, f"the space {space} is empty")


def law_dtype(operator: LinearOperator) -> None:
    """Results have the dtype of their space."""
    forward, back = operator.forward(draw(operator.domain)), operator.adjoint(draw(operator.codomain))
    require(forward.dtype == operator.codomain.dtype, f"A x is {forward.dtype}, expected {operator.codomain}")
    require(back.dtype == operator.domain.dtype, f"A^H y is {back.dtype}, expected {operator.domain}")


def law_linear(operator: LinearOperator) -> None:
    """``A (a x + b x') = a A x + b A x'``, complex a where both spaces are complex, and ``A 0 = 0``."""
    for part in (operator, operator.H):
        x, other = draw(part.domain), draw(part.domain, seed=1)
        a: complex = 0.7 - 1.3j if part.domain.is_complex and part.codomain.is_complex else -1.3
        together = part.forward(a * x + 0.4 * other)
        require_close(
            together, a * part.forward(x) + 0.4 * part.forward(other), tolerance(operator), f"{part.name} is not linear"
        )
        zero = part.forward(torch.zeros_like(x))
        require(not bool(zero.any()), f"{part.name} maps zero to something else")


def law_adjoint(operator: LinearOperator) -> None:
    """``<A x, y> = <x, A^H y>`` for white noise x, with y = A x and with y independent of x.

    An independent y alone proves little: its inner product with A x is close to zero whatever the adjoint is.
    """
    allowed = ADJOINT_DOUBLE if is_double(operator.domain.dtype) else ADJOINT_SINGLE
    x = draw(operator.domain)
    for y, which in ((operator.forward(x), "y = A x"), (draw(operator.codomain, seed=1), "y independent of x")):
        mismatch = adjoint_mismatch(operator, x, y)
        require(mismatch <= allowed, f"adjoint mismatch {mismatch:.1e} with {which}, allowed {allowed:.0e}")


def law_adjoint_in_double_precision(operator: LinearOperator) -> None:
    """The same to 1e-12 after the buffers are moved to double precision, where the operator allows it."""
    if is_double(operator.domain.dtype):
        raise NotApplicable("the operator is in double precision already")
    double = in_double_precision(operator)
    x = wide(draw(operator.domain))
    try:
        y = double.forward(x)
        back = double.adjoint(y)
    except (RuntimeError, TypeError, ValueError) as error:
        raise NotApplicable(f"it refuses double precision: {error}") from error
    require(is_double(y.dtype) and is_double(back.dtype), f"double precision was lost: {y.dtype}, {back.dtype}")
    mismatch = adjoint_mismatch(double, x, y)
    require(mismatch <= ADJOINT_DOUBLE, f"adjoint mismatch {mismatch:.1e} in double precision, allowed 1e-12")


def in_double_precision(operator: LinearOperator) -> LinearOperator:
    """A copy whose floating buffers are float64 and whose complex buffers are complex128.

    ``nn.Module.double()`` leaves complex buffers alone and ``.to(torch.float64)`` drops their imaginary part.
    """
    double = copy.deepcopy(operator)
    for module in double.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            if buffer.is_floating_point() or buffer.is_complex():
                setattr(module, name, wide(buffer))
    return double


def law_batch_equals_loop(operator: LinearOperator) -> None:
    """An item of a batch gives what it gives alone."""
    for part in (operator, operator.H):
        x = draw(part.domain, 3)
        alone = torch.stack([part.forward(item) for item in x])
        require_close(part.forward(x), alone, tolerance(operator), f"{part.name}: a batch differs from a loop")


def law_inputs_unchanged(operator: LinearOperator) -> None:
    """Neither direction writes into its input."""
    for part in (operator, operator.H):
        x = draw(part.domain, 2)
        before = x.clone()
        result = part.forward(x)
        require(torch.equal(x, before), f"{part.name} changed its input")
        result.zero_()
        require(torch.equal(x, before), f"the result of {part.name} shares memory with its input")


def law_any_memory_layout(operator: LinearOperator) -> None:
    """A strided view gives what its contiguous copy gives."""
    for part in (operator, operator.H):
        x = draw(part.domain, 2)
        strided = torch.stack((x, torch.zeros_like(x)), -1)[..., 0]
        axes = list(range(x.ndim))
        reversed_axes = x.permute(axes[::-1]).contiguous().permute(axes[::-1])
        for view in (strided, reversed_axes):
            require_close(
                part.forward(view), part.forward(x), tolerance(operator), f"{part.name}: layout changes the result"
            )


def law_deterministic(operator: LinearOperator) -> None:
    """Two calls agree to the last bit."""
    for part in (operator, operator.H):
        x = draw(part.domain)
        require(torch.equal(part.forward(x), part.forward(x)), f"{part.name} gives two results for one input")


def law_gradient_is_adjoint(operator: LinearOperator) -> None:
    """The derivative of ``Re <y, A x>`` with respect to x is ``A^H y``."""
    x, y = draw(operator.domain).requires_grad_(), draw(operator.codomain, seed=1)
    (gradient,) = torch.autograd.grad((y.conj() * operator(x)).real.sum(), x)
    require_close(gradient, operator.adjoint(y), tolerance(operator), "the gradient is not the adjoint")


def law_double_backward(operator: LinearOperator) -> None:
    """The second derivative of ``|A x|^2 / 2`` along v is ``A^H A v``."""
    x, v = draw(operator.domain).requires_grad_(), draw(operator.domain, seed=1)
    energy = 0.5 * operator(x).abs().square().sum()
    (gradient,) = torch.autograd.grad(energy, x, create_graph=True)
    (second,) = torch.autograd.grad((v.conj() * gradient).real.sum(), x)
    require_close(
        second, operator.adjoint(operator.forward(v)), 10 * tolerance(operator), "the second derivative is not A^H A"
    )


def law_gram(operator: LinearOperator) -> None:
    """``A.gram`` is ``A^H A``, however it is computed."""
    x = draw(operator.domain, 2)
    both = operator.adjoint(operator.forward(x))
    require_close(operator.gram.forward(x), both, 5 * tolerance(operator), "A.gram is not A^H A")


def law_preconditioner(operator: LinearOperator) -> None:
    """What it offers as an approximate inverse is Hermitian and positive, whatever the weights of the samples.

    Conjugate gradients with any other do not converge.
    """
    if not isinstance(operator, HasPreconditioner):
        raise NotApplicable("it offers no preconditioner")
    weights = 0.01 + draw(operator.codomain).abs()
    inverse = operator.preconditioner(weights)(0.1 * float(weights.mean()))
    x, y = draw(operator.domain, 2), draw(operator.domain, 2, seed=1)
    there = inverse(x)
    require(there.shape == x.shape, f"the preconditioner makes {tuple(there.shape)} of {tuple(x.shape)}")
    left, right = operator.domain.inner(y, there), operator.domain.inner(inverse(y), x)
    size = (operator.domain.norm(there) * operator.domain.norm(y)).max()
    mismatch = float((left - right).abs().max() / size)
    require(mismatch <= 5 * tolerance(operator), f"the preconditioner is not Hermitian: {mismatch:.1e}")
    require(bool((operator.domain.inner(x, there).real > 0).all()), "the preconditioner is not positive")


def law_follows_its_buffers_to_the_device(operator: LinearOperator) -> None:
    """``A.to(device)`` computes there and agrees; nothing else names a device."""
    if not torch.cuda.is_available():
        raise NotApplicable("no CUDA device")
    x = draw(operator.domain)
    moved = copy.deepcopy(operator).to("cuda")
    there = moved.forward(x.cuda())
    require(there.device.type == "cuda", f"A x of a CUDA tensor is on {there.device}")
    difference = relative_difference(there.cpu(), operator.forward(x))
    require(difference <= 5 * tolerance(operator), f"the device changes the result by {difference:.1e}")


OPERATOR_LAWS: tuple[OperatorLaw, ...] = (
    law_spaces,
    law_shapes,
    law_dtype,
    law_linear,
    law_adjoint,
    law_adjoint_in_double_precision,
    law_batch_equals_loop,
    law_inputs_unchanged,
    law_any_memory_layout,
    law_deterministic,
    law_gradient_is_adjoint,
    law_double_backward,
    law_gram,
    law_preconditioner,
    law_follows_its_buffers_to_the_device,
)
