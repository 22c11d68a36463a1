"""Inference: likelihoods, prior and solver protocols, the driver, noise."""

from medldm.inference.capabilities import HasFilteredAdjoint, HasPreconditioner, HasSubsets
from medldm.inference.likelihood import Likelihood, QuadraticTerm
from medldm.inference.noise import Noise
from medldm.inference.physics import Physics
from medldm.inference.prior import DiffusionPrior
from medldm.inference.solver import Solver, Step, run

__all__ = [
    "DiffusionPrior",
    "HasFilteredAdjoint",
    "HasPreconditioner",
    "HasSubsets",
    "Likelihood",
    "Noise",
    "Physics",
    "QuadraticTerm",
    "Solver",
    "Step",
    "run",
]
