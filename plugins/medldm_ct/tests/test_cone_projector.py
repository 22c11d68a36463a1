"""The cone-beam transform: place, accuracy, exact adjoint, any orientation, memory, what is refused."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from medldm.errors import InputRefused, UsageError
from medldm.inference import HasSubsets
from medldm_ct.cone import compiled, kernels, projector
from medldm_ct.cone.geometry import ConeBeam, Detector, VoxelBox
from medldm_ct.cone.orbit import Orbit, circular, helical
from medldm_ct.cone.phantom import Ellipsoid, blobs, projected, sampled
from medldm_ct.cone.projector import ConeTransform
from medldm_ct.phantom import relative_error

TURN = 2 * math.pi
BOX = VoxelBox((9, 14, 11), (1.3, 1.0, 1.2), (0.4, -0.7, 0.9))


def turn(views: int, arc: float = TURN, start: float = 0.2) -> tuple[float, ...]:
    return tuple(start + arc * i / views for i in range(views))


def orbit(rows: int = 11, columns: int = 15, *, curved: bool = False, pitch: float = 2.0, views: int = 5) -> Orbit:
    detector = Detector(rows, columns, 1.1 * pitch, pitch, curved)
    return circular(detector, turn(views), 40.0, 70.0, column_offset=1.7, row_offset=-1.2)


def tilted(beam: ConeBeam, angle: float = 0.4) -> ConeBeam:
    """The whole scanner turned around an oblique axis."""
    spin = torch.tensor([[0, -0.6, 0.5], [0.6, 0, -1.0], [-0.5, 1.0, 0]], dtype=torch.float64)
    turned = torch.linalg.matrix_exp(angle * spin)
    return replace(beam, **{name: getattr(beam, name) @ turned.T for name in ("source", "centre", "u", "v")})


SCANS: dict[str, ConeBeam] = {
    "flat": orbit().beam(),
    "curved": orbit(curved=True).beam(),
    "coarse bins": orbit(3, 5, pitch=7.0).beam(),
    "fine bins": orbit(25, 40, pitch=0.6).beam(),
    "truncated": orbit(4, 5).beam(),
    "helix": helical(Detector(6, 15, 2.0, 2.0, True), turn(9, 3 * TURN), 40.0, 70.0, feed=5.0, start=-7.0).beam(),
    "tilted": tilted(orbit(views=3).beam()),
    "on its side": tilted(orbit(views=3).beam(), math.pi / 2),
}


def _upside_down(beam: ConeBeam) -> ConeBeam:
    return replace(beam, v=-beam.v)


SCANS["rows downwards"] = _upside_down(SCANS["flat"])


@pytest.mark.parametrize("name", SCANS)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_adjoint_is_the_transpose(name: str, dtype: torch.dtype, limit: float) -> None:
    operator = ConeTransform(SCANS[name], BOX, dtype=dtype)
    x = operator.domain.randn(generator=torch.Generator().manual_seed(1))
    y = operator(x)
    forward = (y.double() ** 2).sum()
    assert float(forward) > 0
    backward = (x.double() * operator.H(y).double()).sum()
    assert float((forward - backward).abs() / forward) <= limit


@pytest.mark.parametrize("name", [name for name, beam in SCANS.items() if beam.upright])
def test_rays_have_the_coefficients_of_the_compiled_columns(name: str) -> None:
    operator = ConeTransform(SCANS[name], BOX, dtype=torch.float64)
    assert operator.compiled is not None
    generator = torch.Generator().manual_seed(2)
    x, y = operator.domain.randn(generator=generator), operator.codomain.randn(generator=generator)
    assert relative_error(operator.rays.project(x), operator(x)) < 1e-12
    assert relative_error(operator.rays.backproject(y), operator.H(y)) < 1e-12


@pytest.mark.parametrize("name", ["flat", "curved", "helix", "tilted", "on its side", "rows downwards"])
def test_a_voxel_is_seen_where_it_is(name: str) -> None:
    beam = SCANS[name]
    # Fine bins on a detector that sees all: the middle of a voxel's shadow is where its middle is projected to.
    beam = replace(beam, detector=Detector(150, 150, 0.4, 0.4, beam.detector.curved)).with_views([0, 2])
    operator = ConeTransform(beam, BOX, dtype=torch.float64)
    x = operator.domain.zeros()
    x[6, 3, 8] = 1
    place = torch.tensor([BOX.first(0) + 8 * 1.2, BOX.first(1) + 3 * 1.0, BOX.first(2) + 6 * 1.3], dtype=torch.float64)
    expected_v, expected_u, _ = beam.seen_at(place[None])
    y = operator(x)
    for view, shadow in enumerate(y):
        total = shadow.sum()
        assert float(total) > 0
        found_v = float((shadow.sum(1) * beam.detector.row_positions()).sum() / total)
        found_u = float((shadow.sum(0) * beam.detector.column_positions()).sum() / total)
        assert found_v == pytest.approx(float(expected_v[view, 0]), abs=0.06)
        assert found_u == pytest.approx(float(expected_u[view, 0]), abs=0.06)


def test_the_source_stands_above_the_image_and_rows_are_counted_along_z() -> None:
    beam = circular(Detector(2, 2, 1.0, 1.0), (0.0, math.pi / 2), 40.0, 70.0).beam()
    assert torch.allclose(beam.source[0], torch.tensor([0.0, -40.0, 0.0]).double())
    assert torch.allclose(beam.source[1], torch.tensor([40.0, 0.0, 0.0]).double())
    assert torch.allclose(beam.centre[0], torch.tensor([0.0, 30.0, 0.0]).double())
    row, column, depth = beam.seen_at(torch.tensor([[4.0, 0.0, 2.0]], dtype=torch.float64))
    assert (float(row[0, 0]), float(column[0, 0])) == pytest.approx((2 * 70 / 40, 4 * 70 / 40))
    assert float(depth[0, 0]) == pytest.approx(40)


@pytest.mark.parametrize("curved", [False, True])
def test_the_middle_slice_is_that_of_the_fan(curved: bool) -> None:
    from medldm_ct.geometry import ImagePlane
    from medldm_ct.projector import XRayTransform

    scan = circular(Detector(1, 31, 1.0, 1.7, curved), turn(6), 40.0, 70.0, column_offset=2.0)
    x = torch.rand(1, 16, 13, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    cone = ConeTransform(scan.beam(), VoxelBox((1, 16, 13), (9.0, 1.2, 1.1)), dtype=torch.float64)(x)[:, 0]
    fan = XRayTransform(scan.fan, ImagePlane((16, 13), (1.2, 1.1)), 1, dtype=torch.float64)(x)[0]
    assert relative_error(cone, fan) < 1e-9


def accuracy(beam: ConeBeam, box: VoxelBox, radius: float) -> float:
    bodies = blobs(radius)
    return relative_error(ConeTransform(beam, box)(sampled(bodies, box).float()), projected(bodies, beam))


@pytest.mark.parametrize("name", ["flat", "curved", "tilted"])
def test_accuracy_is_of_second_order_in_the_voxel(name: str) -> None:
    errors = []
    for n in (20, 40):
        scan = circular(Detector(n, n + 8, 80 / n, 80 / n, name == "curved"), turn(3), 90.0, 180.0)
        beam = tilted(scan.beam()) if name == "tilted" else scan.beam()
        errors.append(accuracy(beam, VoxelBox((n, n, n), (40 / n,) * 3), 24.0))
    assert errors[1] < 0.015
    assert errors[1] < errors[0] / 3


def test_lines_through_an_ellipsoid_have_its_lengths() -> None:
    scan = circular(Detector(48, 48, 2.0, 2.0), turn(4), 150.0, 300.0)
    box = VoxelBox((48, 48, 48), (1.0, 1.0, 1.0))
    bodies = (Ellipsoid(0.02, (1.0, 2.0, -1.0), (17.0, 13.0, 11.0)),)
    found, truth = ConeTransform(scan.beam(), box)(sampled(bodies, box).float()), projected(bodies, scan.beam())
    assert relative_error(found, truth) < 0.02
    assert float(found.double().sum() / truth.sum()) == pytest.approx(1, abs=1e-3)


def test_derivatives_of_both_orders() -> None:
    operator = ConeTransform(
        orbit(2, 3, pitch=5.0, views=2).beam(), VoxelBox((2, 3, 2), (3.0,) * 3), dtype=torch.float64
    )
    x = operator.domain.randn(generator=torch.Generator().manual_seed(4)).requires_grad_()
    assert torch.autograd.gradcheck(operator, (x,))
    assert torch.autograd.gradgradcheck(lambda v: operator(v) ** 2, (x,))


@pytest.mark.parametrize("box", [VoxelBox((10, 9, 9), (1.0, 1.0, 1.0)), BOX], ids=["edges on voxels", "edges between"])
def test_only_what_was_written_is_read(box: VoxelBox, monkeypatch: pytest.MonkeyPatch) -> None:
    beam = circular(Detector(4, 5, 2.0, 2.0), (0.0, 0.4), 64.0, 128.0).beam()
    one, y = torch.ones(box.shape), torch.ones(beam.shape)
    pair = compiled.CompiledPair(beam, box)
    expected = pair.project(one), pair.backproject(y)
    # The loops as Python runs them, in memory that holds no number until one is written.
    for name in ("running_sums", "running_rays", "project", "backproject"):
        monkeypatch.setattr(kernels, name, getattr(kernels, name).py_func)
    monkeypatch.setattr(np, "empty", lambda shape, dtype: np.full(shape, np.nan, dtype))
    assert torch.allclose(pair.project(one), expected[0], rtol=1e-5)
    assert torch.allclose(pair.backproject(y), expected[1], rtol=1e-5)


def test_neither_threads_nor_chunks_change_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = ConeTransform(SCANS["helix"], BOX)
    x = operator.domain.randn(generator=torch.Generator().manual_seed(5))
    y, threads = operator(x), torch.get_num_threads()
    back = operator.H(y)
    monkeypatch.setattr(compiled, "_COLUMNS", 7)
    monkeypatch.setattr(compiled, "_SLABS", 3)
    try:
        torch.set_num_threads(3)
        assert torch.equal(operator(x), y)
        assert torch.equal(operator.H(y), back)
        monkeypatch.setattr(compiled, "_NUMBERS", 150)
        assert torch.allclose(operator.H(y), back, rtol=1e-5, atol=1e-4)
    finally:
        torch.set_num_threads(threads)


def test_without_a_compiler_rays_take_over_and_say_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with_compiler = ConeTransform(SCANS["flat"], BOX, dtype=torch.float64)
    monkeypatch.setattr(projector, "find_spec", lambda name: None)
    projector._warn_of_no_compiler.cache_clear()
    with caplog.at_level(logging.WARNING):
        without = ConeTransform(SCANS["flat"], BOX, dtype=torch.float64)
    assert without.compiled is None and "numba" in caplog.text
    x = without.domain.randn(generator=torch.Generator().manual_seed(6))
    assert relative_error(without(x), with_compiler(x)) < 1e-12


def test_subsets_explain_their_views() -> None:
    operator = ConeTransform(SCANS["curved"], BOX, dtype=torch.float64)
    assert isinstance(operator, HasSubsets)
    x = operator.domain.randn(generator=torch.Generator().manual_seed(7))
    y, seen = operator(x), list[int]()
    for part, views in operator.subsets(3):
        assert torch.allclose(part(x), y[views], atol=1e-12)
        seen += views.tolist()
    assert sorted(seen) == list(range(5))
    with pytest.raises(UsageError, match="E-CT-07"):
        operator.subsets(6)


def _vectors(**changes: Tensor) -> ConeBeam:
    return replace(SCANS["flat"], **changes)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: Detector(0, 4, 1.0, 1.0), "E-CT-01"),
        (lambda: Detector(4, 4, 1.0, -1.0), "E-CT-02"),
        (lambda: circular(Detector(4, 4, 1.0, 1.0), (), 40.0, 70.0), "E-CT-01"),
        (lambda: circular(Detector(4, 4, 1.0, 1.0), (0.0,), 70.0, 40.0), "E-CT-03"),
        (lambda: Orbit(Detector(4, 4, 1.0, 1.0), (0.0, 1.0), 40.0, 70.0, (0.0,)), "E-CT-22"),
        (lambda: _vectors(source=torch.zeros(4, 3)), "E-CT-22"),
        (lambda: _vectors(u=2 * SCANS["flat"].u), "E-CT-22"),
        (lambda: _vectors(v=SCANS["flat"].u), "E-CT-22"),
        (lambda: _vectors(source=torch.full((5, 3), math.nan)), "E-CT-22"),
        (lambda: _vectors(source=SCANS["flat"].centre), "E-CT-22"),
        (lambda: ConeTransform(orbit().beam(), VoxelBox((5, 90, 90), (1.0,) * 3)), "E-CT-04"),
        (lambda: ConeTransform(orbit().beam(), VoxelBox((5, 20, 20), (1.0,) * 3, (0.0, 35.0, 0.0))), "E-CT-04"),
    ],
)
def test_impossible_geometries_are_refused(make: object, code: str) -> None:
    assert callable(make)
    with pytest.raises(InputRefused, match=code):
        make()
