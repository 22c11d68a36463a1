"""The noise levels that a bundle's U-Net was trained on, from the arguments of its scheduler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from medldm.errors import InputRefused
from medldm.priors.card import Prediction, Range

_KINDS: Mapping[str, Literal["epsilon", "v", "x0"]] = {"epsilon": "epsilon", "v_prediction": "v", "sample": "x0"}
_OLD_SCHEDULES = {"linear": "linear_beta", "scaled_linear": "scaled_linear_beta", "sigmoid": "sigmoid_beta"}
_SCHEDULE = ("num_train_timesteps", "schedule", "beta_start", "beta_end", "sig_range", "s")
# How a bundle samples is not what its network knows.
_SAMPLING = (
    *("clip_sample", "clip_sample_min", "clip_sample_max", "set_alpha_to_one", "steps_offset", "skip_prk_steps"),
    *("variance_type", "use_discrete_timesteps", "sample_method", "loc", "scale", "use_timestep_transform"),
    *("transform_scale", "base_img_size_numel", "spatial_dim", "num_inference_steps"),
)


@dataclass(frozen=True)
class BundleSchedule:
    """What the parametrization needs.

    Attributes:
        prediction: of the card.
        sigma: noise levels that the network has seen.
        reversed: the network predicts the opposite of the table's velocity.
    """

    prediction: Prediction
    sigma: Range
    reversed: bool = False


def schedule_of(scheduler: str, arguments: Mapping[str, Any]) -> BundleSchedule:
    """From a scheduler of MONAI.

    Args:
        scheduler: class name.
        arguments: of its constructor; those that concern sampling only are ignored.

    Raises:
        InputRefused: ``E-VLD-09`` an argument is unknown, or the prediction is none of the table's.
    """
    arguments = {"schedule" if name == "beta_schedule" else name: value for name, value in arguments.items()}
    unknown = sorted(set(arguments) - {*_SCHEDULE, *_SAMPLING, "prediction_type"})
    if unknown:
        raise _refused(f"has the argument {unknown[0]!r}, which is not known here", "remove it if it does no harm")
    if scheduler == "RFlowScheduler":
        levels = int(arguments.get("num_train_timesteps", 1000))
        # sigma = t / (1 - t): time 1 is noise alone, where no image is left to estimate.
        limits = Range(1 / (levels - 1), float(levels - 1))
        return BundleSchedule(Prediction("flow", levels=float(levels)), limits, reversed=True)
    kind = _KINDS.get(str(arguments.get("prediction_type", "epsilon")))
    if kind is None:
        raise _refused(f"predicts {arguments['prediction_type']!r}", "epsilon, sample and v_prediction are known")
    if str(arguments.get("variance_type", "")).startswith("learned"):
        raise _refused("has a learned variance", "only networks that predict the image alone can be taken")
    bars = _alpha_bars({name: value for name, value in arguments.items() if name in _SCHEDULE})
    low, high = (((1 - bar) / bar) ** 0.5 for bar in (bars[0], bars[-1]))
    return BundleSchedule(Prediction(kind, alpha_bars=bars), Range(low, high))


def _alpha_bars(arguments: dict[str, Any]) -> tuple[float, ...]:
    from monai.networks.schedulers.ddpm import DDPMScheduler

    name = arguments.get("schedule", "linear_beta")
    try:
        scheduler = DDPMScheduler(**{**arguments, "schedule": _OLD_SCHEDULES.get(name, name)})
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise _refused(f"is refused by MONAI ({error})", "correct its arguments") from error
    return tuple(scheduler.alphas_cumprod.tolist())


def _refused(what: str, fix: str) -> InputRefused:
    return InputRefused(
        "E-VLD-09",
        f"The bundle's scheduler {what}.",
        why="Wrong noise levels make a wrong denoiser.",
        fix=f"Check the scheduler: {fix}.",
    )
