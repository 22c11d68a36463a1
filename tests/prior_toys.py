"""A plugin for tests: a prior, a physics and a solver whose answers are known in closed form.

The prior is Gaussian, every voxel of its own: mean ``m``, standard deviation ``c``, in model units.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from medldm import hookimpl
from medldm.data import Acquisition, AffineMap, Grid, Volume, attenuation_from_hu
from medldm.host import Host, hookspecs
from medldm.host.discovery import Admission, Candidate, installed
from medldm.host.host import assemble
from medldm.inference import DiffusionPrior, Gaussian, Likelihood, Noise, Step, TransmissionPoisson
from medldm.operators import Diagonal, LinearOperator, Space
from medldm.priors.card import Facts, Intensity, Prediction, PriorCard, Range
from medldm.priors.family import Networks
from medldm.priors.folder import load_prior, write_prior
from medldm.priors.model import PriorModel

MEAN, DEVIATION = 0.4, 0.1
CONTRASTS = ("t1w", "t2w")


class GaussianNetwork(nn.Module):
    """``F`` of the EDM row for the Gaussian prior; each contrast moves its mean by ``shift`` of its own."""

    def __init__(self, facts: int, mean: float = MEAN) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(mean))
        self.shift = nn.Parameter(torch.linspace(0.1, 0.2, facts) if facts else torch.zeros(0))

    def forward(self, x: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
        sigma = torch.exp(4 * noise)
        # No matrix product, which would be in bfloat16 where networks run in it: this one is held against closed forms.
        mean = self.mean + (condition * self.shift).sum(1)
        predicted = sigma * mean / (DEVIATION * (sigma**2 + DEVIATION**2).sqrt())
        return predicted.reshape(-1, *(1,) * (x.ndim - 1)).expand_as(x)


@dataclass(frozen=True)
class GaussianFamily:
    """Priors of one network."""

    def build(self, networks: Mapping[str, Mapping[str, Any]]) -> Networks:
        return Networks(GaussianNetwork(**networks["denoiser"]))

    def load(self, folder: Path) -> PriorModel:
        return load_prior(folder, self.build)

    def convert(self, source: Path, folder: Path) -> PriorCard:
        raise NotImplementedError


@dataclass(frozen=True)
class PosteriorMean:
    """The mean of a Gaussian posterior: the prior's mean out of its denoiser, then one proximal step."""

    def solve(
        self,
        likelihood: Likelihood,
        prior: DiffusionPrior | None,
        start: Tensor,
        noise: Noise,
        state: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Step]:
        assert prior is not None
        # Behind much noise the best guess is the mean.
        mean = prior.denoise(torch.zeros_like(start), torch.full((len(start),), prior.sigma_max, device=start.device))
        estimate = likelihood.prox(mean, DEVIATION**-2, iterations=100, tolerance=1e-7)
        yield Step(0, 1, prior.sigma_max, start, estimate, {"estimate": estimate})


@dataclass(frozen=True)
class NoiseAlone:
    """Its estimate is the noise that it is given."""

    proximal: ClassVar[bool] = False

    def solve(
        self,
        likelihood: Likelihood,
        prior: DiffusionPrior | None,
        start: Tensor,
        noise: Noise,
        state: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Step]:
        drawn = noise.like(start, "start", step=0)
        yield Step(0, 1, 1.0, drawn, drawn, {"drawn": drawn})


@dataclass(frozen=True)
class ExactNoise(NoiseAlone):
    """The same, said to be of an exact law."""

    exact: ClassVar[bool] = True


@dataclass(frozen=True)
class Attenuation:
    """``y = d u + n`` of an attenuation in 1/mm, ``d`` a path length that differs from voxel to voxel."""

    noise_std: float = 0.01
    counts: bool = False

    def simulate(self, volume: Volume, noise: Noise) -> Acquisition:
        to_attenuation = attenuation_from_hu()
        lengths = _lengths(volume.grid)
        clean = lengths * to_attenuation(volume.data)
        drawn = noise.normal(tuple(clean.shape), clean.dtype, "measurement", std=self.noise_std)
        return Acquisition(
            physics="toy-attenuation",
            data=clean + drawn,
            axes=("z", "y", "x"),
            grid=volume.grid,
            quantity="1/mm",
            modality="CT",
            output=to_attenuation.inverse,
            noise_std=self.noise_std,
            simulated=True,
            name=volume.name,
            history=volume.history.then("simulate", physics="toy-attenuation"),
        )

    def operator(self, acquisition: Acquisition, grid: Grid) -> LinearOperator:
        assert grid == acquisition.grid, "made for the scan's own grid, as most physics"
        return Diagonal(Space(("z", "y", "x"), grid.shape), _lengths(grid))

    def likelihood(self, acquisition: Acquisition, operator: LinearOperator) -> Likelihood:
        if self.counts:
            return TransmissionPoisson(operator, 1e5 * torch.exp(-acquisition.data), 1e5)
        return Gaussian(operator, acquisition.data, acquisition.noise_std or 0.0)

    def start(self, acquisition: Acquisition, operator: LinearOperator) -> Tensor:
        return acquisition.data / _lengths(acquisition.grid)


def _lengths(grid: Grid) -> Tensor:
    return torch.linspace(5, 15, grid.shape[2]).expand(grid.shape).contiguous()


@dataclass(frozen=True)
class ComplexIdentity:
    """``y = u + n``, complex, the phase of ``u`` known."""

    noise_std: float = 5.0

    def simulate(self, volume: Volume, noise: Noise) -> Acquisition:
        image = volume.data * phase_of(volume.grid)
        drawn = noise.normal(tuple(image.shape), image.dtype, "measurement", std=self.noise_std)
        return Acquisition(
            physics="toy-complex",
            data=image + drawn,
            axes=("z", "y", "x"),
            grid=volume.grid,
            quantity="arbitrary",
            modality="MR",
            output=AffineMap.identity("arbitrary"),
            noise_std=self.noise_std,
            simulated=True,
            name=volume.name,
            history=volume.history.then("simulate", physics="toy-complex"),
        )

    def operator(self, acquisition: Acquisition, grid: Grid) -> LinearOperator:
        return Diagonal(Space(("z", "y", "x"), grid.shape, torch.complex64), torch.ones(()))

    def likelihood(self, acquisition: Acquisition, operator: LinearOperator) -> Likelihood:
        return Gaussian(operator, acquisition.data, acquisition.noise_std or 0.0)

    def start(self, acquisition: Acquisition, operator: LinearOperator) -> Tensor:
        return acquisition.data.clone()

    def object_phase(self, acquisition: Acquisition, operator: LinearOperator) -> Tensor:
        return phase_of(acquisition.grid)


@dataclass(frozen=True)
class PhaselessIdentity:
    """The same without a way to tell the phase."""

    noise_std: float = 5.0

    def simulate(self, volume: Volume, noise: Noise) -> Acquisition:
        measured = ComplexIdentity(self.noise_std).simulate(volume, noise)
        return dataclasses.replace(measured, physics="toy-phaseless")

    operator = ComplexIdentity.operator
    likelihood = ComplexIdentity.likelihood
    start = ComplexIdentity.start


class OpaqueLikelihood:
    """A likelihood without ``in_units``: only what others ask for before that is found missing."""

    def __init__(self, inner: Likelihood) -> None:
        self.operator, self.measurement = inner.operator, inner.measurement


@dataclass(frozen=True)
class Opaque(Attenuation):
    """The attenuation with such a likelihood."""

    def simulate(self, volume: Volume, noise: Noise) -> Acquisition:
        return dataclasses.replace(super().simulate(volume, noise), physics="toy-opaque")

    def likelihood(self, acquisition: Acquisition, operator: LinearOperator) -> Any:
        return OpaqueLikelihood(super().likelihood(acquisition, operator))


def phase_of(grid: Grid) -> Tensor:
    """A ramp of the phase along y in the patient, whatever the grid."""
    y = torch.tensor([float(grid.world((0, j, 0))[1]) for j in range(grid.shape[1])])
    return torch.polar(torch.ones(grid.shape), (0.1 * y)[None, :, None].expand(grid.shape).contiguous())


def card(name: str = "toy-prior", **changes: Any) -> PriorCard:
    """A card of CT in a HU window, of slices of 1 mm."""
    plain = PriorCard(
        name=name,
        family="toy-gaussian",
        summary="Independent Gaussian voxels",
        modality="CT",
        quantity="HU",
        intensity=Intensity("window", low=-1000, high=1000),
        dimensions=2,
        spacing_mm=Range(0.9, 1.1),
        sigma=Range(0.002, 1000),
        prediction=Prediction("edm", sigma_data=DEVIATION),
        networks={"denoiser": {"facts": 0}},
        weights={},
        licence="CC0-1.0",
    )
    return dataclasses.replace(plain, **changes)


def mr_card(name: str = "toy-mr", **changes: Any) -> PriorCard:
    """A card of MR by a percentile of the scan, told a modality and a contrast."""
    facts = Facts(classes={"modality": ("ct", "mr"), "contrast": CONTRASTS})
    mr: dict[str, Any] = {
        "modality": "MR",
        "quantity": "arbitrary",
        "intensity": Intensity("percentile", percentile=90),
        "facts": facts,
        "networks": {"denoiser": {"facts": 4}},
    }
    return card(name, **(mr | changes))


def write(folder: Path, card: PriorCard) -> Path:
    """A prior folder of that card below ``folder``, with weights."""
    state = GaussianNetwork(**card.networks["denoiser"]).state_dict()
    write_prior(folder / card.name, card, {"denoiser": state}, dtype=torch.float32)
    return folder / card.name


def toy_host() -> Host:
    """The installed plugins and this one."""
    toys = Candidate("toys", "toys", "1", __name__, lambda: sys.modules[__name__])
    host = assemble([*installed(), toys], Admission.of(None, (), {}))
    assert host.plugins[-1].status == "ok", host.plugins[-1].error
    return host


def _register(register: hookspecs.Register, names: Mapping[str, str], needs: tuple[str, ...] = ()) -> None:
    for name, target in names.items():
        register(name, f"{__name__}:{target}", example=f"{__name__}:{target}", summary="For tests", needs=needs)


@hookimpl
def register_priors(register: hookspecs.Register) -> None:
    """The family."""
    _register(register, {"toy-gaussian": "GaussianFamily"})


@hookimpl
def register_operators(register: hookspecs.Register) -> None:
    """The physics."""
    _register(
        register,
        {
            "toy-attenuation": "Attenuation",
            "toy-opaque": "Opaque",
            "toy-complex": "ComplexIdentity",
            "toy-phaseless": "PhaselessIdentity",
        },
    )


@hookimpl
def register_solvers(register: hookspecs.Register) -> None:
    """The solver."""
    _register(register, {"toy-posterior": "PosteriorMean", "toy-noise": "NoiseAlone"}, ("prior",))
    _register(register, {"toy-exact": "ExactNoise"}, ("prior",))
    _register(register, {"toy-picky": "PosteriorMean"}, ("prior", "filtered-adjoint"))
    _register(register, {"toy-differentiating": "PosteriorMean"}, ("decode-gradient",))
