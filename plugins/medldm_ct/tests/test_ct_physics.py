"""From options and an image to a measurement, its likelihood and its start image."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

import medldm
from medldm.data import Acquisition, Grid, Volume
from medldm.errors import InputRefused, UsageError
from medldm.inference import Noise, TransmissionPoisson
from medldm.pipeline.recipe import load_recipe
from medldm_ct import finer
from medldm_ct.cone.stored_scan import voxel_box
from medldm_ct.data_model import LineIntegralLikelihood
from medldm_ct.finer import finer_projections, projection_bytes
from medldm_ct.geometry import FanBeam, ImagePlane, ParallelBeam
from medldm_ct.phantom import gaussian_image, gaussian_sinogram, relative_error
from medldm_ct.photons import DetectorNoise
from medldm_ct.physics import ComputedTomography, FanBeamCt, ParallelBeamCt
from medldm_ct.projector import XRayTransform
from medldm_ct.stored_scan import image_plane

QUIET = DetectorNoise(model="none")


def phantom(shape: tuple[int, int, int] = (2, 44, 50), quantity: str = "1/mm") -> Volume:
    grid = Grid.isotropic(shape, (3.0, 1.2, 1.0))
    plane = ImagePlane(shape[1:], (1.2, 1.0))
    image = gaussian_image(plane, 25.0).float() * 0.03
    data = image.expand(shape).clone()
    if quantity == "HU":
        data = data / 0.01928 * 1000 - 1000
    return Volume(data, grid, quantity=quantity, modality="CT")  # type: ignore[arg-type]


def measured(physics: ComputedTomography, volume: Volume, seed: int = 0) -> tuple[Acquisition, XRayTransform]:
    acquisition = physics.simulate(volume, Noise(seed))
    operator = physics.operator(acquisition, acquisition.grid)
    assert isinstance(operator, XRayTransform)
    return acquisition, operator


def test_recipes_are_validated() -> None:
    recipe = {"views": 60, "arc_deg": 180, "oversample": 2, "noise": {"model": "poisson", "photons": 1.0e5}}
    physics = TypeAdapter(ParallelBeamCt).validate_python({**recipe, "likelihood": {"name": "transmission-poisson"}})
    assert physics.views == 60 and physics.noise.photons == 1e5
    assert physics.likelihood == LineIntegralLikelihood("transmission-poisson")
    fan = TypeAdapter(FanBeamCt).validate_python({"detector": "flat", "arc_deg": 240, "weights": "short-scan"})
    assert fan.redundancy().kind == "short-scan"


@pytest.mark.parametrize(
    "wrong",
    [{"views": 0}, {"noise": {"photons": -1}}, {"noise": {"electronic_std": -2}}, {"arc_deg": 400}, {"oversample": 0}],
)
def test_options_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(ParallelBeamCt).validate_python(wrong)


def test_negative_noise_is_refused_without_a_recipe_too() -> None:
    with pytest.raises(UsageError, match="E-CT-13"):
        DetectorNoise(std=-0.1)


@pytest.mark.parametrize(
    "physics",
    [
        ParallelBeamCt(views=90, noise=QUIET),
        ParallelBeamCt(views=120, arc_deg=360, weights="displaced", offset_mm=15.0, noise=QUIET),
        FanBeamCt(views=120, noise=QUIET, source_to_centre_mm=150, source_to_detector_mm=250),
        FanBeamCt(views=120, noise=QUIET, detector="flat", source_to_centre_mm=150, source_to_detector_mm=250),
        FanBeamCt(
            views=120, arc_deg=240, weights="short-scan", noise=QUIET,
            source_to_centre_mm=150, source_to_detector_mm=250,
        ),
    ],
)  # fmt: skip
def test_the_start_image_is_the_volume(physics: ComputedTomography) -> None:
    volume = phantom(quantity="HU")
    acquisition, operator = measured(physics, volume)
    start = acquisition.output(physics.start(acquisition, operator))
    inside = volume.data > -950
    assert float((start - volume.data)[inside].square().mean().sqrt()) < 80
    assert float((start - volume.data)[inside].mean().abs()) < 8
    assert acquisition.simulated and acquisition.quantity == "1/mm"


@pytest.mark.parametrize(
    "physics",
    [
        ParallelBeamCt(views=60, offset_mm=15.0),
        ParallelBeamCt(views=90, arc_deg=360, weights="full-turn", offset_mm=-15.0),
        ParallelBeamCt(views=60, arc_deg=120, offset_mm=15.0),
        FanBeamCt(views=90, weights="full-turn", offset_mm=-15.0, source_to_centre_mm=150, source_to_detector_mm=250),
    ],
)
def test_an_offset_does_not_cut_the_image(physics: ComputedTomography) -> None:
    volume, physics = phantom(), replace(physics, noise=QUIET)
    images = []
    for scan in (physics, replace(physics, offset_mm=0.0)):
        acquisition, operator = measured(scan, volume)
        images.append(scan.start(acquisition, operator))
        assert not operator.truncated
    assert relative_error(images[0], images[1]) < 0.01


def test_a_detector_that_cuts_one_side_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    off = ParallelBeamCt(views=60, offset_mm=10.0, bins=30, noise=QUIET)
    with caplog.at_level(logging.WARNING, "medldm.ct"):
        assert measured(off, phantom())[1].truncated
    assert "E-CT-25" in caplog.text
    displaced = replace(off, arc_deg=360, weights="displaced", bins=45)
    assert not measured(displaced, phantom())[1].truncated


def test_variance_after_the_logarithm_is_one_over_the_counts() -> None:
    volume = phantom((24, 16, 20))
    physics = ParallelBeamCt(views=24, noise=DetectorNoise(photons=2000.0, electronic_std=10.0))
    acquisition, _ = measured(physics, volume)
    truth = replace(physics, noise=QUIET).simulate(volume, Noise(0)).data.double()
    mean = 2000.0 * torch.exp(-truth)
    # First order: var(-log N) = (N + electronic variance) / N^2; second order adds 3 / (2 N) of it at most.
    normalised = (acquisition.data.double() - truth) / ((mean + 100) / mean**2).sqrt()
    n = normalised.numel()
    assert float(normalised.square().mean()) == pytest.approx(1, abs=6 * math.sqrt(2 / n) + 0.01)
    assert abs(float(normalised.mean())) < 6 / math.sqrt(n) + 0.02
    counts = acquisition.tensors["counts"]
    assert torch.equal(acquisition.data, torch.log(2000.0 / counts.clamp(min=1)))


def test_gaussian_noise_has_the_standard_deviation_it_states() -> None:
    volume = phantom((12, 16, 20))
    physics = ParallelBeamCt(views=24, noise=DetectorNoise(model="gaussian", std=0.05))
    acquisition, _ = measured(physics, volume)
    truth = replace(physics, noise=QUIET).simulate(volume, Noise(0)).data
    assert float((acquisition.data - truth).std()) == pytest.approx(0.05, rel=0.03)
    assert acquisition.noise_std == 0.05


@pytest.mark.parametrize("name", ["weighted-gaussian", "transmission-poisson"])
@pytest.mark.parametrize("electronic", [0.0, 5.0])
def test_the_truth_fits_with_chi_one(name: str, electronic: float) -> None:
    volume = phantom((6, 40, 44))
    noise = DetectorNoise(photons=1e4, electronic_std=electronic)
    physics = ParallelBeamCt(
        views=40, noise=noise, oversample=1, likelihood=LineIntegralLikelihood(name)  # type: ignore[arg-type]
    )  # fmt: skip
    acquisition, operator = measured(physics, volume)
    chi = float(physics.likelihood(acquisition, operator).chi(volume.data))
    assert chi == pytest.approx(1, abs=6 * math.sqrt(2 / acquisition.data.numel()) + 0.005)


def test_newton_steps_of_the_counts_are_an_option() -> None:
    physics = ParallelBeamCt(views=6, likelihood=LineIntegralLikelihood("transmission-poisson", newton_steps=1))
    acquisition, operator = measured(physics, phantom())
    likelihood = physics.likelihood(acquisition, operator)
    assert isinstance(likelihood, TransmissionPoisson) and likelihood.newton_steps == 1


def test_gaussian_likelihood_takes_the_noise_of_the_measurement() -> None:
    physics = ParallelBeamCt(
        views=30, oversample=1, noise=DetectorNoise(model="gaussian", std=0.02),
        likelihood=LineIntegralLikelihood("gaussian"),
    )  # fmt: skip
    volume = phantom()
    acquisition, operator = measured(physics, volume)
    chi = float(physics.likelihood(acquisition, operator).chi(volume.data))
    assert chi == pytest.approx(1, abs=6 * math.sqrt(2 / acquisition.data.numel()))
    with pytest.raises(UsageError, match="E-CT-14"):
        LineIntegralLikelihood("weighted-gaussian")(acquisition, operator)
    counted, _ = measured(ParallelBeamCt(views=30), volume)
    with pytest.raises(UsageError, match="E-CT-14"):
        physics.likelihood(counted, operator)


def test_a_shift_of_the_line_integrals_reaches_the_counts() -> None:
    volume = phantom()
    physics = ParallelBeamCt(views=30, likelihood=LineIntegralLikelihood("transmission-poisson"))
    acquisition, operator = measured(physics, volume)
    base = torch.full_like(volume.data, 0.002)
    shifted = replace(acquisition, data=acquisition.data - operator(base))
    plain, moved = physics.likelihood(acquisition, operator), physics.likelihood(shifted, operator)
    assert float(moved.chi(volume.data - base)) == pytest.approx(float(plain.chi(volume.data)), rel=1e-4)


def test_simulation_from_a_finer_grid_is_no_inverse_crime_and_no_worse() -> None:
    volume = phantom()
    physics = ParallelBeamCt(views=45, noise=QUIET)
    geometry, radius = physics.scan(ImagePlane((44, 50), (1.2, 1.0))), 25.0
    truth = gaussian_sinogram(geometry, radius) * 0.03
    acquisition, operator = measured(physics, volume)
    crime = operator(volume.data)[0]
    assert relative_error(acquisition.data[0], crime) > 1e-4
    assert relative_error(acquisition.data[0], truth) < 1.1 * relative_error(crime, truth)
    assert torch.allclose(
        replace(physics, oversample=1).simulate(volume, Noise(0)).data[0], crime, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("square", [True, False])
def test_cutting_the_fine_matrix_into_views_changes_nothing(square: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    plane = ImagePlane((12, 12) if square else (12, 15), (1.0, 1.0))
    geometry = FanBeam(tuple(2 * math.pi * i / 24 for i in range(24)), 30, 2.0, 0.0, 60.0, 110.0)
    x = torch.rand(5, *plane.shape, generator=torch.Generator().manual_seed(0))
    whole = finer_projections(x, geometry, plane, 2)
    monkeypatch.setattr(finer, "_ENTRIES", 1500)
    monkeypatch.setattr(finer, "_NUMBERS", 2 * 4 * plane.size * 8)
    assert torch.allclose(finer_projections(x, geometry, plane, 2), whole, rtol=1e-5)
    fine = XRayTransform(geometry, plane.finer(2), 5, storage="full")
    upsampled = torch.nn.functional.interpolate(x[:, None], scale_factor=2, mode="bicubic")[:, 0].clamp(min=0)
    assert torch.allclose(fine(upsampled), whole, rtol=1e-4, atol=1e-4)


def test_the_memory_of_a_large_simulation_is_bounded() -> None:
    geometry = ParallelBeam(tuple(math.pi * i / 720 for i in range(720)), 725, 0.7)
    plane = ImagePlane((512, 512), (0.7, 0.7))
    assert projection_bytes(geometry, plane, 2) < 1.5 * 2**30
    physics = ParallelBeamCt(views=720)
    assert physics.simulation_bytes(Grid.isotropic((10, 512, 512), 0.7)) > projection_bytes(geometry, plane, 2)


@pytest.mark.parametrize(
    ("physics", "allowed"),
    [
        (ParallelBeamCt(), "half-turn"),
        (ParallelBeamCt(arc_deg=120), "limited"),
        (ParallelBeamCt(arc_deg=360), "full-turn"),
        (FanBeamCt(), "full-turn"),
        (ParallelBeamCt(arc_deg=240), None),
        (FanBeamCt(arc_deg=240), None),
        (FanBeamCt(offset_mm=30.0), None),
        (ParallelBeamCt(arc_deg=360, offset_mm=3.0), None),
        (ParallelBeamCt(arc_deg=180, weights="full-turn"), None),
    ],
)
def test_weights_follow_from_the_arc_only_where_there_is_no_choice(
    physics: ComputedTomography, allowed: str | None
) -> None:
    if allowed is None:
        with pytest.raises(UsageError, match="E-CT-08"):
            physics.redundancy()
    else:
        assert physics.redundancy().kind == allowed


def broken(acquisition: Acquisition, **changes: object) -> Acquisition:
    settings = {k: v for k, v in {**acquisition.settings, **changes}.items() if v is not None}
    return replace(acquisition, settings=settings)


def with_angles(acquisition: Acquisition, angles: Tensor) -> Acquisition:
    return replace(acquisition, tensors={"angles": angles})


def test_acquisitions_that_do_not_say_enough_are_refused() -> None:
    physics = ParallelBeamCt(views=12)
    acquisition, operator = measured(physics, phantom())
    for wrong, code in (
        (broken(acquisition, angle_unit=None), "E-CT-17"),
        (broken(acquisition, pitch_mm=None), "E-CT-18"),
        (broken(acquisition, pitch_mm=-1.0), "E-CT-02"),
        (broken(acquisition, geometry="fan-flat"), "E-CT-18"),
        (broken(acquisition, geometry="curved"), "E-CT-18.*'curved'.*parallel, fan-flat or fan-curved"),
        (broken(acquisition, weights="half_turn"), "E-CT-18.*weights as 'half_turn'.*half-turn, full-turn, "),
        (broken(acquisition, arc_deg=None), "E-CT-18.*arc_deg.*in degrees"),
        (with_angles(acquisition, torch.zeros(11)), "E-CT-16"),
        (replace(acquisition, axes=("z", "bin", "view")), "E-CT-16"),
        (replace(acquisition, tensors={}), "E-ACQ-04"),
    ):
        with pytest.raises(InputRefused, match=code):
            physics.operator(wrong, wrong.grid)
    with pytest.raises(InputRefused, match="E-CT-19"):
        physics.likelihood(broken(acquisition, electronic_std=-1.0), operator)
    # No other beam goes by the name of this physics; the detector of a fan is flat or curved.
    unsaid = broken(acquisition, geometry=None)
    assert torch.equal(physics.operator(unsaid, unsaid.grid)(phantom().data), operator(phantom().data))
    fan = FanBeamCt(views=12, source_to_centre_mm=150, source_to_detector_mm=250)
    unsaid = broken(measured(fan, phantom())[0], geometry=None)
    with pytest.raises(InputRefused, match=r"E-CT-18.*geometry"):
        fan.operator(unsaid, unsaid.grid)
    unweighted = broken(acquisition, weights=None)
    with pytest.raises(UsageError, match="E-CT-12"):
        physics.start(unweighted, physics.operator(unweighted, unweighted.grid))
    degrees = broken(with_angles(acquisition, torch.rad2deg(acquisition.tensors["angles"])), angle_unit="deg")
    x = phantom().data
    assert torch.allclose(physics.operator(degrees, degrees.grid)(x), operator(x), atol=1e-5)


def test_grids_off_the_axis_of_rotation_are_refused() -> None:
    physics = ParallelBeamCt(views=12)
    acquisition, _ = measured(physics, phantom())
    affine = np.array(acquisition.grid.affine)
    affine[0, 3] += 0.5
    with pytest.raises(InputRefused, match="E-CT-20"):
        physics.operator(acquisition, Grid(acquisition.grid.shape, affine))
    finer_grid = Grid.isotropic((2, 88, 100), (3.0, 0.6, 0.5))
    assert physics.operator(acquisition, finer_grid).domain.shape == (2, 88, 100)


@pytest.mark.parametrize("scale", [1.0, 0.65e-3], ids=["a body", "a synchrotron"])
def test_grids_of_other_slices_are_refused(scale: float) -> None:
    grid = Grid.isotropic((3, 20, 20), (3.0 * scale, 2.0 * scale, 2.0 * scale))
    volume = Volume(torch.zeros(3, 20, 20), grid, quantity="1/mm", modality="CT")
    physics = ParallelBeamCt(views=12, noise=QUIET)
    acquisition = physics.simulate(volume, Noise(0))
    z, _, x, _ = np.array(grid.affine).T
    mirrored, reversed_, thicker, above, aside, hardly = (np.array(grid.affine) for _ in range(6))
    mirrored[:, 2], mirrored[:, 3] = -x, mirrored[:, 3] + 19 * x
    reversed_[:, 0], reversed_[:, 3] = -z, reversed_[:, 3] + 2 * z
    thicker[:, 0], thicker[:, 3] = 1.2 * z, thicker[:, 3] - 0.2 * z
    above[:, 3] += 10 * z
    aside[:, 3] += 0.05 * x
    for wrong in (mirrored, reversed_, thicker, above, aside):
        with pytest.raises(InputRefused, match="E-CT-20"):
            physics.operator(acquisition, Grid(grid.shape, wrong))
    hardly[:, 3] += 1e-3 * x
    assert physics.operator(acquisition, Grid(grid.shape, hardly)).domain.shape == grid.shape


@pytest.mark.parametrize("voxel", [83.33e-6, 0.65e-3, 0.703125])
def test_small_voxels_keep_their_size_and_place(voxel: float) -> None:
    grid = Grid.isotropic((4, 8, 8), (1.0, voxel, voxel))
    assert image_plane(grid).spacing == pytest.approx((voxel, voxel), rel=1e-6)
    aside = np.array(grid.affine)
    aside[:, 3] += aside[:, 2] / 3
    box = voxel_box(Grid(grid.shape, aside), grid)
    assert box.spacing == pytest.approx((1, voxel, voxel), rel=1e-6)
    assert box.centre == pytest.approx((voxel / 3, 0, 0), rel=1e-5)
    # Headers that differ in the last digits are one scan.
    assert image_plane(Grid.isotropic((4, 8, 8), (1.0, voxel * (1 + 1e-9), voxel))) == image_plane(grid)


def test_an_image_of_attenuation_is_reconstructed_as_one() -> None:
    volume = phantom()
    run = medldm.reconstruct(volume, recipe=load_recipe("ct-60-views", classical=True), simulate=True, device="cpu")
    assert (volume.quantity, run.image.quantity) == ("1/mm", "1/mm")
    assert run.record["metrics"]["reconstruction"]["psnr"] > 25


def test_images_without_attenuation_are_refused() -> None:
    hu = phantom(quantity="HU")
    for volume in (replace(hu, quantity="arbitrary"), replace(hu, data=hu.data.to(torch.complex64))):
        with pytest.raises(InputRefused, match="E-CT-21"):
            ParallelBeamCt().simulate(volume, Noise(0))
    sheared = np.eye(4)
    sheared[:3, 1] = (0.3, 1, 0)
    sheared[:3, 0], sheared[:3, 2] = (0, 0, 1), (1, 0, 0)
    with pytest.raises(InputRefused, match="E-CT-15"):
        ParallelBeamCt().simulate(Volume(torch.zeros(2, 4, 5), Grid((2, 4, 5), sheared), quantity="HU"), Noise(0))
