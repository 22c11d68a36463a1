"""Inference: likelihoods, prior and solver protocols, the driver, noise."""

from medldm.inference.alternating import AlternatingPlanes
from medldm.inference.capabilities import (
    HasFilteredAdjoint,
    HasMeasurementProx,
    HasObjectPhase,
    HasPerturbation,
    HasPreconditioner,
    HasSubsets,
    HasSurrogate,
    HasUnits,
    StatesMemory,
    StatesSimulationMemory,
)
from medldm.inference.coherence import Coherence, NoiseKernel
from medldm.inference.complex_image import ComplexAsChannels, PhaseFrozen
from medldm.inference.conditioning import Conditioning
from medldm.inference.correlated_noise import CorrelatedNoise, SliceStack
from medldm.inference.coupled import Coupled, SliceCoupling
from medldm.inference.denoiser import Denoiser
from medldm.inference.gaussian import Gaussian
from medldm.inference.integrators import IntegratorName, advance, integrator
from medldm.inference.known_phase import OfKnownPhase
from medldm.inference.latent_prior import LatentPrior
from medldm.inference.likelihood import Likelihood, QuadraticTerm
from medldm.inference.measurement_noise import measurement_noise
from medldm.inference.mirrored import Mirrored
from medldm.inference.misfit import HasMisfit
from medldm.inference.networks import Autoencoder, DenoisingNetwork
from medldm.inference.noise import Noise
from medldm.inference.parametrization import Parametrization, SigmaTable
from medldm.inference.physics import Physics
from medldm.inference.pixel_prior import PixelPrior
from medldm.inference.prior import BoundPrior, DiffusionPrior, is_regressor
from medldm.inference.slab import SlabPrior
from medldm.inference.slicewise import SlicewisePrior
from medldm.inference.solver import Solver, Step, draws_samples, is_exact, is_proximal, run
from medldm.inference.tiling import Tiling, tiled
from medldm.inference.transmission_poisson import TransmissionPoisson
from medldm.inference.turned import Turned
from medldm.inference.weighted_gaussian import WeightedGaussian
from medldm.inference.weighted_norm import spectral_norm, weighted_norm

__all__ = [
    "AlternatingPlanes",
    "Autoencoder",
    "BoundPrior",
    "Coherence",
    "ComplexAsChannels",
    "Conditioning",
    "CorrelatedNoise",
    "Coupled",
    "Denoiser",
    "DenoisingNetwork",
    "DiffusionPrior",
    "Gaussian",
    "HasFilteredAdjoint",
    "HasMeasurementProx",
    "HasMisfit",
    "HasObjectPhase",
    "HasPerturbation",
    "HasPreconditioner",
    "HasSubsets",
    "HasSurrogate",
    "HasUnits",
    "IntegratorName",
    "LatentPrior",
    "Likelihood",
    "Mirrored",
    "Noise",
    "NoiseKernel",
    "OfKnownPhase",
    "Parametrization",
    "PhaseFrozen",
    "Physics",
    "PixelPrior",
    "QuadraticTerm",
    "SigmaTable",
    "SlabPrior",
    "SliceCoupling",
    "SliceStack",
    "SlicewisePrior",
    "Solver",
    "StatesMemory",
    "StatesSimulationMemory",
    "Step",
    "Tiling",
    "TransmissionPoisson",
    "Turned",
    "WeightedGaussian",
    "advance",
    "draws_samples",
    "integrator",
    "is_exact",
    "is_proximal",
    "is_regressor",
    "measurement_noise",
    "run",
    "spectral_norm",
    "tiled",
    "weighted_norm",
]
