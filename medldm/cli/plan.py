"""``medldm reconstruct --dry-run``: what would run, how much memory and how long."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from medldm.data import Acquisition, ReadRequest
from medldm.host import Host
from medldm.pipeline.chosen_prior import choose_prior
from medldm.pipeline.estimate import estimate_seconds
from medldm.pipeline.events import Event, Listener
from medldm.pipeline.maps import chosen_maps
from medldm.pipeline.memory import check_memory, in_words
from medldm.pipeline.output import require_free
from medldm.pipeline.reading import read_case
from medldm.pipeline.recipe import Recipe
from medldm.pipeline.reconstruct import cut, require_measurement
from medldm.pipeline.reference import read_compared, reference_on
from medldm.pipeline.remarks import doubts_about_choices, remarks_on_scan
from medldm.pipeline.results import require_writable
from medldm.pipeline.sampling import check_samples


def show_plan(
    host: Host,
    source: Path,
    recipe: Recipe,
    request: ReadRequest,
    slices: slice | None,
    device: str,
    limit: int | None,
    *,
    simulate: bool,
    truth: Path | None,
    out: Path | None,
    overwrite: bool,
    tell: Listener,
    as_json: bool,
) -> None:
    """Print the plan; refused like the run itself when it cannot work.

    Warnings go to ``tell``, and stand in the plan where that is JSON.
    """
    if out is not None:
        require_free(out, source, overwrite=overwrite)
    case = cut(read_case(host, source, request), slices)
    if truth is not None:
        reference_on(case.grid, read_compared(host, truth, ReadRequest(modality=case.modality)))
    require_measurement(case, simulate=simulate)
    warnings = [sentence for stage, sentence in remarks_on_scan(case, simulate=simulate) if stage == "warning"]
    prior = choose_prior(host, recipe, case)
    warnings += doubts_about_choices(host, recipe, prior)
    if not as_json:
        for sentence in warnings:
            tell(Event("warning", sentence))
    check_samples(recipe, prior)
    chosen_maps(recipe)
    memory = check_memory(host, recipe, case, limit, prior)
    require_writable(host, recipe, case)
    with Console(stderr=True).status("Timing the first steps"):
        seconds = estimate_seconds(host, memory.streamed(recipe), case, device)
    # A measurement was taken by its own settings; those of the recipe are for measuring an image.
    measured = {"physics": case.physics, **case.settings} if isinstance(case, Acquisition) else recipe.acquisition
    facts = {
        "case": case.name,
        "shape": list(case.grid.shape),
        "spacing_mm": [float(f"{step:.6g}") for step in case.grid.spacing],
        "acquisition": dict(measured),
        "recipe": {"name": recipe.name, "sha256": recipe.sha256, **recipe.as_dict()},
        "memory_bytes": memory.as_dict(),
        "seconds": round(seconds, 1),
        "warnings": warnings,
    }
    if as_json:
        sys.stdout.write(json.dumps({"event": "plan", **facts}) + "\n")
        return
    table = Table("", "", title=f"plan: {recipe.name}", show_header=False)
    table.add_row("scan", f"{case.name}, {' x '.join(map(str, case.grid.shape))} voxels")
    for section, content in (recipe.as_dict() | {"acquisition": dict(measured)}).items():
        table.add_row(section, json.dumps(content))
    parts = ", ".join(f"{name} {in_words(size)}" for name, size in memory.as_dict().items() if name != "total")
    table.add_row("memory", f"about {in_words(memory.total)} ({parts})")
    if recipe.samples > 1:
        table.add_row("samples", f"{recipe.samples}, {memory.samples_at_once} at once")
    if memory.slices_at_once is not None:
        table.add_row("slices", f"{memory.slices_at_once} at a time in the prior's network, to fit the memory")
    table.add_row("time", f"about {seconds:.0f} s")
    Console().print(table)
