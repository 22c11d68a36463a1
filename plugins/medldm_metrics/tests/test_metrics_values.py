"""Metrics against closed forms and scikit-image."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from medldm.data import Grid, Volume
from medldm.errors import InputRefused
from medldm_metrics.dz_ratio import DzRatio, dz_curve
from medldm_metrics.examples import hounsfield, magnitude
from medldm_metrics.nrmse import Nrmse
from medldm_metrics.psnr import Psnr
from medldm_metrics.ssim import Ssim, ssim_map
from medldm_metrics.window import field_of_view, pair, planes_of

METRICS = [Psnr(), Ssim(), Nrmse(), DzRatio()]


def volume_of(values: torch.Tensor, spacing=(1.0, 1.0, 1.0), **facts) -> Volume:
    return Volume(values, Grid.isotropic(tuple(values.shape), spacing), **facts)


def noisy(volume: Volume, std: float) -> Volume:
    g = torch.Generator().manual_seed(4)
    return replace(volume, data=volume.data + std * torch.randn(volume.data.shape, generator=g))


def ct_of(values: torch.Tensor) -> Volume:
    return volume_of(values, quantity="HU", modality="CT")


def test_psnr_of_a_constant_error_in_every_plane():
    truth = magnitude()
    peak = float(truth.data.max())
    values = Psnr()(replace(truth, data=truth.data + peak / 10), truth)
    assert values.keys() == {"psnr", "psnr_axial", "psnr_coronal", "psnr_sagittal"}
    for value in values.values():
        assert value == pytest.approx(20, abs=1e-4)


def test_psnr_of_planes_is_the_mean_of_decibels():
    truth = volume_of(torch.arange(60.0).reshape(3, 4, 5))
    error = torch.zeros(3, 4, 5)
    error[0] += 5.9
    error[1] += 0.59
    values = Psnr()(replace(truth, data=truth.data + error), truth)
    # Slice 2 is met exactly and has no decibels.
    assert values["psnr_axial"] == pytest.approx((20 + 40) / 2, abs=1e-4)
    assert values["psnr"] == pytest.approx(10 * math.log10(59**2 / ((5.9**2 + 0.59**2) / 3)), abs=1e-4)


def test_empty_slices_do_not_raise_the_mean():
    data = torch.rand(6, 12, 12, generator=torch.Generator().manual_seed(0))
    data[4:] = 0
    truth = volume_of(data)
    assert Psnr()(noisy(truth, 0.1), truth)["psnr_axial"] == pytest.approx(
        Psnr()(noisy(truth, 0.1).cropped(slice(0, 4)), truth.cropped(slice(0, 4)))["psnr_axial"], abs=1e-6
    )


def test_the_range_is_the_truths_and_the_estimate_is_never_rescaled():
    truth = volume_of(torch.tensor([0.0, 50.0, 100.0]).expand(2, 3, 3).contiguous())
    twice = replace(truth, data=2 * truth.data)
    assert Psnr()(twice, truth)["psnr"] == pytest.approx(10 * math.log10(100**2 / ((0 + 2500 + 10000) / 3)))
    assert Nrmse()(twice, truth)["nrmse"] == pytest.approx(1)


def test_ct_is_clipped_and_counted_inside_the_field_of_view():
    values = torch.full((2, 21, 21), 0.0)
    values[:, 10, 10] = 3000.0
    values[:, 10, 11] = -1024.0
    truth = ct_of(values)
    wrong = values + 20
    wrong[:, 10, 10] = 1500.0
    wrong[:, 10, 11] = 777.0
    wrong[:, 0, 0] = 1e6
    result = Psnr()(ct_of(wrong), truth)
    inside = int(field_of_view(truth)[0].sum())
    assert inside < 21 * 21 * math.pi / 4 + 25
    # The metal is clipped to 1000 HU in both images; padding and corners do not count.
    expected = 10 * math.log10(2000**2 / (400 * (inside - 1) / inside))
    assert result["psnr"] == pytest.approx(expected, abs=1e-6)
    assert Nrmse()(ct_of(wrong), truth)["nrmse"] == pytest.approx(
        math.sqrt(400 * (inside - 1) / (1000**2 * (inside - 1) + 2000**2)), abs=1e-6
    )


def test_the_field_of_view_is_a_circle_in_mm():
    truth = replace(ct_of(torch.zeros(1, 20, 40)), grid=Grid.isotropic((1, 20, 40), (1.0, 2.0, 1.0)))
    area = float(field_of_view(truth).sum()) * 2
    assert area == pytest.approx(math.pi * 20**2, rel=0.02)
    wide = replace(ct_of(torch.zeros(1, 20, 40)), grid=Grid.isotropic((1, 20, 40)))
    inside = field_of_view(wide)[0]
    assert not inside[:, :10].any() and not inside[:, 30:].any() and inside[10, 11]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shape", [(24, 31), (11, 40)])
def test_ssim_is_that_of_scikit_image(dtype, shape):
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
    g = torch.Generator().manual_seed(9)
    a = torch.rand(3, *shape, generator=g, dtype=torch.float64)
    b = (a + 0.2 * torch.randn(3, *shape, generator=g, dtype=torch.float64)).clamp(0)
    values = ssim_map(a.to(dtype), b.to(dtype), 0.9)
    for k in range(3):
        expected = metrics.structural_similarity(
            a[k].numpy(),
            b[k].numpy(),
            data_range=0.9,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert float(values[k].mean()) == pytest.approx(expected, abs=1e-12 if dtype == torch.float64 else 1e-5)


def test_ssim_of_constants():
    a, b, peak = 0.2, 0.5, 1.0
    values = ssim_map(torch.full((1, 12, 13), a).double(), torch.full((1, 12, 13), b).double(), peak)
    torch.testing.assert_close(values, torch.full((1, 2, 3), (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)).double())


def test_ssim_of_three_planes_does_not_depend_on_how_it_is_cut(monkeypatch):
    truth = magnitude()
    whole = Ssim()(noisy(truth, 30), truth)
    assert whole["ssim"] == pytest.approx(sum(whole[f"ssim_{p}"] for p in ("axial", "coronal", "sagittal")) / 3)
    assert len({round(v, 6) for v in whole.values()}) == 4
    monkeypatch.setattr("medldm_metrics.ssim._VOXELS_AT_ONCE", 500)
    assert Ssim()(noisy(truth, 30), truth) == pytest.approx(whole, abs=1e-9)


def test_ssim_of_ct_ignores_what_is_outside():
    truth = hounsfield()
    data = truth.data.clone()
    outside = ~field_of_view(truth)
    assert outside.any()
    data[outside] = 900.0
    assert Ssim()(replace(truth, data=data), truth)["ssim"] == pytest.approx(1)


def test_planes_follow_the_patient_not_the_tensor():
    assert planes_of(Grid.isotropic((3, 4, 5))) == {"axial": 0, "coronal": 1, "sagittal": 2}
    affine = Grid.isotropic((3, 4, 5)).affine[:, [2, 0, 1, 3]]
    assert planes_of(Grid((5, 3, 4), affine)) == {"axial": 1, "coronal": 2, "sagittal": 0}
    c = math.cos(math.pi / 4)
    turn = np.eye(4)
    turn[:3, :3] = [[1, 0, 0], [0, c, -c], [0, c, c]]
    assert set(planes_of(Grid((3, 4, 5), turn @ Grid.isotropic((3, 4, 5)).affine)).values()) == {0, 1, 2}


def test_dz_ratio_of_smearing_and_flicker():
    g = torch.Generator().manual_seed(1)
    truth = volume_of(torch.rand(40, 6, 7, generator=g))
    half = replace(truth, data=0.5 * truth.data)
    assert DzRatio()(half, truth)["dz_ratio"] == pytest.approx(0.5)
    assert DzRatio()(replace(truth, data=truth.data + 3), truth)["dz_ratio"] == pytest.approx(1, abs=1e-5)
    flat = volume_of(torch.arange(40.0)[:, None, None].expand(40, 6, 7).contiguous())
    flicker = flat.data + 2 * torch.tensor([1.0, -1.0]).repeat(20)[:, None, None]
    # Differences alternate between 1 - 4 and 1 + 4 while the truth's are 1.
    curve = dz_curve(replace(flat, data=flicker), flat)
    torch.testing.assert_close(curve[:4], torch.tensor([3.0, 5.0, 3.0, 5.0], dtype=torch.float64))
    assert DzRatio()(replace(flat, data=flicker), flat)["dz_ratio"] == pytest.approx((20 * 3 + 19 * 5) / 39)


def test_single_slices():
    truth = magnitude().cropped(slice(3, 4))
    estimate = noisy(truth, 10)
    assert DzRatio()(estimate, truth) == {}
    assert len(dz_curve(estimate, truth)) == 0
    assert Psnr()(estimate, truth).keys() == {"psnr", "psnr_axial"}
    values = Ssim()(estimate, truth)
    assert values.keys() == {"ssim", "ssim_axial"}
    assert values["ssim"] == values["ssim_axial"]
    assert Ssim()(*(volume_of(torch.rand(3, 8, 9)) for _ in range(2))) == {}


def test_a_truth_that_does_not_change_along_z_has_no_ratio():
    truth = volume_of(torch.rand(1, 5, 6).expand(4, 5, 6).contiguous())
    assert DzRatio()(noisy(truth, 0.1), truth) == {}
    assert torch.isnan(dz_curve(noisy(truth, 0.1), truth)).all()


def test_images_are_compared_by_magnitude_unless_both_are_complex():
    truth = magnitude()
    phase = torch.polar(torch.ones_like(truth.data), 0.1 * truth.data)
    turned = replace(truth, data=truth.data * phase)
    assert Psnr()(turned, truth)["psnr"] > 120
    assert Ssim()(turned, truth)["ssim"] == pytest.approx(1, abs=1e-5)
    assert Nrmse()(turned, turned)["nrmse"] == 0
    # Between complex images the phase counts: |1 - i| = sqrt 2.
    quarter = replace(turned, data=turned.data * 1j)
    assert Nrmse()(quarter, turned)["nrmse"] == pytest.approx(math.sqrt(2), rel=1e-6)
    # A magnitude states none.
    assert Nrmse()(truth, replace(truth, data=truth.data * 1j))["nrmse"] == pytest.approx(0, abs=1e-6)
    assert Ssim()(quarter, turned)["ssim"] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: type(m).__name__)
def test_what_cannot_be_compared_is_refused(metric):
    truth = magnitude()
    moved = truth.grid.affine.copy()
    moved[0, 3] += 1
    broken = truth.data.clone()
    broken[2, 3, 4] = math.nan
    cases = [
        (replace(truth, grid=Grid(truth.grid.shape, moved)), truth, "E-MET-01"),
        (truth.cropped(slice(0, 5)), truth, "E-MET-01"),
        (replace(truth, data=broken), truth, "E-MET-02"),
        (truth, replace(truth, data=broken), "E-MET-02"),
        (truth, replace(truth, quantity="HU", modality="CT"), "E-MET-03"),
        (truth, replace(truth, data=torch.zeros_like(truth.data)), "E-MET-04"),
        (hounsfield(), replace(hounsfield(), data=torch.full_like(truth.data, -1024.0)), "E-MET-04"),
    ]
    for estimate, reference, code in cases:
        with pytest.raises(InputRefused) as refusal:
            metric(estimate, reference)
        assert refusal.value.code == code


def test_inputs_are_not_changed():
    truth = hounsfield()
    before = truth.data.clone()
    shown = pair(truth, truth)
    assert shown.data_range == 2000
    assert torch.equal(truth.data, before)
