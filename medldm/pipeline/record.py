"""``run.json``: what was done, with what, on what, how long, and how well. Nothing of the patient."""

from __future__ import annotations

import platform
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import medldm
from medldm.data import Acquisition, Volume
from medldm.data.provenance import GENERATIVE, RESEARCH_ONLY
from medldm.host import Host
from medldm.pipeline.checks import Fit
from medldm.pipeline.recipe import Recipe

SCHEMA = "medldm-run/1"


@dataclass
class Timer:
    """Wall-clock seconds per stage, ``with timer("solve"): ...``."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time a stage; stages of one name add up."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - begun


def peak_memory_bytes() -> int:
    """Largest resident memory of this process so far, or of CUDA where it is used."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def device_name(device: torch.device) -> str:
    """What the machine calls the device."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return platform.processor() or platform.machine()


def versions(host: Host) -> dict[str, Any]:
    """Versions of medldm, its main libraries and every plugin."""
    libraries = ("torch", "numpy", "nibabel", "pydicom", "safetensors")
    return {
        "medldm": medldm.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        **{name: version(name) for name in libraries},
        "plugins": {row.name: f"{row.distribution} {row.version}" for row in host.plugins},
    }


def run_record(
    *,
    job: Mapping[str, str],
    recipe: Recipe,
    case: Volume | Acquisition,
    acquisition: Acquisition,
    image: Volume,
    prior: Mapping[str, Any],
    host: Host,
    timer: Timer,
    metrics: Mapping[str, Mapping[str, float]],
    curves: Mapping[str, Sequence[float | None]],
    fit: Fit,
    fit_along: Mapping[str, Sequence[float | None]],
    likeness: Mapping[str, Sequence[float | None]],
    convergence: Mapping[str, Any],
    uncertainty: Mapping[str, Any],
    methods: Sequence[Mapping[str, Any]],
    warnings: Sequence[str],
    failed: list[str],
    device: torch.device,
    resumed_after: int | None = None,
) -> dict[str, Any]:
    """The record of a run as plain JSON.

    Args:
        job: identity of the run.
        recipe: resolved.
        case: what was read.
        acquisition: what was measured.
        image: what was reconstructed.
        prior: facts of the prior that took part; empty without one.
        host: for the plugins' versions.
        timer: seconds per stage so far.
        metrics: per image (``baseline``, ``reconstruction``), empty without a truth.
        curves: of the reconstruction's metrics along its slices; empty without a truth.
        fit: of each sample to the measurement.
        fit_along: of their mean, along the axes of the measurement.
        likeness: of neighbouring slices, per image.
        convergence: of the first sample.
        uncertainty: see :func:`medldm.pipeline.uncertainty.uncertainty_of`.
        methods: what took part, and what to cite for it.
        warnings: all that were told.
        failed: sentences of the gates that failed.
        device: that computed.
        resumed_after: steps that an earlier run had done; seconds and convergence are of what came after. None of a run
            from the beginning.
    """
    return {
        "schema": SCHEMA,
        "notice": f"{RESEARCH_ONLY}; {GENERATIVE}" if prior else RESEARCH_ONLY,
        "simulated": acquisition.simulated,
        "generative": bool(prior),
        "job": dict(job),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "recipe": {"name": recipe.name, "sha256": recipe.sha256, **_without_folders(recipe)},
        "seed": recipe.seed,
        "input": {"sha256": job["case"], **case.as_record()},
        "acquisition": acquisition.as_record(),
        **({"prior": dict(prior)} if prior else {}),
        "image": image.as_record(),
        "metrics": {name: dict(values) for name, values in metrics.items() if values},
        **({"curves": {name: list(values) for name, values in curves.items()}} if curves else {}),
        "chi": fit.chi,
        **({"chi_slices": fit.slices} if fit.slices else {}),
        **({"chi_along": {name: list(values) for name, values in fit_along.items()}} if fit_along else {}),
        "slice_likeness": {name: list(values) for name, values in likeness.items()},
        **({} if resumed_after is None else {"resumed_after": resumed_after}),
        **({"convergence": dict(convergence)} if convergence else {}),
        **({"uncertainty": dict(uncertainty)} if uncertainty else {}),
        "methods": [dict(method) for method in methods],
        "warnings": list(warnings),
        "gates_failed": failed,
        "device": str(device),
        "device_name": device_name(device),
        "threads": torch.get_num_threads(),
        "seconds": {stage: round(value, 3) for stage, value in timer.seconds.items()},
        "peak_memory_bytes": peak_memory_bytes(),
        "versions": versions(host),
    }


def _without_folders(recipe: Recipe) -> dict[str, Any]:
    """The resolved recipe; a prior given by its folder stands there by the folder's own name."""
    sections = recipe.as_dict()
    if "name" in sections.get("prior", {}):
        sections["prior"]["name"] = Path(str(sections["prior"]["name"])).name
    return sections
