"""``medldm reconstruct``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medldm.cli import options
from medldm.cli.failure import when_interrupted
from medldm.cli.session import finish, session_of


def command(
    context: typer.Context,
    source: options.Input,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Output folder; it appears whole or not at all.")
    ] = None,
    recipe: options.Recipe = "mri-4x",
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Measure an image by the recipe's physics first; marked SIMULATED.")
    ] = False,
    set_: options.Set = None,
    prior: Annotated[
        str | None, typer.Option("--prior", help="Name or folder of a prior; short for prior.name.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option("--truth", help="Reference image, for the metrics only.", readable=False)
    ] = None,
    samples: Annotated[int | None, typer.Option("--samples", min=1, help="Short for run.samples.")] = None,
    seed: options.Seed = None,
    series: options.Series = None,
    volume_index: options.VolumeIndex = None,
    untilt: options.Untilt = False,
    allow_gaps: options.AllowGaps = None,
    assume_orientation: options.Orientation = None,
    modality: options.Modality = None,
    slices: options.Slices = None,
    device: options.Device = "auto",
    max_memory: Annotated[
        str | None, typer.Option("--max-memory", help="Keep within this: 8G, 500M; refuse to start when it cannot do.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from an interrupted run; do nothing if it is finished.")
    ] = False,
    overwrite: options.Overwrite = False,
    anonymous_names: options.AnonymousNames = False,
    classical: Annotated[
        bool, typer.Option("--classical", help="Without a prior: by the recipe's classical solver, which is faster.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print plan, memory and time estimate; write nothing.")
    ] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Reconstruct one scan.

    Examples:
        medldm reconstruct brain.nii.gz --simulate --recipe mri-4x -o out

        medldm reconstruct ct-folder/ --series '#1' --simulate --recipe ct-60-views --set solver.steps=20 -o out

        medldm reconstruct scan.acq.safetensors --recipe mri-8x --truth brain.nii.gz -o out
    """

    def work() -> None:
        from dataclasses import replace

        from rich.markup import escape

        from medldm.cli.reporter import Reporter
        from medldm.errors import UsageError
        from medldm.pipeline.memory import parse_bytes
        from medldm.pipeline.recipe import load_recipe
        from medldm.pipeline.reconstruct import reconstruct
        from medldm.pipeline.resume import already_finished, finished_before
        from medldm.report import report_page

        host = session_of(context).host()
        changes = options.assignments(set_, seed, samples, prior)
        chosen = load_recipe(recipe, changes, classical=classical)
        request = options.read_request(series, volume_index, untilt, allow_gaps, assume_orientation, modality)
        limit = None if max_memory is None else parse_bytes(max_memory)
        if limit is not None:
            request = replace(request, max_bytes=limit)
        cut = options.slice_range(slices)
        with Reporter(as_json=as_json, quiet=quiet) as reporter:
            if dry_run:
                from medldm.cli.plan import show_plan

                show_plan(
                    host, source, chosen, request, cut, device, limit,
                    simulate=simulate, out=out, truth=truth, overwrite=overwrite or resume,
                    tell=reporter, as_json=as_json,
                )  # fmt: skip
                return
            if out is None:
                raise UsageError("E-CLI-04", "No output folder is given.", fix="Add -o OUT, or --dry-run.")
            if resume:
                there = already_finished(host, source, out, chosen, request, cut, anonymous=anonymous_names)
                if there is not None:
                    reporter.console.print(f"already finished: {there}", highlight=False, markup=False, soft_wrap=True)
                    reporter(finished_before(there))
                    return
            with when_interrupted(lambda: _left_behind(saved=reporter.saved, resume=resume)):
                result = reconstruct(
                    source,
                    out,
                    recipe=chosen,
                    simulate=simulate,
                    truth=truth,
                    read=request,
                    slices=cut,
                    device=device,
                    max_memory=limit,
                    resume=resume,
                    overwrite=overwrite,
                    anonymous=anonymous_names,
                    host=host,
                    listeners=[reporter],
                    pages=[report_page],
                )
            if not as_json and not quiet:
                from medldm.cli.tables import print_metrics

                print_metrics(reporter.console, result.record)
                folder = result.files[-1].parent
                page = next((file for file in result.files if file.suffix == ".html"), folder / "preview.png")
                reporter.console.print(f"look at [bold]{escape(str(page))}[/]", highlight=False, soft_wrap=True)

    finish(work, as_json=as_json, verbose=verbose)


def _left_behind(*, saved: bool, resume: bool) -> str:
    """What an interrupted run leaves, in words."""
    if saved:
        return "Interrupted; the state is saved. The same command with --resume goes on from it."
    if resume:
        return "Interrupted before this run saved a state. Whatever an earlier one saved is kept: run it again."
    return "Interrupted before a state was saved. The same command begins anew."
