"""The preconditioner of operators that see every place alike: where it is exact, and what it is bounded by."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medldm.operators import Identity, NearlyShiftInvariant, ShiftInvariantComposition, Space

SPACE = Space(("z", "y", "x"), (2, 6, 9), torch.float64)


def draw(seed: int = 0) -> Tensor:
    return SPACE.randn(generator=torch.Generator().manual_seed(seed))


class Tripling(NearlyShiftInvariant):
    """``x -> 3 x``."""

    domain = codomain = SPACE

    def forward(self, x: Tensor) -> Tensor:
        return 3 * x

    def adjoint(self, y: Tensor) -> Tensor:
        return 3 * y


@pytest.mark.parametrize("weight", [0.0, 0.3, 40.0])
def test_exact_for_a_multiple_of_the_identity_with_equal_weights(weight: float) -> None:
    x = draw()
    normal = 9 * 2.5 * x + weight * x
    # D^2 = 2.5; the scale of a preconditioner is free, but this one's is right but for the bound at weight zero.
    found = Tripling().preconditioner(torch.tensor(2.5, dtype=torch.float64))(weight)(normal)
    torch.testing.assert_close(found, x, rtol=1e-5, atol=1e-6)


def test_unequal_weights_are_undone_voxel_by_voxel() -> None:
    x, weights = draw(), 0.5 + draw(1).abs()
    found = Tripling().preconditioner(weights)(0.0)(9 * weights * x)
    torch.testing.assert_close(found, x, rtol=1e-5, atol=1e-6)


def test_voxels_that_nothing_sees_stay_bounded() -> None:
    weights = torch.ones(SPACE.shape, dtype=torch.float64)
    weights[:, :, 0] = 0.0
    inverse = Tripling().preconditioner(weights)(0.0)
    assert bool(torch.isfinite(inverse(draw())).all())
    assert float(inverse(draw()).abs().max()) < 1e4


class Blind(Tripling):
    """Sees nothing of the first column."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (torch.arange(x.shape[-1]) > 0)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.forward(y)


def test_voxels_outside_every_ray_do_not_hold_the_others_back() -> None:
    weights = torch.full((), 2.5, dtype=torch.float64)
    whole, part = Tripling().preconditioner(weights)(0.3), Blind().preconditioner(weights)(0.3)
    x = draw()
    torch.testing.assert_close(part(x), whole(x))


def test_resampled_it_keeps_the_ability() -> None:
    composed = ShiftInvariantComposition(Tripling(), Identity(SPACE))
    x = draw()
    found = composed.preconditioner(torch.ones((), dtype=torch.float64))(1.0)(10 * x)
    torch.testing.assert_close(found, x, rtol=1e-5, atol=1e-6)
