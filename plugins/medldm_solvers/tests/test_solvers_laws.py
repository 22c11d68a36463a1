"""Every registered solver obeys the laws of solvers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medldm.testing import SolverExample
from medldm.testing.law import NotApplicable
from medldm.testing.solver_laws import SOLVER_LAWS, SolverLaw, law_proximal_as_declared
from medldm_solvers import examples

CLASSICAL = [examples.fbp, examples.sart, examples.cgls, examples.cg_sense, examples.l1_wavelet, examples.tv]
EXAMPLES = [
    *CLASSICAL,
    examples.supervised,
    examples.zdds,
    examples.diffpir,
    examples.dds,
    examples.split_gibbs,
    examples.dps,
    examples.red_diff,
    examples.diffusion_mbir,
]


@pytest.fixture(scope="module", params=EXAMPLES, ids=lambda make: make.__name__)
def example(request):
    return request.param()


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (examples.supervised, {"data_step": False}),
        (examples.resample, {"pixel_stage": "adam"}),
        (examples.resample, {"sigma_max": 1.0, "split": 1.0}),
        (examples.resample, {"sigma_max": 1.0, "split": 1.1}),
        (examples.resample, {"sigma_max": None}),
    ],
)
def test_whether_it_takes_proximal_steps_is_said_of_its_options(make, options):
    example = make()
    law_proximal_as_declared(replace(example, solver=replace(example.solver, **options)))


@pytest.mark.parametrize("law", SOLVER_LAWS, ids=lambda law: law.__name__)
def test_law(law: SolverLaw, example: SolverExample):
    try:
        law(example)
    except NotApplicable as reason:
        pytest.skip(str(reason))
