"""The denoiser of a schedule against the scheduler's own estimate of the clean image, with any network."""

from typing import Any

import diffusers
import pytest
import torch

from medldm.errors import MedldmError
from medldm.priors.prediction import parametrization_of
from medldm_slice_ldm.schedule import schedule_of

BETAS = {"linear": {}, "scaled_linear": {"beta_end": 0.012}, "squaredcos_cap_v2": {}, "sigmoid": {}, "laplace": {}}


def network(x: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
    """Depends on the image and the level, and is no multiple of either."""
    return torch.tanh(2 * x + 0.3) + torch.cos(0.01 * told).reshape(-1, 1, 1, 1)


def denoised(config: dict[str, Any], x: torch.Tensor, sigma: float) -> torch.Tensor:
    schedule = schedule_of(config)
    row = parametrization_of(schedule.prediction, schedule.sigma)
    return row.denoised(network, x, torch.full((len(x),), sigma, dtype=x.dtype))


def saved(scheduler: Any, tmp_path: Any) -> dict[str, Any]:
    from medldm_slice_ldm.diffusers_folder import read_json

    scheduler.save_pretrained(tmp_path)
    return read_json(tmp_path / "scheduler_config.json")


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("betas", BETAS)
def test_discrete_schedules(betas: str, prediction: str, tmp_path: Any) -> None:
    scheduler = diffusers.DDPMScheduler(
        beta_schedule=betas, prediction_type=prediction, clip_sample=False, **BETAS[betas]
    )
    config = saved(scheduler, tmp_path)
    x = torch.randn(2, 1, 3, 4, dtype=torch.float64)
    for level in (0, 1, 17, 400, 900):
        sigma = float(((1 - scheduler.alphas_cumprod[level]) / scheduler.alphas_cumprod[level]).double().sqrt())
        noisy = sigma * x
        scaled = noisy / (1 + sigma**2) ** 0.5
        predicted = network(scaled, torch.full((2,), float(level), dtype=torch.float64))
        step = scheduler.step(predicted, level, scaled, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(denoised(config, noisy, sigma), step.pred_original_sample, rtol=1e-5, atol=1e-5)


def test_trained_betas(tmp_path: Any) -> None:
    betas = [0.1, 0.2, 0.3, 0.4]
    config = saved(diffusers.DDIMScheduler(trained_betas=betas), tmp_path)
    expected = torch.cumprod(1 - torch.tensor(betas), 0)
    assert schedule_of(config).prediction.alpha_bars == pytest.approx(expected.tolist())


def test_pure_noise_at_the_end_is_left_out_and_told(tmp_path: Any) -> None:
    scheduler = diffusers.DDIMScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    assert float(scheduler.alphas_cumprod[-1]) == 0
    schedule = schedule_of(saved(scheduler, tmp_path))
    assert schedule.prediction.kind == "v"
    kept = schedule.prediction.alpha_bars
    assert 990 < len(kept) < 1000
    assert kept == tuple(float(bar) for bar in scheduler.alphas_cumprod[: len(kept)])
    assert float(scheduler.alphas_cumprod[len(kept)]) < 2**-24 <= kept[-1]
    assert any("pure noise" in note for note in schedule.notes)
    assert schedule.sigma.high == 200


def test_the_cosine_schedule_ends_where_the_signal_is_lost(tmp_path: Any) -> None:
    schedule = schedule_of(saved(diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2"), tmp_path))
    assert len(schedule.prediction.alpha_bars) == 999
    parametrization_of(schedule.prediction, schedule.sigma)


def test_samplers_of_the_same_training_give_the_same_schedule(tmp_path: Any) -> None:
    names = ("DDPM", "DDIM", "PNDM", "EulerDiscrete", "DPMSolverMultistep", "UniPCMultistep")
    schedules = {
        schedule_of(
            saved(getattr(diffusers, f"{name}Scheduler")(beta_start=1e-4, beta_end=0.02), tmp_path / name)
        ).prediction
        for name in names
    }
    assert len(schedules) == 1


def test_flow_matching(tmp_path: Any) -> None:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0)
    config = saved(scheduler, tmp_path)
    scheduler.set_timesteps(8)
    for index in (1, 4, 7):
        time, told = scheduler.sigmas[index].double(), scheduler.timesteps[index].double()
        sample = torch.randn(2, 1, 3, 4, dtype=torch.float64)
        velocity = network(sample, told.repeat(2))
        expected = sample - time * velocity
        # The scheduler's own step agrees on the sign and the time: it goes along the line from x0 to the sample.
        scheduler._step_index = index
        stepped = scheduler.step(velocity, scheduler.timesteps[index], sample).prev_sample
        after = scheduler.sigmas[index + 1].double()
        torch.testing.assert_close(stepped, expected + after * velocity, rtol=1e-5, atol=1e-5)
        sigma = float(time / (1 - time))
        found = denoised(config, sample * (1 + sigma), sigma)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_edm(tmp_path: Any) -> None:
    scheduler = diffusers.EDMEulerScheduler(sigma_min=0.01, sigma_max=50.0, sigma_data=0.7)
    config = saved(scheduler, tmp_path)
    x = torch.randn(2, 1, 3, 4, dtype=torch.float64)
    for sigma in (0.01, 0.5, 50.0):
        predicted = network(scheduler.precondition_inputs(x, sigma), scheduler.precondition_noise(sigma).repeat(2))
        expected = scheduler.precondition_outputs(x, predicted, sigma)
        torch.testing.assert_close(denoised(config, x, sigma), expected, rtol=1e-5, atol=1e-5)
    assert schedule_of(config).sigma.high == 50


def test_before_prediction_types_had_a_name() -> None:
    old = {"_class_name": "DDPMScheduler", "num_train_timesteps": 10, "beta_start": 0.1, "beta_end": 0.2}
    old |= {"beta_schedule": "linear", "trained_betas": None, "clip_sample": True, "variance_type": "fixed_small"}
    assert schedule_of(old).prediction.kind == "epsilon"
    assert schedule_of(old | {"predict_epsilon": False}).prediction.kind == "x0"


def test_the_logarithm_of_level_zero_is_out_of_use(tmp_path: Any) -> None:
    config = saved(diffusers.DDPMScheduler(), tmp_path)
    bars = schedule_of(config).prediction.alpha_bars
    schedule = schedule_of(config, "fourier")
    assert schedule.sigma.low == pytest.approx(((1 - bars[1]) / bars[1]) ** 0.5)
    assert any("Level 0" in note for note in schedule.notes)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"_class_name": "ScoreSdeVeScheduler"}, "E-SLD-06"),
        ({"_class_name": "LCMScheduler"}, "E-SLD-06"),
        ({"_class_name": ["os", "system"]}, "E-SLD-06"),
        ({"_class_name": None}, "E-SLD-06"),
        ({"beta_schedule": "secret"}, "E-OPT-04"),
        ({"beta_start": "1e-4"}, "E-OPT-03"),
        ({"beta_start": float("nan")}, "E-OPT-04"),
        ({"num_train_timesteps": 10**9}, "E-OPT-04"),
        ({"use_flow_sigmas": True}, "E-OPT-04"),
        ({"timestep_type": "continuous"}, "E-OPT-04"),
        ({"trained_betas": [0.1, 2.0]}, "E-OPT-04"),
        ({"trained_betas": [1e-9, 1e-9]}, "E-SLD-06"),
    ],
)
def test_schedules_that_are_none(change: dict[str, Any], code: str, tmp_path: Any) -> None:
    config = saved(diffusers.DDPMScheduler(), tmp_path) | change
    with pytest.raises(MedldmError) as refusal:
        schedule_of(config)
    assert refusal.value.code == code


def test_a_schedule_without_its_betas_is_refused() -> None:
    with pytest.raises(MedldmError, match="beta_start"):
        schedule_of({"_class_name": "DDPMScheduler", "num_train_timesteps": 10, "beta_schedule": "linear"})
