"""What the pipeline refuses of a prior, and that it does so before anything heavy runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from prior_toys import card, mr_card, toy_host, write

import medldm
from medldm.data import Grid, Volume
from medldm.errors import ComponentMissing, InputRefused, MedldmError, OutOfMemory, UsageError
from medldm.host import Host
from medldm.pipeline.chosen_prior import ChosenPrior, choose_prior
from medldm.pipeline.estimate import estimate_seconds
from medldm.pipeline.events import Event
from medldm.pipeline.memory import check_memory
from medldm.pipeline.recipe import Recipe, from_mapping
from medldm.pipeline.resume import job_of
from medldm.priors.card import Facts, Intensity, Range

SHAPE = (3, 10, 12)
CT = Volume(torch.zeros(SHAPE), Grid.isotropic(SHAPE), "HU", "CT")
MR = Volume(torch.ones(SHAPE), Grid.isotropic(SHAPE), "arbitrary", "MR")


@pytest.fixture(scope="module")
def host() -> Host:
    return toy_host()


@pytest.fixture
def priors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the two plain priors, searched by name."""
    folder = tmp_path / "priors"
    monkeypatch.setenv("MEDLDM_PRIORS", str(folder))
    write(folder, card())
    write(folder, mr_card())
    return folder


def recipe(prior: dict[str, Any] | None = None, physics: str = "toy-attenuation", **sections: Any) -> Recipe:
    mapping = {"acquisition": {"physics": physics}, "solver": {"name": "toy-posterior"}, "run": {"seed": 7}}
    return from_mapping("test", mapping | ({"prior": prior} if prior else {}) | sections)


def refused(
    host: Host, case: Volume, recipe: Recipe, error: type[MedldmError], match: str, *, late: bool = False
) -> None:
    """Refused, and unless ``late`` before the measurement is simulated."""
    events: list[Event] = []
    with pytest.raises(error, match=match):
        medldm.reconstruct(case, recipe=recipe, simulate=True, host=host, device="cpu", listeners=[events.append])
    assert late == ("simulate" in [event.stage for event in events])


@pytest.mark.parametrize(
    ("prior", "error", "match"),
    [
        (None, UsageError, "E-RUN-12.*'toy-posterior' needs a diffusion prior"),
        ({"as": "slicewise"}, UsageError, "E-RCP-04"),
        ({"name": "toy-prio"}, ComponentMissing, "E-PRI-21.*'toy-prior'"),
        ({"name": "./nowhere/toy"}, ComponentMissing, "E-PRI-01"),
        ({"name": "toy-prior", "slices_at_onc": 4}, UsageError, "E-RCP-02.*'slices_at_once'"),
        ({"name": "toy-prior", "contrast": "t1w"}, UsageError, "E-RCP-02.*'contrast'"),
        ({"name": "toy-prior", "as": "slicewize"}, UsageError, "E-RCP-09.*did you mean 'slicewise'"),
        ({"name": "toy-prior", "as": "volume"}, ComponentMissing, "E-PRI-36"),
        ({"name": "toy-prior", "complex": "channels"}, UsageError, "E-RCP-09.*phase-frozen"),
        ({"name": "toy-prior", "plane": "sagittal"}, UsageError, "E-RCP-09.*axial"),
        ({"name": "toy-prior", "plane": "alternating"}, UsageError, "E-RCP-09.*axial"),
        ({"name": "toy-prior", "slices_at_once": 0}, UsageError, "E-RCP-09.*at least 1"),
        ({"name": "toy-prior", "quadrature": -0.1}, UsageError, "E-RCP-09.*from 0 to 1"),
        ({"name": "toy-prior", "mirror": 1}, UsageError, "E-RCP-09.*true or false"),
        ({"name": "toy-mr"}, ComponentMissing, "E-PRI-30.*arbitrary unit, the scan holds values in HU"),
    ],
)
def test_before_anything_heavy_runs(
    host: Host, priors: Path, prior: dict[str, Any] | None, error: type[MedldmError], match: str
) -> None:
    refused(host, CT, recipe(prior), error, match)


@pytest.mark.parametrize(
    ("told", "match"),
    [
        ({"contrast": "t3w"}, "did you mean 't2w'|did you mean 't1w'"),
        ({"modality": "ct"}, "E-RCP-09.*'mr', which this card always tells"),
        ({"age": "old"}, "E-RCP-09.*a number"),
        ({"age": float("inf")}, "E-RCP-09.*a number"),
    ],
)
def test_facts_that_the_network_cannot_be_told(host: Host, priors: Path, told: dict[str, Any], match: str) -> None:
    facts = Facts({"modality": ("ct", "mr"), "contrast": ("t1w", "t2w")}, {"age": (50.0, 20.0)}, {"modality": "mr"})
    write(priors, mr_card("toy-told", facts=facts, networks={"denoiser": {"facts": 6}}))
    refused(host, MR, recipe({"name": "toy-told", **told}, "toy-complex"), UsageError, match)


def test_a_family_that_is_not_installed(host: Host, priors: Path) -> None:
    write(priors, card("toy-foreign", family="from-elsewhere"))
    refused(host, CT, recipe({"name": "toy-foreign"}), ComponentMissing, "E-PLG-08.*'from-elsewhere'")


def test_a_start_that_needs_a_prior(host: Host, priors: Path) -> None:
    asked = recipe({"name": "toy-prior"}, start={"solver": "toy-posterior"})
    refused(host, CT, asked, UsageError, "E-RUN-12.*start")


@pytest.mark.parametrize(
    ("grid", "match"), [("native", "operator.grid=prior"), (None, "operator.grid=prior"), ("finest", "native or prior")]
)
def test_an_image_is_not_resampled_in_silence(host: Host, priors: Path, grid: str | None, match: str) -> None:
    write(priors, card("toy-coarse", spacing_mm=Range(2, 2)))
    section = {"operator": {"grid": grid}} if grid else {}
    refused(host, CT, recipe({"name": "toy-coarse"}, **section), UsageError, f"E-RUN-13.*{match}")


def test_the_grid_of_a_prior_that_is_not_there(host: Host) -> None:
    asked = recipe(solver={"name": "cgls"}, operator={"grid": "prior"})
    refused(host, CT, asked, UsageError, "E-RUN-13")


def test_too_far_from_the_prior_is_refused_whatever_the_grid(host: Host, priors: Path) -> None:
    write(priors, card("toy-far", spacing_mm=Range(8, 9)))
    asked = recipe({"name": "toy-far"}, operator={"grid": "prior"})
    refused(host, CT, asked, ComponentMissing, "E-PRI-32")


def test_a_prior_that_the_solver_does_not_use_is_a_warning(host: Host, priors: Path) -> None:
    events: list[Event] = []

    def run(prior: dict[str, Any] | None) -> Any:
        gates = {"gates": {"chi_max": 100.0}}  # two iterations do not fit, and of no gate that is a warning too
        asked = recipe(prior, solver={"name": "cgls", "iterations": 2}, operator={"grid": "native"}, outputs=gates)
        return medldm.reconstruct(CT, recipe=asked, simulate=True, host=host, device="cpu", listeners=[events.append])

    without = run(None)
    assert not [event for event in events if event.stage == "warning"]
    result = run({"name": "toy-prior"})
    warnings = [event.message for event in events if event.stage == "warning"]
    assert len(warnings) == 1
    assert "'cgls' uses no prior" in warnings[0]
    assert torch.equal(result.image.data, without.image.data)
    assert result.record["generative"] is False
    assert "prior" in result.record["recipe"]
    assert "prior" not in result.record


def test_a_misspelt_prior_is_refused_even_where_it_is_not_used(host: Host, priors: Path) -> None:
    refused(host, CT, recipe({"name": "toy-prio"}, solver={"name": "cgls"}), ComponentMissing, "E-PRI-21")


def test_a_physics_that_cannot_tell_the_phase(host: Host, priors: Path) -> None:
    asked = recipe({"name": "toy-mr"}, "toy-phaseless")
    refused(host, MR, asked, ComponentMissing, "E-RUN-14.*magnitudes", late=True)


def test_a_prior_of_complex_images_for_real_ones(host: Host, priors: Path) -> None:
    write(priors, card("toy-channels", complex="channels"))
    refused(host, CT, recipe({"name": "toy-channels"}), ComponentMissing, "E-PRI-35", late=True)


def test_complex_channels_keep_zero_where_it_is(host: Host, priors: Path) -> None:
    write(priors, mr_card("toy-two", complex="channels", intensity=Intensity("percentile", to=(-1, 1))))
    refused(host, MR, recipe({"name": "toy-two"}, "toy-complex"), ComponentMissing, "E-RUN-16", late=True)


def test_a_likelihood_that_cannot_be_restated(host: Host, priors: Path) -> None:
    refused(host, CT, recipe({"name": "toy-prior"}, "toy-opaque"), ComponentMissing, "E-RUN-15.*in_units", late=True)


def test_an_empty_scan_sets_no_scale(host: Host, priors: Path) -> None:
    asked = recipe({"name": "toy-mr"}, "toy-complex")
    empty = dataclasses.replace(medldm.simulate(MR, recipe=asked, host=host), data=torch.zeros(SHAPE).cfloat())
    with pytest.raises(InputRefused, match="E-RUN-11"):
        medldm.reconstruct(empty, recipe=asked, host=host, device="cpu")


def test_the_solver_is_held_against_the_operator_that_it_will_get(host: Host, priors: Path) -> None:
    asked = recipe({"name": "toy-prior"}, solver={"name": "toy-picky"})
    refused(host, CT, asked, UsageError, "E-RUN-04.*filtered", late=True)


def test_a_decoder_without_a_derivative(host: Host, priors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = recipe({"name": "toy-prior"}, solver={"name": "toy-differentiating"})
    medldm.reconstruct(CT, recipe=asked, simulate=True, host=host, device="cpu")
    monkeypatch.setattr("medldm.inference.pixel_prior.PixelPrior.decode_gradient", False)
    refused(host, CT, asked, UsageError, "E-RUN-04.*decoder", late=True)


def test_weights_that_are_not_those_of_the_card(host: Host, priors: Path) -> None:
    file = priors / "toy-prior" / "denoiser.safetensors"
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(bytes(damaged))
    refused(host, CT, recipe({"name": "toy-prior"}), ComponentMissing, "E-PRI-.*sha256", late=True)


def test_other_weights_are_another_job(host: Host, priors: Path) -> None:
    asked = recipe({"name": "toy-prior"})
    chosen = choose_prior(host, asked, CT)
    assert chosen is not None
    other = dataclasses.replace(chosen, card=mr_card(weights={"denoiser": chosen.card.weights["denoiser"]}))
    assert job_of(asked, CT, chosen) == job_of(asked, CT, other)
    weights = dataclasses.replace(chosen.card.weights["denoiser"], sha256="0" * 64)
    other = dataclasses.replace(chosen, card=dataclasses.replace(chosen.card, weights={"denoiser": weights}))
    assert job_of(asked, CT, chosen) != job_of(asked, CT, other)
    assert "weights" not in job_of(asked, CT)


def test_the_memory_plan_counts_the_prior(host: Host, priors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"denoiser": {"facts": 0, "widths": (32, 64)}}
    chosen = choose_prior(host, recipe({"name": "toy-prior", "slices_at_once": 2}), CT)
    assert chosen is not None
    wide = dataclasses.replace(chosen, card=dataclasses.replace(chosen.card, networks=options))
    file = (priors / "toy-prior" / "denoiser.safetensors").stat().st_size
    monkeypatch.setattr("medldm.pipeline.chosen_prior.processor_has_bfloat16", lambda: False)
    assert wide.bytes_needed() == 2 * file + 2 * (10 * 12) * 32 * 4 * 4
    monkeypatch.setattr("medldm.pipeline.chosen_prior.processor_has_bfloat16", lambda: True)
    assert wide.bytes_needed() == 2 * file + round(2 * (10 * 12) * 32 * 4 * 4 * 0.65)
    asked = recipe({"name": "toy-prior"})
    without, with_ = (check_memory(host, asked, CT, None, prior) for prior in (None, wide))
    assert with_.prior == wide.bytes_needed()
    assert with_.total > without.total
    assert with_.as_dict()["prior"] == with_.prior
    assert with_.slices_at_once is None and with_.streamed(asked) is asked
    one, eight = (_taking(wide, n) for n in (1, 8))
    with pytest.raises(OutOfMemory, match=r"E-MEM-01.*Reconstruct fewer"):
        check_memory(host, asked, CT, _total(host, asked, one) - 1, wide)
    for allowed, at_once in ((_total(host, asked, one), 1), (_total(host, asked, eight) - 1, 4)):
        plan = check_memory(host, asked, CT, allowed, eight)
        assert plan.total <= allowed
        assert plan.slices_at_once == at_once
        assert plan.streamed(asked).prior == {**asked.prior, "slices_at_once": at_once}


def _taking(prior: ChosenPrior, at_once: int) -> ChosenPrior:
    return dataclasses.replace(prior, section=dataclasses.replace(prior.section, slices_at_once=at_once))


def _total(host: Host, asked: Recipe, prior: ChosenPrior) -> int:
    return check_memory(host, asked, CT, None, prior).total


def test_a_run_in_pieces_that_memory_allows_is_the_same_job_and_image(host: Host, priors: Path) -> None:
    asked = recipe({"name": "toy-prior"})
    chosen = choose_prior(host, asked, CT)
    assert chosen is not None
    one = _taking(chosen, 1)
    told: list[Event] = []
    runs = [
        medldm.reconstruct(CT, recipe=asked, simulate=True, host=host, device="cpu", max_memory=limit, listeners=heard)
        for limit, heard in ((None, []), (_total(host, asked, one), [told.append]))
    ]
    assert [event.message for event in told if event.stage == "memory"] == [
        "the prior's network takes 1 at a time of its slices, to fit the memory"
    ]
    torch.testing.assert_close(runs[1].image.data, runs[0].image.data, rtol=1e-4, atol=1e-2)
    assert runs[1].record["job"] == runs[0].record["job"]


def test_the_time_of_a_run_with_a_prior_is_estimated(host: Host, priors: Path) -> None:
    seconds = estimate_seconds(host, recipe({"name": "toy-prior"}), CT, "cpu")
    assert 0 < seconds < 60
