"""What a scheduler of diffusers says about its network: the row of the parametrization table, and the noise levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, TypeVar

from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from pydantic import Field

from medldm.errors import ComponentMissing
from medldm.host.options import build
from medldm.priors.card import Prediction, Range

# Samplers of one and the same training: x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) n, t counted from 0.
# Distilled networks (LCM, TCD, consistency models) are no denoisers, and ScoreSdeVe's network predicts a score of
# images that are not scaled; neither is a row of the table.
_DISCRETE = frozenset(
    f"{name}Scheduler"
    for name in (
        *("DDPM", "DDPMParallel", "DDIM", "DDIMParallel", "PNDM", "EulerDiscrete", "EulerAncestralDiscrete"),
        *("DPMSolverMultistep", "DPMSolverSinglestep", "DPMSolverSDE", "UniPCMultistep", "DEISMultistep"),
        *("HeunDiscrete", "KDPM2Discrete", "KDPM2AncestralDiscrete", "LMSDiscrete", "SASolver"),
    )
)
_FLOW = frozenset({"FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"})
_EDM = frozenset({"EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"})
# Beyond it nothing of an image of unit variance is left, and x - sigma F loses its digits in single precision.
_LARGEST_SIGMA = 200.0
T = TypeVar("T", "_Discrete", "_Flow", "_Edm")
# A schedule of zero terminal signal-to-noise ratio (Lin et al. 2024) ends at 0, an infinite noise.
_NO_SIGNAL = 2.0**-24
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=2, le=100000)]


@dataclass(frozen=True)
class Schedule:
    """How a converted network becomes a denoiser.

    Attributes:
        prediction: for the card.
        sigma: noise levels of use, for the card; of the data as the network sees it.
        notes: what the scheduler says and the card does not.
    """

    prediction: Prediction
    sigma: Range
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Discrete:
    num_train_timesteps: Count
    beta_start: Share
    beta_end: Share
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"]
    trained_betas: Annotated[tuple[Share, ...], Field(min_length=2)] | None = None
    prediction_type: Literal["epsilon", "sample", "v_prediction"] = "epsilon"
    rescale_betas_zero_snr: bool = False
    predict_epsilon: bool = True  # before diffusers 0.9
    use_flow_sigmas: Literal[False] = False
    timestep_type: Literal["discrete"] = "discrete"


@dataclass(frozen=True)
class _Flow:
    num_train_timesteps: Count
    invert_sigmas: Literal[False] = False


@dataclass(frozen=True)
class _Edm:
    sigma_min: Annotated[float, Field(gt=0)]
    sigma_max: Annotated[float, Field(gt=0)]
    sigma_data: Annotated[float, Field(gt=0)]
    prediction_type: Literal["epsilon"] = "epsilon"


def schedule_of(config: Mapping[str, Any], time_embedding: str = "positional") -> Schedule:
    """Read a ``scheduler_config.json``.

    Args:
        config: its entries; those that only steer sampling are left aside.
        time_embedding: of the network; the logarithm in ``fourier`` does not exist at time 0.

    Raises:
        ComponentMissing: ``E-SLD-06`` the scheduler is none that can be taken.
        UsageError: ``E-OPT-..`` an entry is missing or impossible.
    """
    name = str(config.get("_class_name"))
    if name in _DISCRETE:
        return _discrete(_read(_Discrete, config), first=1 if time_embedding == "fourier" else 0)
    if name in _FLOW:
        levels = _read(_Flow, config).num_train_timesteps
        # sigma = t / (1 - t) from t = 1 / N to 1 - 1 / N; at t = 1 nothing of the image is left.
        return Schedule(Prediction("flow", levels=float(levels)), _in_use(1 / (levels - 1), levels - 1.0))
    if name in _EDM:
        if time_embedding == "fourier":
            raise _refused(name, "its network takes the logarithm of a time that is negative here")
        read = _read(_Edm, config)
        return Schedule(Prediction("edm", sigma_data=read.sigma_data), _in_use(read.sigma_min, read.sigma_max))
    raise _refused(name, "how its network was trained is not among epsilon, v, x0, flow matching and EDM")


def _discrete(config: _Discrete, first: int) -> Schedule:
    # Of the library itself, so that the levels are to the last bit those that the network was trained on.
    scheduler = DDPMScheduler(
        num_train_timesteps=len(config.trained_betas) if config.trained_betas else config.num_train_timesteps,
        beta_start=config.beta_start,
        beta_end=config.beta_end,
        beta_schedule=config.beta_schedule,
        trained_betas=list(config.trained_betas) if config.trained_betas else None,
        rescale_betas_zero_snr=config.rescale_betas_zero_snr,
    )
    bars = scheduler.alphas_cumprod.double()
    notes = []
    kept = bars[bars > _NO_SIGNAL]
    if len(kept) < len(bars):
        notes.append(f"Levels of pure noise, the last {len(bars) - len(kept)} of {len(bars)}, are left out.")
    if len(kept) <= first + 1 or not bool((kept.diff() < 0).all()) or not bool((kept < 1).all()):
        raise _refused("with these betas", "its noise does not increase from level to level")
    sigmas = ((1 - kept) / kept).sqrt()
    if first:
        notes.append("Level 0 is out of use: the network divides by the level and takes its logarithm.")
    sigma = _in_use(float(sigmas[first]), float(sigmas[-1]))
    if sigma.high < sigmas[-1]:
        notes.append(f"Noise above {sigma.high:g}, of a schedule up to {float(sigmas[-1]):g}, is out of use.")
    kind: Literal["epsilon", "v", "x0"] = "epsilon"
    if config.prediction_type == "v_prediction":
        kind = "v"
    elif config.prediction_type == "sample" or not config.predict_epsilon:
        kind = "x0"
    bars_kept = tuple(float(bar) for bar in kept)
    return Schedule(Prediction(kind, alpha_bars=bars_kept), sigma, tuple(notes))


def _in_use(low: float, high: float) -> Range:
    return Range(low, max(min(high, _LARGEST_SIGMA), low))


def _read(target: type[T], config: Mapping[str, Any]) -> T:
    """Those entries that say how the network was trained."""
    picked = {field.name: config[field.name] for field in fields(target) if field.name in config}
    read: T = build(target, picked, where="scheduler_config.json", subject=f"scheduler {config.get('_class_name')!r}")
    return read


def _refused(name: str, why: str) -> ComponentMissing:
    return ComponentMissing(
        "E-SLD-06",
        f"The scheduler {name} of the folder is not taken: {why}.",
        why="What the scheduler says decides how the network's output becomes a denoised image.",
        fix="Put the scheduler of the training beside the network, such as DDPMScheduler, "
        "FlowMatchEulerDiscreteScheduler or EDMEulerScheduler.",
    )
