"""``medldm simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medldm.cli import options
from medldm.cli.session import finish, session_of


def command(
    context: typer.Context,
    source: options.Input,
    out: Annotated[Path, typer.Option("--out", "-o", help="Acquisition file to write, NAME.acq.safetensors.")],
    recipe: options.Recipe = "mri-4x",
    set_: options.Set = None,
    seed: options.Seed = None,
    series: options.Series = None,
    volume_index: options.VolumeIndex = None,
    untilt: options.Untilt = False,
    allow_gaps: options.AllowGaps = None,
    assume_orientation: options.Orientation = None,
    modality: options.Modality = None,
    slices: options.Slices = None,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Make measurements from an image by a recipe's physics; they are marked SIMULATED for ever.

    Examples:
        medldm simulate brain.nii.gz --recipe mri-8x --seed 7 -o brain.acq.safetensors

        medldm simulate ct-folder/ --recipe ct-low-dose --slices 40:60 -o low-dose.acq.safetensors
    """

    def work() -> None:
        from medldm.cli.reporter import Reporter
        from medldm.pipeline.acquisition_output import free_target, save_acquisition
        from medldm.pipeline.simulate import simulate

        free_target(out, overwrite=overwrite)
        host = session_of(context).host()
        request = options.read_request(series, volume_index, untilt, allow_gaps, assume_orientation, modality)
        with Reporter(as_json=as_json, quiet=quiet) as reporter:
            acquisition = simulate(
                source,
                recipe,
                set_=options.assignments(set_, seed),
                read=request,
                slices=options.slice_range(slices),
                host=host,
                listeners=[reporter],
            )
            path = save_acquisition(host, acquisition, out, overwrite=overwrite)
            if not as_json and not quiet:
                reporter.console.print(f"    wrote  {path}", highlight=False, markup=False, soft_wrap=True)

    finish(work, as_json=as_json, verbose=verbose)
