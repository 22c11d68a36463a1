"""Filtered back-projection of cone beams and helices: analytic phantoms, weights, transpose, truncation."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from medldm.errors import InputRefused, UsageError
from medldm_ct.cone.fdk import FeldkampOperator
from medldm_ct.cone.geometry import Detector, VoxelBox
from medldm_ct.cone.helix import check_pitch, feed_per_turn, largest_feed
from medldm_ct.cone.orbit import Orbit, circular, helical
from medldm_ct.cone.phantom import Ellipsoid, blobs, projected, sampled
from medldm_ct.cone.projector import ConeTransform
from medldm_ct.cone.scan_checks import check_views, object_is_truncated
from medldm_ct.extrapolation import Continuation, truncation
from medldm_ct.phantom import relative_error
from medldm_ct.redundancy import Redundancy, RedundancyName

TURN = 2 * math.pi
SHORT = math.pi + 0.9
BOX = VoxelBox((14, 32, 30), (1.3, 1.0, 1.0))
BODIES = blobs(14.0)


def turn(views: int, arc: float = TURN) -> tuple[float, ...]:
    return tuple(0.1 + arc * i / views for i in range(views))


def detector(columns: int = 48, *, rows: int = 26, curved: bool = False) -> Detector:
    return Detector(rows, columns, 2.0, 2.0, curved)


SCANS: dict[str, tuple[Orbit, RedundancyName, float]] = {
    "flat": (circular(detector(), turn(70), 150.0, 300.0), "full-turn", TURN),
    "curved": (circular(detector(curved=True), turn(70), 150.0, 300.0), "full-turn", TURN),
    "off along the axis": (circular(detector(rows=32), turn(70), 150.0, 300.0, row_offset=5.0), "full-turn", TURN),
    "flat short": (circular(detector(), turn(70, SHORT), 150.0, 300.0), "short-scan", SHORT),
    "curved short": (circular(detector(curved=True), turn(70, SHORT), 150.0, 300.0), "short-scan", SHORT),
    "flat displaced": (circular(detector(34), turn(90), 150.0, 300.0, column_offset=13.0), "displaced", TURN),
    "curved displaced": (
        circular(detector(34, curved=True), turn(90), 150.0, 300.0, column_offset=-13.0),
        "displaced",
        TURN,
    ),
}


def inside(box: VoxelBox, radius: float) -> Tensor:
    _, ny, nx = box.shape
    y, x = torch.arange(ny)[:, None] - (ny - 1) / 2, torch.arange(nx)[None] - (nx - 1) / 2
    return (torch.hypot(y * box.spacing[1], x * box.spacing[2]) < radius).expand(box.shape)


@pytest.mark.parametrize("name", SCANS)
def test_analytic_projections_give_the_phantom_back(name: str) -> None:
    orbit, kind, arc = SCANS[name]
    operator = FeldkampOperator(orbit, BOX, Redundancy.named(kind, arc), "ram-lak")
    image, truth = operator(projected(BODIES, orbit.beam(), 1).float()), sampled(BODIES, BOX)
    seen = inside(BOX, 14.0)
    # Pixels of 1 mm blur blobs of 1.1 mm: the error of the middle plane, which is exact in theory, is the yardstick.
    middle = slice(6, 8)
    assert relative_error(image[middle][seen[middle]], truth[middle][seen[middle]]) < 0.06
    assert relative_error(image[seen], truth[seen]) < 0.08
    # The scale, in parts of one.
    assert float(image[seen].double().sum() / truth[seen].sum()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("curved", [False, True])
def test_the_middle_plane_is_that_of_the_fan(curved: bool) -> None:
    from medldm_ct.geometry import ImagePlane
    from medldm_ct.projector import XRayTransform

    orbit = circular(Detector(1, 40, 1.0, 2.0, curved), turn(24), 150.0, 300.0)
    redundancy = Redundancy.named("full-turn", TURN)
    # One thin slice that one row sees whole.
    cone = FeldkampOperator(orbit, VoxelBox((1, 24, 22), (0.05, 1.0, 1.1)), redundancy, dtype=torch.float64)
    fan = XRayTransform(orbit.fan, ImagePlane((24, 22), (1.0, 1.1)), 1, dtype=torch.float64, redundancy=redundancy)
    y = torch.rand(24, 1, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert relative_error(cone(y)[0], fan.filtered_adjoint("hann")(y.transpose(0, 1))[0]) < 1e-3


def test_a_displaced_detector_needs_its_weights() -> None:
    orbit, _, _ = SCANS["flat displaced"]
    y, truth = projected(BODIES, orbit.beam(), 1).float(), sampled(BODIES, BOX)
    seen = inside(BOX, 14.0)
    mass = []
    for kind in ("displaced", "full-turn"):
        image = FeldkampOperator(orbit, BOX, Redundancy.named(kind, TURN), "ram-lak")(y)
        mass.append(float(image[seen].double().sum() / truth[seen].sum()))
    assert mass[0] == pytest.approx(1, abs=5e-3)
    assert mass[1] > 1.05


def helix(curved: bool = True, feed: float = 6.0, rows: int = 10) -> Orbit:
    turns = turn(5 * 60, 5 * TURN)
    return helical(
        detector(rows=rows, curved=curved), turns, 150.0, 300.0, feed=feed, start=-2.5 * feed, row_offset=0.0
    )


@pytest.mark.parametrize("curved", [False, True])
@pytest.mark.parametrize("feed", [4.0, 7.0])
def test_a_helix_gives_a_start_image(curved: bool, feed: float) -> None:
    orbit = helix(curved, feed)
    operator = FeldkampOperator(orbit, BOX, None, "ram-lak")
    image, truth = operator(projected(BODIES, orbit.beam(), 1).float()), sampled(BODIES, BOX)
    seen = inside(BOX, 14.0)
    assert relative_error(image[seen], truth[seen]) < 0.15
    assert float(image[seen].double().sum() / truth[seen].sum()) == pytest.approx(1, abs=0.03)


def test_the_largest_feed_is_that_of_the_tam_window() -> None:
    # The window of an axis voxel on a curved detector: (feed D / 2 pi R) (pi / 2) above and below the source.
    orbit = helix()
    assert feed_per_turn(orbit) == pytest.approx(6.0)
    assert largest_feed(orbit, 0.0) == pytest.approx(10 * 2.0 / 2 * 4 * 150 / 300)
    assert largest_feed(orbit, 50.0) < largest_feed(orbit, 0.0)
    with pytest.raises(InputRefused, match="E-CT-24"):
        check_pitch(helix(feed=21.0), BOX)
    with pytest.raises(InputRefused, match="E-CT-24"):
        FeldkampOperator(helix(feed=21.0), BOX, None)


def test_a_helix_that_lost_views_is_refused_where_the_image_lies() -> None:
    whole = helix()
    check_pitch(whole, BOX)
    middle = [k for k in range(whole.views) if not 120 <= k < 240]
    gap = replace(whole, angles=tuple(whole.angles[k] for k in middle), heights=tuple(whole.heights[k] for k in middle))
    with pytest.raises(InputRefused, match=r"E-CT-24.*has no views from -3\.1 to 9\.0 mm"):
        check_pitch(gap, BOX)
    check_pitch(gap, replace(BOX, centre=(0.0, 0.0, -15.0)))
    # A few views that are missing leave half a turn to every point.
    few = [k for k in range(whole.views) if not 120 <= k < 125]
    check_pitch(
        replace(whole, angles=tuple(whole.angles[k] for k in few), heights=tuple(whole.heights[k] for k in few)), BOX
    )


@pytest.mark.parametrize("name", ["flat", "curved short", "flat displaced", "helix", "truncated"])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_its_adjoint_is_exact(name: str, dtype: torch.dtype, limit: float) -> None:
    small = VoxelBox((4, 9, 10), (4.0, 3.0, 3.0))
    if name == "helix":
        operator = FeldkampOperator(helix(), small, None, dtype=dtype)
    else:
        orbit, kind, arc = SCANS["flat" if name == "truncated" else name]
        few = replace(orbit, angles=orbit.angles[::7], heights=orbit.heights[::7])
        weights = Redundancy.named(kind, arc)
        operator = FeldkampOperator(few, small, weights, "hamming", truncated=name == "truncated", dtype=dtype)
    y = operator.domain.randn(generator=torch.Generator().manual_seed(0))
    image = operator(y)
    forward, backward = (image.double() ** 2).sum(), (y.double() * operator.H(image).double()).sum()
    assert float((forward - backward).abs() / forward) <= limit


def test_short_arcs_and_unknown_weights_are_refused() -> None:
    orbit, _, _ = SCANS["flat short"]
    short = circular(detector(), turn(50, math.pi + 0.1), 150.0, 300.0)
    for make, code in (
        (lambda: FeldkampOperator(short, BOX, Redundancy.named("short-scan", math.pi + 0.1)), "E-CT-08"),
        (lambda: FeldkampOperator(orbit, BOX, Redundancy.named("full-turn", TURN)), "E-CT-09"),
        (lambda: FeldkampOperator(SCANS["flat"][0], BOX, Redundancy.named("full-turn", TURN), "box"), "E-CT-11"),
        (lambda: ConeTransform(orbit.beam(), BOX).filtered_adjoint(), "E-CT-12"),
    ):
        with pytest.raises(UsageError, match=code):
            make()


def test_rows_that_are_cut_off_are_continued(caplog: pytest.LogCaptureFixture) -> None:
    body = (Ellipsoid(0.02, (0.0, 0.0, 0.0), (28.0, 24.0, 30.0)),)
    narrow = circular(Detector(8, 36, 2.0, 2.0), turn(90), 150.0, 300.0)
    y, box = projected(body, narrow.beam(), 1).float(), VoxelBox((1, 24, 24), (1.0, 1.0, 1.0))
    weights = Redundancy.named("full-turn", TURN)
    with caplog.at_level(logging.WARNING, "medldm.ct"):
        assert object_is_truncated(y, narrow, weights)
    assert "E-CT-25" in caplog.text and "100%" in caplog.text
    seen = inside(box, 11.0)
    errors = []
    for truncated in (False, True):
        image = FeldkampOperator(narrow, box, weights, truncated=truncated)(y)
        errors.append(float((image[seen] - 0.02).abs().max() / 0.02))
    # The bright rim of the filter is gone; what is left is that the body outside is not known.
    assert errors[1] < 0.1
    assert errors[0] > 2.5 * errors[1]
    wide = circular(Detector(40, 70, 2.0, 2.0), turn(4), 150.0, 300.0)
    assert not object_is_truncated(projected(BODIES, wide.beam(), 1), wide, weights)


def test_a_short_end_is_no_truncation_only_where_the_weights_make_up_for_it() -> None:
    orbit, _, _ = SCANS["flat displaced"]
    y = projected(BODIES, orbit.beam(), 1)
    assert not object_is_truncated(y, orbit, Redundancy.named("displaced", TURN))
    assert object_is_truncated(y, orbit, Redundancy.named("full-turn", TURN))
    assert object_is_truncated(y, orbit, None)


@pytest.mark.parametrize("offset", [15.0, -15.0])
def test_a_helix_that_is_cut_off_on_one_side_has_weights_for_it(offset: float) -> None:
    whole = helix()
    displaced = replace(whole, detector=detector(30, rows=10, curved=True), column_offset=offset)
    truth, seen = sampled(BODIES, BOX), inside(BOX, 14.0)
    image, unweighted = (
        FeldkampOperator(displaced, BOX, None, truncated=truncated)(projected(BODIES, displaced.beam(), 1).float())
        for truncated in (True, False)
    )
    # Opposite rays stand at other heights, and fade unequally: a start image, of the right scale.
    assert float(image[seen].sum() / truth[seen].sum()) == pytest.approx(1, abs=0.05)
    assert float(unweighted[seen].sum() / truth[seen].sum()) > 1.5
    assert relative_error(image[seen], truth[seen]) < 0.25


def test_a_helix_off_centre_that_sees_the_object_whole_needs_no_weights() -> None:
    orbit = replace(helix(), detector=detector(60, rows=10, curved=True), column_offset=10.0)
    y, truth, seen = projected(BODIES, orbit.beam(), 1).float(), sampled(BODIES, BOX), inside(BOX, 14.0)
    assert float(FeldkampOperator(orbit, BOX, None)(y)[seen].sum() / truth[seen].sum()) == pytest.approx(1, abs=0.02)


def test_continuation_is_linear_smooth_and_transposed() -> None:
    rows = Continuation.of(10, truncated=True)
    y = torch.rand(3, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 1
    longer = rows.extend(y)
    assert longer.shape == (3, 20)
    assert torch.equal(rows.crop(longer), y)
    assert bool((longer[:, 15:].diff() < 0).all()) and float(longer[:, -1].max()) < 0.2
    other = torch.rand_like(longer)
    assert float((longer * other).sum()) == pytest.approx(float((y * rows.fold(other)).sum()), rel=1e-12)
    assert Continuation.of(10, truncated=False).extend(y) is y
    assert not truncation(torch.tensor([[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]])).noticeable


def test_views_are_looked_at(caplog: pytest.LogCaptureFixture) -> None:
    orbit = SCANS["flat"][0]
    with pytest.raises(InputRefused, match="E-CT-26"):
        check_views(replace(orbit, angles=(0.3,) * 70))
    with caplog.at_level(logging.WARNING, "medldm.ct"):
        check_views(replace(orbit, angles=(*orbit.angles[:69], orbit.angles[0] + TURN)))
    assert "E-CT-26 1 of 70" in caplog.text
    wrapped = helix()
    with pytest.raises(InputRefused, match="E-CT-27"):
        check_views(replace(wrapped, angles=tuple(a % TURN for a in wrapped.angles)))
    check_views(wrapped)
