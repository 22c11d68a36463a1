"""The classical solvers reach on known phantoms what other packages do; `benchmarks/classical.py` prints all of it."""

from __future__ import annotations

import importlib
import math
import shutil
import sys
from pathlib import Path

import pytest
import torch

from medldm.inference import Noise, run
from medldm_solvers.cg_sense import CGSense
from medldm_solvers.cgls import CGLS
from medldm_solvers.fbp import FilteredBackProjection
from medldm_solvers.l1_wavelet import L1Wavelet
from medldm_solvers.sart import SART
from medldm_solvers.tv import TotalVariation

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def classical():
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("classical")
    finally:
        sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def ct(classical):
    target = classical.shepp_logan()
    likelihood = classical.ct_problem(target)
    start = likelihood.operator.filtered_adjoint("hann")(target.sinogram)[None]
    return target, likelihood, start


@pytest.fixture(scope="module")
def mri(classical):
    target = classical.brain(4)
    likelihood = classical.mri_problem(target)
    return target, likelihood, likelihood.operator.H(target.kspace)[None]


def reconstruct(solver, likelihood, start):
    return run(solver.solve(likelihood, None, start, Noise(0, "benchmark"))).estimate


def test_the_noise_of_the_targets_fits_its_likelihood(ct, mri):
    target, likelihood, _ = mri
    spread = math.sqrt(2 / likelihood.degrees_of_freedom)
    assert abs(float(likelihood.chi(target.truth)) - 1) < 4 * spread
    # Pixels are no ellipses: the closed form differs from the projected pixels by 0.7 %, beside noise of 1 %.
    target, likelihood, _ = ct
    assert 1 < float(likelihood.chi(target.truth)) < 1.7


@pytest.mark.parametrize(
    ("solver", "least"),
    [
        (FilteredBackProjection("hann"), 25.3),
        (CGLS(iterations=12), 25.9),
        pytest.param(SART(sweeps=20), 32.7, marks=pytest.mark.slow),
        pytest.param(TotalVariation(lam=20.0, iterations=200, nonnegative=True), 40.5, marks=pytest.mark.slow),
    ],
    ids=["fbp", "cgls", "sart", "tv"],
)
def test_ct(classical, ct, solver, least):
    target, likelihood, start = ct
    assert classical.psnr_ct(reconstruct(solver, likelihood, start), target.truth) >= least


def test_cg_sense_is_barts(classical, mri):
    target, likelihood, start = mri
    found = classical.psnr_mri(reconstruct(CGSense(lam=0.01, iterations=30), likelihood, start), target.truth)
    assert found == pytest.approx(22.17, abs=0.05)


@pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed")
def test_cg_sense_is_the_image_that_bart_makes(classical, mri):
    target, likelihood, start = mri
    ours = reconstruct(CGSense(lam=0.01, iterations=30), likelihood, start)[0, 0]
    theirs = classical.bart_pics(target, "-l2", "-r", "0.01", "-i", "30").reshape(ours.shape)
    assert float(torch.linalg.vector_norm(ours - theirs) / torch.linalg.vector_norm(theirs)) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("solver", "least"),
    [(L1Wavelet(lam=10.0, iterations=60), 27.0), (TotalVariation(lam=20.0, iterations=200), 36.3)],
    ids=["l1-wavelet", "tv"],
)
def test_mri(classical, mri, solver, least):
    target, likelihood, _ = mri
    start = reconstruct(CGSense(lam=0.01, iterations=30), likelihood, likelihood.operator.H(target.kspace)[None])
    assert classical.psnr_mri(reconstruct(solver, likelihood, start), target.truth) >= least
