"""Small truths for the conformance kit."""

from __future__ import annotations

import math

import torch

from medldm.data import Grid, Volume
from medldm.testing import MetricExample
from medldm_metrics.dz_ratio import DzRatio
from medldm_metrics.nrmse import Nrmse
from medldm_metrics.psnr import Psnr
from medldm_metrics.ssim import Ssim
from medldm_metrics.z_noise import ZNoise


def magnitude() -> Volume:
    """Blurred noise, 13 x 14 x 16 voxels of 2 x 1 x 1.5 mm, arbitrary units."""
    generator = torch.Generator().manual_seed(5)
    noise = torch.rand((1, 1, 15, 16, 18), generator=generator)
    smooth = torch.nn.functional.avg_pool3d(noise, 3, stride=1)[0, 0]
    return Volume(
        500 * smooth, Grid.isotropic(tuple(smooth.shape), (2.0, 1.0, 1.5)), modality="MR", name="blurred-noise"
    )


def hounsfield() -> Volume:
    """The same between -900 and 600 HU."""
    volume = magnitude()
    low, high = volume.data.min(), volume.data.max()
    return Volume(
        (volume.data - low) / (high - low) * 1500 - 900, volume.grid, quantity="HU", modality="CT", name="blurred-noise"
    )


def psnr() -> MetricExample:
    """On a CT."""
    return MetricExample(Psnr(), hounsfield(), {"psnr": math.inf, "psnr_axial": math.inf, "psnr_coronal": math.inf})


def ssim() -> MetricExample:
    """On a magnitude image."""
    return MetricExample(
        Ssim(), magnitude(), {"ssim": 1.0, "ssim_axial": 1.0, "ssim_coronal": 1.0, "ssim_sagittal": 1.0}
    )


def nrmse() -> MetricExample:
    """On a magnitude image."""
    return MetricExample(Nrmse(), magnitude(), {"nrmse": 0.0})


def dz_ratio() -> MetricExample:
    """On a CT."""
    return MetricExample(DzRatio(), hounsfield(), {"dz_ratio": 1.0})


def z_noise() -> MetricExample:
    """On a CT."""
    return MetricExample(ZNoise(), hounsfield(), {"z_noise": 0.0})
