"""Inference: likelihoods, prior and solver protocols, the driver, noise."""

from medldm.inference.capabilities import (
    HasFilteredAdjoint,
    HasMeasurementProx,
    HasObjectPhase,
    HasPreconditioner,
    HasSubsets,
    HasSurrogate,
    HasUnits,
    StatesMemory,
)
from medldm.inference.gaussian import Gaussian
from medldm.inference.likelihood import Likelihood, QuadraticTerm
from medldm.inference.measurement_noise import measurement_noise
from medldm.inference.noise import Noise
from medldm.inference.physics import Physics
from medldm.inference.prior import DiffusionPrior
from medldm.inference.solver import Solver, Step, run
from medldm.inference.transmission_poisson import TransmissionPoisson
from medldm.inference.weighted_gaussian import WeightedGaussian

__all__ = [
    "DiffusionPrior",
    "Gaussian",
    "HasFilteredAdjoint",
    "HasMeasurementProx",
    "HasObjectPhase",
    "HasPreconditioner",
    "HasSubsets",
    "HasSurrogate",
    "HasUnits",
    "Likelihood",
    "Noise",
    "Physics",
    "QuadraticTerm",
    "Solver",
    "StatesMemory",
    "Step",
    "TransmissionPoisson",
    "WeightedGaussian",
    "measurement_noise",
    "run",
]
