"""Filtered back-projection of analytic sinograms, its weights, its transpose."""

from __future__ import annotations

import math

import pytest
import torch

from medldm.errors import UsageError
from medldm_ct.fbp import FilteredBackProjection
from medldm_ct.geometry import FanBeam, Geometry, ImagePlane, ParallelBeam
from medldm_ct.phantom import gaussian_image, gaussian_sinogram, relative_error
from medldm_ct.projector import XRayTransform
from medldm_ct.ramp import ramp_response
from medldm_ct.redundancy import Redundancy

TURN = 2 * math.pi
SHORT = math.pi + 0.9


def views(n: int, arc: float, start: float = 0.0) -> tuple[float, ...]:
    return tuple(start + arc * i / n for i in range(n))


SCANS: dict[str, tuple[Geometry, Redundancy]] = {
    "parallel 180": (ParallelBeam(views(120, math.pi, 0.2), 140, 1.0), Redundancy.named("half-turn", math.pi)),
    "parallel 360": (ParallelBeam(views(140, TURN), 140, 1.0), Redundancy.named("full-turn", TURN)),
    "parallel displaced": (ParallelBeam(views(180, TURN), 90, 1.0, 21.0), Redundancy.named("displaced", TURN)),
    "flat": (FanBeam(views(140, TURN), 150, 2.0, 0.0, 250.0, 500.0), Redundancy.named("full-turn", TURN)),
    "curved": (FanBeam(views(140, TURN), 150, 2.0, 0.0, 250.0, 500.0, True), Redundancy.named("full-turn", TURN)),
    "flat short": (FanBeam(views(140, SHORT, 1.0), 150, 2.0, 0.0, 250.0, 500.0), Redundancy.named("short-scan", SHORT)),
    "curved short": (
        FanBeam(views(140, SHORT, -2.0), 150, 2.0, 0.0, 250.0, 500.0, True),
        Redundancy.named("short-scan", SHORT),
    ),
    "flat displaced": (FanBeam(views(180, TURN), 100, 2.0, 51.0, 250.0, 500.0), Redundancy.named("displaced", TURN)),
    "curved displaced": (
        FanBeam(views(180, TURN), 100, 2.0, -51.3, 250.0, 500.0, True),
        Redundancy.named("displaced", TURN),
    ),
}
PLANE = ImagePlane((96, 90), (1.0, 1.0))


@pytest.mark.parametrize("name", SCANS)
def test_analytic_sinograms_give_the_phantom_back(name: str) -> None:
    geometry, redundancy = SCANS[name]
    operator = XRayTransform(geometry, PLANE, 1, redundancy=redundancy)
    image = operator.filtered_adjoint("ram-lak")(gaussian_sinogram(geometry, 46.0).float()[None])[0].double()
    truth = gaussian_image(PLANE, 46.0)
    y = (torch.arange(96) - 47.5)[:, None]
    x = (torch.arange(90) - 44.5)[None]
    inside = torch.hypot(y, x) < 42
    assert relative_error(image[inside], truth[inside]) < 1e-2
    # The scale, in parts of one: the mean over the phantom.
    assert float(image[inside].sum() / truth[inside].sum()) == pytest.approx(1, abs=5e-4)


@pytest.mark.parametrize("pitch", [0.7, 1.9])
def test_scale_does_not_depend_on_pixels_or_bins(pitch: float) -> None:
    plane = ImagePlane((90, 70), (0.8, 1.1))
    geometry = ParallelBeam(views(150, math.pi), math.ceil(110 / pitch), pitch)
    operator = XRayTransform(geometry, plane, 1, redundancy=Redundancy.named("half-turn", math.pi))
    image = operator.filtered_adjoint("ram-lak")(gaussian_sinogram(geometry, 36.0).float()[None])[0]
    truth = gaussian_image(plane, 36.0)
    assert float(image.double()[20:70, 15:55].sum() / truth[20:70, 15:55].sum()) == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("name", ["parallel 180", "curved short", "flat displaced", "parallel displaced"])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_its_adjoint_is_exact(name: str, dtype: torch.dtype, limit: float) -> None:
    geometry, redundancy = SCANS[name]
    few = geometry.with_views(range(0, geometry.views, 10))
    projector = XRayTransform(few, ImagePlane((21, 24), (5.0, 5.0)), 2, dtype=dtype, redundancy=redundancy)
    fbp = FilteredBackProjection(projector, "hamming")
    y = fbp.domain.randn(generator=torch.Generator().manual_seed(0))
    image = fbp(y)
    forward, backward = (image.double() ** 2).sum(), (y.double() * fbp.H(image).double()).sum()
    assert float((forward - backward).abs() / forward) <= limit


def test_windows_damp_high_frequencies_and_keep_low_ones() -> None:
    geometry = ParallelBeam((0.0,), 100, 0.5)
    response = {w: ramp_response(geometry, w) for w in ("ram-lak", "shepp-logan", "cosine", "hamming", "hann")}
    at_limit = {w: float(r[-1]) for w, r in response.items()}
    # At the Nyquist frequency 1 / (2 pitch) = 1 per mm the ramp is that frequency.
    assert at_limit["ram-lak"] == pytest.approx(1.0, rel=1e-2)
    assert at_limit["shepp-logan"] == pytest.approx(at_limit["ram-lak"] * 2 / math.pi)
    assert at_limit["hamming"] == pytest.approx(at_limit["ram-lak"] * 0.08)
    assert at_limit["cosine"] == pytest.approx(0, abs=1e-12)
    assert at_limit["hann"] == pytest.approx(0, abs=1e-12)
    for r in response.values():
        assert float(r[4]) == pytest.approx(4 / 128, rel=0.02)
        assert 0 < float(r[0]) < 1e-2
    with pytest.raises(UsageError, match="E-CT-11"):
        ramp_response(geometry, "blackman")


@pytest.mark.parametrize("curved", [False, True])
@pytest.mark.parametrize("bin_", [0, 30, 94, 95, 160, 189])
def test_weights_of_the_two_measurements_of_a_line_add_up_to_one(curved: bool, bin_: int) -> None:
    redundancy = Redundancy.named("short-scan", SHORT)
    sketch = FanBeam((0.0,), 190, 2.0, 0.0, 250.0, 500.0, curved)
    gamma = float(sketch.fan_angles(sketch.centres())[bin_])
    both = 0
    for beta in (0.05, 0.3, 0.8, 2.0, 3.0, 3.6, 3.99):
        opposite = next((beta + d - 2 * gamma for d in (math.pi, -math.pi) if 0 < beta + d - 2 * gamma < SHORT), None)
        angles = (0.0, beta, opposite or beta, SHORT)
        weights = redundancy.weights(FanBeam(angles, 190, 2.0, 0.0, 250.0, 500.0, curved))
        total = weights[1, bin_] + (weights[2, 189 - bin_] if opposite else 0)
        assert float(total) == pytest.approx(1, abs=1e-9)
        both += opposite is not None
    assert both >= 2


def test_no_view_of_a_short_scan_is_lost() -> None:
    weights = SCANS["flat short"][1].weights(SCANS["flat short"][0])
    assert float(weights.amax(1).min()) > 0


@pytest.mark.parametrize("name", ["parallel displaced", "flat displaced"])
def test_weights_of_a_displaced_detector_add_up_to_one(name: str) -> None:
    geometry, redundancy = SCANS[name]
    weights, position = redundancy.weights(geometry)[0], geometry.centres()
    for i, t in enumerate(position):
        opposite = int((position + t).abs().argmin())
        if abs(float(position[opposite] + t)) < 1e-9:
            assert float(weights[i] + weights[opposite]) == pytest.approx(1)
    assert float(weights[-1]) == 1 and float(weights[0]) < 2e-3


def test_views_stand_for_the_angle_between_them() -> None:
    irregular = ParallelBeam((0.0, 1.0, 0.4, 2.5), 3, 1.0)
    spacing = Redundancy("half-turn", math.pi).spacing(irregular)
    assert spacing.tolist() == pytest.approx(
        [(0.4 + math.pi - 2.5) / 2, (0.6 + 1.5) / 2, 0.5, (1.5 + math.pi - 2.5) / 2]
    )
    limited = Redundancy.named("limited", 2.0).spacing(ParallelBeam(views(50, 2.0), 3, 1.0))
    assert float(limited.sum()) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: Redundancy.named("half-turn", TURN), "E-CT-08"),
        (lambda: Redundancy.named("full-turn", math.pi), "E-CT-08"),
        (lambda: Redundancy.named("half-turn", math.pi).weights(SCANS["flat"][0]), "E-CT-08"),
        (lambda: Redundancy.named("short-scan", SHORT).weights(SCANS["parallel 180"][0]), "E-CT-08"),
        (lambda: Redundancy.named("short-scan", math.pi + 0.2).weights(FanBeam(views(50, 3.34), 190, 2.0)), "E-CT-08"),
        (lambda: Redundancy.named("half-turn", math.pi).weights(SCANS["parallel 360"][0]), "E-CT-09"),
        (lambda: Redundancy.named("full-turn", TURN).weights(SCANS["flat short"][0]), "E-CT-09"),
        (
            lambda: Redundancy.named("displaced", TURN).weights(ParallelBeam(views(9, TURN), 10, 1.0, 20.0)),
            "E-CT-10",
        ),
        (lambda: XRayTransform(SCANS["flat"][0], ImagePlane((8, 9), (1.0, 1.0)), 1).filtered_adjoint(), "E-CT-12"),
    ],
)
def test_weights_that_do_not_fit_are_refused(make: object, code: str) -> None:
    assert callable(make)
    with pytest.raises(UsageError, match=code):
        make()
