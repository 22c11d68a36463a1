"""Cone-beam and helical scans: from options and an image to a measurement, its likelihood and its start image."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from medldm.data import Acquisition, Grid, Volume
from medldm.errors import InputRefused, UsageError
from medldm.inference import Noise, TransmissionPoisson
from medldm_ct.cone import finer
from medldm_ct.cone.fdk import FeldkampOperator
from medldm_ct.cone.finer import finer_projections
from medldm_ct.cone.geometry import VoxelBox
from medldm_ct.cone.phantom import blobs, projected, sampled
from medldm_ct.cone.physics import ConeBeamCt, ConeTomography, HelicalCt
from medldm_ct.cone.projector import ConeTransform
from medldm_ct.data_model import LineIntegralLikelihood
from medldm_ct.phantom import relative_error
from medldm_ct.photons import DetectorNoise
from medldm_ct.physics import ParallelBeamCt

QUIET = DetectorNoise(model="none")
BOX = VoxelBox((12, 26, 22), (1.5, 1.0, 1.2))
CIRCLE = ConeBeamCt(views=40, source_to_centre_mm=120.0, source_to_detector_mm=210.0, noise=QUIET)
HELIX = HelicalCt(
    views_per_turn=40, rows=8, pitch=0.7, source_to_centre_mm=120.0, source_to_detector_mm=210.0, noise=QUIET
)


def phantom() -> Volume:
    data = sampled(blobs(10.5), BOX).float() * 0.03
    return Volume(data, Grid.isotropic(BOX.shape, BOX.spacing), quantity="1/mm", modality="CT")


def measured(physics: ConeTomography, seed: int = 0) -> tuple[Acquisition, ConeTransform]:
    acquisition = physics.simulate(phantom(), Noise(seed))
    operator = physics.operator(acquisition, acquisition.grid)
    assert isinstance(operator, ConeTransform)
    return acquisition, operator


@pytest.mark.parametrize("physics", [CIRCLE, HELIX, replace(CIRCLE, detector="curved")])
def test_simulation_is_the_scan_that_it_states(physics: ConeTomography) -> None:
    acquisition, operator = measured(physics)
    truth = projected(blobs(10.5), physics.orbit(BOX).beam(), 2) * 0.03
    error, crime = relative_error(acquisition.data, truth), relative_error(operator(phantom().data), truth)
    assert error < 0.12
    # From a finer grid: another error than that of the operator, and no larger one.
    assert error < 1.1 * crime
    assert relative_error(acquisition.data, operator(phantom().data)) > 1e-3
    assert torch.allclose(operator.beam.source, physics.orbit(BOX).beam().source, atol=1e-5)
    start = physics.start(acquisition, operator)
    assert relative_error(start, phantom().data) < 0.6
    assert float(start.sum() / phantom().data.sum()) == pytest.approx(1, abs=0.1)


def test_cutting_the_fine_volume_into_slabs_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    beam, x = CIRCLE.orbit(BOX).beam().with_views([0, 7]), phantom().data
    whole = finer_projections(x, beam, BOX, 2)
    monkeypatch.setattr(finer, "_VOXELS", 5 * 8 * 26 * 22)
    assert relative_error(finer_projections(x, beam, BOX, 2), whole) < 1e-5


def test_open_options_see_the_whole_image() -> None:
    for physics in (CIRCLE, replace(CIRCLE, detector="curved", column_offset_mm=0.0)):
        beam = physics.orbit(BOX).beam()
        row, column, _ = beam.seen_at(BOX.corners())
        d = beam.detector
        assert float(row.abs().max()) <= d.rows * d.row_pitch / 2
        assert float(column.abs().max()) <= d.columns * d.column_pitch / 2


@pytest.mark.parametrize("physics", [CIRCLE, HELIX])
def test_what_is_made_of_an_operator_lies_on_its_device(physics: ConeTomography) -> None:
    # The device without storage stands for a GPU: it is one that nothing comes to unasked.
    operator = measured(physics)[1].to("meta")
    filtered = operator.filtered_adjoint("hann")
    assert {buffer.device.type for buffer in filtered.buffers()} == {"meta"}
    part, views = operator.subsets(3)[1]
    assert views.device.type == "meta"
    assert {buffer.device.type for buffer in part.buffers()} == {"meta"}


def test_the_start_image_is_computed_where_the_measurement_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    acquisition, operator = measured(CIRCLE)
    monkeypatch.setattr(ConeBeamCt, "operator", lambda *_: operator)
    monkeypatch.setattr(FeldkampOperator, "forward", lambda filtered, y: filtered.before * y)
    there = replace(acquisition, data=acquisition.data.to("meta"))
    # An operator that cannot be filtered, as a composed one: the physics makes one that can.
    assert CIRCLE.start(there, operator.H).device.type == "meta"


def test_a_helix_sees_every_slice_alike() -> None:
    _, operator = measured(HELIX)
    seen = operator.H(torch.ones(operator.codomain.shape))
    along = seen[:, 8:18, 7:15].mean((1, 2))
    assert float(along.min() / along.max()) > 0.8


def test_an_offset_is_seen_whole_unless_weights_make_up_for_it() -> None:
    off = replace(CIRCLE, column_offset_mm=10.0, weights="full-turn")
    truth = float(phantom().data.sum())
    for physics, ends in (
        (off, (True, True)),
        (replace(off, arc_deg=240.0, weights="short-scan"), (True, True)),
        (replace(HELIX, column_offset_mm=10.0), (True, True)),
        (replace(HELIX, column_offset_mm=-10.0), (True, True)),
        (replace(off, weights="displaced"), (False, True)),
    ):
        acquisition, operator = measured(physics)
        _, column, _ = operator.beam.seen_at(BOX.corners())
        half = operator.beam.detector.columns * operator.beam.detector.column_pitch / 2
        assert (float(column.min()) >= -half, float(column.max()) <= half) == ends
        assert float(physics.start(acquisition, operator).sum()) == pytest.approx(truth, rel=0.02)


def test_a_helix_with_a_cut_detector_off_centre_has_a_start_image_of_the_right_scale() -> None:
    physics = replace(HELIX, column_offset_mm=10.0, columns=26)
    acquisition, operator = measured(physics)
    assert float(physics.start(acquisition, operator).sum()) == pytest.approx(float(phantom().data.sum()), rel=0.05)


def test_a_scan_may_state_any_trajectory() -> None:
    acquisition, operator = measured(CIRCLE)
    beam = operator.beam
    names = {"source_mm": beam.source, "detector_mm": beam.centre, "columns_along": beam.u, "rows_along": beam.v}
    stated = replace(acquisition, tensors=names)
    general = CIRCLE.operator(stated, stated.grid)
    assert relative_error(general(phantom().data), operator(phantom().data)) < 1e-6
    with pytest.raises(UsageError, match="E-CT-12"):
        CIRCLE.start(stated, general)
    with pytest.raises(InputRefused, match="E-CT-16"):
        CIRCLE.operator(replace(stated, tensors={k: v[:5] for k, v in names.items()}), stated.grid)


def test_the_image_may_be_another_part_of_the_scan() -> None:
    acquisition, operator = measured(CIRCLE)
    x = phantom().data.clone()
    x[:3] = x[9:] = 0
    part = acquisition.grid.cropped(slice(3, 9))
    cropped = CIRCLE.operator(acquisition, part)
    assert relative_error(cropped(x[3:9]), operator(x)) < 1e-5
    turned = np.array(acquisition.grid.affine)
    turned[:, [1, 2]] = turned[:, [2, 1]]
    with pytest.raises(InputRefused, match="E-CT-20"):
        CIRCLE.operator(acquisition, Grid(acquisition.grid.shape, turned))


def test_the_likelihoods_know_noise_and_background() -> None:
    noise = DetectorNoise(photons=2e4, electronic_std=3.0, background=500.0)
    for name in ("weighted-gaussian", "transmission-poisson"):
        physics = replace(CIRCLE, noise=noise, likelihood=LineIntegralLikelihood(name))  # type: ignore[arg-type]
        acquisition, operator = measured(physics)
        assert acquisition.settings["background"] == 500.0
        likelihood = physics.likelihood(acquisition, operator)
        # Pearson's chi of the truth is one; forgetting the background doubles it and more.
        exact = replace(acquisition, settings={**acquisition.settings, "background": 0.0})
        chi = float(likelihood.chi(phantom().data))
        assert chi == pytest.approx(1, abs=0.1)
        if name == "transmission-poisson":
            assert isinstance(likelihood, TransmissionPoisson)
            per_bin = torch.full_like(acquisition.data, 500.0)
            tensors = {**acquisition.tensors, "background": per_bin}
            again = physics.likelihood(replace(exact, tensors=tensors), operator)
            assert float(again.chi(phantom().data)) == pytest.approx(chi, rel=1e-4)


def test_a_background_serves_parallel_beams_too() -> None:
    volume = phantom()
    physics = ParallelBeamCt(views=30, noise=DetectorNoise(photons=1e4, background=300.0))
    acquisition = physics.simulate(volume, Noise(0))
    operator = physics.operator(acquisition, acquisition.grid)
    right = physics.likelihood(acquisition, operator)
    assert float(right.chi(volume.data)) == pytest.approx(1, abs=0.1)
    # The logarithm of counts with the background in them is too small behind the object.
    naive = torch.log(1e4 / acquisition.tensors["counts"].clamp(min=1))
    assert float((acquisition.data - naive).mean()) > 0.02
    with pytest.raises(InputRefused, match="E-CT-19"):
        physics.likelihood(replace(acquisition, settings={**acquisition.settings, "background": -1.0}), operator)


def test_what_cannot_be_scanned_is_refused() -> None:
    volume = phantom()
    for physics, error, code in (
        (replace(CIRCLE, arc_deg=220.0), UsageError, "E-CT-08"),
        (replace(CIRCLE, arc_deg=190.0, weights="short-scan"), UsageError, "E-CT-08"),
        (replace(CIRCLE, weights="half-turn"), UsageError, "E-CT-08"),
        (replace(CIRCLE, source_to_centre_mm=15.0), InputRefused, "E-CT-04"),
        (replace(HELIX, pitch=2.2), InputRefused, "E-CT-24"),
    ):
        with pytest.raises(error, match=code):
            physics.simulate(volume, Noise(0))
    with pytest.raises(InputRefused, match="E-CT-21"):
        CIRCLE.simulate(replace(volume, quantity="arbitrary"), Noise(0))


def test_acquisitions_that_do_not_say_enough_are_refused() -> None:
    acquisition, _ = measured(HELIX)

    def without(name: str, value: object = None) -> Acquisition:
        changed = {**acquisition.settings, name: value}
        return replace(acquisition, settings={k: v for k, v in changed.items() if v is not None})

    angles = acquisition.tensors["angles"]
    for wrong, code in (
        (without("angle_unit"), "E-CT-17"),
        (without("row_pitch_mm"), "E-CT-18"),
        (without("geometry"), "E-CT-18"),
        (without("column_pitch_mm", -1.0), "E-CT-02"),
        (replace(acquisition, axes=("row", "view", "column")), "E-CT-16"),
        (replace(acquisition, tensors={"angles": angles[:-1]}), "E-CT-16"),
        (replace(acquisition, tensors={**acquisition.tensors, "angles": angles.flip(0)[torch.randperm(len(angles))]}),
         "E-CT-27"),
    ):  # fmt: skip
        with pytest.raises(InputRefused, match=code):
            HELIX.operator(wrong, wrong.grid)


def test_heights_that_differ_by_rounding_make_no_helix() -> None:
    acquisition, operator = measured(CIRCLE)
    heights = torch.zeros(40, dtype=torch.float64)
    heights[3] = 1e-4
    jittered = replace(acquisition, tensors={**acquisition.tensors, "heights_mm": heights})
    again = CIRCLE.operator(jittered, jittered.grid)
    expected = CIRCLE.start(acquisition, operator)
    assert relative_error(CIRCLE.start(jittered, again), expected) < 1e-3
    heights[3] = 1.0
    with pytest.raises(InputRefused, match="E-CT-27"):
        CIRCLE.operator(jittered, jittered.grid)


def test_weights_that_are_not_known_are_refused_by_name() -> None:
    acquisition, _ = measured(CIRCLE)
    misspelt = replace(acquisition, settings={**acquisition.settings, "weights": "full_turn"})
    with pytest.raises(InputRefused, match=r"E-CT-18.*'full_turn'"):
        CIRCLE.operator(misspelt, misspelt.grid)


def test_memory_is_stated_and_grows_with_the_measurement() -> None:
    grid = Grid.isotropic((64, 128, 128), 2.0)
    few = replace(CIRCLE, source_to_centre_mm=500.0, source_to_detector_mm=1000.0, views=60)
    many = replace(few, views=600)
    assert many.measurement_bytes(grid) == 10 * few.measurement_bytes(grid)
    assert many.bytes_needed(grid) > few.bytes_needed(grid) > 4 * math.prod(grid.shape)


def test_views_are_withheld_whole() -> None:
    withheld = CIRCLE.withheld(measured(CIRCLE)[0], Noise(0))
    assert withheld.shape == (40, 1, 1) and float(withheld.sum()) == 4
