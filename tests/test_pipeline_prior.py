"""The pipeline with a prior: a Gaussian one, so that the reconstruction is known to the last digit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from prior_toys import DEVIATION, MEAN, Attenuation, card, mr_card, phase_of, toy_host, write

import medldm
from medldm.data import Acquisition, Grid, Volume, attenuation_from_hu
from medldm.data.provenance import GENERATIVE
from medldm.host import Host
from medldm.operators import Resample
from medldm.pipeline.events import Event
from medldm.pipeline.recipe import Recipe, from_mapping
from medldm.priors.card import Intensity, Range
from medldm.priors.intensity import percentile

SHAPE = (3, 10, 12)


@pytest.fixture(scope="module")
def host() -> Host:
    return toy_host()


@pytest.fixture
def priors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of priors that is searched by name."""
    folder = tmp_path / "priors"
    monkeypatch.setenv("MEDLDM_PRIORS", str(folder))
    return folder


def ct(spacing: float = 1.0) -> Volume:
    values = torch.linspace(-900, 700, 3 * 10 * 12).reshape(SHAPE)
    return Volume(values, Grid.isotropic(SHAPE, (3, spacing, spacing)), "HU", "CT", "phantom")


def mr(spacing: float = 1.0) -> Volume:
    values = 50 + 100 * torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))
    return Volume(values, Grid.isotropic(SHAPE, (3, spacing, spacing)), "arbitrary", "MR", "phantom")


def recipe(physics: str, prior: dict[str, Any] | None, **sections: Any) -> Recipe:
    mapping = {"acquisition": {"physics": physics}, "solver": {"name": "toy-posterior"}, "run": {"seed": 7}}
    return from_mapping("test", mapping | ({"prior": prior} if prior else {}) | sections)


def ct_posterior(measured: Acquisition) -> torch.Tensor:
    """In HU: the prior's mean and deviation through the window, the measurement through its path lengths."""
    to_attenuation = attenuation_from_hu()
    lengths = Attenuation().operator(measured, measured.grid).diagonal.double()  # type: ignore[union-attr]
    mean = to_attenuation(-1000 + 2000 * MEAN)
    deviation = to_attenuation.scale * 2000 * DEVIATION
    data = measured.data.double() / 0.01**2
    attenuation = (lengths * data + mean / deviation**2) / (lengths**2 / 0.01**2 + 1 / deviation**2)
    return to_attenuation.inverse(attenuation).float()


def test_ct_is_the_posterior_mean_in_hu(host: Host, priors: Path, tmp_path: Path) -> None:
    write(priors, card())
    chosen = recipe("toy-attenuation", {"name": "toy-prior", "as": "slicewise"})
    measured = medldm.simulate(ct(), recipe=chosen, host=host)
    result = medldm.reconstruct(measured, tmp_path / "out", recipe=chosen, host=host, device="cpu")
    torch.testing.assert_close(result.image.data, ct_posterior(measured), rtol=1e-4, atol=0.05)
    # Far from the data alone, so that the prior did take part.
    assert float((result.image.data - result.baseline.data).abs().max()) > 20
    assert result.image.quantity == "HU"
    attenuation = attenuation_from_hu()(result.image.data)
    residual = measured.data - Attenuation().operator(measured, measured.grid)(attenuation)
    assert result.record["chi"][0] == pytest.approx(float((residual / 0.01).square().mean()), rel=1e-3)


@pytest.mark.parametrize("physics", ["toy-attenuation", "identity"])
def test_a_card_in_attenuation_is_the_same_prior(host: Host, priors: Path, physics: str) -> None:
    """Images in HU inside the operator (denoising) and in 1/mm (projections), cards in HU and in 1/mm."""
    to_attenuation = attenuation_from_hu()
    window = Intensity("window", low=to_attenuation(-1000.0), high=to_attenuation(1000.0))
    write(priors, card())
    write(priors, card("toy-mu", quantity="1/mm", intensity=window))
    acquisition = {"physics": physics, **({"noise": {"std": 100, "of": "absolute"}} if physics == "identity" else {})}
    measured = medldm.simulate(ct(), recipe=recipe(physics, None, acquisition=acquisition), host=host)
    images = [
        medldm.reconstruct(
            measured, recipe=recipe(physics, {"name": name}, acquisition=acquisition), host=host, device="cpu"
        ).image
        for name in ("toy-prior", "toy-mu")
    ]
    assert [image.quantity for image in images] == ["HU", "HU"]
    torch.testing.assert_close(images[0].data, images[1].data, rtol=1e-4, atol=0.05)


def test_photon_counts_are_restated_too(host: Host, priors: Path) -> None:
    """Many photons: the Poisson law is close to the Gaussian of the post-log data with weights N."""
    write(priors, card())
    chosen = recipe("toy-attenuation", {"name": "toy-prior"}, likelihood={})
    measured = medldm.simulate(ct(), recipe=chosen, host=host)
    counting = recipe("toy-attenuation", {"name": "toy-prior"}, operator={"counts": True})
    result = medldm.reconstruct(measured, recipe=counting, host=host, device="cpu")
    truth = ct().data
    assert float((result.image.data - truth).abs().mean()) < float((result.baseline.data - truth).abs().mean())
    assert result.record["chi"][0] < 1


def test_the_record_and_the_files_say_that_a_prior_took_part(host: Host, priors: Path, tmp_path: Path) -> None:
    folder = write(priors, card())
    out = tmp_path / "out"
    events: list[Event] = []
    chosen = recipe("toy-attenuation", {"name": str(folder)}, outputs={"write": ["nifti"]})
    result = medldm.reconstruct(
        ct(), out, recipe=chosen, simulate=True, host=host, device="cpu", listeners=[events.append]
    )
    record = json.loads((out / "run.json").read_text())
    assert record["generative"] is True
    assert GENERATIVE in record["notice"]
    prior = record["prior"]
    assert (prior["name"], prior["family"], prior["licence"]) == ("toy-prior", "toy-gaussian", "CC0-1.0")
    assert prior["intensity"]["rule"] == "window"
    # model = (HU + 1000) / 2000 = (mu / (mu_w / 1000) - 1000 + 1000) / 2000
    assert prior["intensity"]["scale"] == pytest.approx(1 / (attenuation_from_hu().scale * 2000))
    assert prior["intensity"]["offset"] == pytest.approx(0, abs=1e-9)
    assert len(prior["weights_hash"]) == 64
    assert prior["grid"]["resampled"] is False
    # The folder's path is of somebody's choosing.
    assert str(tmp_path) not in (out / "run.json").read_text()
    sidecar = json.loads((out / "reconstruction.json").read_text())
    assert sidecar["Generative"] is True
    assert sidecar["WeightsSha256"] == prior["weights_hash"]
    names = [event["event"] for event in record["image"]["history"]]
    assert names.index("reconstruct") < names.index("prior") < names.index("intensity")
    assert any(event.stage == "prior" and "model = " in event.message for event in events)
    assert result.record["job"]["weights"] == prior["weights_hash"]


def mr_posterior(measured: Acquisition, mean: float, scale: float) -> torch.Tensor:
    """The magnitude, where the noise has the standard deviation 5 per real component."""
    projected = (measured.data * phase_of(measured.grid).conj()).to(torch.complex128)
    prior, data = (scale * DEVIATION) ** -2, 5.0**-2
    posterior = (data * projected + prior * scale * mean) / (data + prior)
    return posterior.abs().float()


MR_UNKNOWN = MEAN + 0.1 + 0.1 / 3  # the modality is known, and moves the mean by the second shift


@pytest.mark.parametrize(("told", "mean"), [({}, MR_UNKNOWN), ({"contrast": "t2w"}, MR_UNKNOWN + 0.2)])
def test_mr_is_scaled_by_a_percentile_and_back(host: Host, priors: Path, told: dict[str, str], mean: float) -> None:
    write(priors, mr_card())
    chosen = recipe("toy-complex", {"name": "toy-mr", "complex": "phase-frozen", **told})
    measured = medldm.simulate(mr(), recipe=chosen, host=host)
    result = medldm.reconstruct(measured, recipe=chosen, host=host, device="cpu")
    scale = percentile(measured.data, 90)
    assert 130 < scale < 150
    torch.testing.assert_close(result.image.data, mr_posterior(measured, mean, scale), rtol=1e-4, atol=1e-3)
    assert result.record["prior"]["intensity"]["scale"] == pytest.approx(1 / scale, rel=1e-6)
    assert result.record["prior"]["intensity"]["percentile"] == 90
    assert result.record["prior"]["told"] == {"modality": "mr", **told}
    assert result.record["prior"]["phase"] == "frozen"


def test_the_scale_of_a_scan_of_arbitrary_unit_does_not_matter(host: Host, priors: Path) -> None:
    write(priors, mr_card())
    chosen = recipe("toy-complex", {"name": "toy-mr"})
    measured = medldm.simulate(mr(), recipe=chosen, host=host)
    larger = dataclasses.replace(measured, data=1000 * measured.data, noise_std=1000 * 5.0)
    images = [medldm.reconstruct(one, recipe=chosen, host=host, device="cpu").image.data for one in (measured, larger)]
    torch.testing.assert_close(images[1], 1000 * images[0], rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("mean", [MEAN, -0.6])
def test_magnitudes_may_begin_elsewhere_than_at_zero(host: Host, priors: Path, mean: float) -> None:
    """Networks of the range -1 to 1: the offset goes with the phase, since a constant would not be a magnitude."""
    to = Intensity("percentile", percentile=90, to=(-1, 1))
    write(priors, mr_card(intensity=to, networks={"denoiser": {"facts": 4, "mean": mean}}))
    chosen = recipe("toy-complex", {"name": "toy-mr"})
    measured = medldm.simulate(mr(), recipe=chosen, host=host)
    result = medldm.reconstruct(measured, recipe=chosen, host=host, device="cpu")
    scale = percentile(measured.data, 90)
    # model = 2 u / scale - 1, so that a model mean m is (m + 1) scale / 2
    expected = mr_posterior(measured, MR_UNKNOWN - MEAN + mean + 1, scale / 2)
    torch.testing.assert_close(result.image.data, expected, rtol=1e-4, atol=1e-3)


def test_the_image_comes_back_to_the_grid_of_the_scan(host: Host, priors: Path) -> None:
    """A prior of 2 mm, a scan of 1 mm: the posterior mean of ``x`` under ``A R``, and ``R x`` is what is written."""
    write(priors, card(spacing_mm=Range(2.0, 2.0)))
    events: list[Event] = []
    chosen = recipe("toy-attenuation", {"name": "toy-prior"}, operator={"grid": "prior"})
    measured = medldm.simulate(ct(), recipe=chosen, host=host)
    result = medldm.reconstruct(measured, recipe=chosen, host=host, device="cpu", listeners=[events.append])
    assert result.image.grid == ct().grid
    grid = result.record["prior"]["grid"]
    assert grid["resampled"] is True
    assert grid["shape"] == [3, 5, 6]
    assert grid["spacing_mm"] == pytest.approx([3, 2, 2])
    resampled = [event for event in result.record["image"]["history"] if event["event"] == "resample"]
    assert resampled[0]["from_shape"] == [3, 5, 6]
    assert any(event.stage == "prior" and "resampling" in event.message for event in events)

    coarse = Grid.isotropic((3, 5, 6), (3, 2, 2))
    columns = torch.eye(90, dtype=torch.float64).reshape(90, 3, 5, 6)
    matrix = Resample(coarse, ct().grid, dtype=torch.float64)(columns).reshape(90, 360).T
    to_attenuation = attenuation_from_hu()
    lengths = Attenuation().operator(measured, measured.grid).diagonal.double().flatten()  # type: ignore[union-attr]
    system = lengths[:, None] * matrix / 0.01
    mean, deviation = to_attenuation(-1000 + 2000 * MEAN), to_attenuation.scale * 2000 * DEVIATION
    normal = system.T @ system + torch.eye(90, dtype=torch.float64) / deviation**2
    x = torch.linalg.solve(normal, system.T @ (measured.data.double().flatten() / 0.01) + mean / deviation**2)
    expected = to_attenuation.inverse(matrix @ x).reshape(SHAPE).float()
    torch.testing.assert_close(result.image.data, expected, rtol=1e-3, atol=0.5)


def test_a_complex_image_is_resampled_with_its_phase(host: Host, priors: Path) -> None:
    write(priors, mr_card(spacing_mm=Range(2.0, 2.0)))
    flat = Volume(torch.full(SHAPE, 80.0), mr().grid, "arbitrary", "MR")
    exact = {"physics": "toy-complex", "noise_std": 0.05}
    chosen = recipe("toy-complex", {"name": "toy-mr"}, acquisition=exact, operator={"grid": "prior"})
    measured = medldm.simulate(flat, recipe=chosen, host=host)
    result = medldm.reconstruct(measured, recipe=chosen, host=host, device="cpu")
    assert result.image.grid == flat.grid
    assert float((result.image.data - 80).abs()[:, 1:-1, 1:-1].max()) < 1


def test_samples_are_asked_of_a_solver_with_a_prior(host: Host, priors: Path) -> None:
    write(priors, card())
    chosen = recipe("toy-attenuation", {"name": "toy-prior"}, run={"samples": 3, "seed": 7})
    result = medldm.reconstruct(ct(), recipe=chosen, simulate=True, host=host, device="cpu")
    assert len(result.record["chi"]) == 3


def test_another_plane_is_seen_and_written_on_the_same_grid(host: Host, priors: Path) -> None:
    write(priors, card(planes=("axial", "coronal"), spacing_mm=Range(0.5, 5)))
    images = []
    for plane in ("axial", "coronal"):
        chosen = recipe("toy-attenuation", {"name": "toy-prior", "plane": plane, "slices_at_once": 2})
        images.append(medldm.reconstruct(ct(), recipe=chosen, simulate=True, host=host, device="cpu").image)
    # Independent voxels look the same from every side.
    torch.testing.assert_close(images[0].data, images[1].data)
