"""Memory: what is planned, what is parsed, what is measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from prior_toys import card

from medldm.data import AffineMap, Grid, Volume
from medldm.errors import OutOfMemory, UsageError
from medldm.host import load_host
from medldm.inference import Noise
from medldm.inference.live_memory import live_bytes
from medldm.pipeline.chosen_prior import ChosenPrior
from medldm.pipeline.events import Teller
from medldm.pipeline.memory import MemoryPlan, available_bytes, check_memory, in_words, parse_bytes, plan_memory
from medldm.pipeline.peak_memory import PeakMemory
from medldm.pipeline.prior_section import PriorSection
from medldm.pipeline.recipe import load_recipe
from medldm.pipeline.simulate import measure
from medldm.priors.card import Latent
from medldm.priors.fit import Plan


@pytest.mark.parametrize(
    ("text", "count"), [("8G", 8 * 2**30), ("500M", 500 * 2**20), ("1.5 GiB", 3 * 2**29), ("64kb", 2**16), ("123", 123)]
)
def test_amounts_are_read(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "G", "-1G", "8X", "0", "eight"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="E-RUN-10"):
        parse_bytes(text)


def test_amounts_are_said() -> None:
    assert in_words(3 * 2**30) == "3.0 GiB"
    assert in_words(5 * 2**20) == "5 MiB"


@pytest.mark.parametrize("name", ["mri-4x", "ct-60-views", "ct-low-dose"])
def test_plans_grow_with_the_volume(name: str) -> None:
    host, recipe = load_host(), load_recipe(name)
    small = plan_memory(host, recipe, Grid.isotropic((4, 128, 128)), is_complex=False)
    large = plan_memory(host, recipe, Grid.isotropic((64, 256, 256)), is_complex=False)
    assert 0 < small.physics < large.physics
    assert large.total == sum(value for key, value in large.as_dict().items() if key != "total")


def test_a_simulation_counts_as_far_as_it_takes_more_than_what_comes_after_it() -> None:
    mib = 2**20
    after = MemoryPlan(100 * mib, 50 * mib, 10 * mib, 40 * mib)
    assert replace(after, simulation=150 * mib).total == after.total
    assert replace(after, simulation=190 * mib + 100 * mib).as_dict()["simulation"] == 100 * mib
    assert replace(after, simulation=290 * mib).total > after.total
    host, recipe, grid = load_host(), load_recipe("ct-limited-angle"), Grid.isotropic((4, 256, 256))
    simulated = plan_memory(host, recipe, grid, is_complex=False)
    case = Volume(torch.zeros(grid.shape), grid, "HU", "CT")
    measured = plan_memory(host, recipe, grid, is_complex=False, measured=measure(host, recipe, case, Teller()))
    assert simulated.as_dict()["simulation"] > 0 == measured.as_dict()["simulation"]
    assert measured.total < simulated.total


@pytest.mark.parametrize(
    ("physics", "few", "many"),
    [
        ("ct-parallel", {"views": 20}, {"views": 60}),
        ("ct-fan", {"views": 20, "bins": 40}, {"views": 60, "bins": 90}),
        ("ct-fan", {"weights": "full-turn", "arc_deg": 360}, {"weights": "displaced", "arc_deg": 360, "offset_mm": 5}),
        ("ct-cone", {"views": 2}, {"views": 6}),
        ("mri-cartesian", {"coils": 2}, {"coils": 5}),
        ("mri-cartesian-3d", {"coils": 2}, {"coils": 5}),
        ("mri-simultaneous-slices", {"coils": 2, "bands": 2}, {"coils": 5, "bands": 4}),
        ("mri-nonuniform", {"coils": 2, "trajectory": {"shots": 8}}, {"coils": 5, "trajectory": {"shots": 24}}),
    ],
)
def test_a_measurement_counts_as_it_is_and_not_as_the_options_would_make_it(
    physics: str, few: dict[str, Any], many: dict[str, Any]
) -> None:
    host = load_host()
    small, large = (cast(Any, host.build("operators", physics, options)) for options in (few, many))
    unit, modality = ("HU", "CT") if physics.startswith("ct") else ("arbitrary", "MR")
    data = torch.rand(8, 32, 24, generator=torch.Generator().manual_seed(0)) + 1
    volume = Volume(data, Grid.isotropic((8, 32, 24)), unit, modality)
    measured = large.simulate(volume, Noise(1))
    assert small.bytes_needed(volume.grid, measured) == large.bytes_needed(volume.grid)
    assert small.bytes_needed(volume.grid) < large.bytes_needed(volume.grid)


@pytest.mark.parametrize(
    ("role", "dimensions", "widths"),
    [
        *(("autoencoder", dimensions, widths) for dimensions in (2, 3) for widths in ((16, 32), (16, 16), (8, 32))),
        *(("denoiser", 3, widths) for widths in ((16, 32), (16, 16))),
    ],
)
def test_what_a_network_holds_is_planned(
    role: str, dimensions: int, widths: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workspaces of convolutions are not among the tensors that are counted, and the plan has room for them."""
    monkeypatch.setattr("medldm.pipeline.chosen_prior.processor_has_bfloat16", lambda: False)
    host, options = load_host(), {"widths": list(widths), "groups": 8}
    family = cast(Any, host.build("priors", "slice-diffusion" if dimensions == 2 else "volume-diffusion", {}))
    network = getattr(family.build({role: options}), role).eval().requires_grad_(False)
    shape = (1, 64, 64) if dimensions == 2 else (32, 32, 32)
    image = torch.rand(1, 4 if role == "denoiser" else 1, *shape[3 - dimensions :])
    if role == "autoencoder":
        held = live_bytes(lambda: network.decode(network.moments(image)[0]))
    else:
        held = live_bytes(lambda: network(image, torch.zeros(1), torch.zeros(1, 1)))
    latent = Latent(1.0) if role == "autoencoder" else None
    of_it = card(dimensions=dimensions, networks={role: options}, latent=latent, weights={})
    plan = Plan(Grid.isotropic(shape), False, AffineMap.identity("HU"), ())
    planned = ChosenPrior(Path(), of_it, PriorSection(slices_at_once=1), {}, plan).bytes_needed()
    assert held <= planned <= 2 * held


def test_a_hint_names_no_option_that_would_be_refused() -> None:
    host, recipe = load_host(), load_recipe("mri-4x", classical=True)
    image = Volume(torch.ones(2, 16, 12), Grid.isotropic((2, 16, 12)), "arbitrary", "MR")
    hints = {}
    for case in (image, measure(host, recipe, image, Teller())):
        with pytest.raises(OutOfMemory, match="E-MEM-01") as refusal:
            check_memory(host, recipe, case, 1000)
        hints[type(case).__name__] = refusal.value.fix
    assert "--slices" in hints["Volume"] and "--slices" not in hints["Acquisition"]
    assert all("--max-memory" in hint for hint in hints.values())


def test_peak_memory_sees_what_was_held() -> None:
    with PeakMemory() as memory:
        held = np.ones(2**25)  # 256 MiB, touched
        del held
    if memory.bytes and not torch.cuda.is_available():
        assert memory.bytes > 2**28
    available = available_bytes()
    assert available is None or available > 2**20
