"""The X-ray transform: accuracy, exact adjoint, derivatives, symmetry, sharing, memory."""

from __future__ import annotations

import gc
import math
from dataclasses import replace

import pytest
import torch

from medldm.errors import UsageError
from medldm.inference import HasFilteredAdjoint, HasPreconditioner, HasSubsets, WeightedGaussian
from medldm.operators import Composition, Identity
from medldm_ct.geometry import FanBeam, Geometry, ImagePlane, ParallelBeam
from medldm_ct.matrix import system_matrix
from medldm_ct.phantom import gaussian_image, gaussian_sinogram, relative_error
from medldm_ct.projector import Storage, XRayTransform, operator_bytes


def turn(views: int, arc: float = 2 * math.pi, start: float = 0.0) -> tuple[float, ...]:
    return tuple(start + arc * i / views for i in range(views))


ODD = ImagePlane((13, 17), (1.1, 0.9))
SCANS: dict[str, tuple[Geometry, ImagePlane, Storage]] = {
    "parallel": (ParallelBeam(turn(7, math.pi, 0.2), 26, 0.8, 0.3), ODD, "full"),
    "coarse bins": (ParallelBeam(turn(5, math.pi, 0.2), 6, 3.6), ODD, "full"),
    "fine bins": (ParallelBeam(turn(5, math.pi), 80, 0.27), ODD, "full"),
    "truncated": (ParallelBeam(turn(6, math.pi), 9, 1.0), ODD, "full"),
    "flat": (FanBeam(turn(7), 24, 1.7, 1.3, 30.0, 55.0), ODD, "full"),
    "curved": (FanBeam(turn(7), 24, 1.7, -1.3, 30.0, 55.0, True), ODD, "full"),
    "near source": (FanBeam(turn(7), 40, 2.2, 0.0, 11.5, 30.0), ODD, "full"),
    "quarter": (ParallelBeam(turn(12, math.pi), 23, 1.0), ImagePlane((16, 16), (1.0, 1.0)), "symmetric"),
    "eighth": (
        FanBeam(turn(16, start=math.pi / 16), 23, 1.9, 0.0, 30.0, 55.0),
        ImagePlane((15, 15), (1.0, 1.0)),
        "symmetric",
    ),
    "oblong": (ParallelBeam(turn(12, math.pi), 23, 1.0), ODD, "symmetric"),
}


@pytest.mark.parametrize("name", SCANS)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("slices", [1, 16])
def test_adjoint_is_the_transpose(name: str, dtype: torch.dtype, limit: float, slices: int) -> None:
    geometry, plane, storage = SCANS[name]
    operator = XRayTransform(geometry, plane, slices, dtype=dtype, storage=storage)
    x = operator.domain.randn(generator=torch.Generator().manual_seed(1))
    y = operator(x)
    forward = (y.double() ** 2).sum()
    backward = (x.double() * operator.H(y).double()).sum()
    assert float((forward - backward).abs() / forward) <= limit


@pytest.mark.parametrize("views", [60, 20])
def test_the_preconditioner_shortens_the_data_step_behind_an_absorbing_object(views: int) -> None:
    """Weights of counts behind a body differ a hundredfold; the prior's image lacks its texture, of 100 HU."""
    plane = ImagePlane((64, 64), (6.0, 6.0))
    operator = XRayTransform(ParallelBeam(turn(views, math.pi), 92, 6.0), plane, 1, dtype=torch.float64)
    y, x = torch.meshgrid(*2 * (torch.linspace(-189, 189, 64, dtype=torch.float64),), indexing="ij")
    body = 0.018 * ((x / 170).square() + (y / 120).square() < 1).double()[None]
    weights = 1e5 * torch.exp(-operator(body))
    assert float(weights.max() / weights.min()) > 100
    texture = 0.002 * operator.domain.randn(generator=torch.Generator().manual_seed(3)) * (body > 0)
    likelihood = WeightedGaussian(operator, operator(body + texture), weights)
    v = body
    weight = 1 / 0.001**2

    def after(iterations: int, like: WeightedGaussian) -> float:
        return float(
            (like.prox(v, weight, start=v, iterations=iterations, tolerance=0) - solution).norm()
            / (v - solution).norm()
        )

    plain = WeightedGaussian(Composition(operator, Identity(operator.domain)), likelihood.measurement, weights)
    assert not isinstance(plain.operator, HasPreconditioner)
    solution = plain.prox(v, weight, iterations=2000, tolerance=1e-12)
    assert after(12, likelihood) < 0.6 * after(12, plain)


@pytest.mark.parametrize("name", SCANS)
def test_both_matrices_hold_the_same_numbers(name: str) -> None:
    geometry, plane, _ = SCANS[name]
    matrix = system_matrix(geometry, plane)
    dense = torch.zeros(geometry.rays, plane.size)
    dense[matrix.forward.row_of_entries(slice(None)), matrix.forward.index.long()] = matrix.forward.value
    other = torch.zeros(plane.size, geometry.rays)
    other[matrix.transposed.row_of_entries(slice(None)), matrix.transposed.index.long()] = matrix.transposed.value
    assert torch.equal(dense.T, other)
    assert bool((matrix.forward.value > 0).all())


def accuracy(geometry: Geometry, n: int) -> float:
    plane = ImagePlane((n, n), (1.0, 1.0))
    operator = XRayTransform(geometry, plane, 1)
    projected = operator(gaussian_image(plane, n / 2)[None].float())[0]
    return relative_error(projected, gaussian_sinogram(geometry, n / 2))


def test_accuracy_at_full_size() -> None:
    assert accuracy(ParallelBeam(turn(180, math.pi), 363, 1.0), 256) <= 4e-4


@pytest.mark.parametrize("curved", [False, True])
def test_accuracy_of_a_fan_at_full_size(curved: bool) -> None:
    # Stored by symmetry: 23 of 180 views are built.
    assert accuracy(FanBeam(turn(180), 363, 2.0, 0.0, 512.0, 1024.0, curved), 256) <= 1e-3


@pytest.mark.parametrize("pitch", [0.5, 1.0, 2.0])
def test_accuracy_holds_for_other_bins(pitch: float) -> None:
    # The error is one of second order in the pixel: 16 times that of 256 pixels.
    assert accuracy(ParallelBeam(turn(30, math.pi, 0.1), round(90 / pitch), pitch, 0.2), 64) <= 16 * 4e-4


@pytest.mark.parametrize("name", ["quarter", "eighth", "oblong"])
@pytest.mark.parametrize("slices", [1, 20])
def test_symmetric_storage_is_the_full_matrix(name: str, slices: int) -> None:
    geometry, plane, _ = SCANS[name]
    reduced, full = (
        XRayTransform(geometry, plane, slices, dtype=torch.float64, storage=storage)
        for storage in ("symmetric", "full")
    )
    generator = torch.Generator().manual_seed(2)
    x, y = full.domain.randn(generator=generator), full.codomain.randn(generator=generator)
    assert relative_error(reduced(x), full(x)) < 1e-12
    assert relative_error(reduced.H(y), full.H(y)) < 1e-12
    assert reduced.symmetry is not None
    kept = {"quarter": 4, "eighth": 2, "oblong": 7}[name]
    assert reduced.symmetry.geometry.views == kept


@pytest.mark.parametrize("offset", [0.0, 1.5])
def test_symmetry_of_a_full_turn_respects_a_displaced_detector(offset: float) -> None:
    plane = ImagePlane((12, 12), (1.0, 1.0))
    geometry = FanBeam(turn(8, start=0.1), 20, 1.7, offset, 30.0, 55.0)
    reduced = XRayTransform(geometry, plane, 1, dtype=torch.float64, storage="symmetric")
    full = XRayTransform(geometry, plane, 1, dtype=torch.float64, storage="full")
    x = full.domain.randn(generator=torch.Generator().manual_seed(3))
    assert relative_error(reduced(x), full(x)) < 1e-12
    assert reduced.symmetry is not None and reduced.symmetry.geometry.views == 2


def test_views_in_float32_are_still_symmetric() -> None:
    angles = torch.arange(180) * math.pi / 180
    operator = XRayTransform(ParallelBeam(angles, 23, 1.0), ImagePlane((16, 16), (1.0, 1.0)), 1)  # type: ignore[arg-type]
    assert operator.symmetry is not None and operator.symmetry.geometry.views == 46


def test_symmetric_storage_is_refused_where_there_is_none() -> None:
    with pytest.raises(UsageError, match="E-CT-06"):
        XRayTransform(ParallelBeam((0.0, 0.1, 0.5), 9, 1.0), ODD, 1, storage="symmetric")


@pytest.mark.parametrize("name", ["parallel", "flat", "eighth"])
def test_derivatives_of_both_orders(name: str) -> None:
    geometry, plane, storage = SCANS[name]
    small = ImagePlane((3, 3) if storage == "symmetric" else (2, 4), plane.spacing)
    few = replace(geometry.with_views(range(0, geometry.views, 4)), bins=5)
    operator = XRayTransform(few, small, 2, dtype=torch.float64, storage=storage)
    x = operator.domain.randn(generator=torch.Generator().manual_seed(4)).requires_grad_()
    assert torch.autograd.gradcheck(operator, (x,))
    assert torch.autograd.gradgradcheck(lambda v: operator(v) ** 2, (x,))


def test_a_batch_is_a_loop() -> None:
    geometry, plane, _ = SCANS["flat"]
    operator = XRayTransform(geometry, plane, 3, dtype=torch.float64)
    x = operator.domain.randn(2, 5, generator=torch.Generator().manual_seed(5))
    looped = torch.stack([torch.stack([operator(v) for v in row]) for row in x])
    assert torch.allclose(operator(x), looped, rtol=1e-13)


def test_other_precisions_are_converted_and_given_back() -> None:
    geometry, plane, _ = SCANS["parallel"]
    operator = XRayTransform(geometry, plane, 1)
    x = operator.domain.randn(generator=torch.Generator().manual_seed(6))
    assert operator(x.double()).dtype == torch.float64
    assert torch.allclose(operator(x.double()).float(), operator(x))
    assert operator.double()(x.double()).dtype == torch.float64


def test_operators_of_equal_geometry_share_their_matrix() -> None:
    geometry, plane, _ = SCANS["parallel"]
    again = ParallelBeam(geometry.angles, geometry.bins, geometry.pitch, geometry.offset)
    one, other = XRayTransform(geometry, plane, 1, storage="full"), XRayTransform(again, plane, 9, storage="full")
    assert one.stack.product.value.data_ptr() == other.stack.product.value.data_ptr()
    assert one.matrix is not XRayTransform(geometry, plane, 1, dtype=torch.float64).matrix


def test_the_matrix_is_dropped_with_its_last_operator() -> None:
    from medldm_ct import matrix

    geometry = ParallelBeam((0.123, 0.456), 9, 1.0)
    operator = XRayTransform(geometry, ODD, 1)
    assert any(key[0] == geometry for key in list(matrix._shared))
    del operator
    gc.collect()
    assert not any(key[0] == geometry for key in list(matrix._shared))


@pytest.mark.parametrize("name", ["parallel", "coarse bins", "fine bins", "flat", "curved", "quarter", "eighth"])
def test_memory_is_predicted(name: str) -> None:
    geometry, plane, storage = SCANS[name]
    predicted = operator_bytes(geometry, plane, 1, storage=storage)
    assert predicted == pytest.approx(XRayTransform(geometry, plane, 1, storage=storage).bytes_needed, rel=0.06)


def test_subsets_explain_their_views() -> None:
    geometry, plane, _ = SCANS["flat"]
    operator = XRayTransform(geometry, plane, 2, dtype=torch.float64)
    assert isinstance(operator, HasSubsets) and isinstance(operator, HasFilteredAdjoint)
    x = operator.domain.randn(generator=torch.Generator().manual_seed(7))
    y, seen = operator(x), []
    for part, views in operator.subsets(3):
        assert torch.allclose(part(x), y[:, views], atol=1e-12)
        seen += views.tolist()
    assert sorted(seen) == list(range(geometry.views))
    with pytest.raises(UsageError, match="E-CT-07"):
        operator.subsets(8)
